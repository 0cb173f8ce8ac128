//! Finds the code in the JSON text of an error body that may be cut short anywhere.
//!
//! A parser that wants the whole text cannot serve here. This one walks the members of the outermost object, skips
//! what it does not look for without recursion, and stops where the text ends or is no JSON.

/// The `code` of the outermost object, else that of its member `error`. Of members with the same name the first counts, so
/// that a longer prefix of a body yields no other code.
pub(super) fn error_code(text: &[u8]) -> Option<String> {
    let mut cursor = Cursor { rest: text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text) };
    let mut nested = None;
    let top = cursor.find_code(&mut |mut error| nested = nested.take().or_else(|| error.find_code(&mut |_| ())));
    top.or(nested)
}

/// What is still to be read.
#[derive(Clone, Copy)]
struct Cursor<'t> {
    rest: &'t [u8],
}

// === impl Cursor ===

impl<'t> Cursor<'t> {
    /// The string member `code` of the object here; `on_error` gets to read the values of its members `error`.
    fn find_code(&mut self, on_error: &mut dyn FnMut(Self)) -> Option<String> {
        self.eat(b'{')?;
        loop {
            let name = unescape(self.string()?);
            self.eat(b':')?;
            match name.as_deref() {
                // A code of another type is skipped, and so is one that does not decode.
                Some("code") if self.peek() == Some(b'"') => {
                    if let Some(code) = unescape(self.string()?) {
                        return Some(code);
                    }
                }
                Some("error") => {
                    on_error(*self);
                    self.skip_value()?;
                }
                _ => self.skip_value()?,
            }
            self.eat(b',')?;
        }
    }

    /// The next byte that is no white space, left in place.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    /// Steps over `byte`, and over white space before it, or stays.
    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.rest = &self.rest[1..])
    }

    /// Steps over a string and gives it as written, in its quotes; `None` where it is cut short.
    fn string(&mut self) -> Option<&'t [u8]> {
        self.eat(b'"')?;
        let mut end = 0;
        loop {
            match self.rest.get(end)? {
                b'"' => break,
                // Whatever an escape stands for, its second byte does not end the string.
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Some(text)
    }

    /// Steps over a value of any type.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.rest = &self.rest[1..];
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.rest = &self.rest[1..];
                }
                // The comma inside a value; one after it belongs to the object around.
                b',' | b':' if depth > 0 => self.rest = &self.rest[1..],
                _ => self.skip_scalar()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Steps over a number, `true`, `false` or `null`.
    fn skip_scalar(&mut self) -> Option<()> {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
        let length = self.rest.iter().take_while(|b| is_part(b)).count();
        self.rest = &self.rest[length..];
        (length > 0).then_some(())
    }
}

/// What a string stands for, given without its quotes.
fn unescape(text: &[u8]) -> Option<String> {
    let quoted = [b"\"", text, b"\""].concat();
    serde_json::from_slice(&quoted).ok()
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
