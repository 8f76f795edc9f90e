//! The hook files: their text, whose they are, and how they are put in place.
//!
//! The text names the program in its first line, so that the kernel starts the
//! program itself and no shell: a shell costs about a millisecond a hook. The
//! kernel passes the file's path, whose last part is the hook's name. If the
//! program is gone the file cannot be started, and git refuses the push.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The hooks of the gate, in the order of installation: each state between them refuses, none lets through.
pub(super) const HOOKS: [&str; 3] = ["reference-transaction", "post-receive", "pre-receive"];

/// What a foreign hook's name ends in while ours runs it first. It stays in its folder, so that relative links
/// and paths in it still lead where they led.
pub(super) const CHAINED: &str = ".before-lychgate";

/// Stands in each of our files; its number rises when their text must be renewed.
const MARK: &str = "# lychgate-hook 1";
/// Kernels before 5.1 cut a first line at 127 bytes, silently.
const LONGEST_PROGRAM: usize = 119;

/// Whose a hook file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// There is none.
    Nobody,
    /// Ours; it runs this program.
    Ours(PathBuf),
    /// Someone else's.
    Foreign,
}

/// Reads whose a hook file is.
pub(super) fn owner(path: &Path) -> io::Result<Owner> {
    let text = match fs::read(path) {
        Ok(text) => String::from_utf8_lossy(&text[..text.len().min(4096)]).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            return Ok(Owner::Nobody);
        }
        Err(error) => return Err(error),
    };
    if !text.lines().any(|line| line.starts_with("# lychgate-hook ")) {
        return Ok(Owner::Foreign);
    }
    Ok(program_of(&text).map_or(Owner::Foreign, Owner::Ours))
}

/// The program that one of our files runs.
fn program_of(text: &str) -> Option<PathBuf> {
    let first = text.lines().next()?.strip_prefix("#!")?;
    if let Some(program) = first.strip_suffix(" hook") {
        return Some(PathBuf::from(program));
    }
    let quoted = text.lines().find_map(|line| line.strip_prefix("program="))?;
    Some(PathBuf::from(unquoted(quoted)))
}

/// The program that runs a hook: the lean one beside `program` for the hooks after the decision, if it is there.
pub(super) fn program_for(hook: &str, program: &Path) -> PathBuf {
    let lean = program.with_file_name("lychgate-hook");
    if hook != "pre-receive" && lean.is_file() {
        lean
    } else {
        program.to_owned()
    }
}

/// The text of a hook file.
///
/// * `chained`: whether someone else's hook stands beside it and runs first.
pub(super) fn text(hook: &str, program: &str, chained: bool) -> String {
    let direct = program.len() <= LONGEST_PROGRAM && !program.contains(char::is_whitespace);
    if direct && !chained {
        return format!(
            "#!{program} hook\n{MARK}\n# Written by lychgate init. The kernel starts the program above with this \
             file's path;\n# its last part says which hook it is. Without the program git refuses every push.\n"
        );
    }
    let head = format!(
        "#!/bin/sh\n{MARK}\n# Written by lychgate init.\nset -eu\nprogram={}\n",
        quoted(program)
    );
    match chained {
        false => format!("{head}exec \"$program\" hook {hook} \"$@\"\n"),
        true => head + &chain(hook),
    }
}

/// Runs the other hook first, on the same input. Where it may veto, its no is the answer; after the fact, ours
/// runs whatever it says.
fn chain(hook: &str) -> String {
    let after = match hook {
        "pre-receive" => "[ \"$status\" -eq 0 ] || exit \"$status\"\n",
        "reference-transaction" => {
            "case ${1:-} in\n    preparing | prepared) [ \"$status\" -eq 0 ] || exit \"$status\" ;;\nesac\n"
        }
        _ => "",
    };
    format!(
        "input=$(cat)\nfeed() {{ [ -z \"$input\" ] || printf '%s\\n' \"$input\"; }}\nstatus=0\n\
         feed | \"${{0%/*}}/{hook}{CHAINED}\" \"$@\" || status=$?\n{after}\
         feed | \"$program\" hook {hook} \"$@\"\n"
    )
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn unquoted(word: &str) -> String {
    let inner = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.unwrap_or(word).replace("'\\''", "'")
}

/// Puts a file in place of what is there, or leaves that as it is: never half of it.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let made = beside(path);
    write(&made, text.as_bytes(), mode)?;
    fs::rename(&made, path)?;
    sync_folder(path)
}

/// Makes a file if there is none; whether it made one. Never half of it.
pub(super) fn make_new(path: &Path, text: &[u8], mode: u32) -> io::Result<bool> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(false);
    }
    let made = beside(path);
    write(&made, text, mode)?;
    let linked = fs::hard_link(&made, path);
    fs::remove_file(&made)?;
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text)?;
    // The umask may have taken bits that a hook needs.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_costs_no_shell_and_an_odd_one_is_quoted() {
        assert!(text("pre-receive", "/usr/bin/lychgate", false).starts_with("#!/usr/bin/lychgate hook\n"));
        let long = format!("/{}", "x".repeat(119));
        for program in ["/opt/my tools/lychgate", "/opt/it's/a b", long.as_str()] {
            let text = text("pre-receive", program, false);
            assert!(text.starts_with("#!/bin/sh\n"));
            assert_eq!(program_of(&text).unwrap(), PathBuf::from(program));
        }
        let direct = text("pre-receive", "/usr/bin/lychgate", false);
        assert_eq!(program_of(&direct).unwrap(), PathBuf::from("/usr/bin/lychgate"));
    }

    #[test]
    fn a_file_that_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        assert!(make_new(&path, b"one", 0o600).unwrap());
        assert!(!make_new(&path, b"two", 0o600).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        replace(&path, "three", 0o755).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
