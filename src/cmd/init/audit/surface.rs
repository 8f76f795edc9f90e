//! The ways around the gate that git, the server and the file system offer.
//!
//! Each is one function that reads and reports. What only an attacker on the
//! server's own account could do is out of scope, except where a slip leaves it
//! open to others (permissions).

use super::{Item, ok, problem, warning};
use crate::cmd::error::CommandError;
use crate::cmd::home::Home;
use crate::cmd::init::git::{Git, Setting};
use crate::cmd::init::hook_file::{CHAINED, HOOKS};
use crate::cmd::init::install::{GIT_SETTINGS, same};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Variables that make a server skip hooks' checks altogether.
const BYPASS: [&str; 2] = ["GITEA_INTERNAL_PUSH", "GL_BYPASS_ACCESS_CHECKS"];
/// Variables that inject configuration, hooks included, into every git.
const INJECT: [&str; 3] = ["GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG"];
/// Variables that change which files of configuration git reads.
const ELSEWHERE: [&str; 3] = ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"];

/// All ways around, in a fixed order.
pub(super) fn audit(
    git: &Git,
    home: &Home,
    hooks: bool,
    environment: &[(OsString, OsString)],
) -> Result<Vec<Item>, CommandError> {
    let settings = git.settings()?;
    let mut items = Vec::new();
    if hooks {
        items.push(hooks_path(git, &settings)?);
    }
    items.extend(config_hooks(&settings));
    items.extend(variables(environment));
    items.extend(git_settings(&settings));
    items.push(fsck(&settings));
    items.extend(other_hooks(git.dir(), &settings));
    items.extend(permissions(git.dir(), home));
    items.extend(alternates(git.dir()));
    items.push(rewritten(git)?);
    items.push(information(&settings));
    Ok(items)
}

fn hooks_path(git: &Git, settings: &[Setting]) -> Result<Item, CommandError> {
    let name = "core-hooks-path";
    let (own, seen) = (git.dir().join("hooks"), git.hooks_dir()?);
    let setting = settings.iter().rfind(|setting| setting.key == "core.hookspath");
    let Some(setting) = setting else {
        return Ok(ok(name, "not set: git runs the hooks of this repository"));
    };
    let (scope, origin) = (&setting.scope, &setting.origin);
    if same(&own, &seen) {
        let detail = format!("set ({scope}, {origin}), and leads to this repository's hooks");
        return Ok(warning(
            name,
            detail,
            "unset it: it leads elsewhere once something moves",
        ));
    }
    let detail = format!(
        "set ({scope}, {origin}): git runs the hooks in {}, not ours",
        seen.display()
    );
    Ok(problem(
        name,
        detail,
        format!("unset it: git config --{scope} --unset-all core.hooksPath"),
    ))
}

/// Hooks in the configuration, which newer versions of git run beside or instead of files.
fn config_hooks(settings: &[Setting]) -> Vec<Item> {
    let name = "config-hooks";
    let mut items = Vec::new();
    for setting in settings {
        let Some((hook, what)) = setting.key.strip_prefix("hook.").and_then(|rest| rest.rsplit_once('.')) else {
            continue;
        };
        let origin = &setting.origin;
        let off = matches!(
            setting.value.to_ascii_lowercase().as_str(),
            "false" | "no" | "off" | "0" | ""
        );
        match what {
            "enabled" if off => items.push(problem(
                name,
                format!("hook.{hook}.enabled = false ({origin}) turns a hook off"),
                format!("git config --unset-all hook.{hook}.enabled"),
            )),
            "command" | "event" if HOOKS.contains(&hook) || HOOKS.contains(&setting.value.as_str()) => {
                items.push(problem(
                    name,
                    format!("hook.{hook}.{what} ({origin}) runs another command in the gate's place or beside it"),
                    format!("git config --remove-section hook.{hook}"),
                ));
            }
            "command" => items.push(warning(
                name,
                format!("hook.{hook}.command ({origin}) runs a command on some event"),
                "see that it moves no ref",
            )),
            _ => {}
        }
    }
    if items.is_empty() {
        items.push(ok(name, "none"));
    }
    items
}

