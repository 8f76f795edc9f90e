//! `lychgate waiver`: asks for, approves, lists and ends waivers.
//!
//! Whoever may run it on the server is trusted to name the approver, as with
//! `reopen`; the record says which account of the system did. That the approver
//! is neither author nor requester is held here, by the facts of the push.

mod find;
mod show;

use super::error::{CommandError, Outcome};
use super::log::ledger::Ledger;
use super::output::{Format, Output};
use super::{open, process, publish};
use crate::config::WaiverPolicy;
use crate::port::Store;
use crate::push::{Oid, Timestamp};
use crate::waiver::{Order, Refusal, Target, Waiver};
use crate::worker::waive::{self, Desk, Done, Ordered};
use std::path::PathBuf;

/// Arguments of `lychgate waiver`.
#[derive(Debug, clap::Args)]
pub struct WaiverArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Ask for a waiver of what a push was refused for; it waits for an approver.
    Request(Request),
    /// Approve a waiver that was asked for, or ask for one and approve it at once.
    Grant(Grant),
    /// List the waivers that have effect or wait for an approver.
    List(List),
    /// End a waiver.
    Revoke(Revoke),
}

/// What is asked for.
#[derive(Debug, clap::Args)]
struct Asked {
    /// The push that was refused, as its refusal names it.
    #[arg(long, value_name = "ID")]
    push: Option<String>,
    /// The finding's code, such as unsigned-commit.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Bind it to this commit; by default, to each that the push was refused for.
    #[arg(long, value_name = "OID", conflicts_with = "fingerprint")]
    commit: Option<Oid>,
    /// Bind it to the found value with this fingerprint.
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Why, one line; everybody can read it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who asks; by default, the account that pushed.
    #[arg(long, value_name = "NAME")]
    requester: Option<String>,
    /// Who stands behind the work, where no decision of this gate says so; may be repeated.
    #[arg(long, value_name = "NAME")]
    author: Vec<String>,
    /// How long; by default a week, or as long as the policy allows.
    #[arg(long, value_name = "N", conflicts_with = "hours")]
    days: Option<u16>,
    /// How long, in hours.
    #[arg(long, value_name = "N")]
    hours: Option<u16>,
    /// Two accounts of the policy's break_glass list approve it, for hours; it is announced wherever it is used.
    #[arg(long)]
    break_glass: bool,
}

#[derive(Debug, clap::Args)]
struct Request {
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, clap::Args)]
struct Grant {
    /// The waiver that was asked for.
    #[arg(conflicts_with_all = ["push", "code", "commit", "fingerprint", "reason", "requester", "author", "days", "hours", "break_glass"])]
    id: Option<String>,
    #[command(flatten)]
    asked: Asked,
    /// The account that approves.
    #[arg(long, value_name = "NAME")]
    approver: String,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those that have effect now.
    #[arg(long, conflicts_with = "all")]
    active: bool,
    /// Those that are over, too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// The waiver.
    id: String,
    /// Why, one line.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who ends it; by default, the account of the system.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, clap::Args)]
struct Where {
    /// The repository; by default the one of the current directory.
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs `lychgate waiver`.
///
/// # Errors
/// `not-installed`, `unknown-push`, `nothing-to-waive`, `missing-argument`, a [`Refusal`]'s code; outages of the
/// store, the policy and the signer.
pub fn run(args: &WaiverArgs, now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    let place = match &args.action {
        Action::Request(Request { place, .. })
        | Action::Grant(Grant { place, .. })
        | Action::List(List { place, .. })
        | Action::Revoke(Revoke { place, .. }) => place,
    };
    let ledger = Ledger::open(place.repo.as_deref(), now, out)?;
    let (policy, _) = open::policy(&ledger.home.policy())?;
    let office = Office {
        ledger: &ledger,
        policy: &policy.waivers,
        format: place.format,
        now,
    };
    match &args.action {
        Action::Request(request) => office.ask(&request.asked, None, out),
        Action::Grant(Grant {
            id: Some(id), approver, ..
        }) => {
            let order = Order::Approve {
                waiver: id.clone(),
                by: approver.clone(),
            };
            office.record(&order, out)
        }
        Action::Grant(grant) => office.ask(&grant.asked, Some(&grant.approver), out),
        Action::List(list) => office.list(list, out),
        Action::Revoke(revoke) => office.revoke(revoke, out),
    }
}

/// An open installation with its policy.
struct Office<'a> {
    ledger: &'a Ledger,
    policy: &'a WaiverPolicy,
    format: Format,
    now: Timestamp,
}

impl Office<'_> {
    fn ask(&self, asked: &Asked, approver: Option<&str>, out: &mut Output) -> Result<Outcome, CommandError> {
        let order = Order::Ask {
            asks: self.asks(asked)?,
            approver: approver.map(str::to_owned),
        };
        self.record(&order, out)
    }

