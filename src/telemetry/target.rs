//! What of a request's target may be logged.

use std::borrow::Cow;

/// The path and the harmless part of the query.
///
/// A query can hold secrets: the `sig` of a shared access signature, a token, a key. A list of such names is never complete, so
/// only what is known to be harmless stays: `api-version` with its value and the name of `$filter`. Everything else becomes
/// one `*` at the end.
pub fn target_for_log(path_and_query: &str) -> Cow<'_, str> {
    let Some((path, query)) = path_and_query.split_once('?') else { return Cow::Borrowed(path_and_query) };
    let mut kept: Vec<Cow<'_, str>> = Vec::new();
    let mut hidden = false;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match harmless(parameter) {
            Some(text) => kept.push(text),
            None => hidden = true,
        }
    }
    if hidden {
        kept.push(Cow::Borrowed("*"));
    }
    Cow::Owned(format!("{path}?{}", kept.join("&")))
}

fn harmless(parameter: &str) -> Option<Cow<'_, str>> {
    let (name, value) = parameter.split_once('=')?;
    match name {
        "api-version" if is_version(value) => Some(Cow::Borrowed(parameter)),
        "$filter" | "%24filter" => Some(Cow::Owned(format!("{name}=*"))),
        _ => None,
    }
}

/// Batch's versions look like `2024-07-01.20.0`. Something longer is not one, whatever the parameter's name says.
fn is_version(value: &str) -> bool {
    value.len() <= 24 && value.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_parts_of_a_query_are_logged() {
        for (target, want) in [
            ("/jobs", "/jobs"),
            ("/jobs?", "/jobs?"),
            ("/jobs?api-version=2024-07-01.20.0", "/jobs?api-version=2024-07-01.20.0"),
            ("/jobs?api-version=2024-07-01.20.0&timeout=30", "/jobs?api-version=2024-07-01.20.0&*"),
            ("/jobs?%24filter=id%20eq%20'x'&api-version=2024-07-01.20.0", "/jobs?%24filter=*&api-version=2024-07-01.20.0"),
            ("/jobs?$filter=a=b", "/jobs?$filter=*"),
            ("/f?sv=2020&se=2025-01-01&sr=b&sig=SECRET%3D", "/f?*"),
            ("/f?token=SECRET&api-version=2024-07-01.20.0&key=SECRET", "/f?api-version=2024-07-01.20.0&*"),
            ("/f?SIG=SECRET", "/f?*"),
            ("/f?SECRET", "/f?*"),
            ("/f?api-version=SECRET", "/f?*"),
            ("/f?a=b?sig=SECRET", "/f?*"),
            ("/f?&&password=SECRET", "/f?*"),
        ] {
            assert_eq!(target_for_log(target), want, "{target}");
        }
    }
}
