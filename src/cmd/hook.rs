//! `lychgate hook`: what Git runs on the server for each push.
//!
//! `pre-receive` decides and makes the decision durable; `reference-transaction` lets a protected ref move
//! only along a durable pending entry, and voids it when the ref does not move; `post-receive` starts what
//! publishes it, in a process of its own. Nothing here that a hook does not need is initialised: the time of a
//! push is paid by a developer, and no developer waits for a publication. Whoever reads the ledger before it is
//! done publishes first (`settle::recover`).
//!
//! <https://git-scm.com/docs/githooks>

use super::error::{CommandError, Outcome};
use super::home::Home;
use super::output::Output;
use super::{actor, open, pass, process, settle};
use crate::config::{Policy, WaiverPolicy};
use crate::decision::Verdict;
use crate::feedback;
use crate::pipeline::{self, Received, Waivers, World};
use crate::port::{EntryRecord, Outage, Store};
use crate::push::{Oid, Push, RefName, Timestamp, read_updates};
use crate::scan::{RuleSet, Scanner};
use crate::store::SqliteStore;
use std::io::Read;
use std::path::PathBuf;

/// Most bytes of standard input: [`crate::push::MAX_UPDATES`] lines of two ids and a ref name each.
const MAX_INPUT: u64 = 16 << 20;

/// Runs one hook.
///
/// * `name`: the hook's name, or the path by which Git called it (`hooks/pre-receive`).
/// * `args`: Git's arguments; for `reference-transaction` the state.
///
/// What fails is told here, in the words of `feedback`, since a developer reads it.
///
/// # Errors
/// [`CommandError::Denied`] for an outage; usage for a hook that there is not.
pub fn run(name: &str, args: &[String], now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    match name.rsplit('/').next().unwrap_or(name) {
        "pre-receive" => pre_receive(now, out).or_else(|error| tell(error, false, out)),
        other => after(other, args, out),
    }
}

/// Runs `lychgate-hook`: the hooks after the decision, without the code that decides, so that it starts in half
/// the time. A developer waits for three of its starts in each push.
pub fn lean_main(arguments: &[String]) -> u8 {
    let mut out = Output::standard();
    let result = match arguments {
        [_, flag] if flag == "--version" => {
            out.line(concat!("lychgate ", env!("CARGO_PKG_VERSION")));
            out.flush();
            return 0;
        }
        [_, command, name, args @ ..] if command == "hook" => {
            after(name.rsplit('/').next().unwrap_or(name), args, &mut out)
        }
        _ => after("", &[], &mut out),
    };
    super::finish(result, &mut out)
}

/// The hooks that need neither keys nor rules.
fn after(hook: &str, args: &[String], out: &mut Output) -> Result<Outcome, CommandError> {
    let phase = args.first().map_or("", String::as_str);
    let result = match hook {
        "reference-transaction" => reference_transaction(phase),
        "post-receive" => post_receive(),
        other => Err(CommandError::usage(
            "unknown-hook",
            format!("lychgate has no hook named {other}"),
            "use pre-receive, reference-transaction or post-receive",
        )),
    };
    result.or_else(|error| tell(error, hook == "post-receive", out))
}

/// Says why a hook could not do its work.
///
/// * `moved`: whether the refs have moved already, so that nothing is refused any more.
fn tell(error: CommandError, moved: bool, out: &mut Output) -> Result<Outcome, CommandError> {
    let server = actor::gitlab(&process::variable);
    let limits = feedback::Limits::default();
    let (text, end) = match error {
        CommandError::Outage(Outage { code, what, why, next }) => {
            let say = if moved {
                feedback::could_not_finish
            } else {
                feedback::could_not_decide
            };
            let text = say(server, code, &format!("{what}: {why}"), &next, limits);
            (text, Err(CommandError::Denied))
        }
        CommandError::Finding { code, what, next } => {
            (feedback::vetoed(server, code, &what, &next, limits), Ok(Outcome::No))
        }
        other => return Err(other),
    };
    text.lines().for_each(|line| out.note(line));
    end
}

