//! Sorts of operation that a fault can strike, so that a scenario need not name each.

use crate::batch::operation::{Idempotency, Kind, Operation, Verb};

/// A word that `on` may hold instead of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    All,
    Creates,
    Deletes,
    Files,
    Reads,
    Transitions,
    Updates,
    Writes,
}

// === impl Class ===

impl Class {
    /// The words there are.
    pub(super) const NAMES: [&str; 8] = ["all", "creates", "deletes", "files", "reads", "transitions", "updates", "writes"];

    /// The class of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "creates" => Self::Creates,
            "deletes" => Self::Deletes,
            "files" => Self::Files,
            "reads" => Self::Reads,
            "transitions" => Self::Transitions,
            "updates" => Self::Updates,
            "writes" => Self::Writes,
            _ => return None,
        })
    }

    /// Whether the operation is of it.
    pub(super) fn holds(self, operation: &Operation) -> bool {
        let (kind, idempotency) = (operation.kind, operation.idempotency);
        match self {
            Self::All => true,
            Self::Creates => matches!(kind, Kind::Create | Kind::CreateCollection),
            Self::Deletes => kind == Kind::Delete,
            Self::Files => kind == Kind::FileRead,
            Self::Reads => idempotency == Idempotency::Safe,
            Self::Transitions => {
                kind == Kind::Other && idempotency == Idempotency::Idempotent && operation.method == Verb::Post
            }
            Self::Updates => matches!(operation.method, Verb::Patch | Verb::Put),
            Self::Writes => idempotency != Idempotency::Safe,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::batch::operation::OperationTable;

    /// The classes of writes are apart from each other, and only what a second execution would do twice is in none of them.
    #[test]
    fn every_write_is_of_one_class_unless_it_must_not_be_repeated() {
        let classes = ["creates", "deletes", "transitions", "updates"].map(|name| Class::named(name).unwrap());
        let mut seen = 0;
        for operation in OperationTable::all().filter(|operation| Class::Writes.holds(operation)) {
            let of = classes.iter().filter(|class| class.holds(operation)).count();
            assert_eq!(of == 1, operation.idempotency == Idempotency::Idempotent, "{} is of {of}", operation.name);
            seen += 1;
        }
        assert!(seen > 30, "only {seen} writes");
        assert!(Class::NAMES.iter().all(|name| Class::named(name).is_some()) && Class::named("some").is_none());
    }
}
