//! Makes what an installation lacks and keeps what it has. The hooks come last: until then nothing is guarded,
//! and nothing is half guarded.

use super::git::Git;
use super::hook_file::{self, CHAINED, HOOKS, Owner};
use crate::cmd::error::CommandError;
use crate::cmd::home::Home;
use crate::config::{DEFAULT_POLICY, Settings, render_errors};
use crate::port::Outage;
use crate::signer::FileSigner;
use crate::store::SqliteStore;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What the administrator asked for.
pub(super) struct Plan<'a> {
    pub(super) resource: Option<&'a str>,
    pub(super) verifier_id: Option<&'a str>,
    pub(super) program: Option<&'a Path>,
    pub(super) chain: bool,
    /// Whether hooks are installed, or placed by hand.
    pub(super) hooks: bool,
}

/// One thing that was made, or was there.
pub(super) struct Step {
    pub(super) made: bool,
    pub(super) what: String,
}

/// What is installed now.
pub(super) struct Installed {
    pub(super) settings: Settings,
    pub(super) program: PathBuf,
    pub(super) steps: Vec<Step>,
}

/// Git's own settings that the gate needs, with the reason.
pub(super) const GIT_SETTINGS: [(&str, &str); 2] = [
    // Without it a pusher's options never reach the gate.
    ("receive.advertisePushOptions", "true"),
    // A bare repository keeps no reflog unless told; it is what tells a crash from a ref that never moved.
    ("core.logAllRefUpdates", "true"),
];

/// Installs; refuses before it changes anything.
pub(super) fn install(git: &Git, home: &Home, plan: &Plan<'_>) -> Result<Installed, CommandError> {
    let program = program(plan.program)?;
    let settings = settings(home, plan)?;
    let hooks = match plan.hooks {
        true => Some(hooks_dir(git)?),
        false => None,
    };
    let foreign = match &hooks {
        Some(hooks) => foreign_hooks(hooks, plan.chain)?,
        None => Vec::new(),
    };
    let mut steps = vec![
        folder(&home.dir)?,
        file(&home.settings(), settings.to_toml().as_bytes(), 0o600)?,
        file(&home.policy(), DEFAULT_POLICY.as_bytes(), 0o600)?,
        folder(&home.keyring())?,
        fingerprint_key(home)?,
        attestation_key(home)?,
        ledger(home)?,
    ];
    for (key, value) in GIT_SETTINGS {
        steps.push(git_setting(git, key, value)?);
    }
    if let Some(hooks) = &hooks {
        steps.extend(install_hooks(hooks, &foreign, &program)?);
    }
    Ok(Installed {
        settings,
        program,
        steps,
    })
}

fn program(given: Option<&Path>) -> Result<PathBuf, CommandError> {
    let path = match given {
        Some(path) => std::path::absolute(path),
        None => std::env::current_exe(),
    };
    let path = path.map_err(|error| unwritable(Path::new("the program"), &error))?;
    let runs = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    let plain = path.to_str().is_some_and(|text| !text.contains(char::is_control));
    match runs && plain {
        true => Ok(path),
        false => Err(CommandError::usage(
            "no-program",
            format!("{} is no program that the hooks could run", path.display()),
            "give --program the path of an installed lychgate",
        )),
    }
}

/// The repository's own hooks folder, if that is where git looks.
fn hooks_dir(git: &Git) -> Result<PathBuf, CommandError> {
    let (own, seen) = (git.dir().join("hooks"), git.hooks_dir()?);
    if same(&own, &seen) {
        return Ok(own);
    }
    Err(CommandError::usage(
        "hooks-elsewhere",
        format!(
            "core.hooksPath makes git run the hooks in {}, not those of this repository",
            seen.display()
        ),
        "see where it is set: git config --show-origin --get-all core.hooksPath; unset it, or copy the files of \
         hooks/ there by hand",
    ))
}

/// Whether two paths are one place; a place that is not there yet is its own.
pub(super) fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.components().collect());
    real(one) == real(other)
}

