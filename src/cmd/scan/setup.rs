//! Rules and keys from files: shipped rules, a folder of rules, an imported configuration.

use super::super::error::CommandError;
use super::super::output::Output;
use super::cache;
use crate::baseline;
use crate::gitleaks::{self, Allow, Config, Ignored};
use crate::report::Report;
use crate::rule::Rule;
use crate::scan::source::RuleError;
use crate::scan::{FingerprintKey, RuleSet, source};
use std::collections::HashSet;
use std::path::Path;
use zeroize::Zeroizing;

/// How deep configurations may build on one another.
const MAX_EXTENDS: usize = 8;

/// What is looked for, and what is allowed.
#[derive(Default)]
pub(in crate::cmd) struct Setup {
    /// None: the shipped rules as they are.
    made: Option<RuleSet>,
    pub(super) allow: Allow,
    /// Shipped rules that are turned off or replaced.
    disabled: HashSet<String>,
}

impl Setup {
    /// Reads what the arguments name.
    ///
    /// # Errors
    /// `rules-unreadable`, `rules-not-valid`, `import-unreadable`, `import-not-valid`.
    pub(in crate::cmd) fn load(
        folder: Option<&Path>,
        config: Option<&Path>,
        out: &mut Output,
    ) -> Result<Self, CommandError> {
        let mut files = folder.map(rule_files).transpose()?.unwrap_or_default();
        let mut this = Self::default();
        let mut shipped = true;
        if let Some(path) = config {
            let mut config = import(path)?;
            this.take(&mut config);
            shipped = config.use_default || config.rules.is_empty();
            if shipped && !config.use_default {
                config.not_honoured.push(format!(
                    "{}: it has no rules: the shipped ones are used",
                    path.display()
                ));
            }
            for note in &config.not_honoured {
                out.note(format!("warning[not-honoured]: {note}"));
            }
            this.allow = config.allow;
            if !config.rules.is_empty() {
                files.push((path.display().to_string(), gitleaks::render(&config.rules)));
            }
        }
        if !files.is_empty() || !this.disabled.is_empty() {
            let own: Vec<(&str, &str)> = files
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str()))
                .collect();
            this.made = Some(match (shipped, this.disabled.is_empty()) {
                (true, true) => cache::rule_set(&own)?,
                // Read anew if some are left out; as they are, the build has read them.
                (true, false) => {
                    let fewer = gitleaks::render(&this.shipped());
                    rule_set(&[&[("shipped rules", fewer.as_str())], own.as_slice()].concat())?
                }
                (false, _) => rule_set(&own)?,
            });
        }
        Ok(this)
    }

    /// The shipped rules that are not turned off.
    fn shipped(&self) -> Vec<Rule> {
        let mut rules = source::parse(RuleSet::builtin_sources()).unwrap_or_default();
        rules.retain(|rule| !self.disabled.contains(&rule.id));
        rules
    }

    /// Settles which shipped rules an imported configuration turns off or replaces.
    fn take(&mut self, config: &mut Config) {
        let ours: HashSet<&str> = RuleSet::builtin().ids().collect();
        for id in &config.disabled {
            if !ours.contains(id.as_str()) && !config.rules.iter().any(|rule| rule.id == *id) {
                let note = format!("disabledRules: no rule here is called {id:?}");
                config.not_honoured.push(note);
            }
        }
        config.rules.retain(|rule| !config.disabled.contains(&rule.id));
        self.disabled
            .extend(config.disabled.iter().filter(|id| ours.contains(id.as_str())).cloned());
        let taken: Vec<String> = config.rules.iter().map(|rule| rule.id.clone()).collect();
        for id in taken.into_iter().filter(|id| ours.contains(id.as_str())) {
            config.rename(&id, &format!("{id}-imported"));
            self.disabled.insert(id);
        }
        config.settle();
    }

    pub(in crate::cmd) fn rules(&self) -> &RuleSet {
        self.made.as_ref().unwrap_or_else(|| RuleSet::builtin())
    }
}

