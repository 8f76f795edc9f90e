//! What the bot asks of a forge, and of its inbox and outbox.
//!
//! In scope: the traits, what passes through them, and how they fail. Out of
//! scope: any vendor (adapters live in `forges` and `store`).

use super::Outage;
use crate::config::Retention;
use crate::forge::guard::{GuardedTags, Landing, Protection, Wanted};
use crate::forge::{Change, Display, ForgeEvent, ForgeRepo, Leak, Permission};
use crate::push::{Oid, RefName, Timestamp};
use serde::{Deserialize, Serialize};

/// How a call to a forge failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ForgeError {
    /// Try again, not before this many seconds: rate limit, 5xx, time-out, connection.
    #[error("{why}; again in {after_seconds} s")]
    Later {
        /// Seconds to wait.
        after_seconds: u64,
        /// Why, without response bodies.
        why: String,
    },
    /// It will not work as asked: 401, 403 without a limit, 404, 410, 422.
    #[error("{code}: {why}")]
    Refused {
        /// Kebab-case code, such as `permission-missing`, `gone`.
        code: &'static str,
        /// Why, without response bodies.
        why: String,
    },
}

/// A forge's API, in our words. Each adapter holds its credentials in `secrecy` types.
pub trait Forge: Send + Sync {
    /// The change as it is now.
    fn change(&self, repo: &ForgeRepo, number: u64) -> impl Future<Output = Result<Change, ForgeError>> + Send;

    /// Numbers of all open changes of a repository.
    fn open_changes(&self, repo: &ForgeRepo) -> impl Future<Output = Result<Vec<u64>, ForgeError>> + Send;

    /// As [`Forge::open_changes`], each with its head and base branch where the forge's listing has them: then the
    /// sweep need not ask for each.
    fn open_heads(&self, repo: &ForgeRepo) -> impl Future<Output = Result<Vec<OpenChange>, ForgeError>> + Send {
        async move {
            let numbers = self.open_changes(repo).await?.into_iter();
            Ok(numbers.map(|number| OpenChange { number, at: None }).collect())
        }
    }

    /// The repositories that we serve there.
    fn repositories(&self) -> impl Future<Output = Result<Vec<ForgeRepo>, ForgeError>> + Send;

    /// Where a repository is by now, under which name and installation: renamed and transferred ones keep their
    /// number. `gone` where its name belongs to another one, which was made after it.
    fn whereabouts(&self, repo: &ForgeRepo) -> impl Future<Output = Result<ForgeRepo, ForgeError>> + Send;

    /// What the account may do in the repository (for commands and waivers); none for one that there is not.
    fn permission(
        &self,
        repo: &ForgeRepo,
        account: &str,
    ) -> impl Future<Output = Result<Permission, ForgeError>> + Send;

    /// URL, user and password for fetching, and the refs that hold a change's head.
    fn fetch_source(
        &self,
        repo: &ForgeRepo,
        number: Option<u64>,
    ) -> impl Future<Output = Result<FetchSource, ForgeError>> + Send;

    /// Makes the forge show this, and nothing twice: looks for our marker first.
    ///
    /// Re-reads the head right before writing: if it has moved, writes nothing and gives `false`.
    fn show(&self, display: &Display) -> impl Future<Output = Result<bool, ForgeError>> + Send;

    /// Answers a command with a comment; `marker` makes it one comment however often it is called.
    fn reply(
        &self,
        repo: &ForgeRepo,
        number: u64,
        marker: &str,
        text: &str,
    ) -> impl Future<Output = Result<(), ForgeError>> + Send;

    /// Asks the forge to deliver again what it failed to deliver since `since`; gives how many.
    fn redeliver(&self, since: Timestamp) -> impl Future<Output = Result<u32, ForgeError>> + Send;

    /// What the forge enforces on a branch, all of its mechanisms together.
    fn protection(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
    ) -> impl Future<Output = Result<Protection, ForgeError>> + Send;

