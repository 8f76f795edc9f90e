//! The tree stays tidy: what stands where, how long a file may be, and that the documents tell the truth.
//!
//! Each test walks the files of the project, not Git's index, so that it also
//! sees what is not committed yet. All that is made by a build is in `target`.

use crate::support::Scratch;
use std::collections::BTreeSet;
use std::path::Path;

/// Most lines of production code in one source file.
const MOST_LINES: usize = 700;

/// What may stand at the top, beside dot-files.
const TOP_LEVEL: [&str; 12] = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "build.rs",
    "deploy",
    "hooks",
    "rules",
    "src",
    "tests",
];

/// Words that say "not done"; written in halves, so that this file does not find itself.
const UNFINISHED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("#[ign", "ore"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Folders that exist on one machine only.
const MACHINE_FOLDERS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Path of a file of the project.
fn at(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Text of a file of the project, lossily as UTF-8.
pub(crate) fn read(path: &str) -> String {
    let bytes = std::fs::read(at(path)).unwrap_or_else(|why| panic!("{path}: {why}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every file of the project, relative to its root, sorted; without what Git or a build makes.
pub(crate) fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(at(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            if matches!(name.as_str(), ".git" | "target" | "node_modules") {
                continue;
            }
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(path),
                _ => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// The part of a source file that is not its own tests.
pub(crate) fn code_before_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// Fails with every complaint at once.
#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_top_level_is_as_agreed() {
    let tops: BTreeSet<String> = files()
        .iter()
        .filter_map(|path| path.split('/').next().map(str::to_owned))
        .collect();
    let stray = |top: &String| !top.starts_with('.') && !TOP_LEVEL.contains(&top.as_str());
    none(tops.into_iter().filter(stray).collect());
}

#[test]
fn no_source_file_is_too_long() {
    let lines = |path: &String| code_before_tests(&read(path)).lines().count();
    none(
        files()
            .iter()
            .filter(|path| path.starts_with("src/") && path.ends_with(".rs"))
            .map(|path| (path, lines(path)))
            .filter(|(_, lines)| *lines > MOST_LINES)
            .map(|(path, lines)| format!("{path}: {lines} lines of code, at most {MOST_LINES}"))
            .collect(),
    );
}

#[test]
fn nothing_is_left_unfinished_and_no_machine_is_named() {
    let mut complaints = Vec::new();
    for path in files() {
        let text = read(&path);
        for (number, line) in (1..).zip(text.lines()) {
            let unfinished = UNFINISHED.iter().filter(|word| line.contains(*word));
            let machine = MACHINE_FOLDERS.iter().filter(|folder| names(line, folder));
            complaints.extend(unfinished.chain(machine).map(|what| format!("{path}:{number}: {what}")));
        }
    }
    none(complaints);
}

/// Whether the line names a folder of the root, not one of the same name deeper down.
fn names(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
    })
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    none(
        files()
            .into_iter()
            .filter(|path| path.ends_with(".rs"))
            .filter(|path| !read(path).lines().any(|line| line.starts_with("//! ")))
            .map(|path| format!("{path}: no module documentation"))
            .collect(),
    );
}

#[test]
fn shell_scripts_parse_and_stop_at_the_first_error() {
    let scratch = Scratch::new();
    let mut complaints = Vec::new();
    for path in files() {
        let text = read(&path);
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("#!") || !first.ends_with("sh") {
            continue;
        }
        let shell = if first.ends_with("bash") { "bash" } else { "sh" };
        let parsed = scratch.run(shell, &["-n", at(&path).to_str().unwrap()]);
        if parsed.code != 0 {
            complaints.push(format!("{path}: {}", parsed.stderr));
        }
        if !text.lines().any(|line| line.starts_with("set -eu")) {
            complaints.push(format!("{path}: no line `set -eu`"));
        }
    }
    none(complaints);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for path in files().iter().filter(|path| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in read(path).split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let target = link.0.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !at(folder).join(target).exists() {
                complaints.push(format!("{path}: no {target}"));
            }
        }
    }
    none(complaints);
}

#[test]
fn every_fuzz_target_is_built() {
    let listed = read("tests/fuzz/Cargo.toml");
    none(
        files()
            .iter()
            .filter_map(|path| path.strip_prefix("tests/fuzz/"))
            .filter(|path| path.starts_with("fuzz_targets/") && !listed.contains(&format!("path = \"{path}\"")))
            .map(|path| format!("tests/fuzz/Cargo.toml: no [[bin]] with {path}"))
            .collect(),
    );
}

#[test]
fn every_documented_code_exists() {
    let source: String = files()
        .iter()
        .filter(|path| path.starts_with("src/") && path.ends_with(".rs"))
        .map(|path| read(path))
        .collect();
    let readme = read("README.md");
    let table = readme
        .split("\n## Finding codes\n")
        .nth(1)
        .expect("README has a table of codes");
    let table = table.split("\n## ").next().unwrap_or(table);
    let codes: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(codes.len() > 10, "only {codes:?}");
    let unknown = codes.iter().filter(|code| !source.contains(&format!("\"{code}\"")));
    none(
        unknown
            .map(|code| format!("README.md: no code {code} in src"))
            .collect(),
    );
}