/// What the environment could change. It is the caller's: a server's own may differ.
fn variables(environment: &[(OsString, OsString)]) -> Vec<Item> {
    let name = "environment";
    let unset = "unset it where the server is started (its unit file, its login, its sshd configuration)";
    let mut items = Vec::new();
    for variable in environment.iter().map(|(name, _)| name.to_string_lossy()) {
        if BYPASS.contains(&variable.as_ref()) {
            items.push(problem(
                name,
                format!("{variable} is set: the server skips checks"),
                unset,
            ));
        } else if INJECT.contains(&variable.as_ref()) {
            let detail = format!("{variable} is set: it injects configuration into every git");
            items.push(problem(name, detail, unset));
        } else if ELSEWHERE.contains(&variable.as_ref()) {
            let detail = format!("{variable} is set: git reads its configuration elsewhere");
            items.push(warning(name, detail, "see that the server's git reads the same files"));
        }
    }
    if items.is_empty() {
        items.push(ok(name, "nothing in this environment changes what git runs"));
    }
    items
}

fn git_settings(settings: &[Setting]) -> Vec<Item> {
    let value = |key: &str| {
        let key = key.to_ascii_lowercase();
        settings
            .iter()
            .rfind(|setting| setting.key == key)
            .map(|setting| setting.value.clone())
    };
    let check = |(key, wanted): (&str, &str)| {
        let name = key.replace('.', "-").to_ascii_lowercase();
        match value(key) {
            Some(set) if set == wanted => ok(&name, set),
            set => warning(
                &name,
                format!("{key} is {}, not {wanted}", set.as_deref().unwrap_or("not set")),
                format!("git config {key} {wanted}"),
            ),
        }
    };
    GIT_SETTINGS.into_iter().map(check).collect()
}

/// Whether git refuses malformed objects itself. The gate refuses those that could hide something; other programs
/// that read the repository may stumble over the rest.
///
/// <https://git-scm.com/docs/git-config#Documentation/git-config.txt-receivefsckObjects>
fn fsck(settings: &[Setting]) -> Item {
    let name = "fsck-objects";
    let of = |key: &str| settings.iter().rfind(|setting| setting.key == key);
    let set = of("receive.fsckobjects").or_else(|| of("transfer.fsckobjects"));
    let on = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1" | "");
    match set {
        Some(set) if on(&set.value) => ok(name, format!("{} ({})", set.value, set.origin)),
        set => {
            let how = set.map_or("not set".to_owned(), |set| format!("{} ({})", set.value, set.origin));
            warning(
                name,
                format!("receive.fsckObjects and transfer.fsckObjects: {how}: git stores malformed objects"),
                "git config receive.fsckObjects true",
            )
        }
    }
}

/// Executable hooks that are not ours: each runs with the right to move refs.
fn other_hooks(git_dir: &Path, settings: &[Setting]) -> Vec<Item> {
    let name = "other-hooks";
    let folder = git_dir.join("hooks");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) => {
            return vec![problem(
                name,
                format!("{}: {error}", folder.display()),
                "run lychgate init",
            )];
        }
    };
    let mut found: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    found.sort();
    let mut items: Vec<Item> = found.iter().filter_map(|path| other_hook(path, settings)).collect();
    if items.is_empty() {
        items.push(ok(name, "none"));
    }
    items
}

fn other_hook(path: &Path, settings: &[Setting]) -> Option<Item> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let meta = fs::metadata(path).ok()?;
    let inert = !meta.is_file() || meta.permissions().mode() & 0o111 == 0 || name.ends_with(".sample");
    if inert || HOOKS.contains(&name.as_str()) {
        return None;
    }
    let handed_over = settings.iter().any(|setting| setting.key == "receive.procreceiverefs");
    let shown = path.display();
    Some(match name.as_str() {
        "proc-receive" if handed_over => problem(
            "other-hooks",
            format!("{shown} takes over the refs of receive.procReceiveRefs and may move others than were judged"),
            "see what it does; if it must stay, keep protected refs out of receive.procReceiveRefs",
        ),
        _ if name.ends_with(CHAINED) => ok("other-hooks", format!("{shown} runs before ours")),
        _ => warning(
            "other-hooks",
            format!("{shown} also runs on a push"),
            "see that it moves no ref of its own accord",
        ),
    })
}

