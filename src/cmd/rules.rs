//! `lychgate rules`: lists, counts, explains, starts, tests and imports detection rules.

mod reference;
mod scaffold;
mod stats;

use super::error::{CommandError, Outcome};
use super::output::{Format, Output};
use super::scan::setup;
use crate::gitleaks;
use crate::rule::Rule;
use crate::scan::{FingerprintKey, RuleSet, Scanner, source};
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Arguments of `lychgate rules`.
#[derive(Debug, clap::Args)]
pub struct RulesArgs {
    /// What to do
    #[command(subcommand)]
    pub action: RulesAction,
}

/// What to do with rules.
#[derive(Debug, clap::Subcommand)]
pub enum RulesAction {
    /// List the shipped rules, and those of a folder
    List {
        /// A folder of rule files (*.toml)
        #[arg(long, value_name = "DIR")]
        rules: Option<PathBuf>,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Count the shipped rules, and those of a folder, by provider, kind, severity, confidence and structure
    Stats {
        /// A folder of rule files (*.toml)
        #[arg(long, value_name = "DIR")]
        rules: Option<PathBuf>,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print a rule file to start from; it loads and passes its examples as it is
    New {
        /// The rule's id, such as acme-api-token
        id: String,
        /// Who issues the credential [default: the id's first word]
        #[arg(long, value_name = "NAME")]
        provider: Option<String>,
    },
    /// Say what a rule looks for and, of a file, where it matches and what speaks for and against each match
    Explain {
        /// The rule's id
        id: String,
        /// The file to look into; at most 16 MiB
        file: Option<PathBuf>,
        /// A folder of rule files (*.toml)
        #[arg(long, value_name = "DIR")]
        rules: Option<PathBuf>,
    },
    /// Run the examples and counter-examples of a folder's rules
    Test {
        /// A folder of rule files (*.toml)
        folder: PathBuf,
    },
    /// Print the rules of a .gitleaks.toml as a rule file; what cannot be taken over is said
    Import {
        /// The .gitleaks.toml
        file: PathBuf,
    },
}

/// How to print the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ListFormat {
    /// For people; one line a rule.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// The reference page.
    Markdown,
}

/// Lists, counts, explains, starts, tests or imports.
///
/// [`Outcome::No`] if a rule fails its examples, or what is explained is found.
///
/// # Errors
/// `rule-unknown`, `path-unreadable`, `rules-unreadable`, `rules-not-valid`, `import-unreadable`, `import-not-valid`.
pub fn run(args: &RulesArgs, out: &mut Output) -> Result<Outcome, CommandError> {
    match &args.action {
        RulesAction::List { rules, format } => list(rules.as_deref(), *format, out),
        RulesAction::Stats { rules, format } => {
            stats::print(&all(rules.as_deref())?, *format, out);
            Ok(Outcome::Yes)
        }
        RulesAction::New { id, provider } => new(id, provider.as_deref(), out),
        RulesAction::Explain { id, file, rules } => explain(id, file.as_deref(), rules.as_deref(), out),
        RulesAction::Test { folder } => test(folder, out),
        RulesAction::Import { file } => import(file, out),
    }
}

/// The rules of files, or all their errors.
fn parsed(files: &[(&str, &str)]) -> Result<Vec<Rule>, CommandError> {
    source::parse(files).map_err(|errors| setup::not_valid(&errors))
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect()
}

/// The shipped rules, and those of a folder.
fn all(folder: Option<&Path>) -> Result<Vec<Rule>, CommandError> {
    let own = folder.map(setup::rule_files).transpose()?.unwrap_or_default();
    parsed(&[RuleSet::builtin_sources(), &borrowed(&own)].concat())
}

/// A rule to start from, shown only if the loader takes it.
fn new(id: &str, provider: Option<&str>, out: &mut Output) -> Result<Outcome, CommandError> {
    let text = scaffold::rule_file(id, provider);
    parsed(&[("new", &text)])?;
    out.line(text.trim_end());
    Ok(Outcome::Yes)
}

fn list(folder: Option<&Path>, format: ListFormat, out: &mut Output) -> Result<Outcome, CommandError> {
    let rules = all(folder)?;
    match format {
        ListFormat::Json => out.line(json!(rules)),
        ListFormat::Markdown => out.line(reference::page(&rules).trim_end()),
        ListFormat::Text => {
            for rule in &rules {
                let severity = json!(rule.severity);
                let severity = severity.as_str().unwrap_or_default();
                out.line(format_args!(
                    "{:<40} {severity:<9} {} {}",
                    rule.id, rule.provider, rule.kind
                ));
            }
        }
    }
    Ok(Outcome::Yes)
}

/// Most bytes of a file that is explained.
const MAX_EXPLAINED: u64 = 16 << 20;

fn explain(id: &str, file: Option<&Path>, folder: Option<&Path>, out: &mut Output) -> Result<Outcome, CommandError> {
    let own = folder.map(setup::rule_files).transpose()?.unwrap_or_default();
    let files = [RuleSet::builtin_sources(), &borrowed(&own)].concat();
    let rules = parsed(&files)?;
    let Some(rule) = rules.iter().find(|rule| rule.id == id) else {
        let what = format!("there is no rule {id}");
        return Err(CommandError::usage("rule-unknown", what, "see lychgate rules list"));
    };
    describe(rule, out);
    for (globs, severity) in setup::rule_set(&files)?.severities(id) {
        let severity = json!(severity);
        let severity = severity.as_str().unwrap_or_default();
        out.line(format_args!("  {:<14}{severity} in {globs}", "severity"));
    }
    let Some(path) = file else {
        return Ok(Outcome::Yes);
    };
    let text = explained(path)?;
    let set = alone(rule, &rules)?;
    let places = crate::scan::explain(&set, id, &text).unwrap_or_default();
    if places.is_empty() {
        out.line("nothing in the file has this form");
    }
    let mut found = false;
    for place in &places {
        let before = &text[..place.secret.start];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        out.line(format_args!(
            "line {line}, column {column}: {} bytes matched, the secret is {} of them",
            place.matched.len(),
            place.secret.len()
        ));
        place
            .evidence
            .iter()
            .for_each(|piece| out.line(format_args!("  - {piece}")));
        let level = json!(place.confidence);
        out.line(format_args!("  = {}", level.as_str().unwrap_or("no finding")));
        found |= place.confidence.is_some();
    }
    Ok(if found { Outcome::No } else { Outcome::Yes })
}

/// What a rule looks for.
fn describe(rule: &Rule, out: &mut Output) {
    let (severity, confidence) = (json!(rule.severity), json!(rule.confidence));
    out.line(format_args!("{}: {} {}", rule.id, rule.provider, rule.kind));
    for (name, text) in [
        ("severity", severity.as_str().unwrap_or_default()),
        ("confidence", confidence.as_str().unwrap_or_default()),
        ("documentation", &rule.documentation),
        ("revoke", rule.revoke.as_deref().unwrap_or("not known")),
        ("keywords", &rule.keywords.join(" ")),
        ("structure", rule.checksum.as_deref().unwrap_or("none")),
        ("expression", &rule.regex),
    ] {
        out.line(format_args!("  {name:<14}{text}"));
    }
    if !rule.near.is_empty() {
        let (near, lines) = (rule.near.join(" or "), rule.within_lines);
        out.line(format_args!("  {:<14}{near} within {lines} lines", "only near"));
    }
}

/// The bytes of a file to explain.
fn explained(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, CommandError> {
    let mut text = zeroize::Zeroizing::new(Vec::new());
    let read = std::fs::File::open(path)
        .and_then(|file| std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_EXPLAINED + 1), &mut text));
    match read {
        Ok(size) if size as u64 <= MAX_EXPLAINED => Ok(text),
        Ok(_) => Err(CommandError::usage(
            "path-unreadable",
            format!("{}: larger than {MAX_EXPLAINED} bytes", path.display()),
            "give the part that matters",
        )),
        Err(e) => Err(CommandError::usage(
            "path-unreadable",
            format!("{}: {e}", path.display()),
            "name a file that can be read",
        )),
    }
}

