//! The bot's way from a delivery to what the forge shows, one lane at a time.
//!
//! In scope: leases, order, retries, when to leave a forge alone, and that
//! nothing is shown for a head that was not evaluated. Out of scope: receiving
//! (`server`), storing and calling forges (adapters), one look and its verdict
//! (`verdict`), judging (`change`), words (`feedback::change`), repair (`sweep`).
//!
//! Work is idempotent by state: whatever a delivery says, the change is read
//! again, its newest head is judged, and a display is absolute. So a delivery
//! may be lost, doubled or late without any other effect than time.

use super::change::Judged;
use super::chat::Given;
use super::landed::Keeper;
use super::metrics::{Count, Metrics};
use super::verdict::is_verdict_on;
use crate::config::{Retention, WaiverPolicy};
use crate::feedback::change::{self as feedback, Frame};
use crate::forge::{Change, Display, ForgeEvent, ForgeRepo};
use crate::port::{Delivery, FetchSource, Forge, ForgeError, Leased, LetterBox, Outage, Queue};
use crate::push::{Oid, RefName, RefUpdate, Timestamp};
use crate::waiver::{Done, Order};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Seconds of a lease, after which what a dead worker held is taken over: longer than a forge may take over a call
/// whose sender is gone (GitHub: 10 s), so that whoever looks then sees its effect.
const LEASE: i64 = 20;
/// How often a lease is renewed while its work goes on.
const RENEWAL: Duration = Duration::from_secs(6);
/// Longest that one call of a forge may take.
const CALL: Duration = Duration::from_secs(60);
/// Seconds of the first and of the longest pause between two tries.
const BACKOFF: (u64, u64) = (2, 600);
/// Failures in a row after which a forge is left alone.
const BREAKER_FAILURES: u32 = 8;
/// Seconds for which it is.
const BREAKER_PAUSE: i64 = 30;
/// Most open changes among which a head is looked for.
pub(super) const MOST_CHANGES: usize = 1000;

/// Why a change could not be judged.
#[derive(Debug, Clone)]
pub enum Unable {
    /// The forge's repository has another head than its API says: one of them lags.
    Moved,
    /// Ours or the system's.
    Outage(Outage),
}

/// Fetches and judges; the one who knows the repositories' policies.
pub trait Evaluator: Keeper {
    /// Digest of what a head is judged by (policy, rules, waivers in effect), 16 hex digits, and the policy's own first digits;
    /// `None` for a repository that is not in the configuration.
    ///
    /// # Errors
    /// The policy's outage.
    fn stamp(&self, repo: &ForgeRepo) -> Result<Option<Stamp>, Outage>;

    /// What keeps repositories of the configuration from being judged or recorded.
    fn faults(&self) -> impl Future<Output = Vec<RepositoryFault>> + Send;

    /// Judges the head of a change; exactly this head.
    fn evaluate(
        &self,
        change: &Change,
        source: FetchSource,
        now: Timestamp,
    ) -> impl Future<Output = Result<Judged, Unable>> + Send;

    /// What holds for waivers in a repository, and its resource URI; `None` if it has no ledger for them.
    ///
    /// # Errors
    /// The policy's outage.
    fn waivers(&self, repo: &ForgeRepo) -> Result<Option<(WaiverPolicy, String)>, Outage>;

    /// Records an order about waivers of a repository that has a ledger, once for each source.
    ///
    /// * `via`: for the record, by which way it came.
    fn order(
        &self,
        repo: &ForgeRepo,
        order: &Order,
        via: &str,
        source: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Done, Outage>> + Send;
}

/// What is wrong with the configuration of one repository.
#[derive(Debug, Clone)]
pub struct RepositoryFault {
    /// Forge and name, or number, as they stand in the configuration.
    pub repository: String,
    /// What, where, why.
    pub outage: Outage,
}

/// By what a head is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Digest of policy, rules and waivers in effect, 16 hex digits.
    pub all: String,
    /// First 12 digits of the policy's digest, for people.
    pub policy: String,
    /// Whether verdicts only tell, and hold nothing up.
    pub report_only: bool,
    /// Whether findings are uploaded to the forge's code scanning.
    pub sarif: bool,
}

