//! When a file of settings has changed: told by what it holds, looked at again and again.
//!
//! Kubernetes swaps a symlink two folders up, editors write a new file and move it or write into the old one, NFS tells nobody. What all of
//! these have in common is that the content is another afterwards, so that is what is compared. A content is taken once it stands still, because
//! a file that is being written is read half; one that is gone is given longer, because some tools delete it before they write it anew.

/// What a look at a file found: its content, or why there is none.
pub type Sight = Result<Vec<u8>, String>;

/// What was found last, and for how long.
#[derive(Debug)]
pub struct Watch {
    /// What was taken last.
    taken: Sight,
    /// Something else, and in how many looks in a row it was found.
    other: Option<(Sight, u32)>,
}

// === impl Watch ===

impl Watch {
    /// The content that was read at the start.
    pub fn new(content: Vec<u8>) -> Self {
        Self { taken: Ok(content), other: None }
    }

    /// Notes what a look found, and gives it back if it is new and stands still.
    pub fn look(&mut self, found: Sight) -> Option<Sight> {
        if found == self.taken {
            self.other = None;
            return None;
        }
        let seen = match self.other.take() {
            Some((other, seen)) if other == found => seen + 1,
            _ => 1,
        };
        let enough = if found.is_ok() { STILL } else { GONE };
        if seen < enough {
            self.other = Some((found, seen));
            return None;
        }
        self.take(found.clone());
        Some(found)
    }

    /// Takes what was found without waiting until it stands still: somebody said that it does.
    pub fn take(&mut self, found: Sight) {
        (self.taken, self.other) = (found, None);
    }
}

/// Looks in which a new content must be found.
const STILL: u32 = 2;

/// Looks in which there must be none before that counts as news.
const GONE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Sight {
        if text == "-" { Err("gone".to_owned()) } else { Ok(text.as_bytes().to_vec()) }
    }

    #[test]
    fn a_content_is_taken_once_when_it_stands_still() {
        for (looks, taken) in [
            ("a a a", ""),
            ("b b b", "b"),
            ("b a b a", ""),
            ("b c d d", "d"),
            // Half of it, all of it.
            (" bc bc bc", "bc"),
            ("b b a a", "b a"),
            ("- a - a", ""),
            ("- - - - a", ""),
            ("- - b b", "b"),
            ("- - - - - -", "-"),
            ("- - - - - a a", "- a"),
        ] {
            let mut watch = Watch::new(b"a".to_vec());
            let got: Vec<_> = looks.split(' ').filter_map(|look| watch.look(found(look))).collect();
            let want: Vec<_> = taken.split_whitespace().map(found).collect();
            assert_eq!(got, want, "{looks}");
        }
    }

    #[test]
    fn what_was_taken_at_once_is_no_news_later() {
        let mut watch = Watch::new(b"a".to_vec());
        watch.take(found("b"));
        assert_eq!([watch.look(found("b")), watch.look(found("b"))], [None, None]);
    }
}