/// The settings that are there, or new ones.
fn settings(home: &Home, plan: &Plan<'_>) -> Result<Settings, CommandError> {
    let path = home.settings();
    let present = match fs::read_to_string(&path) {
        Ok(text) => Some(parse_settings(&path, &text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unwritable(&path, &error)),
    };
    let Some(present) = present else {
        let resource = plan
            .resource
            .map_or_else(|| file_resource(&home.git_dir), str::to_owned);
        let verifier_id = plan.verifier_id.map_or_else(|| verifier_id(&resource), str::to_owned);
        let settings = Settings::new(&resource, &verifier_id);
        // Read back, so that a wrong name is refused before it is written anywhere.
        return parse_settings(&path, &settings.to_toml());
    };
    let differs = |given: Option<&str>, there: &str| given.is_some_and(|given| given != there);
    if differs(plan.resource, &present.resource) || differs(plan.verifier_id, &present.verifier_id) {
        return Err(CommandError::usage(
            "settings-differ",
            format!(
                "{} says resource {} and verifier_id {}, which past attestations name",
                path.display(),
                present.resource,
                present.verifier_id
            ),
            "leave out --resource and --verifier-id; to rename the repository edit the file, and tell its consumers",
        ));
    }
    Ok(present)
}

fn parse_settings(path: &Path, text: &str) -> Result<Settings, CommandError> {
    Settings::parse("gate.toml", text).map_err(|errors| {
        CommandError::usage(
            "bad-settings",
            format!(
                "{} is not valid\n{}",
                path.display(),
                render_errors("gate.toml", &errors).trim_end()
            ),
            "mend the lines, or the options --resource and --verifier-id",
        )
    })
}

/// A resource URI for a repository that has no public name yet.
fn file_resource(git_dir: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-~".contains(&b);
    let path = git_dir.as_os_str().as_bytes().iter().map(|b| match plain(*b) {
        true => char::from(*b).to_string(),
        false => format!("%{b:02X}"),
    });
    format!("git+file://{}", path.collect::<String>())
}

/// One verifier a host; a repository without a host has one of its own.
fn verifier_id(resource: &str) -> String {
    let bare = resource.strip_prefix("git+").unwrap_or(resource);
    match bare.split_once("://") {
        Some((scheme, rest)) if !rest.starts_with('/') => {
            let scheme = if scheme == "ssh" { "https" } else { scheme };
            let host = rest.split('/').next().unwrap_or(rest);
            format!("{scheme}://{host}/lychgate")
        }
        _ => format!("{}/lychgate", bare.trim_end_matches('/')),
    }
}

/// The hooks of others that must give way; refuses unless they shall be chained.
fn foreign_hooks(hooks: &Path, chain: bool) -> Result<Vec<&'static str>, CommandError> {
    let mut foreign = Vec::new();
    for hook in HOOKS {
        let path = hooks.join(hook);
        if hook_file::owner(&path).map_err(|error| unwritable(&path, &error))? == Owner::Foreign {
            foreign.push(hook);
        }
    }
    let there = |hook: &&&str| fs::symlink_metadata(hooks.join(format!("{hook}{CHAINED}"))).is_ok();
    if let Some(hook) = foreign.iter().find(there).filter(|_| chain) {
        return Err(CommandError::usage(
            "foreign-hook",
            format!(
                "{} is not ours, and {hook}{CHAINED} is there already",
                hooks.join(hook).display()
            ),
            "put both into one file, and run this again",
        ));
    }
    match foreign.first() {
        Some(hook) if !chain => Err(CommandError::usage(
            "foreign-hook",
            format!("{} is not ours; nothing was changed", hooks.join(hook).display()),
            "run this again with --chain to keep it and run it before ours, or move it away",
        )),
        _ => Ok(foreign),
    }
}

fn folder(path: &Path) -> Result<Step, CommandError> {
    let made = match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(unwritable(path, &error)),
    };
    Ok(step(made, path))
}

fn file(path: &Path, text: &[u8], mode: u32) -> Result<Step, CommandError> {
    let made = hook_file::make_new(path, text, mode).map_err(|error| unwritable(path, &error))?;
    Ok(step(made, path))
}

fn fingerprint_key(home: &Home) -> Result<Step, CommandError> {
    let path = home.fingerprint_key();
    let mut key = zeroize::Zeroizing::new([0u8; 32]);
    let read = fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut *key));
    read.map_err(|error| unwritable(Path::new("/dev/urandom"), &error))?;
    let mut hex = zeroize::Zeroizing::new(String::with_capacity(65));
    for byte in key.iter() {
        hex.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        hex.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    hex.push('\n');
    file(&path, hex.as_bytes(), 0o600)
}

