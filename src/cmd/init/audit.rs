//! Audits an installation: what must be there, and every known way around it.
//!
//! In scope: reading, never changing. Each look-up that fails is a problem of
//! its own, never a pass. `surface` holds what git, the server and the file
//! system offer to get around the gate. Out of scope: whether the policy is wise.

mod surface;

use super::git::Git;
use super::hook_file::{self, CHAINED, HOOKS, Owner};
use super::install::on_this_thread;
use crate::cmd::error::CommandError;
use crate::cmd::home::Home;
use crate::config::{Policy, Settings, render_errors};
use crate::port::Signer;
use crate::push::Timestamp;
use crate::signer::FileSigner;
use crate::store::SqliteStore;
use serde::Serialize;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    Ok,
    /// The gate holds, but look at it.
    Warning,
    /// The gate does not hold, or would deny everything.
    Problem,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One named check and how it ended.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Item {
    /// Stable kebab-case name.
    pub(super) name: String,
    pub(super) level: Level,
    /// What was seen, and where.
    pub(super) detail: String,
    /// What to do; empty if nothing.
    pub(super) next: String,
}

fn ok(name: &str, detail: impl Into<String>) -> Item {
    item(Level::Ok, name, detail, "")
}

fn warning(name: &str, detail: impl Into<String>, next: impl Into<String>) -> Item {
    item(Level::Warning, name, detail, next)
}

fn problem(name: &str, detail: impl Into<String>, next: impl Into<String>) -> Item {
    item(Level::Problem, name, detail, next)
}

fn item(level: Level, name: &str, detail: impl Into<String>, next: impl Into<String>) -> Item {
    Item {
        name: name.to_owned(),
        level,
        detail: detail.into(),
        next: next.into(),
    }
}

/// All checks of one installation, in a fixed order.
///
/// * `hooks`: whether the repository's own hooks folder must hold ours; `false`: they were placed by hand elsewhere.
/// * `environment`: the variables of the account that runs git for pushers, as far as the caller has them.
pub(super) fn audit(
    git: &Git,
    home: &Home,
    hooks: bool,
    environment: &[(OsString, OsString)],
    now: Timestamp,
) -> Result<Vec<Item>, CommandError> {
    let mut items: Vec<Item> = match hooks {
        true => HOOKS.iter().map(|hook| hook_item(git.dir(), hook)).collect(),
        false => vec![warning(
            "hooks",
            "not looked at: they are placed by hand",
            "push something that the policy refuses, and see that it is refused",
        )],
    };
    items.push(settings(home));
    items.extend(policy(home, now));
    items.push(attestation_key(home));
    items.push(fingerprint_key(home));
    items.push(keyring(home));
    items.push(ledger(home));
    items.extend(surface::audit(git, home, hooks, environment)?);
    Ok(items)
}

fn reinstall(git_dir: &Path) -> String {
    format!("lychgate init {}", git_dir.display())
}

/// One hook: there, executable, ours, nobody else's to change, and its program is this version.
fn hook_item(git_dir: &Path, hook: &str) -> Item {
    let name = format!("hook-{hook}");
    let path = git_dir.join("hooks").join(hook);
    let shown = path.display();
    let program = match hook_file::owner(&path) {
        Ok(Owner::Ours(program)) => program,
        Ok(Owner::Nobody) => return problem(&name, format!("{shown} is missing"), reinstall(git_dir)),
        Ok(Owner::Foreign) => {
            let next = format!("{} --chain", reinstall(git_dir));
            return problem(&name, format!("{shown} is not ours"), next);
        }
        Err(error) => return problem(&name, format!("{shown}: {error}"), "make it readable for this account"),
    };
    let mode = fs::metadata(&path).map_or(0, |meta| meta.permissions().mode());
    if mode & 0o111 == 0 {
        let detail = format!("{shown} is not executable: git ignores it and lets everything in");
        return problem(&name, detail, format!("chmod 755 {shown}"));
    }
    if mode & 0o022 != 0 {
        return problem(
            &name,
            format!("{shown} can be changed by others"),
            format!("chmod 755 {shown}"),
        );
    }
    let chained = path.with_file_name(format!("{hook}{CHAINED}"));
    if let Ok(meta) = fs::metadata(&chained)
        && meta.permissions().mode() & 0o111 == 0
    {
        let detail = format!("{} is not executable, so every push is refused", chained.display());
        return problem(&name, detail, format!("chmod 755 {}", chained.display()));
    }
    program_item(&name, &path, &program, git_dir)
}

fn program_item(name: &str, hook: &Path, program: &Path, git_dir: &Path) -> Item {
    let ours = env!("CARGO_PKG_VERSION");
    let shown = program.display();
    let Ok(meta) = fs::metadata(program) else {
        let detail = format!(
            "{} runs {shown}, which is missing: every push is refused",
            hook.display()
        );
        return problem(name, detail, reinstall(git_dir));
    };
    if meta.permissions().mode() & 0o022 != 0 {
        return problem(
            name,
            format!("{shown} can be changed by others"),
            format!("chmod 755 {shown}"),
        );
    }
    match version_of(program) {
        Some(version) if version == ours => ok(name, format!("runs {shown} {version}")),
        Some(version) => warning(
            name,
            format!("runs {shown} {version}; this is {ours}"),
            reinstall(git_dir),
        ),
        None => problem(
            name,
            format!("{shown} does not tell its version: it is no lychgate, or cannot run"),
            reinstall(git_dir),
        ),
    }
}

