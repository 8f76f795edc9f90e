//! `lychgate rules`: lists, tests and imports detection rules.

use super::error::{CommandError, Outcome};
use super::output::{Format, Output};
use super::scan::setup;
use crate::gitleaks;
use crate::rule::Rule;
use crate::scan::{FingerprintKey, RuleSet, Scanner, source};
use serde_json::json;
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
        format: Format,
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

/// Lists, tests or imports.
///
/// [`Outcome::No`] if a rule fails its examples.
///
/// # Errors
/// `rules-unreadable`, `rules-not-valid`, `import-unreadable`, `import-not-valid`.
pub fn run(args: &RulesArgs, out: &mut Output) -> Result<Outcome, CommandError> {
    match &args.action {
        RulesAction::List { rules, format } => list(rules.as_deref(), *format, out),
        RulesAction::Test { folder } => test(folder, out),
        RulesAction::Import { file } => import(file, out),
    }
}

/// The rules of files, or all their errors.
fn parsed(files: &[(&str, &str)]) -> Result<Vec<Rule>, CommandError> {
    setup::rule_set(files)?;
    Ok(source::parse(files).unwrap_or_default())
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect()
}

fn list(folder: Option<&Path>, format: Format, out: &mut Output) -> Result<Outcome, CommandError> {
    let own = folder.map(setup::rule_files).transpose()?.unwrap_or_default();
    let rules = parsed(&[RuleSet::builtin_sources(), &borrowed(&own)].concat())?;
    match format {
        Format::Json => out.line(json!(rules)),
        Format::Text => {
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

fn test(folder: &Path, out: &mut Output) -> Result<Outcome, CommandError> {
    let files = setup::rule_files(folder)?;
    let rules = parsed(&borrowed(&files))?;
    let (mut wrong, mut texts) = (0, 0);
    for rule in &rules {
        for (kind, list, wanted) in [
            ("example", &rule.examples, true),
            ("counterexample", &rule.counterexamples, false),
        ] {
            for (i, text) in list.iter().enumerate() {
                texts += 1;
                if finds(rule, text)? != wanted {
                    wrong += 1;
                    let verb = if wanted { "not found" } else { "found" };
                    out.line(format_args!("{}: {kind} {}: {verb}", rule.id, i + 1));
                }
            }
        }
    }
    out.line(format_args!(
        "{} rules, {texts} examples and counter-examples, {wrong} wrong",
        rules.len()
    ));
    Ok(if wrong == 0 { Outcome::Yes } else { Outcome::No })
}

/// Whether a rule, alone, so that no other takes its place, finds something in a text.
fn finds(rule: &Rule, text: &str) -> Result<bool, CommandError> {
    let file = gitleaks::render(std::slice::from_ref(rule));
    let set = setup::rule_set(&[("rule", &file)])?;
    let key = FingerprintKey::new(Box::new([0; 32]));
    Ok(!Scanner::new(&set, &key).scan(text.as_bytes()).is_empty())
}

fn import(file: &Path, out: &mut Output) -> Result<Outcome, CommandError> {
    let config = setup::import(file)?;
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
