//! The way of a change: the facts, checks and decision of a push, before there is a push.
//!
//! In scope: a pull or merge request seen as the push that would land it. Out
//! of scope: fetching it (an adapter), showing it (`feedback::change`), when to
//! look (`lane`).

use super::World;
use crate::config::Bounds;
use crate::facts::{Fact, Facts};
use crate::finding::{Cause, Finding};
use crate::forge::{Change, ForgeKind};
use crate::port::{Inspected, Introduced, Keyring, Object, ObjectVisitor, Outage, Repository, Store};
use crate::push::{Actor, Oid, Push, RefName, RefUpdate, Server, Timestamp};
use crate::waiver::{self, Subject, Waiver};

/// Who may move the base is asked of whoever merges, by the forge; the author of a change need not be allowed to.
const ACCOUNT_CODE: &str = "not-allowed-to-push";

/// A change whose objects are at hand.
#[derive(Debug, Clone)]
pub struct Proposal<'a> {
    /// The change as the forge has it.
    pub change: &'a Change,
    /// The kind of forge, for the facts.
    pub kind: ForgeKind,
    /// Where the base stands.
    pub base: Oid,
    /// The newest commit that base and head share; `None`: no common history.
    pub merge_base: Option<Oid>,
    /// The forge's trial merge of exactly this head into exactly this base, if it offers one.
    pub merge: Option<Oid>,
}

/// What was found about a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// All findings, sorted, advice included.
    pub findings: Vec<Finding>,
    /// Commits that are new to the base.
    pub commits: usize,
    /// The last commit that stays when the change is made anew.
    pub merge_base: Option<Oid>,
    /// The ids of the commits that are new to the base.
    pub ids: Vec<Oid>,
    /// What denies and could be waived.
    pub subjects: Vec<Subject>,
    /// The waivers that are about what was found, whatever their standing.
    pub waivers: Vec<Waiver>,
}

impl Judged {
    /// Whether the change may enter.
    pub fn allowed(&self) -> bool {
        !self.findings.iter().any(|finding| finding.denies)
    }

    /// Adds waivers, or what became of those that are there.
    pub(super) fn add(&mut self, waivers: Vec<Waiver>) {
        for waiver in waivers {
            self.waivers.retain(|known| known.id != waiver.id);
            self.waivers.push(waiver);
        }
    }

    /// Whether nothing but outages of ours keep it out: no verdict.
    pub fn outage(&self) -> bool {
        let mut denying = self.findings.iter().filter(|finding| finding.denies).peekable();
        denying.peek().is_some() && denying.all(|finding| finding.cause == Cause::Outage)
    }
}

/// Judges a change as the hook would judge the push that lands it: every commit that is new to the base, and
/// what the trial merge adds to them.
///
/// Never fails: what cannot be read becomes an outage finding. The trial merge's own missing signature is no
/// finding: the forge makes another commit when it merges.
pub async fn judge<R, K, S>(
    world: &World<'_, R, K, S>,
    resource: &str,
    proposal: &Proposal<'_>,
    now: Timestamp,
) -> Judged
where
    R: Repository,
    K: Keyring,
    S: Store,
{
    let old = proposal.merge_base.unwrap_or(proposal.base);
    let push = push(resource, proposal, old, proposal.change.head_oid, now);
    let (facts, mut findings) = look(world, proposal, push).await;
    let mut judged = Judged {
        commits: facts.commits.len(),
        merge_base: proposal.merge_base,
        ids: facts.commits.iter().map(|commit| commit.oid).collect(),
        subjects: waiver::subjects(&facts, &findings),
        waivers: known(facts.waivers),
        findings: Vec::new(),
    };
    if let Some(merge) = proposal.merge {
        let push = self::push(resource, proposal, proposal.base, merge, now);
        let (facts, mut more) = look(world, proposal, push).await;
        let known: Vec<_> = findings
            .iter()
            .map(|f| (f.code.clone(), f.fingerprint.clone()))
            .collect();
        let adds = |f: &Finding| f.code == "secret-found" || f.cause == Cause::Outage;
        let new = |f: &Finding| !known.contains(&(f.code.clone(), f.fingerprint.clone()));
        more.retain(|f| adds(f) && new(f));
        judged.subjects.extend(waiver::subjects(&facts, &more));
        judged.add(self::known(facts.waivers));
        findings.extend(more);
    }
    Finding::sort(&mut findings);
    judged.findings = findings;
    judged
}

