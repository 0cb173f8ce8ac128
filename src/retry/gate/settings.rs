//! The gate's numbers, refused where they make no sense. docs/fleet.md says how the defaults were chosen.

use std::time::Duration;

use thiserror::Error;

/// How an account is closed, opened and paced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateSettings {
    pub(super) hint_max: Duration,
    pub(super) initial_share: f64,
    pub(super) growth_per_second: f64,
    pub(super) cut: f64,
    pub(super) max_waiting: usize,
}

/// Why five numbers are not the settings of a gate.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidGate {
    /// A cut that does not shrink the pace, or ends it.
    #[error("cut must be between 0.1 and 0.95")]
    Cut,
    /// A pace that never grows stays low for ever.
    #[error("growth_per_second must be between 0.001 and 1")]
    Growth,
    /// Hints that never count.
    #[error("hint_max must be longer than 0s")]
    HintMax,
    /// A share of nothing, or more than there was.
    #[error("initial_share must be between 0.05 and 1")]
    InitialShare,
    /// Nobody could wait.
    #[error("max_waiting must be at least 1")]
    MaxWaiting,
}

// === impl GateSettings ===

impl GateSettings {
    /// `hint_max` is the longest the service can close the gate. A first refusal sets the pace to `initial_share` of what was accepted before it,
    /// each later one to `cut` of what it was. The way back to it is covered at `growth_per_second`, a share of it, on average.
    /// `max_waiting` requests may wait.
    ///
    /// # Errors
    /// [`InvalidGate`] names the number that makes no sense.
    pub fn new(
        hint_max: Duration,
        initial_share: f64,
        growth_per_second: f64,
        cut: f64,
        max_waiting: usize,
    ) -> Result<Self, InvalidGate> {
        if hint_max.is_zero() {
            return Err(InvalidGate::HintMax);
        }
        if !(0.05..=1.0).contains(&initial_share) {
            return Err(InvalidGate::InitialShare);
        }
        if !(0.001..=1.0).contains(&growth_per_second) {
            return Err(InvalidGate::Growth);
        }
        if !(0.1..=0.95).contains(&cut) {
            return Err(InvalidGate::Cut);
        }
        if max_waiting == 0 {
            return Err(InvalidGate::MaxWaiting);
        }
        Ok(Self { hint_max, initial_share, growth_per_second, cut, max_waiting })
    }
}