impl Stamp {
    /// As it is shown under the repository's mode.
    pub(super) fn shown(&self, display: Display) -> Display {
        match self.report_only {
            true => feedback::only_told(display),
            false => display,
        }
    }
}

/// Takes one line of the log: what happened, and fields that hold no secret.
pub type Journal = Arc<dyn Fn(&'static str, &[(&'static str, String)]) + Send + Sync>;

/// Everything that the lanes share.
pub struct Bot<Q, F, E> {
    /// The durable inbox and outbox.
    pub queue: Arc<Q>,
    /// The forges by their names in the configuration.
    pub forges: BTreeMap<String, (F, Breaker)>,
    /// Fetches and judges.
    pub evaluator: E,
    /// The clock.
    pub clock: fn() -> Timestamp,
    /// The log.
    pub journal: Journal,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Rung when a delivery was stored.
    pub bell: Arc<Notify>,
    /// Rung when a display was stored.
    pub outgoing: Notify,
    /// This process, for leases.
    pub owner: String,
    /// How long an idle worker waits before it looks again.
    pub idle: Duration,
    /// How long done deliveries are kept.
    pub kept: Retention,
}

/// Leaves a forge alone for a while after many failures in a row.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: AtomicU32,
    closed_at: AtomicI64,
}

impl Breaker {
    /// Seconds for which the forge is still left alone.
    fn remaining(&self, now: Timestamp) -> Option<u64> {
        u64::try_from(self.closed_at.load(Relaxed) - now.unix())
            .ok()
            .filter(|seconds| *seconds > 0)
    }

    /// Notes how a call ended; `true` if the forge is left alone from now on.
    fn note(&self, failed: bool, now: Timestamp) -> bool {
        if !failed {
            self.failures.store(0, Relaxed);
            return false;
        }
        let opens = self.failures.fetch_add(1, Relaxed) + 1 >= BREAKER_FAILURES;
        if opens {
            self.failures.store(0, Relaxed);
            self.closed_at.store(now.unix() + BREAKER_PAUSE, Relaxed);
        }
        opens
    }
}

/// Why work is given back.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) after: Option<u64>,
    pub(super) why: String,
}

impl From<Outage> for Again {
    fn from(outage: Outage) -> Self {
        Self {
            after: None,
            why: format!("{}: {outage}", outage.code),
        }
    }
}

/// How a forge answered, where it did.
pub(super) enum Answer<T> {
    Yes(T),
    /// It is not there, or not for us: trying again soon changes nothing.
    No(&'static str, String),
}

impl<Q: Queue + 'static, F: Forge + 'static, E: Evaluator> Bot<Q, F, E> {
    /// Works on deliveries until told to stop; a delivery under way is finished first.
    pub async fn deliveries(&self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            match self.one_delivery().await {
                Ok(true) => {}
                Ok(false) => self.wait(&self.bell, &mut stop).await,
                Err(outage) => {
                    self.store_down(&outage);
                    self.wait(&self.bell, &mut stop).await;
                }
            }
        }
    }