/// Nobody but the owner may put another file in place of the gate's.
fn permissions(git_dir: &Path, home: &Home) -> Vec<Item> {
    let name = "permissions";
    let mut items = Vec::new();
    for path in [
        git_dir.to_owned(),
        git_dir.join("hooks"),
        git_dir.join("config"),
        home.dir.clone(),
        home.policy(),
        home.keyring(),
    ] {
        let shown = path.display();
        let Ok(meta) = fs::metadata(&path) else {
            items.push(problem(
                name,
                format!("{shown} is missing or unreadable"),
                "run lychgate init",
            ));
            continue;
        };
        if meta.mode() & 0o022 != 0 {
            let detail = format!(
                "{shown} (mode {:o}) can be changed by others than its owner",
                meta.mode() & 0o777
            );
            items.push(problem(name, detail, format!("chmod go-w {shown}")));
        } else if path == home.dir && meta.mode() & 0o077 != 0 {
            let detail = format!("{shown} (mode {:o}) can be read by others", meta.mode() & 0o777);
            items.push(warning(name, detail, format!("chmod 700 {shown}")));
        }
    }
    items.extend(owners(git_dir, home));
    if items.is_empty() {
        items.push(ok(
            name,
            "only the owner can change the hooks, the configuration and the gate's folder",
        ));
    }
    items
}

/// What belongs to another account than the repository does, root apart, that account can change. What is missing is
/// told elsewhere.
fn owners(git_dir: &Path, home: &Home) -> Vec<Item> {
    let owner = |path: &Path| fs::metadata(path).map(|meta| meta.uid()).ok();
    let Some(expected) = owner(git_dir) else {
        return Vec::new();
    };
    let hooks = git_dir.join("hooks");
    let files = HOOKS.iter().map(|hook| hooks.join(hook)).chain([
        hooks.clone(),
        git_dir.join("config"),
        home.dir.clone(),
        home.policy(),
        home.settings(),
        home.ledger(),
        home.keyring(),
        home.attestation_key(),
        home.fingerprint_key(),
        home.verdicts(),
    ]);
    let foreign = files.filter_map(|path| {
        let uid = owner(&path).filter(|uid| *uid != expected && *uid != 0)?;
        let shown = path.display();
        let detail = format!("{shown} belongs to account {uid}, the repository to account {expected}");
        Some(problem("permissions", detail, format!("chown {expected} {shown}")))
    });
    foreign.collect()
}

/// Other object stores: their objects count as present, so they must be as well kept as this one.
fn alternates(git_dir: &Path) -> Vec<Item> {
    let name = "alternates";
    let objects = git_dir.join("objects");
    let text = match fs::read(objects.join("info/alternates")) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return vec![ok(name, "none")],
        Err(error) => {
            return vec![problem(
                name,
                format!("objects/info/alternates: {error}"),
                "make it readable",
            )];
        }
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut items: Vec<Item> = lines.map(|line| alternate(&objects, line)).collect();
    if items.is_empty() {
        items.push(ok(name, "none"));
    }
    items
}

fn alternate(objects: &Path, line: &str) -> Item {
    let name = "alternates";
    let path = objects.join(line);
    let shown = path.display();
    match fs::metadata(&path) {
        Err(error) => problem(name, format!("{shown}: {error}"), "restore it, or objects are missing"),
        Ok(meta) if meta.mode() & 0o022 != 0 => problem(
            name,
            format!(
                "objects come from {shown} (mode {:o}), which others can change",
                meta.mode() & 0o777
            ),
            format!("chmod go-w {shown}, or copy the objects: git repack -a -d, then remove the file"),
        ),
        Ok(_) => warning(
            name,
            format!("objects come from {shown}, outside this repository"),
            "see that nobody else can change them, or copy them: git repack -a -d, then remove the file",
        ),
    }
}

/// What makes git show another history than the one that was judged. The gate itself ignores all of it.
fn rewritten(git: &Git) -> Result<Item, CommandError> {
    let name = "replaced-history";
    let replaced = git.refs("refs/replace")?.len();
    let files: Vec<&str> = ["info/grafts", "shallow"]
        .into_iter()
        .filter(|file| git.dir().join(file).exists())
        .collect();
    if replaced == 0 && files.is_empty() {
        return Ok(ok(name, "no replace refs, no grafts, not shallow"));
    }
    let detail = format!(
        "{replaced} replace refs{}: git shows another history than the one that is attested",
        files.iter().map(|file| format!(", {file}")).collect::<String>()
    );
    Ok(warning(
        name,
        detail,
        "git replace -d them, remove info/grafts, fetch --unshallow",
    ))
}

/// What is good to know and can be either way.
fn information(settings: &[Setting]) -> Item {
    let keys = ["receive.unpackLimit", "receive.maxInputSize"];
    let shown = keys.map(|key| {
        let wanted = key.to_ascii_lowercase();
        let set = settings.iter().rfind(|setting| setting.key == wanted);
        format!("{key} = {}", set.map_or("not set", |setting| setting.value.as_str()))
    });
    ok("git-limits", shown.join(", "))
}
