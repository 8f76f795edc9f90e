//! After the forge moved a ref: the entry for each revision that landed, or the record that it passed the gate by.
//!
//! In scope: which revisions landed, in their order; what the forge says about
//! each; drift of its protection. Out of scope: the ledger and the gate's own
//! repository (the evaluator), what to say (`feedback::landed`).
//!
//! The gate's repository has the refs as they entered. A revision that the
//! policy refuses gets no entry and the gate's ref stays where it is, so that
//! what comes after it is judged together with it until it passes or is gone.

use super::change::Judged;
use super::lane::{Again, Answer, Bot, Evaluator, Stamp, Unable, refused};
use super::leak::Suspended;
use super::metrics::Count;
use super::survey::Survey;
use crate::config::Bounds;
use crate::feedback::change::Frame;
use crate::feedback::landed as feedback;
use crate::finding::Finding;
use crate::forge::guard::{Landing, Protection, Wanted, drift};
use crate::forge::{Change, Display, ForgeEvent, ForgeRepo};
use crate::port::{FetchSource, Forge, Inspected, Introduced, Object, ObjectVisitor, Outage, Queue, Repository};
use crate::push::{Oid, RefName, RefUpdate, Timestamp};
use crate::worker::drift::Watch;
use std::collections::BTreeMap;

/// Seconds in which a ref that stands elsewhere than ours is put into the inbox once.
const ONCE_IN: i64 = 3600;

/// Most commits of a ref's own line that are entered at once: the forge is asked about each.
const MOST_STEPS: usize = 50;

/// How a ref of the forge went on from where the gate's own stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// From where to where; zero: it was not there, or is gone.
    pub update: RefUpdate,
    /// The commits of its own line between, oldest first.
    pub steps: Vec<Oid>,
}

impl Arrival {
    /// Leaves what is too much at once for later; `true` if there is more.
    fn cut(&mut self) -> bool {
        let rest = self.steps.len() > MOST_STEPS;
        if rest {
            self.steps.truncate(MOST_STEPS);
            self.update.new = self.steps.last().copied().unwrap_or(self.update.new);
        }
        rest
    }
}

/// A protected ref as the sweep sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The ref.
    pub name: RefName,
    /// Where it stands at the forge; `None`: it is gone.
    pub there: Option<Oid>,
    /// Where the gate's own stands.
    pub here: Option<Oid>,
    /// The commit at which something about it is shown: of a tag, the one that it leads to.
    pub shown_at: Option<Oid>,
    /// What the forge must enforce, if it is a branch or a tag.
    pub wanted: Option<Wanted>,
    /// Whether a lapse of the forge's protection is open.
    pub lapsed: bool,
}

/// What became of a landed revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The entry's id and level; `None`: it was refused.
    pub entry: Option<(String, u8)>,
    /// All findings.
    pub findings: Vec<Finding>,
    /// The commit that the ref leads to, or led to if it is gone.
    pub commit: Option<Oid>,
    /// Commits judged.
    pub commits: usize,
    /// Whether it was refused only since something of ours failed.
    pub outage: bool,
    /// What work after the entry could not be done yet, for the log.
    pub unsettled: Option<String>,
}

