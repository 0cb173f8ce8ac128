//! Rust source as words: enough to list the paths a file mentions.

use std::iter::Peekable;
use std::str::Chars;

/// The paths of one file, opened up: `use a::{b, c::d};` is `a::b` and `a::c::d`.
pub(super) struct Source {
    words: Vec<String>,
    paths: Vec<Vec<String>>,
}

// === impl Source ===

impl Source {
    /// Reads a file's text.
    pub(super) fn read(text: &str) -> Self {
        Self::of(words(text))
    }

    /// Each path that is imported or written out, without a leading `::`.
    pub(super) fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.paths.iter().map(Vec::as_slice)
    }

    /// The same file without the items under `#[cfg(test)]`.
    pub(super) fn without_tests(&self) -> Self {
        let mut kept = Vec::new();
        let mut rest = self.words.as_slice();
        while let Some((first, tail)) = rest.split_first() {
            if let Some(item) = rest.strip_prefix(&["#", "[", "cfg", "(", "test", ")", "]"].map(str::to_owned)) {
                rest = &item[item_length(item)..];
            } else {
                kept.push(first.clone());
                rest = tail;
            }
        }
        Self::of(kept)
    }

    fn of(words: Vec<String>) -> Self {
        let mut paths = Vec::new();
        let mut index = 0;
        while index < words.len() {
            let begins_path = is_name(&words[index]) && words.get(index + 1).is_some_and(|next| next == "::");
            if words[index] == "use" {
                index = use_tree(&words, index + 1, &[], &mut paths);
            } else if begins_path {
                index = plain_path(&words, index, &mut paths);
            } else {
                index += 1;
            }
        }
        Self { words, paths }
    }
}

/// Reads a path in an expression or type, and gives the index behind it.
fn plain_path(words: &[String], mut index: usize, paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = vec![words[index].clone()];
    index += 1;
    while words.get(index).is_some_and(|word| word == "::") && words.get(index + 1).is_some_and(|word| is_name(word)) {
        path.push(words[index + 1].clone());
        index += 2;
    }
    paths.push(path);
    index
}

/// Reads one branch of an import below `prefix`, and gives the index behind it.
fn use_tree(words: &[String], mut index: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(word) = words.get(index) {
        index += 1;
        match word.as_str() {
            "::" => {}
            "{" => {
                while words.get(index).is_some_and(|word| word != "}") {
                    index = use_tree(words, index, &path, paths);
                    index += usize::from(words.get(index).is_some_and(|word| word == ","));
                }
                return index + 1;
            }
            "as" => index += 1,
            "*" | "self" => {}
            name if is_name(name) => path.push(name.to_owned()),
            _ => {
                index -= 1;
                break;
            }
        }
    }
    paths.push(path);
    index
}

/// How many words the item at the front takes: up to its `;` or the brace that closes it.
fn item_length(words: &[String]) -> usize {
    let mut depth = 0_usize;
    for (index, word) in words.iter().enumerate() {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (word == ";" || word == "}") {
            return index + 1;
        }
    }
    words.len()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// Names, `::` and single signs; comments, strings and characters are left out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let next = letters.peek().copied();
        match letter {
            '/' if next == Some('/') => while letters.next().is_some_and(|letter| letter != '\n') {},
            '/' if next == Some('*') => skip_block_comment(&mut letters),
            '"' => skip_string(&mut letters),
            '\'' => skip_character(&mut letters),
            ':' if next == Some(':') => {
                letters.next();
                words.push("::".to_owned());
            }
            _ if letter.is_alphanumeric() || letter == '_' => {
                let mut word = letter.to_string();
                while let Some(more) = letters.next_if(|letter| letter.is_alphanumeric() || *letter == '_') {
                    word.push(more);
                }
                let is_raw = matches!(word.as_str(), "r" | "br" | "cr") && matches!(letters.peek(), Some('"' | '#'));
                if !(is_raw && skip_raw_string(&mut letters)) {
                    words.push(word);
                }
            }
            _ if letter.is_whitespace() => {}
            sign => words.push(sign.to_string()),
        }
    }
    words
}

fn skip_block_comment(letters: &mut Peekable<Chars<'_>>) {
    let mut depth = 0;
    let mut before = '/';
    for letter in letters.by_ref() {
        match (before, letter) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                before = letter;
                continue;
            }
        }
        // The second sign of a pair begins no other pair.
        before = ' ';
        if depth == 0 {
            return;
        }
    }
}

fn skip_string(letters: &mut Peekable<Chars<'_>>) {
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '"' => return,
            _ => {}
        }
    }
}

/// Skips what follows the `r`; `false` if it was a raw name such as `r#type`.
fn skip_raw_string(letters: &mut Peekable<Chars<'_>>) -> bool {
    let mut hashes = 0;
    while letters.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    if letters.next_if_eq(&'"').is_none() {
        return false;
    }
    loop {
        match letters.next() {
            None => return true,
            Some('"') if (0..hashes).all(|_| letters.next_if_eq(&'#').is_some()) => return true,
            Some(_) => {}
        }
    }
}

/// Skips a character; a lifetime has no closing quote, so only its quote is skipped.
fn skip_character(letters: &mut Peekable<Chars<'_>>) {
    let mut ahead = letters.clone();
    let first = ahead.next();
    let is_character = first == Some('\\') || ahead.next() == Some('\'');
    if !is_character {
        return;
    }
    letters.next();
    if first == Some('\\') {
        letters.next();
    }
    while letters.next().is_some_and(|letter| letter != '\'') {}
}
