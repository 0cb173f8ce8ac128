//! The numbers that are measured, and how they are shown.

/// One number. Shown in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Rps1,
    Rps32,
    Rps256,
    Cpu,
    P50,
    P99,
    AddedP50,
    AddedP99,
    Down,
    CpuDown,
    Up,
    CpuUp,
    Cached,
    CpuCached,
    Cold,
    Memory,
    Memory256,
    Memory2000,
    Ready,
    ReadyNet,
    FaultRps,
    FaultCpu,
    FaultGood,
}

// === impl Metric ===

impl Metric {
    /// What it is, with its unit, and the digits after the point.
    fn shown(self) -> (&'static str, usize) {
        match self {
            Self::Rps1 => ("requests/s, 1 connection", 0),
            Self::Rps32 => ("requests/s, 32 connections", 0),
            Self::Rps256 => ("requests/s, 256 connections", 0),
            Self::Cpu => ("CPU s per 100,000 requests", 2),
            Self::P50 => ("p50 at 200 requests/s, us", 0),
            Self::P99 => ("p99 at 200 requests/s, us", 0),
            Self::AddedP50 => ("of that added to direct, p50, us", 0),
            Self::AddedP99 => ("of that added to direct, p99, us", 0),
            Self::Down => ("64 MiB down, GB/s", 2),
            Self::CpuDown => ("CPU s per GB down", 2),
            Self::Up => ("64 MiB up, GB/s", 2),
            Self::CpuUp => ("CPU s per GB up", 2),
            Self::Cached => ("new connections/s, the same host", 0),
            Self::CpuCached => ("CPU s per 10,000 new connections", 2),
            Self::Cold => ("new connections/s, each to a new host", 0),
            Self::Memory => ("resident at start, MiB", 1),
            Self::Memory256 => ("resident with 256 idle connections, MiB", 1),
            Self::Memory2000 => ("resident with 2,000 idle connections, MiB", 1),
            Self::Ready => ("first answer after start, ms", 1),
            Self::ReadyNet => ("of that over direct, ms", 1),
            Self::FaultRps => ("requests/s, 32 connections, 5 % faults", 0),
            Self::FaultCpu => ("CPU s per 100,000 requests, 5 % faults", 2),
            Self::FaultGood => ("answers of 200, 5 % faults, %", 1),
        }
    }

    /// What it is, with its unit.
    pub(crate) fn title(self) -> &'static str {
        self.shown().0
    }

    /// A value of it.
    pub(crate) fn format(self, value: f64) -> String {
        with_commas(value, self.shown().1)
    }

    /// Whether more of it is better.
    pub(crate) fn rises(self) -> bool {
        use Metric::{Cached, Cold, Down, FaultGood, FaultRps, Rps1, Rps32, Rps256, Up};
        matches!(self, Rps1 | Rps32 | Rps256 | Down | Up | Cached | Cold | FaultRps | FaultGood)
    }

    /// Whether it is a difference to the direct way.
    pub(crate) fn is_net(self) -> bool {
        matches!(self, Self::AddedP50 | Self::AddedP99 | Self::ReadyNet)
    }

    /// What it is without what the harness itself needs: the same minus that of the direct way in the same round.
    pub(crate) fn net(self) -> Option<Self> {
        match self {
            Self::P50 => Some(Self::AddedP50),
            Self::P99 => Some(Self::AddedP99),
            Self::Ready => Some(Self::ReadyNet),
            _ => None,
        }
    }
}

/// `value` with so many decimals, and commas between the thousands.
pub(crate) fn with_commas(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut shown = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && !shown.ends_with('-') {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown + rest
}
