//! The documents: whatever they link to is there.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_relative_link_of_a_document_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name)).to_vec();
    for folder in ["docs", "deploy"] {
        collect(&root.join(folder), &mut documents);
    }
    let (mut links, mut broken) = (0, Vec::new());
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for target in targets(&text).filter(|target| !target.contains("://")) {
            links += 1;
            if !leads_somewhere(document, target) {
                broken.push(format!("{}: {target}", document.strip_prefix(root).unwrap().display()));
            }
        }
    }
    assert!(links > 50 && documents.len() > 10, "{links} links in {} documents", documents.len());
    assert!(broken.is_empty(), "{broken:#?}");
}

fn collect(folder: &Path, documents: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, documents);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
}

/// What stands in the brackets of `[words](target)`.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

fn leads_somewhere(document: &Path, target: &str) -> bool {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { document.to_owned() } else { document.parent().unwrap().join(path) };
    if anchor.is_empty() {
        return path.exists();
    }
    let headings =
        |text: String| text.lines().filter_map(|line| line.strip_prefix('#')).any(|heading| slug(heading) == anchor);
    fs::read_to_string(path).is_ok_and(headings)
}

/// The anchor that is made of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|sign| sign.is_alphanumeric() || "-_".contains(*sign)).collect()
}