fn pre_receive(now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    let updates = read_updates(&input()?).map_err(|e| outage("malformed-hook-input", e.to_string()))?;
    let home = home()?;
    let actor = actor::actor(&process::variable, process::account)?;
    let settings = open::settings(&home)?;
    let push = Push {
        id: ulid::Ulid::from_parts(
            now.unix().unsigned_abs() * 1000,
            u128::from_le_bytes(half(process::random()?)),
        )
        .to_string(),
        repository: settings.resource,
        received_at: now,
        actor,
        options: actor::options(&process::variable),
        updates,
    };
    let (received, waivers) = open::runtime()?.block_on(decide(&home, push, now))?;
    for line in feedback::decided_here(&received.facts.push, &received.decision, &waivers).lines() {
        out.note(line);
    }
    Ok(match received.decision.verdict {
        Verdict::Allow => Outcome::Yes,
        Verdict::Deny if received.decision.outage => return Err(CommandError::Denied),
        Verdict::Deny => Outcome::No,
    })
}

async fn decide(home: &Home, push: Push, now: Timestamp) -> Result<(Received, WaiverPolicy), CommandError> {
    let opening = open::opening(home);
    let policy = open::policy(&home.policy())?;
    if push.updates.iter().any(|update| policy.0.protects(&update.name)) {
        // What could not be attested afterwards must not enter.
        open::signer(home)?;
    }
    let key = open::fingerprint_key(&home.fingerprint_key())?;
    // A server that spawns hooks by itself may name only the object folder, which is the quarantine then.
    let quarantine = process::variable("GIT_QUARANTINE_PATH").or_else(|| process::variable("GIT_OBJECT_DIRECTORY"));
    let quarantine = quarantine.map(PathBuf::from);
    let repository = open::repository(home, quarantine.as_ref())?;
    let keyring = open::keyring(home);
    let (store, pending) = opening.join()?;
    if !pending.is_empty() {
        settle::recover(home, &store, &repository, now).await?;
    }
    let rules = RuleSet::builtin();
    let scanner = Scanner::new(rules, &key);
    let signed_by = || open::public_key(home);
    let waivers = Waivers::Ledger(&signed_by);
    let verdicts = open::verdicts(home, &key);
    let world = World::new(&repository, &keyring, &store, &scanner, rules, &policy, waivers).knowing(&verdicts);
    let owner = process::owner();
    let received = pipeline::receive(&world, push, &owner).await;
    store.leave().await;
    let received = received?;
    if received.decision.verdict == Verdict::Allow {
        // Without them later pushes take longer, and no push is refused for that; `init --check` shows the folder.
        let _ = verdicts.keep();
    }
    pass::write(home, &owner, &received.decision.accepted);
    Ok((received, policy.0.waivers))
}

/// One line of the reference-transaction hook, as far as it concerns a protected ref.
struct Move {
    name: RefName,
    /// `None`: the caller did not say where the ref stands.
    old: Option<Oid>,
    new: Oid,
}

fn reference_transaction(phase: &str) -> Result<Outcome, CommandError> {
    let input = input()?;
    // Git has more phases than we act on. Once refs have moved (`committed`) there is nothing to decide.
    if !matches!(phase, "prepared" | "aborted") || !mentions_refs(&input) {
        return Ok(Outcome::Yes);
    }
    let home = home()?;
    if phase == "prepared" && pass::covers(&home, &input) {
        return Ok(Outcome::Yes);
    }
    let (policy, _) = open::policy(&home.policy())?;
    let moves = moves(&input, &policy)?;
    if moves.is_empty() {
        return Ok(Outcome::Yes);
    }
    open::runtime()?.block_on(async {
        let (store, pending) = SqliteStore::open_pending(&home.ledger()).await?;
        let outcome = match phase {
            "prepared" => prepared(&home, &moves, &pending),
            _ => aborted(&store, &moves, &pending).await,
        };
        store.leave().await;
        outcome.map(|()| Outcome::Yes)
    })
}

impl Move {
    fn is(&self, entry: &EntryRecord) -> bool {
        entry.update.name == self.name
            && entry.update.new == self.new
            && self.old.is_none_or(|old| old == entry.update.old)
    }
}

fn mentions_refs(input: &[u8]) -> bool {
    input.windows(6).any(|window| window == b" refs/")
}