fn test(folder: &Path, out: &mut Output) -> Result<Outcome, CommandError> {
    let rules = all(Some(folder))?;
    let shipped: HashSet<&str> = RuleSet::builtin().ids().collect();
    let tested: Vec<&Rule> = rules
        .iter()
        .filter(|rule| !shipped.contains(rule.id.as_str()))
        .collect();
    let (mut wrong, mut texts) = (0, 0);
    for rule in &tested {
        for (kind, list, wanted) in [
            ("example", &rule.examples, true),
            ("counterexample", &rule.counterexamples, false),
        ] {
            for (i, text) in list.iter().enumerate() {
                texts += 1;
                if finds(rule, &rules, text)? != wanted {
                    wrong += 1;
                    let verb = if wanted { "not found" } else { "found" };
                    out.line(format_args!("{}: {kind} {}: {verb}", rule.id, i + 1));
                }
            }
        }
    }
    out.line(format_args!(
        "{} rules, {texts} examples and counter-examples, {wrong} wrong",
        tested.len()
    ));
    Ok(if wrong == 0 { Outcome::Yes } else { Outcome::No })
}

/// Whether a rule finds something in a text; alone but for those that it names, so that no other takes its place.
fn finds(rule: &Rule, rules: &[Rule], text: &str) -> Result<bool, CommandError> {
    let set = alone(rule, rules)?;
    let key = FingerprintKey::new(Box::new([0; 32]));
    let found = Scanner::new(&set, &key).scan(text.as_bytes());
    Ok(found.iter().any(|found| found.rule == rule.id))
}

/// The set of a rule and those that it names.
fn alone(rule: &Rule, rules: &[Rule]) -> Result<RuleSet, CommandError> {
    let needed = rules
        .iter()
        .filter(|other| other.id == rule.id || rule.near.contains(&other.id));
    let needed: Vec<Rule> = needed.cloned().collect();
    setup::rule_set(&[("rule", &gitleaks::render(&needed))])
}

fn import(file: &Path, out: &mut Output) -> Result<Outcome, CommandError> {
    let mut config = setup::import(file)?;
    config.settle();
    let text = gitleaks::render(&config.rules);
    if !config.rules.is_empty() {
        setup::rule_set(&[("imported", &text)])?;
        out.line(text.trim_end());
    }
    for note in &config.not_honoured {
        out.note(format!("warning[not-honoured]: {note}"));
    }
    if !config.allow.is_empty() || !config.disabled.is_empty() {
        out.note(
            "warning[not-honoured]: allowlists and disabled rules have no place in a rule file; \
             scan --gitleaks-config honours them",
        );
    }
    out.note(format!("lychgate: {} rules taken over", config.rules.len()));
    Ok(Outcome::Yes)
}
