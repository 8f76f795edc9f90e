//! The layers of `src/lib.rs`, enforced: reads the imports and fails when one looks down.
//!
//! The list in the crate's documentation is the test's only source of what
//! stands where, so the two cannot drift apart. Code under `#[cfg(test)]` may
//! look anywhere.

use crate::tidy::{code_before_tests, files, read};
use std::collections::{BTreeMap, BTreeSet};

const VOCABULARY: u8 = 1;
const CORE: u8 = 2;
const ADAPTERS: u8 = 4;
const FLOW: u8 = 5;
const COMMANDS: u8 = 6;

/// What is impure or slow in the vocabulary and core.
const IMPURE: [&str; 12] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "async fn",
    ".await",
    "tokio::",
    "now_utc",
];

/// A vendor's crate, and the only modules that may know it.
const VENDORS: [(&str, &[&str]); 9] = [
    ("axum", &["server"]),
    ("gix", &["git"]),
    ("git2", &["mirror"]),
    ("gpgme", &["keyring"]),
    ("libdeflater", &["git"]),
    ("octocrab", &["forges"]),
    ("sequoia_openpgp", &["keyring"]),
    ("ssh_key", &["keyring"]),
    ("sqlx", &["store"]),
];

/// Module → layer, as the crate's documentation lists them.
fn layers() -> BTreeMap<String, u8> {
    let listed = read("src/lib.rs");
    let mut layers = BTreeMap::new();
    let mut layer = 0;
    for line in listed.lines().filter_map(|line| line.strip_prefix("//! ")) {
        if let Some((number, _)) = line.split_once(". ") {
            layer = number.parse().unwrap_or(layer);
        }
        if layer > 0 {
            let names = line.split("[`").skip(1).filter_map(|rest| rest.split_once("`]"));
            layers.extend(names.map(|(name, _)| (name.to_owned(), layer)));
        }
    }
    layers
}

/// Production code of every source file by (module, path); comments dropped.
fn sources() -> Vec<(String, String, String)> {
    let strip = |text: &str| -> String {
        code_before_tests(text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect()
    };
    files()
        .into_iter()
        .filter(|path| path.starts_with("src/") && path.ends_with(".rs"))
        .filter(|path| path != "src/lib.rs" && !path.ends_with("/tests.rs") && !path.contains("/tests/"))
        .map(|path| {
            let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
            let module = inside.split('/').next().unwrap_or(inside).to_owned();
            let code = strip(&read(&path));
            (module, path, code)
        })
        .collect()
}

/// The first path parts named after `root::`, singly or in a braced group.
fn mentions(code: &str, root: &str) -> BTreeSet<String> {
    let prefix = format!("{root}::");
    let starts_a_path = |at: &usize| {
        let before = code[..*at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    };
    let places = code.match_indices(&prefix).map(|(at, _)| at).filter(starts_a_path);
    places.flat_map(|at| first_parts(&code[at + prefix.len()..])).collect()
}

/// `a::b` → `a`; `{a::b, c::{d}}` → `a`, `c`.
fn first_parts(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![word(path)];
    };
    let mut depth = 0;
    let mut parts = vec![word(group)];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(word(&group[at + 1..])),
            _ => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Whether a module of one layer may know a module of another.
fn may_see(from: (&str, u8), to: (&str, u8)) -> bool {
    match from.1 {
        ADAPTERS => to.1 < ADAPTERS || to.0 == from.0,
        FLOW => to.1 < ADAPTERS || to.1 == FLOW,
        own => to.1 <= own,
    }
}

#[test]
fn every_module_has_a_layer() {
    let layers = layers();
    assert_eq!(
        layers.values().copied().max(),
        Some(COMMANDS),
        "cannot read the list: {layers:?}"
    );
    for (module, path, _) in sources() {
        assert!(
            ["main", "bin"].contains(&module.as_str()) || layers.contains_key(&module),
            "{path}: src/lib.rs does not say in which layer it is"
        );
    }
}

#[test]
fn no_layer_looks_down() {
    let layers = layers();
    let layer_of = |module: &str| layers.get(module).copied().unwrap_or(COMMANDS);
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        for name in mentions(&code, "crate").union(&mentions(&code, "lychgate")) {
            let known = layers.contains_key(name);
            if known && !may_see((&module, layer_of(&module)), (name, layer_of(name))) {
                wrong.push(format!("{path} uses {name}"));
            }
        }
        let top_level = path.matches('/').count() == 1;
        if top_level && code.lines().any(|line| line.starts_with("use super::")) {
            wrong.push(format!("{path} uses super:: where crate:: would show the layer"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "a layer sees only those above it");
}

#[test]
fn the_core_is_pure() {
    let layers = layers();
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        if !matches!(layers.get(&module), Some(&(VOCABULARY | CORE))) {
            continue;
        }
        let grouped = mentions(&code, "std").into_iter().map(|part| format!("std::{part}"));
        let named: BTreeSet<String> = grouped.collect();
        let impure = IMPURE
            .iter()
            .filter(|what| code.contains(*what) || named.contains(**what));
        wrong.extend(impure.map(|what| format!("{path} uses {what}")));
    }
    assert_eq!(
        wrong,
        Vec::<String>::new(),
        "no I/O, clock, environment or async in the core"
    );
}

#[test]
fn a_vendor_is_known_to_its_adapter_only() {
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        for (vendor, owners) in VENDORS {
            if !owners.contains(&module.as_str()) && !mentions(&code, vendor).is_empty() {
                wrong.push(format!("{path} uses {vendor}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "one vendor, one adapter");
}

#[test]
fn imports_are_read_in_every_form() {
    let code = "use crate::push::Oid;\nuse crate::{git::Odb, store::{A, b}};\nlet x = crate::tlog::Head;\nmy_crate::no";
    let found: Vec<String> = mentions(code, "crate").into_iter().collect();
    assert_eq!(found, ["git", "push", "store", "tlog"]);
    assert!(!may_see(("git", ADAPTERS), ("store", ADAPTERS)));
    assert!(!may_see(("pipeline", FLOW), ("git", ADAPTERS)));
    assert!(may_see(("cmd", COMMANDS), ("git", ADAPTERS)));
}