/// The moves of protected refs. A protected ref must not become a symbolic one.
fn moves(input: &[u8], policy: &Policy) -> Result<Vec<Move>, CommandError> {
    let mut moves = Vec::new();
    for line in input.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let text = String::from_utf8_lossy(line);
        let mut parts = text.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(outage(
                "malformed-hook-input",
                format!("not `old new ref`: {} bytes", line.len()),
            )
            .into());
        };
        let Ok(name) = name.parse::<RefName>() else { continue };
        if !policy.protects(&name) {
            continue;
        }
        let new = new
            .parse()
            .map_err(|_| not_through_the_gate(&name, "it would become a symbolic ref"))?;
        let old: Option<Oid> = old.parse().ok().filter(|oid: &Oid| !oid.is_zero());
        moves.push(Move { name, old, new });
    }
    Ok(moves)
}

/// Lets protected refs move only along a durable pending entry.
fn prepared(home: &Home, moves: &[Move], pending: &[EntryRecord]) -> Result<(), CommandError> {
    for step in moves {
        if pending.iter().any(|entry| step.is(entry)) {
            continue;
        }
        // Git rewrites refs in place (`pack-refs`, `gc`): what does not move needs no entry.
        let repository = open::repository(home, None)?;
        let stands = crate::port::Repository::ref_target(&repository, &step.name)?;
        if stands == Some(step.new) || (stands.is_none() && step.new.is_zero()) {
            continue;
        }
        if let (Some(old), true) = (step.old, step.new.is_zero())
            && repository.is_packed(&step.name, old)?
        {
            continue;
        }
        return Err(not_through_the_gate(&step.name, "no decision lets it move there"));
    }
    Ok(())
}

fn not_through_the_gate(name: &RefName, why: &str) -> CommandError {
    CommandError::Finding {
        code: "not-through-the-gate",
        what: format!("{name} is protected and moves only by a push: {why}"),
        next: "push the change; for maintenance, an administrator can change the policy first".into(),
    }
}

/// Voids what this receive-pack had pending and did not move.
async fn aborted(store: &impl Store, moves: &[Move], pending: &[EntryRecord]) -> Result<(), CommandError> {
    let owner = process::owner();
    let own = pending
        .iter()
        .filter(|entry| entry.owner == owner && moves.iter().any(|m| m.is(entry)));
    let ids: Vec<String> = own.map(|entry| entry.id.clone()).collect();
    if !ids.is_empty() {
        store.void(&ids).await?;
    }
    Ok(())
}

/// Starts publication and the work after it in a process of its own, so that nobody waits for it.
fn post_receive() -> Result<Outcome, CommandError> {
    // Git warns about a hook that leaves its input unread.
    let _ = input()?;
    let home = home()?;
    settle::start(&home)?;
    // Nobody sees what that process has to say, so what would stop it is looked at here.
    open::signer(&home)?;
    Ok(Outcome::Yes)
}

fn home() -> Result<Home, CommandError> {
    // Git runs hooks in the Git directory and names it in GIT_DIR, relative to there.
    let git_dir = process::variable("GIT_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let git_dir = git_dir.canonicalize().map_err(|e| Outage {
        code: "repository-unreadable",
        what: format!("cannot find the Git directory {}", git_dir.display()),
        why: e.to_string(),
        next: "run the hook from Git, or in the Git directory".into(),
    })?;
    Ok(Home::of(&git_dir))
}

fn input() -> Result<Vec<u8>, Outage> {
    let mut input = Vec::new();
    std::io::stdin()
        .take(MAX_INPUT + 1)
        .read_to_end(&mut input)
        .map_err(|e| outage("malformed-hook-input", e.to_string()))?;
    if input.len() as u64 > MAX_INPUT {
        return Err(outage("malformed-hook-input", format!("more than {MAX_INPUT} bytes")));
    }
    Ok(input)
}

fn half(bytes: [u8; 32]) -> [u8; 16] {
    std::array::from_fn(|at| bytes[at])
}

fn outage(code: &'static str, why: String) -> Outage {
    Outage {
        code,
        what: "the hook cannot read what Git tells it".into(),
        why,
        next: "look for another program between Git and the hook: lychgate init --check".into(),
    }
}