/// Keeps the record of what lands; the one who knows the repositories' gates.
pub trait Keeper: Send + Sync + 'static {
    /// The branches of a repository, for its first report.
    fn survey(&self, repo: &ForgeRepo, source: FetchSource) -> impl Future<Output = Result<Survey, Unable>> + Send;

    /// Judges the newest [`HISTORY`](super::survey::HISTORY) steps of a branch, as if they were proposed.
    fn history(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        source: FetchSource,
        now: Timestamp,
    ) -> impl Future<Output = Result<Judged, Unable>> + Send;

    /// Whether a ledger is kept of what lands in a repository.
    ///
    /// # Errors
    /// The policy's outage.
    fn keeps(&self, repo: &ForgeRepo) -> Result<bool, Outage>;

    /// Whether a ledger is kept of what lands on a ref.
    ///
    /// # Errors
    /// The policy's outage.
    fn records(&self, repo: &ForgeRepo, name: &RefName) -> Result<bool, Outage>;

    /// How a ref of the forge went on from where the gate's stands; `None`: it did not.
    ///
    /// * `told`: what somebody says of its move. Of a repository that was never looked at, this is from where the
    ///   gate begins; all its other refs begin where they stand.
    fn arrival(
        &self,
        repo: &ForgeRepo,
        told: &RefUpdate,
        source: FetchSource,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Arrival>, Unable>> + Send;

    /// Whether the commits of an update's own line, oldest first, are those of a change, made anew one by one.
    ///
    /// * `source`: with the refs of the change; `head`: its last head.
    fn is_rebase(
        &self,
        repo: &ForgeRepo,
        source: FetchSource,
        head: Oid,
        from: Oid,
        steps: &[Oid],
    ) -> impl Future<Output = Result<bool, Unable>> + Send;

    /// Judges a revision that landed, records it, and if it may be there moves the gate's ref and publishes the entry.
    fn enter(
        &self,
        repo: &ForgeRepo,
        update: &RefUpdate,
        landing: Landing,
        now: Timestamp,
    ) -> impl Future<Output = Result<Entered, Unable>> + Send;

    /// The protected refs, at the forge and here.
    fn standings(
        &self,
        repo: &ForgeRepo,
        source: FetchSource,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Standing>, Unable>> + Send;

    /// Suspends the entries that hold a blob, since the forge says that a secret in it is in use; once, however often
    /// it is called. `None`: none holds it.
    fn leaked(
        &self,
        repo: &ForgeRepo,
        blob: Oid,
        alert: u64,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Suspended>, Unable>> + Send;

    /// Records that the forge's protection of a ref lapsed or was restored, once.
    fn watch(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        protection: &Protection,
        now: Timestamp,
    ) -> impl Future<Output = Result<Watch, Unable>> + Send;
}

impl<Q: Queue + 'static, F: Forge + 'static, E: Evaluator> Bot<Q, F, E> {
    /// A change was merged: its branch moved, whether or not a push tells it.
    pub(super) async fn merged(&self, repo: &ForgeRepo, number: u64, to: Oid) -> Result<Vec<Display>, Again> {
        let change = match self.change_now(repo, number).await? {
            Answer::Yes(change) => change,
            Answer::No("gone" | "not-found", _) => return Ok(Vec::new()),
            Answer::No(code, why) => return Err(refused(code, &why)),
        };
        let event = moved(&change.repo, &change.base, to);
        let id = format!("landed/{}/{number}/{to}", repo.id);
        self.put(repo.forge.clone(), id, event).await?;
        Ok(Vec::new())
    }

    /// A ref moved at the forge: enters what landed, one revision after the other.
    ///
    /// * `told`: from where and to where, as far as somebody said so; `by` whom.
    pub(super) async fn pushed(
        &self,
        repo: &ForgeRepo,
        told: &RefUpdate,
        by: Option<&str>,
    ) -> Result<Vec<Display>, Again> {
        if self.evaluator.stamp(repo)?.is_none() || !self.evaluator.records(repo, &told.name)? {
            return Ok(Vec::new());
        }
        let Some(repo) = &self.found(repo).await? else {
            return Ok(Vec::new());
        };
        let Some(stamp) = self.evaluator.stamp(repo)? else {
            return Ok(Vec::new());
        };
        let Some(source) = self.source(repo).await? else {
            return Ok(Vec::new());
        };
        let arrival = self.evaluator.arrival(repo, told, source, (self.clock)()).await;
        let Some(mut arrival) = arrival.map_err(Again::from)? else {
            return Ok(Vec::new());
        };
        let rest = arrival.cut();
        let landing = self.landing(repo, &arrival).await?;
        let mut displays = Vec::new();
        let (mut from, mut begun) = (arrival.update.old, 0);
        for end in ends(&arrival, &landing, told.new) {
            let part = arrival.steps.get(begun..end).unwrap_or_default();
            let to = part.last().copied().filter(|_| end < arrival.steps.len());
            let update = RefUpdate {
                name: told.name.clone(),
                old: from,
                new: to.unwrap_or(arrival.update.new),
            };
            let mut landing = landing.of(part);
            self.attribute(repo, from, part, &mut landing).await?;
            if landing.by.is_none() && update.new == told.new {
                landing.by = by.map(str::to_owned);
            }
            let entered = self.enter(repo, &update, landing, &stamp).await?;
            displays.push(entered.0);
            if entered.1 {
                (from, begun) = (update.new, end);
            }
        }
        if rest && from != arrival.update.old {
            let id = format!("rest/{}/{}/{}", repo.id, told.name, arrival.update.new);
            self.put(repo.forge.clone(), id, moved(repo, &told.name, told.new))
                .await?;
        }
        Ok(displays)
    }

    /// A forge names one revision of a rebased change, the last: the commits before it came with the change only if
    /// they are its own, made anew. Where that cannot be seen, they stay nobody's, and no review is claimed.
    async fn attribute(&self, repo: &ForgeRepo, from: Oid, part: &[Oid], landing: &mut Landing) -> Result<(), Again> {
        let [change] = landing.changes.as_slice() else {
            return Ok(());
        };
        let before: &[Oid] = part.split_last().map_or(&[], |(_, before)| before);
        if before.is_empty() || landing.direct != before || part.last() != Some(&change.merged_as) || from.is_zero() {
            return Ok(());
        }
        let number = Some(change.number);
        let source = self.call(&repo.forge, |forge| forge.fetch_source(repo, number)).await?;
        let Answer::Yes(source) = source else { return Ok(()) };
        match self.evaluator.is_rebase(repo, source, change.head, from, part).await {
            Ok(true) => landing.direct.clear(),
            Ok(false) => {}
            Err(unable) => {
                let why = Again::from(unable).why;
                self.log(
                    "rebase-unknown",
                    &[("repository", repo.full_name.clone()), ("why", why)],
                );
            }
        }
        Ok(())
    }

    async fn source(&self, repo: &ForgeRepo) -> Result<Option<FetchSource>, Again> {
        match self.call(&repo.forge, |forge| forge.fetch_source(repo, None)).await? {
            Answer::Yes(source) => Ok(Some(source)),
            Answer::No("gone" | "not-found", _) => Ok(None),
            Answer::No(code, why) => Err(refused(code, &why)),
        }
    }

    /// What the forge says; where it may not tell us, nothing is claimed that would rest on it.
    async fn landing(&self, repo: &ForgeRepo, arrival: &Arrival) -> Result<Landing, Again> {
        let unknown = || Landing {
            direct: arrival.steps.clone(),
            ..Landing::default()
        };
        let name = &arrival.update.name;
        if arrival.update.new.is_zero() {
            return Ok(unknown());
        }
        if name.is_tag() {
            // No change brings a tag.
            let protection = self.tag_protection(repo, std::slice::from_ref(name)).await?;
            let protection = protection.into_values().next().unwrap_or_default();
            return Ok(Landing {
                protection,
                ..unknown()
            });
        }
        if !name.is_branch() {
            return Ok(unknown());
        }
        let asked = self.call(&repo.forge, |forge| forge.landing(repo, name, &arrival.steps));
        Ok(match asked.await? {
            Answer::Yes(landing) => landing,
            Answer::No(code, why) => {
                let place = ("repository", repo.full_name.clone());
                self.log("landing-unknown", &[place, ("why", format!("{code}: {why}"))]);
                unknown()
            }
        })
    }

    /// What to show, and whether it entered.
    async fn enter(
        &self,
        repo: &ForgeRepo,
        update: &RefUpdate,
        landing: Landing,
        stamp: &Stamp,
    ) -> Result<(Display, bool), Again> {
        let entered = self.evaluator.enter(repo, update, landing, (self.clock)()).await;
        let entered = entered.map_err(Again::from)?;
        if entered.outage {
            let code = entered.findings.iter().find(|finding| finding.denies);
            let why = code.map_or(String::new(), |finding| {
                format!("{}: {}", finding.code, finding.message)
            });
            return Err(Again { after: None, why });
        }
        let named = if update.new.is_zero() { update.old } else { update.new };
        let head = entered.commit.unwrap_or(named);
        let count = if entered.entry.is_some() {
            Count::Entered
        } else {
            Count::PassedBy
        };
        self.metrics.count(count);
        let what = if entered.entry.is_some() {
            "revision-entered"
        } else {
            "revision-passed-by"
        };
        let mut fields = super::lane::fields(repo, None, head).to_vec();
        fields.push(("ref", update.name.to_string()));
        fields.extend(entered.unsettled.clone().map(|why| ("unsettled", why)));
        self.log(what, &fields);
        let change = tip(repo, &update.name, head);
        let frame = Frame {
            change: &change,
            evaluation: "",
            policy: &stamp.policy,
            at: (self.clock)(),
        };
        let entry = entered.entry.as_ref().map(|(id, level)| (id.as_str(), *level));
        let display = feedback::landed(frame, update, &entered.findings, entered.commits, entry);
        Ok((stamp.shown(display), entry.is_some()))
    }

    /// Looks where the refs of a repository stand, puts into the inbox what no webhook told, and sees whether the
    /// forge still enforces what the policy wants.
    ///
    /// * `act`: record drift and give what to show; otherwise only ask for it by a delivery.
    pub(super) async fn look_after(&self, repo: &ForgeRepo, act: bool) -> Result<Vec<Display>, Again> {
        let Some(stamp) = self.evaluator.stamp(repo)? else {
            return Ok(Vec::new());
        };
        if !self.evaluator.keeps(repo)? {
            return Ok(Vec::new());
        }
        let Some(source) = self.source(repo).await? else {
            return Ok(Vec::new());
        };
        let standings = self.evaluator.standings(repo, source, (self.clock)()).await;
        let standings = standings.map_err(Again::from)?;
        let guarded = |it: &&Standing| it.name.is_tag() && it.wanted.is_some() && it.there.is_some();
        let tags: Vec<RefName> = standings.iter().filter(guarded).map(|it| it.name.clone()).collect();
        let mut tags = self.tag_protection(repo, &tags).await?;
        let mut displays = Vec::new();
        for standing in standings {
            if standing.there != standing.here {
                self.ask_for(repo, &standing, &stamp).await?;
            }
            let protection = match standing.name.is_tag() {
                true => tags.remove(&standing.name),
                false => self.protection(repo, &standing).await?,
            };
            if let Some(protection) = protection {
                displays.extend(self.guard(repo, &standing, &protection, &stamp, act).await?);
            }
        }
        Ok(displays)
    }

    /// What the forge enforces on these tags; of none of them, where it does not tell.
    async fn tag_protection(
        &self,
        repo: &ForgeRepo,
        names: &[RefName],
    ) -> Result<BTreeMap<RefName, Protection>, Again> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let asked = self.call(&repo.forge, |forge| forge.tag_protection(repo, names));
        let told = self.told(repo, asked.await?).unwrap_or_default();
        Ok(names.iter().cloned().zip(told).collect())
    }

    /// What the forge enforces on a branch that is to be guarded; `None` where it does not tell.
    async fn protection(&self, repo: &ForgeRepo, standing: &Standing) -> Result<Option<Protection>, Again> {
        if standing.wanted.is_none() || standing.there.is_none() {
            return Ok(None);
        }
        let asked = self.call(&repo.forge, |forge| forge.protection(repo, &standing.name));
        Ok(self.told(repo, asked.await?))
    }

    fn told<T>(&self, repo: &ForgeRepo, answer: Answer<T>) -> Option<T> {
        match answer {
            Answer::Yes(told) => Some(told),
            Answer::No(code, why) => {
                let place = ("repository", repo.full_name.clone());
                self.log("protection-unknown", &[place, ("why", format!("{code}: {why}"))]);
                None
            }
        }
    }

    async fn ask_for(&self, repo: &ForgeRepo, standing: &Standing, stamp: &Stamp) -> Result<(), Again> {
        let Some(to) = standing.there.or(standing.here) else {
            return Ok(());
        };
        let short = |at: Option<Oid>| at.map_or_else(|| "-".to_owned(), |oid| oid.short());
        let between = format!("{}-{}", short(standing.here), short(standing.there));
        let hour = (self.clock)().unix() / ONCE_IN;
        let id = format!("swept/{}/{}/{between}/{}/{hour}", repo.id, standing.name, stamp.all);
        if self
            .put(repo.forge.clone(), id, moved(repo, &standing.name, to))
            .await?
        {
            self.metrics.count(Count::Swept);
        }
        Ok(())
    }

    async fn guard(
        &self,
        repo: &ForgeRepo,
        standing: &Standing,
        protection: &Protection,
        stamp: &Stamp,
        act: bool,
    ) -> Result<Option<Display>, Again> {
        let (Some(wanted), Some(head)) = (standing.wanted, standing.shown_at) else {
            return Ok(None);
        };
        let drift = drift(wanted, protection);
        if !act {
            if drift.is_empty() == standing.lapsed {
                let hour = (self.clock)().unix() / ONCE_IN;
                let id = format!("drift/{}/{}/{}/{hour}", repo.id, standing.name, !drift.is_empty());
                let event = ForgeEvent::SettingsChanged {
                    repo: Some(repo.clone()),
                };
                self.put(repo.forge.clone(), id, event).await?;
            }
            return Ok(None);
        }
        let watch = self
            .evaluator
            .watch(repo, &standing.name, protection, (self.clock)())
            .await;
        let watch = watch.map_err(Again::from)?;
        let (event, open) = match watch {
            Watch::Clear => return Ok(None),
            Watch::Open(event) => (event, true),
            Watch::Closed(event) => (event, false),
        };
        let what = if open {
            "protection-lapsed"
        } else {
            "protection-restored"
        };
        if open != standing.lapsed {
            self.metrics.count(if open { Count::Lapsed } else { Count::Restored });
        }
        let codes: Vec<&str> = drift.iter().map(|one| one.code()).collect();
        let place = [
            ("repository", repo.full_name.clone()),
            ("ref", standing.name.to_string()),
        ];
        self.log(what, &[&place[..], &[("drift", codes.join(", "))]].concat());
        let change = tip(repo, &standing.name, head);
        let frame = Frame {
            change: &change,
            evaluation: "",
            policy: &stamp.policy,
            at: (self.clock)(),
        };
        Ok(Some(stamp.shown(feedback::protection(frame, &drift, &event, open))))
    }
}

/// A ref moved, as nobody but us says.
fn moved(repo: &ForgeRepo, name: &RefName, to: Oid) -> ForgeEvent {
    ForgeEvent::Pushed {
        repo: repo.clone(),
        name: name.clone(),
        old: to.zero(),
        new: to,
        by: None,
    }
}

/// A ref's tip in the shape of a change, for what is shown at its commit.
pub(super) fn tip(repo: &ForgeRepo, name: &RefName, head: Oid) -> Change {
    Change {
        repo: repo.clone(),
        number: 0,
        open: true,
        base: name.clone(),
        base_oid: head,
        head_oid: head,
        author: String::new(),
        merged_as: None,
    }
}

/// After which steps a revision landed: where a change ended, where somebody says that a push ended, and the last.
fn ends(arrival: &Arrival, landing: &Landing, told: Oid) -> Vec<usize> {
    let lands = |step: &Oid| *step == told || landing.changes.iter().any(|change| change.merged_as == *step);
    let steps = arrival.steps.iter().enumerate();
    let mut ends: Vec<usize> = steps.filter(|(_, step)| lands(step)).map(|(at, _)| at + 1).collect();
    if ends.last() != Some(&arrival.steps.len()) {
        ends.push(arrival.steps.len());
    }
    ends
}

/// The gate's repository without what it only fetched: nothing has entered but its branches and tags.
pub struct Own<'a, R>(pub &'a R);