    fn revoke(&self, revoke: &Revoke, out: &mut Output) -> Result<Outcome, CommandError> {
        if revoke.reason.trim().is_empty() || revoke.reason.chars().any(char::is_control) {
            return Err(refused(&Refusal::Reason));
        }
        let order = Order::Revoke {
            waiver: revoke.id.clone(),
            by: revoke.by.clone().unwrap_or_else(process::account),
            reason: revoke.reason.chars().take(256).collect(),
        };
        self.record(&order, out)
    }

    fn record(&self, order: &Order, out: &mut Output) -> Result<Outcome, CommandError> {
        if open::has_secret(order, &self.ledger.home)? {
            return Err(refused(&Refusal::SecretInReason));
        }
        let signer = self.ledger.signer()?;
        let desk = Desk {
            store: &self.ledger.store,
            signer: &signer,
            gate: &self.ledger.gate,
            key: &self.ledger.key,
            policy: self.policy,
        };
        let via = format!("shell {}", process::account());
        let ordered = Ordered {
            id: process::fresh_id(self.now)?,
            order,
            via: &via,
            source: None,
            now: self.now,
        };
        match self.ledger.wait(waive::order(&desk, &ordered))? {
            Done::Refused(refusal) => Err(refused(&refusal)),
            Done::Recorded(waivers) => {
                self.publish(out)?;
                Ok(self.told(&waivers, true, out))
            }
            Done::Already(waivers) => Ok(self.told(&waivers, false, out)),
        }
    }

    /// Developers' dry runs shall know it before the next push. Of two that publish at once, the last looks again.
    fn publish(&self, out: &mut Output) -> Result<(), CommandError> {
        let read = || self.ledger.wait(self.ledger.store.waivers(self.now));
        let mut records = read()?;
        loop {
            publish::refresh_waivers(&self.ledger.home, &records, out);
            let after = read()?;
            if after == records {
                return Ok(());
            }
            records = after;
        }
    }

    fn told(&self, waivers: &[Waiver], new: bool, out: &mut Output) -> Outcome {
        show::told(self.policy, waivers, new, self.now, self.format, out);
        Outcome::Yes
    }

    fn list(&self, list: &List, out: &mut Output) -> Result<Outcome, CommandError> {
        let since = if list.all { Timestamp::from_unix(0) } else { self.now };
        let all = self
            .ledger
            .wait(waive::read(&self.ledger.store, &self.ledger.key, since))?;
        let wanted = |waiver: &&Waiver| show::is_listed(&waiver.standing(self.policy, self.now), list.active, list.all);
        let shown: Vec<&Waiver> = all.iter().filter(wanted).collect();
        show::list(self.policy, &shown, self.now, self.format, out);
        Ok(Outcome::Yes)
    }
}

fn refused(refusal: &Refusal) -> CommandError {
    let next = match refusal {
        Refusal::Unknown | Refusal::Over(..) => "list them: lychgate waiver list --all",
        Refusal::SecretInReason => "revoke that secret if it is one, and give another --reason",
        Refusal::Reason => "give --reason with one line that says why",
        Refusal::TooLong(_) => "ask for less: --days N",
        Refusal::NotWaivable(_) | Refusal::Never(_) | Refusal::NobodyApproves(_) => {
            "mend what was found; what may be waived, and by whom, stands in [waivers] of policy.toml"
        }
        _ => "name another approver",
    };
    CommandError::Finding {
        code: refusal.code(),
        what: refusal.to_string(),
        next: next.to_owned(),
    }
}

/// What the arguments bind it to, if they say so.
fn target(asked: &Asked) -> Option<Target> {
    let commit = asked.commit.map(Target::Commit);
    commit.or_else(|| asked.fingerprint.clone().map(Target::Fingerprint))
}