    /// How these commits of a branch's own line, oldest first, came there; with the protection of now.
    fn landing(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        steps: &[Oid],
    ) -> impl Future<Output = Result<Landing, ForgeError>> + Send;

    /// Makes the forge enforce what is wanted on a branch, and takes nothing away that it enforces already.
    ///
    /// Gives the calls that change something, for people; with `dry_run` it makes none of them.
    fn protect(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        wanted: Wanted,
        dry_run: bool,
    ) -> impl Future<Output = Result<Vec<String>, ForgeError>> + Send;

    /// What the forge enforces on each of these tags, in their order. `not-found` where it has no such API.
    fn tag_protection(
        &self,
        repo: &ForgeRepo,
        names: &[RefName],
    ) -> impl Future<Output = Result<Vec<Protection>, ForgeError>> + Send;

    /// As [`Forge::protect`], for the tags of one rule of the policy.
    fn protect_tags(
        &self,
        repo: &ForgeRepo,
        tags: &GuardedTags,
        dry_run: bool,
    ) -> impl Future<Output = Result<Vec<String>, ForgeError>> + Send;

    /// Permissions and events that we need and do not have, for people.
    fn missing(&self, repo: &ForgeRepo) -> impl Future<Output = Result<Vec<String>, ForgeError>> + Send;

    /// What the forge says now of an alert about a secret; `None`: there is none of that number, or the forge has no
    /// such alerts. Never asks for the secret itself.
    fn leak(&self, _repo: &ForgeRepo, _alert: u64) -> impl Future<Output = Result<Option<Leak>, ForgeError>> + Send {
        async { Ok(None) }
    }

    /// Uploads findings as SARIF 2.1.0 about one commit of a ref; `false` where the forge takes none.
    fn upload(
        &self,
        repo: &ForgeRepo,
        name: &str,
        head: Oid,
        sarif: &str,
    ) -> impl Future<Output = Result<bool, ForgeError>> + Send;
}

/// An open change in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenChange {
    /// Its number.
    pub number: u64,
    /// Its head and the branch that it would enter, where the listing has them.
    pub at: Option<(Oid, RefName)>,
}

/// From where to fetch.
pub struct FetchSource {
    /// `https://…`; never holds the credential.
    pub url: String,
    /// User name for HTTP basic authentication.
    pub user: String,
    /// Its password or token.
    pub password: secrecy::SecretString,
    /// The ref specs to fetch, such as `+refs/pull/7/head:refs/changes/7/head`.
    pub refspecs: Vec<String>,
}

/// A delivery as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The forge's name in our configuration.
    pub forge: String,
    /// The forge's id of the delivery: stored once.
    pub delivery: String,
    /// When it came.
    pub received_at: Timestamp,
    /// What it means.
    pub event: ForgeEvent,
}

impl Delivery {
    /// What all steps of this delivery have in common, for traces.
    pub fn seed(&self) -> String {
        format!("{} {}", self.forge, self.delivery)
    }
}

/// One unit of work of a lane: (repository, change) pairs are worked on one at a time, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased<T> {
    /// Row id.
    pub row: i64,
    /// Grows with each lease: a write that carries an older one is refused.
    pub fence: i64,
    /// How often it was tried before.
    pub attempts: u32,
    /// The work.
    pub work: T,
}

/// The durable inbox and outbox of the bot.
pub trait Queue: Send + Sync {
    /// Stores deliveries, each unless its (forge, delivery id) is there already: one durable transaction for all
    /// of them. Gives, in their order, whether it was new.
    fn accept_all(&self, deliveries: &[Delivery]) -> impl Future<Output = Result<Vec<bool>, Outage>> + Send;

    /// As [`Queue::accept_all`], for one.
    fn accept(&self, delivery: &Delivery) -> impl Future<Output = Result<bool, Outage>> + Send {
        async move { Ok(self.accept_all(std::slice::from_ref(delivery)).await? == [true]) }
    }