fn known(waivers: Fact<Vec<Waiver>>) -> Vec<Waiver> {
    match waivers {
        Fact::Known(waivers) => waivers,
        // The decision has said so.
        Fact::Unavailable { .. } => Vec::new(),
    }
}

async fn look<R, K, S>(world: &World<'_, R, K, S>, proposal: &Proposal<'_>, push: Push) -> (Facts, Vec<Finding>)
where
    R: Repository,
    K: Keyring,
    S: Store,
{
    let repository = BaseOnly {
        inner: world.repository,
        name: &proposal.change.base,
        oid: proposal.base,
    };
    let world = World {
        repository: &repository,
        keyring: world.keyring,
        store: world.store,
        scanner: world.scanner,
        rule_set: world.rule_set,
        policy: world.policy,
        policy_text: world.policy_text,
        waivers: world.waivers,
        verdicts: world.verdicts,
    };
    let (facts, decision) = super::judged(&world, super::facts(&world, push).await).await;
    // The next evaluation of this change, and the look at its trial merge, need not scan these again. Without the
    // note they do: it may be lost.
    let _ = world
        .store
        .mark_scanned(&super::without_match(&facts), world.rule_set)
        .await;
    let kept = decision.findings.into_iter().filter(|f| f.code != ACCOUNT_CODE);
    (facts, kept.collect())
}

fn push(resource: &str, proposal: &Proposal<'_>, old: Oid, new: Oid, now: Timestamp) -> Push {
    let change = proposal.change;
    let server = match proposal.kind {
        ForgeKind::Github => Server::Ghes,
        ForgeKind::Forgejo => Server::Gitea,
        ForgeKind::Gitlab => Server::Gitlab,
    };
    Push {
        id: format!("change-{}-{}", change.number, new.short()),
        repository: resource.to_owned(),
        received_at: now,
        actor: Actor {
            server,
            name: change.author.clone(),
            protocol: None,
        },
        options: Vec::new(),
        updates: vec![RefUpdate {
            name: change.base.clone(),
            old,
            new,
        }],
    }
}

/// The mirror as the forge's repository would be: nothing has entered it but the base as it stands now. The
/// refs of changes, which the mirror also has, count for nothing, whatever the policy's patterns match.
struct BaseOnly<'a, R> {
    inner: &'a R,
    name: &'a RefName,
    oid: Oid,
}

impl<R: Repository> Repository for BaseOnly<'_, R> {
    fn object(&self, oid: Oid) -> Result<Object, Outage> {
        self.inner.object(oid)
    }

    fn ref_target(&self, name: &RefName) -> Result<Option<Oid>, Outage> {
        Ok((name == self.name).then_some(self.oid))
    }

    fn refs(&self, prefix: &str) -> Result<Vec<(RefName, Oid)>, Outage> {
        let base = (self.name.clone(), self.oid);
        let below = self.name.as_str().starts_with(prefix);
        Ok(below.then_some(base).into_iter().collect())
    }

    fn inspect<V: ObjectVisitor>(
        &self,
        updates: &[RefUpdate],
        known: &[Vec<Oid>],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Inspected<V::Hit>, Outage> {
        // What the base has is not new to it, whether or not its rules make it known.
        let known: Vec<Vec<Oid>> = known
            .iter()
            .map(|known| [known.as_slice(), &[self.oid]].concat())
            .collect();
        self.inner.inspect(updates, &known, bounds, visitor)
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
