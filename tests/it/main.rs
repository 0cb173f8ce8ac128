//! Integration tests: the real proxy between raw clients and scripted origins, on loopback.
//!
//! What the tests stand on is in [`support`], and its own tests are in `support_test`. `layering` reads the source instead of running it.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod access;
mod bodies;
mod command;
mod config_cli;
mod connect;
mod demo;
mod doctor;
mod downloads;
mod echoes;
mod explain;
mod fidelity;
mod forged;
mod giving_up;
mod hostile;
mod intercept;
mod lanes;
mod layering;
mod limits;
mod links;
mod matrix;
mod memory;
mod never_early;
mod panics;
mod pod;
mod reload;
mod reload_file;
mod repeats;
mod run;
mod sdk;
mod sdk_amplification;
mod sdk_bulk;
mod sdk_client;
mod sdk_suite;
mod secrets;
mod simulator;
mod slowloris;
mod soak;
mod status;
mod support;
mod support_test;
mod throttle;
mod trust_files;