/// Reads a configuration and those that it builds on; its own rules come first.
pub(in crate::cmd) fn import(path: &Path) -> Result<Config, CommandError> {
    let mut next = Some(path.to_owned());
    let mut all = Config::default();
    for _ in 0..MAX_EXTENDS {
        let Some(path) = next.take() else { return Ok(all) };
        let shown = path.display().to_string();
        let text = read(&path, "import-unreadable", "name a .gitleaks.toml")?;
        let config = gitleaks::parse(&shown, &text)
            .map_err(|why| CommandError::usage("import-not-valid", why, "mend the file"))?;
        all.use_default |= config.use_default;
        all.disabled.extend(config.disabled);
        all.not_honoured.extend(config.not_honoured);
        all.allow.extend(config.allow);
        for rule in config.rules {
            if !all.rules.iter().any(|known| known.id == rule.id) {
                all.rules.push(rule);
            }
        }
        // Theirs is relative to the folder of the command; ours to the file, so that it means one thing.
        next = config
            .extends
            .map(|more| path.parent().unwrap_or(Path::new(".")).join(more));
    }
    let what = format!("{}: more than {MAX_EXTENDS} files build on one another", path.display());
    Err(CommandError::usage("import-not-valid", what, "put them in fewer files"))
}

/// Takes out what a `.gitleaksignore` names.
pub(super) fn ignore(path: &Path, report: &mut Report, out: &mut Output) -> Result<(), CommandError> {
    let text = read(path, "import-unreadable", "name a .gitleaksignore")?;
    let ignored = Ignored::parse(&path.display().to_string(), &text);
    for note in &ignored.not_honoured {
        out.note(format!("warning[not-honoured]: {note}"));
    }
    let all = report.findings.len();
    report.findings.retain(|item| !ignored.ignores(item));
    report.accepted += (all - report.findings.len()) as u64;
    Ok(())
}

fn read(path: &Path, code: &'static str, next: &str) -> Result<String, CommandError> {
    let text = std::fs::read(path).map_err(|e| CommandError::usage(code, format!("{}: {e}", path.display()), next))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The rule files of a folder, (name, text), sorted.
pub(in crate::cmd) fn rule_files(folder: &Path) -> Result<Vec<(String, String)>, CommandError> {
    let unreadable = |path: &Path, e: std::io::Error| {
        let what = format!("{}: {e}", path.display());
        CommandError::usage("rules-unreadable", what, "name a folder of *.toml rule files")
    };
    let mut files = Vec::new();
    for item in std::fs::read_dir(folder).map_err(|e| unreadable(folder, e))? {
        let path = item.map_err(|e| unreadable(folder, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".toml") && name != "policy.toml" {
            let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
            files.push((path.display().to_string(), text));
        }
    }
    files.sort();
    Ok(files)
}

/// A set of rule files.
pub(in crate::cmd) fn rule_set(files: &[(&str, &str)]) -> Result<RuleSet, CommandError> {
    RuleSet::parse(files).map_err(|errors| not_valid(&errors))
}

/// What is wrong with rule files, every error on a line.
pub(in crate::cmd) fn not_valid(errors: &[RuleError]) -> CommandError {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    CommandError::usage(
        "rules-not-valid",
        lines.join("\n"),
        "mend the rule files and scan again",
    )
}

/// The key in a file.
pub(super) fn fingerprint_key(path: &Path) -> Result<FingerprintKey, CommandError> {
    let text = std::fs::read(path).map(Zeroizing::new).map_err(|e| {
        let what = format!("{}: {e}", path.display());
        CommandError::usage("fingerprint-key-unreadable", what, "name a file of 64 hex digits")
    })?;
    let digits = std::str::from_utf8(text.trim_ascii()).unwrap_or_default();
    let key = baseline::unhex(digits).ok_or_else(|| {
        CommandError::usage(
            "fingerprint-key-not-valid",
            format!("{}: not 64 hex digits", path.display()),
            "make one with: openssl rand -hex 32",
        )
    })?;
    Ok(FingerprintKey::new(Box::new(key)))
}