impl<R: Repository> Repository for Own<'_, R> {
    fn object(&self, oid: Oid) -> Result<Object, Outage> {
        self.0.object(oid)
    }

    fn ref_target(&self, name: &RefName) -> Result<Option<Oid>, Outage> {
        self.0.ref_target(name)
    }

    fn refs(&self, prefix: &str) -> Result<Vec<(RefName, Oid)>, Outage> {
        let mut refs = self.0.refs(prefix)?;
        refs.retain(|(name, _)| name.is_branch() || name.is_tag());
        Ok(refs)
    }

    fn inspect<V: ObjectVisitor>(
        &self,
        updates: &[RefUpdate],
        known: &[Vec<Oid>],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Inspected<V::Hit>, Outage> {
        self.0.inspect(updates, known, bounds, visitor)
    }

    fn introduced<V: ObjectVisitor>(
        &self,
        commits: &[Oid],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Introduced<V::Hit>, Outage> {
        self.0.introduced(commits, bounds, visitor)
    }
}

impl From<Unable> for Again {
    fn from(unable: Unable) -> Self {
        match unable {
            Unable::Moved => Self {
                after: None,
                why: "the ref moves: fetched and told ones differ".to_owned(),
            },
            Unable::Outage(outage) => outage.into(),
        }
    }
}
