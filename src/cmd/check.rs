//! `lychgate check`: a developer's dry run in a work tree, before pushing.
//!
//! The same facts, checks and decision as on the server, with the policy, the public keys and the waivers that the
//! gate publishes in `refs/lychgate/gate`. What only the server knows (which account pushes, which found value a
//! fingerprint means) is said to be unchecked, never guessed.

use super::error::{CommandError, Outcome};
use super::output::{Format, Output};
use super::{git, open, process, publish};
use crate::config::Bounds;
use crate::decision::{self, Decision, Verdict};
use crate::facts::{Fact, SignatureFact};
use crate::feedback;
use crate::finding::Finding;
use crate::git::Gate;
use crate::keyring::FolderKeyring;
use crate::pipeline::{self, Waivers, World};
use crate::port::{Inspected, Introduced, Keyring, Object, ObjectVisitor, Outage, Repository, Signed};
use crate::push::{Actor, Oid, Push, RefName, RefUpdate, Server, Timestamp};
use crate::scan::{RuleSet, Scanner};
use crate::store::SqliteStore;
use crate::waiver::{Target, Waiver};
use secrecy::SecretBox;
use std::path::{Path, PathBuf};

/// Arguments of `lychgate check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// What would be pushed, as `BASE..TIP`; by default what the current branch has and its remote has not.
    pub range: Option<String>,
    /// The ref that would move at the remote; by default the current branch's.
    #[arg(long = "ref", value_name = "REF")]
    pub ref_name: Option<String>,
    /// The remote whose gate decides.
    #[arg(long, default_value = "origin")]
    pub remote: String,
    /// The account that would push; without it, who may push is not checked.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Use the policy and keys of the last run instead of fetching them.
    #[arg(long)]
    pub offline: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Codes of findings that depend on the account that pushes.
const ACCOUNT_CODES: [&str; 2] = ["not-allowed-to-push", "pusher-not-signer"];

/// Judges what would be pushed.
///
/// # Errors
/// `not-a-work-tree`, `no-gate-at-remote`, `bad-range`, `nothing-to-push` and the outages of the adapters.
pub fn run(args: &CheckArgs, now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    let git_dir = git::ask(Path::new("."), &["rev-parse", "--absolute-git-dir"])?;
    let git_dir = PathBuf::from(git_dir.ok_or_else(|| {
        CommandError::usage(
            "not-a-work-tree",
            "this folder is in no Git repository",
            "run it in your clone",
        )
    })?);
    let update = update(args)?;
    let gate = publish::fetch(&git_dir, &args.remote, args.offline)?;
    let push = Push {
        // Nothing is recorded, so no id leads to it.
        id: String::new(),
        repository: args.remote.clone(),
        received_at: now,
        actor: Actor {
            server: Server::Plain,
            name: args.account.clone().unwrap_or_default(),
            protocol: None,
        },
        options: Vec::new(),
        updates: vec![update],
    };
    let waivers = published(&gate, &push)?;
    let mut decision = open::runtime()?.block_on(decide(&git_dir, &gate, args, push.clone(), &waivers))?;
    if args.account.is_none() {
        forget_account(&mut decision);
    }
    match args.format {
        Format::Json => out.line(String::from_utf8_lossy(&decision::canonical(&decision))),
        Format::Text => tell(args, &push, &decision, &waivers, out),
    }
    match decision.verdict {
        Verdict::Allow => Ok(Outcome::Yes),
        Verdict::Deny if decision.outage => Err(CommandError::Denied),
        Verdict::Deny => Ok(Outcome::No),
    }
}

fn tell(args: &CheckArgs, push: &Push, decision: &Decision, waivers: &Option<Fact<Vec<Waiver>>>, out: &mut Output) {
    for line in feedback::decided(push, decision).lines() {
        out.line(line);
    }
    if decision.verdict == Verdict::Allow {
        out.line(format!("lychgate: this push would enter {}", push.updates[0].name));
    }
    if decision.verdict == Verdict::Deny
        && let Some(why) = unknown(decision, waivers)
    {
        out.line(format!("lychgate: not checked: {why}"));
    }
    if args.account.is_none() {
        out.line("lychgate: not checked: who may push (name the account with --account)");
    }
}

/// The waivers that the gate publishes, if it does. They are of its repository, which is this push's remote.
fn published(gate: &Path, push: &Push) -> Result<Option<Fact<Vec<Waiver>>>, CommandError> {
    let Some(mut waivers) = publish::waivers(gate)? else {
        return Ok(None);
    };
    for waiver in &mut waivers {
        waiver.ask.repository.clone_from(&push.repository);
    }
    Ok(Some(Fact::Known(waivers)))
}

/// What of the waivers cannot be known here, where something is refused.
fn unknown(decision: &Decision, waivers: &Option<Fact<Vec<Waiver>>>) -> Option<String> {
    let Some(Fact::Known(waivers)) = waivers else {
        return Some("waivers, which this gate does not publish".to_owned());
    };
    // A fingerprint is keyed, so that nobody finds the value by trying: only the server can make one.
    let values = |waiver: &&Waiver| {
        let refused = |finding: &Finding| finding.denies && finding.code == waiver.ask.code;
        matches!(waiver.ask.target, Target::Fingerprint(_)) && decision.findings.iter().any(refused)
    };
    match waivers.iter().filter(values).count() {
        0 => None,
        many => Some(format!(
            "whether one of {many} waivers of found values is about this: only the server can compare them"
        )),
    }
}

