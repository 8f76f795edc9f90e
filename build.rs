//! Turns `rules/*.toml` into constant tables, and fails with file, line and reason when a rule is not valid.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[path = "src/finding.rs"]
pub mod finding;
#[path = "src/glob.rs"]
pub mod glob;
#[path = "src/push.rs"]
pub mod push;
#[path = "src/rule.rs"]
pub mod rule;
#[path = "src/scan"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "shared with the library; nothing is matched here"
)]
mod scan {
    pub(crate) mod buckets;
    pub(crate) mod outline;
    pub(crate) mod shape;
    pub(crate) mod source;
    pub(crate) mod table;
}

use rule::Rule;
use scan::outline::{Bytes, Need, Outline};
use scan::table::{Table, Window};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    for input in [
        "rules",
        "src/finding.rs",
        "src/glob.rs",
        "src/push.rs",
        "src/rule.rs",
        "src/scan",
    ] {
        println(&format!("cargo::rerun-if-changed={input}"));
    }
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("rules");
    let files = rule_files(&folder)?;
    let texts: Vec<(&str, &str)> = files.iter().map(|f| (f.name.as_str(), f.text.as_str())).collect();
    let rules = match scan::source::parse_beside(&texts, &|_| None) {
        Ok(parsed) if parsed.severities.is_empty() => parsed.rules,
        Ok(_) => return Err("rules/*.toml: the shipped rules say how bad they are; [[severity]] is for others".into()),
        Err(errors) => {
            for error in &errors {
                println(&format!("cargo::error=rules/{error}"));
            }
            return Err(format!("{} errors in rules/*.toml", errors.len()).into());
        }
    };
    let keywords: Vec<&[String]> = rules.iter().map(|rule| rule.keywords.as_slice()).collect();
    let table = scan::table::build(&keywords);
    let code = generate(&rules, &table, &files, &scan::source::digest(&texts))?;
    std::fs::write(Path::new(&variable("OUT_DIR")?).join("builtin_rules.rs"), code)?;
    Ok(())
}

/// Speaks to cargo.
fn println(line: &str) {
    println!("{line}");
}

#[expect(clippy::disallowed_methods, reason = "it is how cargo speaks to a build script")]
fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|e| format!("{name}: {e}").into())
}

struct RuleFile {
    name: String,
    text: String,
    path: PathBuf,
}

/// The rule files, sorted by name; `policy.toml` is none.
fn rule_files(folder: &Path) -> Result<Vec<RuleFile>, Failure> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for item in std::fs::read_dir(folder)? {
        let path = item?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".toml") && name != "policy.toml" {
            let text = std::fs::read_to_string(&path).map_err(|e| format!("rules/{name}: {e}"))?;
            files.push(RuleFile { name, text, path });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn generate(rules: &[Rule], table: &Table, files: &[RuleFile], digest: &str) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    writeln!(code, "pub(super) static ENTRIES: [Entry; {}] = [", rules.len())?;
    for (number, rule) in rules.iter().enumerate() {
        let near = |id: &String| rules.iter().position(|other| other.id == *id);
        let near: Vec<usize> = rule.near.iter().filter_map(near).collect();
        entry(&mut code, number, rule, &near)?;
    }
    writeln!(code, "];")?;
    outlines(&mut code, rules)?;
    writeln!(code, "pub(super) static TABLE: Table = Table {{")?;
    let (low, high) = (&table.masks.low, &table.masks.high);
    writeln!(code, "masks: table::Set {{ low: {low:?}, high: {high:?} }},")?;
    writeln!(code, "bitmap: Cow::Borrowed(&{:?}),", &*table.bitmap)?;
    writeln!(code, "open_bitmap: Cow::Borrowed(&{:?}),", &*table.open_bitmap)?;
    writeln!(code, "slots: Cow::Borrowed(&{:?}),", &*table.slots)?;
    windows(&mut code, "full", &table.full)?;
    windows(&mut code, "open", &table.open)?;
    writeln!(code, "keywords: Cow::Borrowed(&[")?;
    for keyword in table.keywords.iter() {
        let (text, rules) = (&keyword.text, &keyword.rules);
        writeln!(
            code,
            "table::Keyword {{ text: Cow::Borrowed({text:?}), rules: Cow::Borrowed(&{rules:?}) }},"
        )?;
    }
    writeln!(code, "]) }};")?;
    let slow = (0u16..)
        .zip(rules)
        .filter(|(_, rule)| rule.slow && rule.keywords.is_empty());
    let slow: Vec<u16> = slow.map(|(number, _)| number).collect();
    writeln!(code, "pub(super) const SLOW: &[u16] = &{slow:?};")?;
    writeln!(code, "pub(super) const DIGEST: &str = {digest:?};")?;
    writeln!(code, "pub(super) const SOURCES: &[(&str, &str)] = &[")?;
    for file in files {
        writeln!(code, "({:?}, include_str!({:?})),", file.name, file.path)?;
    }
    writeln!(code, "];")?;
    Ok(code)
}