    /// Sends displays until told to stop; one under way is finished first.
    pub async fn displays(&self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            match self.one_display().await {
                Ok(true) => {}
                Ok(false) => self.wait(&self.outgoing, &mut stop).await,
                Err(outage) => {
                    self.store_down(&outage);
                    self.wait(&self.outgoing, &mut stop).await;
                }
            }
        }
    }

    pub(super) fn store_down(&self, outage: &Outage) {
        self.metrics.count(Count::StoreDown);
        self.log(
            "store-down",
            &[("code", outage.code.to_owned()), ("why", outage.to_string())],
        );
    }

    async fn wait(&self, bell: &Notify, stop: &mut watch::Receiver<bool>) {
        tokio::select! {
            () = bell.notified() => {}
            () = tokio::time::sleep(self.idle) => {}
            _ = stop.changed() => {}
        }
    }

    pub(super) fn log(&self, what: &'static str, fields: &[(&'static str, String)]) {
        (self.journal)(what, fields);
    }

    fn until(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_unix(now.unix() + LEASE)
    }

    /// Works on one delivery; `false` if there is none.
    ///
    /// # Errors
    /// The store's outage; the delivery's own failures are in the store.
    pub async fn one_delivery(&self) -> Result<bool, Outage> {
        let now = (self.clock)();
        let Some(lease) = self.queue.lease_delivery(now, self.until(now), &self.owner).await? else {
            return Ok(false);
        };
        let (held, begun) = ((lease.row, lease.fence), Instant::now());
        let Some(handled) = self.held(LetterBox::Inbox, held, self.handle(&lease.work)).await else {
            self.metrics.count(Count::LeaseLost);
            return Ok(true);
        };
        let lane = lease.work.event.lane(&lease.work.forge);
        let (seed, fields) = (lease.work.seed(), [("lane", lane.as_str())]);
        let traces = &self.metrics.traces;
        traces.end("delivery", &seed, begun, handled.is_ok(), &fields);
        match handled {
            Ok(displays) => {
                if !self.queue.finish_delivery(&lease, &displays).await? {
                    self.metrics.count(Count::LeaseLost);
                }
                self.outgoing.notify_one();
            }
            Err(again) => {
                let (at, why) = self.postponed("delivery-postponed", &lease, &again);
                self.queue.postpone_delivery(&lease, at, &why).await?;
            }
        }
        Ok(true)
    }

    /// Sends one display; `false` if there is none.
    ///
    /// # Errors
    /// The store's outage.
    pub async fn one_display(&self) -> Result<bool, Outage> {
        let now = (self.clock)();
        let Some(lease) = self.queue.lease_display(now, self.until(now), &self.owner).await? else {
            return Ok(false);
        };
        let (held, begun) = ((lease.row, lease.fence), Instant::now());
        let Some(shown) = self.held(LetterBox::Outbox, held, self.show(&lease.work)).await else {
            self.metrics.count(Count::LeaseLost);
            return Ok(true);
        };
        let lane = lease.work.lane();
        let fields = [("lane", lane.as_str()), ("evaluation", &lease.work.evaluation)];
        let traces = &self.metrics.traces;
        traces.end("display", &lease.work.evaluation, begun, shown.is_ok(), &fields);
        match shown {
            Ok(()) => {
                if !self.queue.finish_display(&lease).await? {
                    self.metrics.count(Count::LeaseLost);
                }
            }
            Err(again) => {
                let (at, why) = self.postponed("display-postponed", &lease, &again);
                self.queue.postpone_display(&lease, at, &why).await?;
            }
        }
        Ok(true)
    }

    /// Does leased work, and renews the lease meanwhile. `None`: another took it over, so it was given up.
    async fn held<T>(&self, letter_box: LetterBox, lease: (i64, i64), work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = tokio::time::sleep(RENEWAL) => {}
            }
            let until = self.until((self.clock)());
            // A store that is away for a moment ends no lease: its answer does.
            if matches!(self.queue.renew(letter_box, lease, until).await, Ok(false)) {
                return None;
            }
        }
    }

    fn postponed<T>(&self, what: &'static str, lease: &Leased<T>, again: &Again) -> (Timestamp, String) {
        let doubled = BACKOFF.0.saturating_mul(1 << lease.attempts.min(16)).min(BACKOFF.1);
        let seconds = again.after.unwrap_or(doubled);
        let seconds = i64::try_from(seconds).unwrap_or(BREAKER_PAUSE);
        self.metrics.count(Count::Postponed);
        self.log(
            what,
            &[
                ("row", lease.row.to_string()),
                ("attempts", lease.attempts.to_string()),
                ("after", seconds.to_string()),
                ("why", again.why.clone()),
            ],
        );
        (Timestamp::from_unix((self.clock)().unix() + seconds), again.why.clone())
    }

    /// Calls a forge, unless it is left alone at present.
    pub(super) async fn call<'a, T, R>(&'a self, name: &str, ask: impl FnOnce(&'a F) -> R) -> Result<Answer<T>, Again>
    where
        R: Future<Output = Result<T, ForgeError>>,
    {
        let Some((forge, breaker)) = self.forges.get(name) else {
            return Ok(Answer::No("unknown-forge", "it is not in the configuration".to_owned()));
        };
        if let Some(seconds) = breaker.remaining((self.clock)()) {
            let why = "the forge is left alone after many failures".to_owned();
            return Err(Again {
                after: Some(seconds),
                why,
            });
        }
        let begun = Instant::now();
        let result = tokio::time::timeout(CALL, ask(forge)).await.unwrap_or_else(|_| {
            Err(ForgeError::Later {
                after_seconds: 10,
                why: "no answer in time".to_owned(),
            })
        });
        self.metrics.called_in(begun.elapsed());
        let failed = matches!(result, Err(ForgeError::Later { .. }));
        match &result {
            Ok(_) => {}
            Err(ForgeError::Later { .. }) => self.metrics.count(Count::CallFailed),
            Err(ForgeError::Refused { .. }) => self.metrics.count(Count::CallRefused),
        }
        if breaker.note(failed, (self.clock)()) {
            self.metrics.count(Count::BreakerOpen);
            self.log("forge-left-alone", &[("forge", name.to_owned())]);
        }
        match result {
            Ok(value) => Ok(Answer::Yes(value)),
            Err(ForgeError::Refused { code, why }) => Ok(Answer::No(code, why)),
            Err(ForgeError::Later { after_seconds, why }) => Err(Again {
                after: Some(after_seconds.max(1)),
                why,
            }),
        }
    }

    async fn handle(&self, delivery: &Delivery) -> Result<Vec<Display>, Again> {
        if let Some(given) = Given::of(&delivery.event) {
            return self.command(&given).await;
        }
        match &delivery.event {
            ForgeEvent::ChangeTouched { repo, number } => self.change(repo, *number, false).await,
            ForgeEvent::RecheckAsked {
                repo,
                number: Some(number),
                ..
            } => self.change(repo, *number, true).await,
            ForgeEvent::RecheckAsked { repo, head, .. } => self.of_head(delivery, repo, *head).await,
            ForgeEvent::QueueChecked {
                repo,
                head,
                base,
                base_oid,
            } => self.queue_head(repo, *head, base, *base_oid).await,
            ForgeEvent::Pressed { repo, head, .. } => self.of_head(delivery, repo, Some(*head)).await,
            ForgeEvent::SettingsChanged { repo: None } => {
                self.sweep_some(&delivery.forge, None).await?;
                self.installed(&delivery.forge).await
            }
            ForgeEvent::SettingsChanged { repo: Some(repo) } => {
                let Some(repo) = self.found(repo).await? else {
                    return Ok(Vec::new());
                };
                self.sweep_some(&delivery.forge, Some(&repo)).await?;
                self.look_after(&repo, true).await
            }
            ForgeEvent::ChangeClosed {
                repo,
                number,
                merged_as: Some(to),
            } => self.merged(repo, *number, *to).await,
            ForgeEvent::Pushed {
                repo,
                name,
                old,
                new,
                by,
            } => {
                let told = RefUpdate {
                    name: name.clone(),
                    old: *old,
                    new: *new,
                };
                self.pushed(repo, &told, by.as_deref()).await
            }
            ForgeEvent::SecretAlerted { repo, alert } => self.alerted(repo, *alert).await,
            ForgeEvent::Installed { repo } => self.first_report(repo).await,
            ForgeEvent::ChangeClosed { .. } | ForgeEvent::Command { .. } | ForgeEvent::Ignored { .. } => Ok(Vec::new()),
        }
    }

    /// A check of a head without its change, as forks have it: asks anew for the change, in that change's lane.
    async fn of_head(&self, delivery: &Delivery, repo: &ForgeRepo, head: Option<Oid>) -> Result<Vec<Display>, Again> {
        let numbers = self.call(&repo.forge, |forge| forge.open_changes(repo)).await?;
        let Answer::Yes(numbers) = numbers else {
            return Ok(Vec::new());
        };
        for number in numbers.into_iter().take(MOST_CHANGES) {
            let change = self.call(&repo.forge, |forge| forge.change(repo, number)).await?;
            let Answer::Yes(change) = change else { continue };
            if head.is_some_and(|head| head != change.head_oid) {
                continue;
            }
            let mut asked = delivery.event.clone();
            if let ForgeEvent::RecheckAsked { number: of, .. } | ForgeEvent::Pressed { number: of, .. } = &mut asked {
                *of = Some(number);
            }
            self.put(delivery.forge.clone(), format!("{}#{number}", delivery.delivery), asked)
                .await?;
        }
        Ok(Vec::new())
    }

    /// Puts a delivery of our own into the inbox.
    pub(super) async fn put(&self, forge: String, id: String, event: ForgeEvent) -> Result<bool, Again> {
        let delivery = Delivery {
            forge,
            delivery: id,
            received_at: (self.clock)(),
            event,
        };
        let new = self.queue.accept(&delivery).await?;
        self.bell.notify_one();
        Ok(new)
    }

    async fn change(&self, repo: &ForgeRepo, number: u64, anew: bool) -> Result<Vec<Display>, Again> {
        let Some((stamp, change)) = self.present(repo, number).await? else {
            return Ok(Vec::new());
        };
        let latest = self.queue.latest_display(repo, number).await?;
        if !anew && latest.is_some_and(|display| is_verdict_on(&display, &change, &stamp)) {
            self.metrics.count(Count::Unchanged);
            return Ok(Vec::new());
        }
        self.evaluated(&change, Some(number), &stamp).await
    }

    /// Our configuration cannot be used: whoever proposes shall see that, and not wait for a check that never comes.
    pub(super) async fn unusable(&self, repo: &ForgeRepo, number: u64, outage: Outage) -> Again {
        self.metrics.count(Count::NoVerdict);
        let change = self.call(&repo.forge, |forge| forge.change(repo, number)).await;
        if let Ok(Answer::Yes(change)) = change
            && change.open
        {
            let evaluation = format!("{}-{}", change.head_oid.short(), outage.code);
            let frame = Frame {
                change: &change,
                evaluation: &evaluation,
                policy: "-",
                at: (self.clock)(),
            };
            let _ = self.show(&feedback::unable(frame, outage.code)).await;
        }
        outage.into()
    }

    async fn queue_head(
        &self,
        repo: &ForgeRepo,
        head: Oid,
        base: &RefName,
        base_oid: Oid,
    ) -> Result<Vec<Display>, Again> {
        let Some(stamp) = self.evaluator.stamp(repo)? else {
            return Ok(Vec::new());
        };
        let change = Change {
            repo: repo.clone(),
            number: 0,
            open: true,
            base: base.clone(),
            base_oid,
            head_oid: head,
            author: String::new(),
            merged_as: None,
        };
        self.evaluated(&change, None, &stamp).await
    }
}

pub(super) fn refused(code: &str, why: &str) -> Again {
    // A person must act, for instance grant a permission.
    Again {
        after: None,
        why: format!("{code}: {why}"),
    }
}

pub(super) fn fields(repo: &ForgeRepo, number: Option<u64>, head: Oid) -> [(&'static str, String); 4] {
    [
        ("forge", repo.forge.clone()),
        ("repository", repo.full_name.clone()),
        ("change", number.map_or("-".to_owned(), |number| number.to_string())),
        ("head", head.to_string()),
    ]
}