/// Drops the findings that depend on the account; nobody said which it is.
fn forget_account(decision: &mut Decision) {
    decision
        .findings
        .retain(|finding| !ACCOUNT_CODES.contains(&finding.code.as_ref()));
    if !decision.findings.iter().any(|finding| finding.denies) {
        decision.verdict = Verdict::Allow;
        decision.outage = false;
    }
}

async fn decide(
    git_dir: &Path,
    gate: &Path,
    args: &CheckArgs,
    push: Push,
    waivers: &Option<Fact<Vec<Waiver>>>,
) -> Result<Decision, CommandError> {
    let policy = open::policy(&gate.join("policy.toml"))?;
    let repository = Tracking {
        inner: Gate::open(git_dir, None)?,
        remote: args.remote.clone(),
    };
    let keyring = OneVerifier(FolderKeyring::open(&gate.join("keyring")));
    // Nothing of a dry run is kept: the store only answers "nothing known yet".
    let scratch = gate.join(format!("check-{}.db", std::process::id()));
    let store = SqliteStore::create(&scratch).await?;
    let key = SecretBox::new(Box::new(process::random()?));
    let rules = RuleSet::builtin();
    let scanner = Scanner::new(rules, &key);
    let waivers = waivers.as_ref().map_or(Waivers::Nowhere, Waivers::Read);
    let world = World::new(&repository, &keyring, &store, &scanner, rules, &policy, waivers);
    let facts = pipeline::facts(&world, push).await;
    let (_, decision) = pipeline::judged(&world, facts).await;
    drop(store);
    publish::remove_database(&scratch);
    Ok(decision)
}

/// The update that pushing would ask for.
fn update(args: &CheckArgs) -> Result<RefUpdate, CommandError> {
    let here = Path::new(".");
    let branch = || git::ask(here, &["symbolic-ref", "--quiet", "HEAD"]);
    let name = match &args.ref_name {
        Some(name) if name.starts_with("refs/") => name.clone(),
        Some(name) => format!("refs/heads/{name}"),
        None => branch()?.ok_or_else(|| bad_range("HEAD is on no branch", "name the ref with --ref"))?,
    };
    let name: RefName = name
        .parse()
        .map_err(|e: crate::push::Invalid| bad_range(&e.to_string(), "correct --ref"))?;
    let tracking = format!("refs/remotes/{}/{}", args.remote, name.short());
    let (base, tip) = match args.range.as_deref().map(|range| range.split_once("..")) {
        Some(Some((base, tip))) => (base.to_owned(), if tip.is_empty() { "HEAD" } else { tip }.to_owned()),
        Some(None) => {
            return Err(bad_range(
                "it is not BASE..TIP",
                "write two revisions with .. between them",
            ));
        }
        None => (tracking, "HEAD".to_owned()),
    };
    let resolve = |rev: &str| {
        git::ask(
            here,
            &["rev-parse", "--verify", "--quiet", &format!("{rev}^{{commit}}")],
        )
    };
    let new: Oid = resolve(&tip)?
        .and_then(|oid| oid.parse().ok())
        .ok_or_else(|| bad_range(&format!("{tip} names no commit"), "check the spelling"))?;
    let old = match resolve(&base)?.and_then(|oid| oid.parse().ok()) {
        Some(oid) => oid,
        None if args.range.is_some() => {
            return Err(bad_range(&format!("{base} names no commit"), "check the spelling"));
        }
        // The remote has no such branch yet: it would be created.
        None => Oid::from_bytes(&vec![0; new.as_bytes().len()]).map_err(|e| bad_range(&e.to_string(), ""))?,
    };
    if old == new {
        return Err(CommandError::usage(
            "nothing-to-push",
            format!("{name} is already there at {}", new.short()),
            "",
        ));
    }
    Ok(RefUpdate { name, old, new })
}

fn bad_range(what: &str, next: &str) -> CommandError {
    CommandError::usage("bad-range", what, next)
}

/// A clone seen as the remote would be: its remote-tracking branches stand for the remote's branches.
struct Tracking {
    inner: Gate,
    remote: String,
}

impl Repository for Tracking {
    fn object(&self, oid: Oid) -> Result<Object, Outage> {
        self.inner.object(oid)
    }

    fn ref_target(&self, name: &RefName) -> Result<Option<Oid>, Outage> {
        self.inner.ref_target(name)
    }

    fn refs(&self, _: &str) -> Result<Vec<(RefName, Oid)>, Outage> {
        let prefix = format!("refs/remotes/{}/", self.remote);
        let there = |(name, oid): (RefName, Oid)| {
            let branch = name.as_str().strip_prefix(&prefix)?;
            Some((format!("refs/heads/{branch}").parse().ok()?, oid))
        };
        Ok(self.inner.refs(&prefix)?.into_iter().filter_map(there).collect())
    }

    fn inspect<V: ObjectVisitor>(
        &self,
        updates: &[RefUpdate],
        known: &[Vec<Oid>],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Inspected<V::Hit>, Outage> {
        self.inner.inspect(updates, known, bounds, visitor)
    }

    fn introduced<V: ObjectVisitor>(
        &self,
        commits: &[Oid],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Introduced<V::Hit>, Outage> {
        self.inner.introduced(commits, bounds, visitor)
    }
}

/// The published keys with the native verifiers alone; gpgme's second opinion is the server's.
struct OneVerifier(FolderKeyring);

impl Keyring for OneVerifier {
    fn verify(&self, signed: Signed<'_>, received_at: Timestamp, skew: i64) -> Result<SignatureFact, Outage> {
        self.0.verify(signed, received_at, skew)
    }

    fn second_opinion(&self, _: Signed<'_>) -> Result<bool, Outage> {
        Ok(true)
    }
}