/// Makes the attestation key; completes one whose public half a crash left unwritten.
fn attestation_key(home: &Home) -> Result<Step, CommandError> {
    let (private, public) = (home.attestation_key(), home.attestation_public_key());
    match (private.exists(), public.exists()) {
        (false, false) => {
            FileSigner::create(&private, &public)?;
            Ok(step(true, &private))
        }
        (true, false) => {
            let signer = FileSigner::open(&private)?;
            file(&public, signer.public().to_pem().as_bytes(), 0o644)
        }
        (true, true) => Ok(step(false, &private)),
        (false, true) => Err(CommandError::usage(
            "attestation-key-missing",
            format!(
                "{} is there, but its private key {} is not",
                public.display(),
                private.display()
            ),
            "restore the private key; or move the public one away to begin with a new key, which consumers must learn",
        )),
    }
}

fn ledger(home: &Home) -> Result<Step, CommandError> {
    let path = home.ledger();
    let made = !path.exists();
    on_this_thread(async { SqliteStore::create(&path).await?.close().await })??;
    Ok(step(made, &path))
}

/// Runs one call of the ledger to its end.
pub(super) fn on_this_thread<T>(call: impl Future<Output = T>) -> Result<T, Outage> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Outage {
            code: "runtime-unavailable",
            what: "the runtime cannot be started".to_owned(),
            why: error.to_string(),
            next: "see that the account may start threads and open files".to_owned(),
        })?;
    Ok(runtime.block_on(call))
}

fn git_setting(git: &Git, key: &str, value: &str) -> Result<Step, CommandError> {
    let wanted = key.to_ascii_lowercase();
    let set = git
        .settings()?
        .iter()
        .any(|setting| setting.scope == "local" && setting.key == wanted && setting.value == value);
    if !set {
        git.set(key, value)?;
    }
    Ok(Step {
        made: !set,
        what: format!("git config {key} = {value}"),
    })
}

fn install_hooks(hooks: &Path, foreign: &[&str], program: &Path) -> Result<Vec<Step>, CommandError> {
    fs::create_dir_all(hooks).map_err(|error| unwritable(hooks, &error))?;
    let aside = foreign.iter().map(|hook| move_aside(hooks, hook));
    let ours = HOOKS.iter().map(|hook| install_hook(hooks, hook, program));
    aside.chain(ours).collect()
}

fn move_aside(hooks: &Path, hook: &str) -> Result<Step, CommandError> {
    let (from, to) = (hooks.join(hook), hooks.join(format!("{hook}{CHAINED}")));
    fs::rename(&from, &to).map_err(|error| unwritable(&from, &error))?;
    Ok(step(true, &to))
}

fn install_hook(hooks: &Path, hook: &str, program: &Path) -> Result<Step, CommandError> {
    let path = hooks.join(hook);
    let chained = fs::symlink_metadata(hooks.join(format!("{hook}{CHAINED}"))).is_ok();
    let text = hook_file::text(hook, &hook_file::program_for(hook, program).to_string_lossy(), chained);
    let mode = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.permissions().mode() & 0o777);
    let same = fs::read_to_string(&path).is_ok_and(|there| there == text) && mode(&path).is_ok_and(|m| m == 0o755);
    if !same {
        hook_file::replace(&path, &text, 0o755).map_err(|error| unwritable(&path, &error))?;
    }
    Ok(step(!same, &path))
}

fn step(made: bool, path: &Path) -> Step {
    Step {
        made,
        what: path.display().to_string(),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Outage(Outage {
        code: "installation-unwritable",
        what: format!("{} cannot be read or written", path.display()),
        why: error.to_string(),
        next: "run this as the account that runs git on the server, which must own the repository".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_the_place() {
        assert_eq!(
            file_resource(Path::new("/srv/git/a b.git")),
            "git+file:///srv/git/a%20b.git"
        );
        assert_eq!(
            verifier_id("git+https://git.example.com/acme/pay"),
            "https://git.example.com/lychgate"
        );
        assert_eq!(
            verifier_id("git+ssh://git.example.com/acme/pay"),
            "https://git.example.com/lychgate"
        );
        assert_eq!(
            verifier_id("git+file:///srv/git/pay.git"),
            "file:///srv/git/pay.git/lychgate"
        );
    }
}
