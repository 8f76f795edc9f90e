//! The ledger of a repository's gate, as the bot uses it for waivers: opened for each use, so that hook, shell and
//! bot share it.

use super::bench::policy;
use super::open;
use crate::attest::PublicKey;
use crate::cmd::error::CommandError;
use crate::cmd::home::Home;
use crate::cmd::{process, settle};
use crate::config::{RepositoryConfig, WaiverPolicy};
use crate::facts::{Fact, no_waivers};
use crate::port::Outage;
use crate::push::{Oid, Timestamp};
use crate::signer::FileSigner;
use crate::store::SqliteStore;
use crate::waiver::{Done, Order, Refusal, Standing, Target, Waiver};
use crate::worker::Gate;
use crate::worker::waive::{self, Desk, Ordered};

/// What a revocation says that nobody ordered.
const REASON: &str = "its commit left the change: it was rewritten";

/// An order as it came.
pub(super) struct Given<'a> {
    pub(super) order: &'a Order,
    pub(super) via: &'a str,
    pub(super) source: Option<&'a str>,
    pub(super) now: Timestamp,
}

/// An opened gate.
struct Opened {
    home: Home,
    store: SqliteStore,
    signer: FileSigner,
    gate: Gate,
    key: PublicKey,
}

fn home(config: &RepositoryConfig) -> Option<Home> {
    config.gate.as_deref().map(Home::of)
}

async fn opened(config: &RepositoryConfig) -> Result<Opened, Outage> {
    let home = home(config).ok_or_else(|| Outage {
        code: "no-ledger",
        what: format!("{} has no ledger", config.resource),
        why: "its [[repository]] names no gate".to_owned(),
        next: "add gate = \"/path/to/repository.git\" in bot.toml".to_owned(),
    })?;
    Ok(Opened {
        store: open::store(&home).await?,
        signer: open::signer(&home)?,
        gate: settle::gate(&home)?,
        key: open::public_key(&home)?,
        home,
    })
}

/// Looks at the start whether the gate can be used: a waiver for another resource than the hook's would be none
/// there.
///
/// # Errors
/// `resource-differs`; the outages of the settings and the signer.
pub(super) fn check(config: &RepositoryConfig) -> Result<(), CommandError> {
    let Some(home) = home(config) else { return Ok(()) };
    open::signer(&home)?;
    let settings = open::settings(&home)?;
    if settings.resource == config.resource {
        return Ok(());
    }
    let what = format!("bot.toml calls it {}, its gate {}", config.resource, settings.resource);
    Err(CommandError::usage(
        "resource-differs",
        what,
        format!("write resource = \"{}\"", settings.resource),
    ))
}

/// The waivers of a repository that are not over; none where it has no ledger.
pub(super) async fn waivers(config: &RepositoryConfig, now: Timestamp) -> Fact<Vec<Waiver>> {
    let Some(home) = home(config) else {
        return no_waivers();
    };
    let read = async {
        let (store, key) = (open::store(&home).await?, open::public_key(&home)?);
        let all = waive::read(&store, &key, now).await;
        store.close().await?;
        all
    };
    match read.await {
        Ok(all) => Fact::Known(all),
        Err(outage) => unread(&outage),
    }
}

/// The ids of the waivers that have effect now, as a text; empty where there are none.
///
/// Synchronous, since it belongs to what a verdict is stamped with: read by a thread of its own, in about a
/// millisecond, for the caller may be in an asynchronous one.
pub(super) fn in_effect(config: &RepositoryConfig, policy: &WaiverPolicy, now: Timestamp) -> String {
    if config.gate.is_none() {
        return String::new();
    }
    let read = || match open::runtime() {
        Ok(runtime) => runtime.block_on(waivers(config, now)),
        Err(outage) => unread(&outage),
    };
    let read = std::thread::scope(|scope| scope.spawn(read).join());
    match read {
        Ok(Fact::Known(all)) => all
            .iter()
            .filter(|waiver| waiver.standing(policy, now) == Standing::Active)
            .map(|waiver| format!(" {}", waiver.id))
            .collect(),
        // No verdict of a time when they could be read is one of now.
        Ok(Fact::Unavailable { .. }) | Err(_) => " unread".to_owned(),
    }
}

fn unread(outage: &Outage) -> Fact<Vec<Waiver>> {
    Fact::Unavailable {
        code: outage.code.to_owned(),
        why: outage.to_string(),
    }
}

/// Records an order.
///
/// # Errors
/// `no-ledger`; the outages of policy, store and signer.
pub(super) async fn order(config: &RepositoryConfig, given: &Given<'_>) -> Result<Done, Outage> {
    let opened = opened(config).await?;
    if open::has_secret(given.order, &opened.home)? {
        return Ok(Done::Refused(Refusal::SecretInReason));
    }
    let (policy, _) = policy(config)?;
    let desk = Desk {
        store: &opened.store,
        signer: &opened.signer,
        gate: &opened.gate,
        key: &opened.key,
        policy: &policy.waivers,
    };
    let ordered = Ordered {
        id: process::fresh_id(given.now)?,
        order: given.order,
        via: given.via,
        source: given.source,
        now: given.now,
    };
    let done = waive::order(&desk, &ordered).await;
    opened.store.close().await?;
    done
}

/// Ends the waivers that were asked for at a change for a commit that has left it by a force-push.
///
/// * `lane`: the change's.
/// * `commits`: those that it has now.
///
/// # Errors
/// As for [`order`].
pub(super) async fn end_left_behind(
    config: &RepositoryConfig,
    waivers: &Fact<Vec<Waiver>>,
    lane: &str,
    commits: &[Oid],
    now: Timestamp,
) -> Result<(), Outage> {
    let Fact::Known(all) = waivers else { return Ok(()) };
    let left = |waiver: &&Waiver| {
        let gone = matches!(&waiver.ask.target, Target::Commit(oid) if !commits.contains(oid));
        waiver.revoked.is_none() && waiver.ask.change.as_deref() == Some(lane) && gone
    };
    for waiver in all.iter().filter(left) {
        let order = Order::Revoke {
            waiver: waiver.id.clone(),
            by: "lychgate".to_owned(),
            reason: REASON.to_owned(),
        };
        let given = Given {
            order: &order,
            via: lane,
            source: None,
            now,
        };
        // Another replica may have ended it meanwhile: then this is refused, which is as well.
        self::order(config, &given).await?;
    }
    Ok(())
}
