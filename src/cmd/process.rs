//! What the operating system tells about this process: account, clock, and who moves the refs.

use crate::port::Outage;
use crate::push::Timestamp;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

/// The clock, read once a command.
#[expect(clippy::disallowed_methods, reason = "commands read the clock and pass it on")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_unix(since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX)))
}

/// A variable of the environment; empty counts as unset, and so does what is not UTF-8.
#[expect(clippy::disallowed_methods, reason = "commands read the environment and pass it on")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A fresh ULID of this time.
///
/// # Errors
/// `no-randomness`.
pub fn fresh_id(now: Timestamp) -> Result<String, Outage> {
    let random = random()?;
    let bits = random
        .iter()
        .take(10)
        .fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    Ok(ulid::Ulid::from_parts(now.unix().unsigned_abs().saturating_mul(1000), bits).to_string())
}

/// The account that this process runs as, from its uid, since variables could be the pusher's.
pub fn account() -> String {
    let Ok(uid) = std::fs::metadata("/proc/self").map(|meta| meta.uid()) else {
        return "unknown".into();
    };
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id == uid.to_string()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid:{uid}"))
}

/// 32 random bytes of the operating system.
///
/// # Errors
/// `no-randomness`.
pub fn random() -> Result<[u8; 32], Outage> {
    let mut bytes = [0; 32];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map(|()| bytes).map_err(|e| Outage {
        code: "no-randomness",
        what: "cannot read /dev/urandom".into(),
        why: e.to_string(),
        next: "give this account a /dev".into(),
    })
}

/// Keeps this process's memory, which holds keys and tokens, out of core files, whatever the service manager allows.
///
/// <https://man7.org/linux/man-pages/man5/core.5.html>
///
/// # Errors
/// `core-dumps-allowed`.
#[cfg(feature = "bot")]
pub fn empty_core_dumps() -> Result<(), Outage> {
    std::fs::write("/proc/self/coredump_filter", "0").map_err(|e| Outage {
        code: "core-dumps-allowed",
        what: "cannot keep this process's memory out of core files".into(),
        why: e.to_string(),
        next: "forbid core files outside: LimitCORE=0, ulimit -c 0".into(),
    })
}

/// Names the receive-pack above this process: `boot-id pid start-time`; `unknown` where there is none in sight
/// (a server that moves refs by itself), so that nobody takes its end for a crash.
pub fn owner() -> String {
    let mut pid = std::process::id();
    // A hook is at most a few wrappers below receive-pack.
    for _ in 0..8 {
        let Some((parent, _)) = stat(pid) else { break };
        if is_receive_pack(parent) {
            return describe(parent).unwrap_or_else(|| "unknown".into());
        }
        pid = parent;
    }
    "unknown".into()
}

/// Names this process itself, as [`owner`] names another: it moves refs on its own.
pub fn itself() -> String {
    describe(std::process::id()).unwrap_or_else(|| "unknown".into())
}

/// Whether the process that [`owner`] named still runs: `None` if that cannot be told.
pub fn is_alive(owner: &str) -> Option<bool> {
    let mut parts = owner.split(' ');
    let (boot, pid, start) = (parts.next()?, parts.next()?.parse::<u32>().ok()?, parts.next()?);
    if boot != boot_id()? {
        return Some(false);
    }
    Some(stat(pid).is_some_and(|(_, now)| now == start))
}

fn describe(pid: u32) -> Option<String> {
    let (_, start) = stat(pid)?;
    Some(format!("{} {pid} {start}", boot_id()?))
}

fn boot_id() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .map(|text| text.trim().to_owned())
}

/// (parent, start time in clock ticks since boot) of a process.
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn stat(pid: u32) -> Option<(u32, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and brackets: the fields begin after the last bracket.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // A zombie moves no ref.
    let (state, parent, start) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    if *state == "Z" {
        None
    } else {
        Some((parent.parse().ok()?, (*start).to_owned()))
    }
}

fn is_receive_pack(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&b| b == 0)
        .take(3)
        .any(|part| part.ends_with(b"receive-pack"))
}
