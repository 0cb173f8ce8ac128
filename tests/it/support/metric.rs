//! Assertions on the Prometheus text format.

/// One line of the text.
struct Series<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

// === impl Series ===

impl Series<'_> {
    fn has(&self, key: &str, value: &str) -> bool {
        self.labels.iter().any(|(present, found)| *present == key && found == value)
    }
}

/// Fails unless the series of `name` that carry all of `labels` add up to `want`; none at all count as zero.
#[track_caller]
pub(crate) fn assert_metric(text: &str, name: &str, labels: &[(&str, &str)], want: f64) {
    let found = sum(text, name, labels);
    if (found - want).abs() > 1e-9 {
        let series: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
        panic!("{name}{labels:?} is {found}, not {want}; there is:\n{}", series.join("\n"));
    }
}

/// The sum of the series of `name` that carry all of `labels`.
pub(crate) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    text.lines()
        .filter_map(series)
        .filter(|series| series.name == name)
        .filter(|series| labels.iter().all(|(key, value)| series.has(key, value)))
        .map(|series| series.value)
        .sum()
}

/// The name, labels and value of one line; `None` for comments and empty lines.
fn series(line: &str) -> Option<Series<'_>> {
    if line.starts_with('#') || line.trim().is_empty() {
        return None;
    }
    let name_end = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((key, quoted)) = rest.split_once("=\"") {
            if rest.starts_with('}') {
                break;
            }
            let (value, length) = unquote(quoted);
            labels.push((key.trim_start_matches(','), value));
            rest = &quoted[length..];
        }
        rest = rest.trim_start_matches([',', '}']);
    }
    let value = rest.split_whitespace().next()?;
    let value = value.parse().unwrap_or_else(|_| panic!("not a metric line: {line:?}"));
    Some(Series { name, labels, value })
}

/// A label's value, and how many bytes it took with its closing quote.
fn unquote(quoted: &str) -> (String, usize) {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return (value, index + 1),
            '\\' => value.extend(letters.next().map(|(_, escaped)| if escaped == 'n' { '\n' } else { escaped })),
            other => value.push(other),
        }
    }
    panic!("label value without an end: {quoted:?}")
}
