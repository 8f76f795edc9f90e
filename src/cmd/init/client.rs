//! `lychgate init --client`: the developer's hooks in a clone.
//!
//! Puts `hooks/client/pre-commit` and `pre-push` where Git looks for this
//! clone's hooks (`core.hooksPath` respected). Writes nothing at all if one of
//! them is someone else's, or if the folder serves other repositories too.

use crate::cmd::error::CommandError;
use crate::cmd::git;
use crate::cmd::output::Output;
use crate::port::Outage;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The hooks and their text.
const HOOKS: [(&str, &str); 2] = [
    ("pre-commit", include_str!("../../../hooks/client/pre-commit")),
    ("pre-push", include_str!("../../../hooks/client/pre-push")),
];
/// Stands in each of our files.
const MARK: &str = "# lychgate-client-hook ";

/// Installs the hooks, or renews ours.
///
/// * `program`: what they run; by default this program.
///
/// # Errors
/// `not-a-repository`, `hooks-elsewhere`, `hook-is-foreign`, `hook-not-written`.
pub(super) fn install(clone: &Path, program: Option<&Path>, out: &mut Output) -> Result<(), CommandError> {
    let program = match program {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().map_err(|e| failed(Path::new("lychgate"), &e))?,
    };
    let folder = folder(clone)?;
    for (name, _) in HOOKS {
        let path = folder.join(name);
        let there = std::fs::symlink_metadata(&path).is_ok();
        let ours = std::fs::read_to_string(&path).is_ok_and(|text| text.contains(MARK));
        if there && !ours {
            return Err(CommandError::usage(
                "hook-is-foreign",
                format!("{}: someone else's hook; nothing was written", path.display()),
                match name {
                    "pre-commit" => "add this line to it: lychgate scan --staged",
                    _ => "call hooks/client/pre-push from it, with its input",
                },
            ));
        }
    }
    std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, &e))?;
    for (name, text) in HOOKS {
        let path = folder.join(name);
        let quoted = program.display().to_string().replace('\'', "'\\''");
        let text = text.replacen("program=lychgate\n", &format!("program='{quoted}'\n"), 1);
        let beside = folder.join(format!(".{name}.lychgate-new"));
        let written = std::fs::write(&beside, text)
            .and_then(|()| std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)))
            .and_then(|()| std::fs::rename(&beside, &path));
        written.map_err(|e| failed(&path, &e))?;
        out.line(format_args!("made  {}", path.display()));
    }
    Ok(())
}

/// Where Git looks for this clone's hooks.
fn folder(clone: &Path) -> Result<PathBuf, CommandError> {
    let asked = |args: &[&str]| -> Result<PathBuf, CommandError> {
        let answer = git::ask(clone, args)?.ok_or_else(|| {
            let what = format!("{}: no Git work tree", clone.display());
            CommandError::usage("not-a-repository", what, "name a clone with a work tree")
        })?;
        Ok(clone.join(answer))
    };
    let top = asked(&["rev-parse", "--show-toplevel"])?;
    let common = asked(&["rev-parse", "--git-common-dir"])?;
    let folder = asked(&["rev-parse", "--git-path", "hooks"])?;
    let real = |path: &Path| {
        // The folder may not be there yet; what is above it is.
        let known = path
            .ancestors()
            .find_map(|part| std::fs::canonicalize(part).ok().map(|real| (part, real)));
        known.map_or_else(
            || path.to_owned(),
            |(part, real)| real.join(path.strip_prefix(part).unwrap_or(path)),
        )
    };
    let inside = [&top, &common].iter().any(|home| real(&folder).starts_with(real(home)));
    if !inside {
        return Err(CommandError::usage(
            "hooks-elsewhere",
            format!(
                "core.hooksPath is {}, which serves other repositories too",
                folder.display()
            ),
            "put hooks/client/pre-commit and pre-push there yourself, or set core.hooksPath for this clone",
        ));
    }
    Ok(folder)
}

fn failed(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Outage(Outage {
        code: "hook-not-written",
        what: path.display().to_string(),
        why: error.to_string(),
        next: "check that this account may write there".to_owned(),
    })
}