fn entry(code: &mut String, number: usize, rule: &Rule, near: &[usize]) -> std::fmt::Result {
    let reach = scan::shape::reach(&rule.regex, &rule.keywords);
    let title = format!("{} {}", rule.provider, rule.kind);
    let generic = rule.provider.eq_ignore_ascii_case(rule::GENERIC);
    let revoke = match &rule.revoke {
        Some(text) => format!("Some(Cow::Borrowed({text:?}))"),
        None => "None".to_owned(),
    };
    let check = match &rule.checksum {
        Some(name) => format!("Check::named({name:?})"),
        None => "None".to_owned(),
    };
    writeln!(
        code,
        "Entry {{ id: Cow::Borrowed({:?}), title: Cow::Borrowed({title:?}), severity: Severity::{:?}, \
         confidence: Confidence::{:?}, generic: {generic}, revoke: {revoke}, check: {check}, entropy: {:?}, \
         reach: Reach {{ before: {}, after: {}, one_line: {} }}, near: Cow::Borrowed(&{near:?}), within: {}, slow: {}, regex: Cow::Borrowed({:?}), ready: Some(&OUTLINES[{number}]), outline: OnceLock::new(), expression: OnceLock::new() }},",
        rule.id,
        rule.severity,
        rule.confidence,
        rule.entropy,
        reach.before,
        reach.after,
        reach.one_line,
        rule.within_lines,
        rule.slow,
        rule.regex,
    )
}

/// What stands round each rule's keywords: classes of bytes recur, so each is written once.
fn outlines(code: &mut String, rules: &[Rule]) -> std::fmt::Result {
    let mut classes = Vec::new();
    let mut name = |bytes: &Bytes| {
        let known = classes.iter().position(|class| class == bytes);
        let number = known.unwrap_or_else(|| {
            classes.push(*bytes);
            classes.len() - 1
        });
        format!("CLASS_{number}")
    };
    writeln!(code, "static OUTLINES: [Outline; {}] = [", rules.len())?;
    for rule in rules {
        let words: Vec<String> = rule.keywords.iter().map(|word| word.to_ascii_lowercase()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let outline = match rule.slow {
            true => Outline::open(),
            false => Outline::of(&rule.regex, &words),
        };
        let before = name(&outline.before);
        let after: Vec<String> = outline.after.iter().map(&mut name).collect();
        let need = |Need { class, least }: &Need| format!("Need {{ class: {}, least: {least} }}", name(class));
        let needs: Vec<String> = outline.needs.iter().map(need).collect();
        writeln!(
            code,
            "Outline {{ before: {before}, after: Cow::Borrowed(&[{}]), needs: Cow::Borrowed(&[{}]), known: {} }},",
            after.join(", "),
            needs.join(", "),
            outline.known,
        )?;
    }
    writeln!(code, "];")?;
    for (number, Bytes(words)) in classes.iter().enumerate() {
        writeln!(code, "const CLASS_{number}: Bytes = Bytes({words:?});")?;
    }
    Ok(())
}

fn windows(code: &mut String, name: &str, windows: &[Window]) -> std::fmt::Result {
    writeln!(code, "{name}: Cow::Borrowed(&[")?;
    for Window { key, keyword, offset } in windows {
        writeln!(
            code,
            "table::Window {{ key: {key}, keyword: {keyword}, offset: {offset} }},"
        )?;
    }
    writeln!(code, "]),")
}
