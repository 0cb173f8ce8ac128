//! A page of the documentation with results in it.

use std::path::Path;

/// Replaces what stands in `file` between `<!-- name -->` and `<!-- /name -->`.
pub(crate) fn write_between(file: &Path, parts: &[(&str, &str)]) -> std::io::Result<()> {
    let mut text = std::fs::read_to_string(file)?;
    for (name, part) in parts {
        let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
        let (Some(from), Some(to)) = (text.find(&begin), text.find(&end)) else {
            return Err(std::io::Error::other(format!("no place for {name} in {}", file.display())));
        };
        text.replace_range(from + begin.len()..to, &format!("\n{}\n", part.trim_end()));
    }
    std::fs::write(file, text)
}
