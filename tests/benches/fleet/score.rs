//! What came of a scene.

use std::time::Duration;

use crate::account::Answer;
use crate::world::Scene;

/// Counts while a scene plays.
#[derive(Debug)]
pub(crate) struct Score {
    scene: Scene,
    sends: u64,
    refused: u64,
    lost: u64,
    /// Accepted requests of each proxy.
    shares: Vec<u64>,
    completions: Vec<Duration>,
    /// Accepted and refused in each second.
    pub(crate) seconds: Vec<(u32, u32)>,
}

impl Score {
    pub(crate) fn new(scene: Scene) -> Self {
        let seconds = vec![(0, 0); scene.length.as_secs() as usize + 1];
        Self { scene, sends: 0, refused: 0, lost: 0, shares: vec![0; scene.proxies], completions: Vec::new(), seconds }
    }

    pub(crate) fn sent(&mut self, now: Duration, proxy: usize, answer: Answer) {
        self.sends += 1;
        let second = &mut self.seconds[now.as_secs() as usize];
        match answer {
            Answer::Accepted => {
                self.shares[proxy] += 1;
                second.0 += 1;
            }
            Answer::Failed => {}
            Answer::Throttled(_) => {
                self.refused += 1;
                second.1 += 1;
            }
        }
    }

    pub(crate) fn done(&mut self, took: Duration) {
        self.completions.push(took);
    }

    pub(crate) fn lost(&mut self) {
        self.lost += 1;
    }

    /// Accepted requests as a share of what the account could have accepted, its burst included.
    pub(crate) fn goodput(&self) -> f64 {
        let terms = self.scene.terms;
        let accepted: u64 = self.shares.iter().sum();
        accepted as f64 / self.scene.length.as_secs_f64().mul_add(terms.rate, terms.burst)
    }

    /// Refused sends as a share of all.
    pub(crate) fn waste(&self) -> f64 {
        self.refused as f64 / self.sends as f64
    }

    /// Requests given up as a share of those that ended.
    pub(crate) fn loss(&self) -> f64 {
        self.lost as f64 / (self.lost as usize + self.completions.len()) as f64
    }

    /// Jain's index of what the proxies got: 1 if all got the same, 1/n if one got all.
    pub(crate) fn fairness(&self) -> f64 {
        let sum: f64 = self.shares.iter().map(|share| *share as f64).sum();
        let squares: f64 = self.shares.iter().map(|share| (*share as f64).powi(2)).sum();
        sum * sum / (self.shares.len() as f64 * squares)
    }

    /// How long this share of the successful requests took at most.
    pub(crate) fn completion(&self, share: f64) -> Duration {
        let mut sorted = self.completions.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or_default()
    }
}