    /// Whether the store can be reached.
    fn ping(&self) -> impl Future<Output = Result<(), Outage>> + Send;

    /// Leases the oldest delivery whose lane is free, until `until`. Of events that cover their lane, the others
    /// that wait there are done with it.
    fn lease_delivery(
        &self,
        now: Timestamp,
        until: Timestamp,
        owner: &str,
    ) -> impl Future<Output = Result<Option<Leased<Delivery>>, Outage>> + Send;

    /// Ends a delivery, and puts what it leads to into the outbox, in one transaction. `false`: the lease was lost.
    fn finish_delivery(
        &self,
        lease: &Leased<Delivery>,
        displays: &[Display],
    ) -> impl Future<Output = Result<bool, Outage>> + Send;

    /// Gives a delivery back, to be tried not before `again`; after too many attempts it goes to the dead letters.
    fn postpone_delivery(
        &self,
        lease: &Leased<Delivery>,
        again: Timestamp,
        why: &str,
    ) -> impl Future<Output = Result<(), Outage>> + Send;

    /// The newest display that was put into the outbox for a change, whatever became of it.
    fn latest_display(
        &self,
        repo: &ForgeRepo,
        number: u64,
    ) -> impl Future<Output = Result<Option<Display>, Outage>> + Send;

    /// Leases the newest display of the lane that has waited longest; older ones of that lane are superseded.
    fn lease_display(
        &self,
        now: Timestamp,
        until: Timestamp,
        owner: &str,
    ) -> impl Future<Output = Result<Option<Leased<Display>>, Outage>> + Send;

    /// Ends a display. `false`: the lease was lost.
    fn finish_display(&self, lease: &Leased<Display>) -> impl Future<Output = Result<bool, Outage>> + Send;

    /// Gives a display back, to be tried not before `again`.
    fn postpone_display(
        &self,
        lease: &Leased<Display>,
        again: Timestamp,
        why: &str,
    ) -> impl Future<Output = Result<(), Outage>> + Send;

    /// Puts a lease's end off to `until`, while its work goes on. `false`: the lease was lost.
    fn renew(
        &self,
        letter_box: LetterBox,
        lease: (i64, i64),
        until: Timestamp,
    ) -> impl Future<Output = Result<bool, Outage>> + Send;

    /// What was laid aside after too many attempts, newest first, at most `limit`.
    fn dead_letters(&self, limit: u32) -> impl Future<Output = Result<Vec<DeadLetter>, Outage>> + Send;

    /// Lets a dead letter be tried again at once, as if for the first time. `false`: it is none (any more).
    fn replay(&self, letter_box: LetterBox, row: i64) -> impl Future<Output = Result<bool, Outage>> + Send;

    /// Does what the store wants done now and then, beside its work. Call it about once a second.
    fn tend(&self) -> impl Future<Output = Result<(), Outage>> + Send {
        async { Ok(()) }
    }

    /// Forgets done deliveries that need not be kept, at most `most`, the oldest first; gives how many.
    fn forget(&self, now: Timestamp, kept: &Retention, most: u32) -> impl Future<Output = Result<u64, Outage>> + Send;

    /// How much waits.
    fn depth(&self) -> impl Future<Output = Result<Depth, Outage>> + Send;
}

/// The two boxes of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterBox {
    /// Deliveries.
    Inbox,
    /// Displays.
    Outbox,
}

/// Work that was laid aside after too many attempts, for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Where it is.
    pub letter_box: LetterBox,
    /// Its row there.
    pub row: i64,
    /// Its lane: forge, repository's number, change.
    pub lane: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time; holds no secret.
    pub why: String,
    /// The event or the display as JSON.
    pub content: String,
}

/// How much waits in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Deliveries that wait or are worked on.
    pub inbox: u64,
    /// Displays that wait or are being sent.
    pub outbox: u64,
    /// Dead letters of both.
    pub dead: u64,
    /// When the oldest delivery that waits came, seconds since 1970; 0: none waits.
    pub oldest: i64,
}