/// The version that a program tells; our own without asking.
#[expect(
    clippy::disallowed_methods,
    reason = "the audit starts the program that the hooks name"
)]
fn version_of(program: &Path) -> Option<String> {
    let own = std::env::current_exe().and_then(fs::canonicalize);
    if own.is_ok_and(|own| fs::canonicalize(program).is_ok_and(|program| program == own)) {
        return Some(env!("CARGO_PKG_VERSION").to_owned());
    }
    let mut command = Command::new(program);
    let told = command
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let version = told.trim().strip_prefix("lychgate ")?;
    let plain = version.len() <= 40 && version.bytes().all(|b| b.is_ascii_graphic());
    plain.then(|| version.to_owned())
}

fn settings(home: &Home) -> Item {
    let path = home.settings();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            return problem(
                "settings",
                format!("{}: {error}", path.display()),
                reinstall(&home.git_dir),
            );
        }
    };
    match Settings::parse("gate.toml", &text) {
        Ok(settings) => ok("settings", format!("{} as {}", settings.resource, settings.verifier_id)),
        Err(errors) => problem(
            "settings",
            format!(
                "{} is not valid\n{}",
                path.display(),
                render_errors("gate.toml", &errors).trim_end()
            ),
            "mend these lines; until then every push is refused",
        ),
    }
}

fn policy(home: &Home, now: Timestamp) -> Vec<Item> {
    let path = home.policy();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let detail = format!("{}: {error}", path.display());
            return vec![problem("policy", detail, reinstall(&home.git_dir))];
        }
    };
    let policy = match Policy::parse("policy.toml", &text) {
        Ok(policy) => policy,
        Err(errors) => {
            let rendered = render_errors("policy.toml", &errors);
            let detail = format!("{} is not valid\n{}", path.display(), rendered.trim_end());
            return vec![problem(
                "policy",
                detail,
                "mend these lines; until then every push is refused",
            )];
        }
    };
    let protected = policy.refs.len();
    let mut items = vec![match protected {
        0 => warning(
            "policy",
            "protects no ref",
            format!("write a [[ref]] in {}", path.display()),
        ),
        _ => ok(
            "policy",
            format!("{protected} ref patterns are protected; digest {}", policy.digest),
        ),
    }];
    if policy.secrets.refs.value.is_empty() {
        let line = policy.secrets.refs.line.line;
        let detail = format!("secrets.refs = [] turns the scan for secrets off (policy.toml:{line})");
        items.push(warning("policy-secrets", detail, "write refs = [\"refs/**\"]"));
    }
    let expired = policy.secrets.allow.iter().filter(|allow| allow.value.expires <= now);
    items.extend(expired.map(|allow| {
        let detail = format!(
            "what policy.toml:{} allows has expired at {}",
            allow.line.line, allow.value.expires
        );
        warning("policy-allow-expired", detail, "remove it, or decide again")
    }));
    items
}

fn attestation_key(home: &Home) -> Item {
    let name = "attestation-key";
    let signer = match FileSigner::open(&home.attestation_key()) {
        Ok(signer) => signer,
        Err(outage) => return problem(name, outage.to_string(), outage.next),
    };
    let public = home.attestation_public_key();
    match fs::read_to_string(&public) {
        Ok(pem) if pem.trim() == signer.public().to_pem().trim() => ok(
            name,
            format!("P-256, {} bytes of public key", signer.public_key().len()),
        ),
        Ok(_) => problem(
            name,
            format!("{} belongs to another private key", public.display()),
            "move it away and run lychgate init: it is written anew",
        ),
        Err(error) => problem(name, format!("{}: {error}", public.display()), reinstall(&home.git_dir)),
    }
}

fn fingerprint_key(home: &Home) -> Item {
    let (name, path) = ("fingerprint-key", home.fingerprint_key());
    let shown = path.display();
    let text = match fs::read_to_string(&path) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) => return problem(name, format!("{shown}: {error}"), reinstall(&home.git_dir)),
    };
    let hex = text.trim_end_matches('\n');
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return problem(
            name,
            format!("{shown} is not 64 hex digits"),
            "restore it from a backup",
        );
    }
    match fs::metadata(&path).map_or(0o777, |meta| meta.permissions().mode() & 0o077) {
        0 => ok(name, "64 hex digits, for its owner alone"),
        _ => problem(
            name,
            format!("{shown} can be read by others"),
            format!("chmod 600 {shown}"),
        ),
    }
}

fn keyring(home: &Home) -> Item {
    let path = home.keyring();
    match fs::read_dir(&path).map(Iterator::count) {
        Ok(files) if files > 0 => ok("keyring", path.display().to_string()),
        Ok(_) => warning(
            "keyring",
            format!("{} is empty: no signature is known", path.display()),
            "lychgate keys add KEYFILE --account NAME --email ADDRESS",
        ),
        Err(error) => problem(
            "keyring",
            format!("{}: {error}", path.display()),
            reinstall(&home.git_dir),
        ),
    }
}

fn ledger(home: &Home) -> Item {
    let path = home.ledger();
    let opened = on_this_thread(async { SqliteStore::open(&path).await?.close().await });
    match opened.and_then(|opened| opened) {
        Ok(()) => ok("ledger", path.display().to_string()),
        Err(outage) => problem("ledger", format!("{}: {outage}", outage.code), outage.next),
    }
}
