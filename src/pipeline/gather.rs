//! Reads the facts of a push from the ports. What cannot be read becomes [`Fact::Unavailable`].

use super::visitor::Visitor;
use super::{World, paths};
use crate::config::{Policy, RefRule};
use crate::facts::{
    CommitFact, Fact, Facts, ScanFact, SecretFact, SignatureFact, SignatureState, TagFact, UpdateFact, no_waivers,
};
use crate::finding::Place;
use crate::guarantee::Guarantee;
use crate::object::{self, SignatureFormat, SignatureParts};
use crate::port::{
    EntryRecord, Inspected, InspectedUpdate, Introduced, Keyring, NewCommit, Outage, Repository, Signed, Store,
};
use crate::push::{Oid, Push, RefName, RefUpdate, Timestamp};
use crate::scan::Match;
use std::collections::{BTreeMap, BTreeSet};

/// Reads everything about one push.
///
/// Never fails: an outage of a port leaves the facts that depend on it unavailable, and the decision denies.
pub async fn facts<R, K, S>(world: &World<'_, R, K, S>, push: Push) -> Facts
where
    R: Repository,
    K: Keyring,
    S: Store,
{
    let (mut inspected, introduced) = match look(world, &push).await {
        Ok(seen) => seen,
        Err(outage) => return unread(push, &outage),
    };
    let asked = asked(world.policy, &push, &inspected);
    let (mut commits, firsts) = judge_commits(world, &push, std::mem::take(&mut inspected.commits), &asked);
    let mut tags: Vec<Option<TagFact>> = inspected.updates.iter().map(|u| tag(world, &push, u)).collect();
    first_opinions(world, &inspected.updates, firsts, &mut commits, &mut tags).await;
    let hits = std::mem::take(&mut inspected.hits);
    let mut scan = scan(world, &push, &inspected, hits, introduced);
    if !world.policy.secrets.severity.is_empty() {
        paths::note(world.repository, &commits, &mut scan);
    }
    let mut updates = Vec::with_capacity(push.updates.len());
    for ((update, seen), tag) in push.updates.iter().zip(inspected.updates).zip(tags) {
        let previous = previous(world, update).await;
        updates.push(UpdateFact {
            update: update.clone(),
            ancestry: seen.ancestry,
            commits: seen.commits,
            tag,
            commit: seen.commit,
            tree: seen.tree,
            previous,
        });
    }
    Facts {
        push,
        commits,
        updates,
        scan: Fact::Known(scan),
        landing: None,
        waivers: no_waivers(),
    }
}

/// All that the repository tells: the quarantine, and what older objects become newly reachable unscanned.
async fn look<R, K, S>(
    world: &World<'_, R, K, S>,
    push: &Push,
) -> Result<(Inspected<Match>, Option<Introduced<Match>>), Outage>
where
    R: Repository,
    K: Keyring,
    S: Store,
{
    let known = known(world, &push.updates)?;
    let visitor = Visitor::new(world.scanner, world.verdicts);
    let inspected = world
        .repository
        .inspect(&push.updates, &known, &world.policy.bounds, &visitor)?;
    let older: Vec<Oid> = inspected
        .commits
        .iter()
        .filter(|c| !c.in_quarantine)
        .map(|c| c.oid)
        .collect();
    if older.is_empty() {
        return Ok((inspected, None));
    }
    let cleared: BTreeSet<Oid> = world.store.scanned(&older, world.rule_set).await?.into_iter().collect();
    let unscanned: Vec<Oid> = older.into_iter().filter(|oid| !cleared.contains(oid)).collect();
    let introduced = world
        .repository
        .introduced(&unscanned, &world.policy.bounds, &visitor)?;
    Ok((inspected, Some(introduced)))
}

/// For each update, the tips whose history entered under requirements at least as strict as the updated
/// ref's: those need no second look. A tip of a laxer ref does not count.
fn known<R: Repository, K, S>(world: &World<'_, R, K, S>, updates: &[RefUpdate]) -> Result<Vec<Vec<Oid>>, Outage> {
    let mut tips: Vec<(Requirements, Oid)> = Vec::new();
    for (name, oid) in world.repository.refs("refs/")? {
        if world.policy.protects(&name) {
            tips.push((Requirements::of(world.policy, &name), oid));
        }
    }
    let of = |update: &RefUpdate| {
        let wanted = Requirements::of(world.policy, &update.name);
        tips.iter()
            .filter(|(has, _)| has.covers(&wanted))
            .map(|(_, oid)| *oid)
            .collect()
    };
    Ok(updates.iter().map(of).collect())
}

/// What a ref's rules ask of each commit.
#[derive(Clone, Copy)]
struct Requirements {
    signed: bool,
    committer: bool,
    pusher: bool,
    scanned: bool,
}

impl Requirements {
    fn of(policy: &Policy, name: &RefName) -> Self {
        let any = |ask: fn(&RefRule) -> bool| policy.rules_for(name).any(ask);
        Self {
            signed: any(|rule| rule.require_signed.value),
            committer: any(|rule| rule.committer_is_signer.value),
            pusher: any(|rule| rule.pusher_is_signer.value),
            scanned: crate::check::secret::covers(policy, name),
        }
    }

    fn covers(&self, wanted: &Self) -> bool {
        (self.signed || !wanted.signed)
            && (self.committer || !wanted.committer)
            && (self.pusher || !wanted.pusher)
            && (self.scanned || !wanted.scanned)
    }
}

/// Facts that say that nothing could be read.
fn unread(push: Push, outage: &Outage) -> Facts {
    let why = format!("{}: {}", outage.what, outage.why);
    let code = || outage.code.to_owned();
    let update = |update: &RefUpdate| UpdateFact {
        update: update.clone(),
        ancestry: Fact::Unavailable {
            code: code(),
            why: why.clone(),
        },
        commits: Fact::Unavailable {
            code: code(),
            why: why.clone(),
        },
        tag: None,
        commit: None,
        tree: None,
        previous: Fact::Unavailable {
            code: code(),
            why: why.clone(),
        },
    };
    let updates = push.updates.iter().map(update).collect();
    let scan = Fact::Unavailable {
        code: code(),
        why: why.clone(),
    };
    Facts {
        push,
        commits: Vec::new(),
        updates,
        scan,
        landing: None,
        waivers: no_waivers(),
    }
}

/// By each key, what its first good OpenPGP signature in the push signed, and the time that this claims.
type Firsts = BTreeMap<String, (SignatureParts, Timestamp)>;

/// The strict reader's view of every new commit; signatures judged where a rule asks, on all cores.
///
/// Takes the commits, since a long push has many megabytes of them: each goes as it is judged.
fn judge_commits<R, K, S>(
    world: &World<'_, R, K, S>,
    push: &Push,
    mut commits: Vec<NewCommit>,
    asked: &BTreeSet<u32>,
) -> (Vec<CommitFact>, Firsts)
where
    K: Keyring,
    S: Store,
{
    // Below this a thread costs more than it saves: a verification takes about 0.1 to 0.3 ms.
    const FEW: usize = 16;
    let judge = Judge {
        keyring: world.keyring,
        received_at: push.received_at,
        skew: world.policy.skew_seconds.value,
    };
    let mut facts = Vec::with_capacity(commits.len());
    let mut firsts = Firsts::new();
    if commits.len() <= FEW {
        judge.share(0, commits, asked, &mut facts, &mut firsts);
        return (facts, firsts);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let size = commits.len().div_ceil(threads);
    let mut shares = Vec::new();
    while !commits.is_empty() {
        let rest = commits.split_off(size.min(commits.len()));
        shares.push(std::mem::replace(&mut commits, rest));
    }
    std::thread::scope(|scope| {
        let judge = &judge;
        let begun = shares.into_iter().enumerate().map(|(number, share)| {
            let outline: Vec<(Oid, bool)> = share.iter().map(|new| (new.oid, new.in_quarantine)).collect();
            let work = scope.spawn(move || {
                let (mut facts, mut firsts) = (Vec::with_capacity(share.len()), Firsts::new());
                judge.share(number * size, share, asked, &mut facts, &mut firsts);
                (facts, firsts)
            });
            (outline, work)
        });
        let begun: Vec<_> = begun.collect();
        for (outline, work) in begun {
            match work.join() {
                Ok((judged, first)) => {
                    facts.extend(judged);
                    // The shares come in their order: what is there already came first.
                    for (key, signed) in first {
                        firsts.entry(key).or_insert(signed);
                    }
                }
                // A panic in a verifier must deny, not pass.
                Err(_) => facts.extend(
                    outline
                        .into_iter()
                        .map(|(oid, in_quarantine)| crashed(oid, in_quarantine)),
                ),
            }
        }
    });
    (facts, firsts)
}

/// Indices of the commits whose signature some rule asks for.
fn asked(policy: &Policy, push: &Push, inspected: &Inspected<Match>) -> BTreeSet<u32> {
    let mut asked = BTreeSet::new();
    for (update, seen) in push.updates.iter().zip(&inspected.updates) {
        let signed = policy.rules_for(&update.name).any(|rule| rule.require_signed.value);
        if let (true, Fact::Known(commits)) = (signed, &seen.commits) {
            asked.extend(commits.iter().copied());
        }
    }
    asked
}

struct Judge<'a, K> {
    keyring: &'a K,
    received_at: Timestamp,
    skew: i64,
}

impl<K: Keyring> Judge<'_, K> {
    /// Judges commits that stand together, the first of which is number `from` of the push.
    fn share(
        &self,
        from: usize,
        commits: Vec<NewCommit>,
        asked: &BTreeSet<u32>,
        facts: &mut Vec<CommitFact>,
        firsts: &mut Firsts,
    ) {
        for (at, new) in commits.into_iter().enumerate() {
            let asked = u32::try_from(from + at).is_ok_and(|at| asked.contains(&at));
            facts.push(self.commit(&new, asked, firsts));
        }
    }

    fn commit(&self, new: &NewCommit, asked: bool, firsts: &mut Firsts) -> CommitFact {
        let commit = match object::commit(&new.data) {
            Ok(commit) => commit,
            Err(malformed) => return unusable(new.oid, new.in_quarantine, malformed.to_string()),
        };
        let signature = self.signature(commit.signature.as_ref(), commit.committer.time, asked);
        note_first(&signature, commit.signature, commit.committer.time, firsts);
        CommitFact {
            oid: new.oid,
            tree: commit.tree,
            parents: commit.parents,
            author: Some(commit.author),
            committer: Some(commit.committer),
            malformed: None,
            signature,
            in_quarantine: new.in_quarantine,
        }
    }

    fn signature(&self, parts: Option<&SignatureParts>, claimed_at: Timestamp, asked: bool) -> Fact<SignatureFact> {
        match parts {
            None => Fact::Known(state(SignatureState::Unsigned, "")),
            Some(_) if !asked => Fact::Known(state(SignatureState::NotAsked, "")),
            Some(parts) => match self
                .keyring
                .verify(signed(parts, claimed_at), self.received_at, self.skew)
            {
                // Whether gpgme has been asked about a key, the ledger knows.
                Ok(fact) => Fact::Known(SignatureFact {
                    first_use: false,
                    ..fact
                }),
                Err(outage) => unavailable(&outage),
            },
        }
    }
}

fn crashed(oid: Oid, in_quarantine: bool) -> CommitFact {
    let why = "a verifier crashed on this push".to_owned();
    CommitFact {
        signature: Fact::Unavailable {
            code: "verifier-crashed".into(),
            why,
        },
        ..unusable(oid, in_quarantine, "it was not read to its end".into())
    }
}

fn signed(parts: &SignatureParts, claimed_at: Timestamp) -> Signed<'_> {
    Signed {
        payload: &parts.payload,
        signature: &parts.signature,
        format: parts.format,
        claimed_at,
    }
}

fn unavailable<T>(outage: &Outage) -> Fact<T> {
    Fact::Unavailable {
        code: outage.code.to_owned(),
        why: format!("{}: {}", outage.what, outage.why),
    }
}

fn state(state: SignatureState, detail: &str) -> SignatureFact {
    SignatureFact {
        state,
        key: None,
        principal: None,
        emails: Vec::new(),
        detail: detail.to_owned(),
        first_use: false,
    }
}

fn unusable(oid: Oid, in_quarantine: bool, why: String) -> CommitFact {
    // The zero id of the same length stands for "no tree": such a commit is denied where it matters.
    let tree = Oid::from_bytes(&vec![0; oid.as_bytes().len()]).unwrap_or(oid);
    CommitFact {
        oid,
        tree,
        parents: Vec::new(),
        author: None,
        committer: None,
        malformed: Some(why),
        signature: Fact::Known(state(SignatureState::Malformed, "the commit is malformed")),
        in_quarantine,
    }
}

fn tag<R, K: Keyring, S>(world: &World<'_, R, K, S>, push: &Push, seen: &InspectedUpdate) -> Option<TagFact> {
    let (oid, data) = seen.tag.as_ref()?;
    let judge = Judge {
        keyring: world.keyring,
        received_at: push.received_at,
        skew: world.policy.skew_seconds.value,
    };
    let tag = match object::tag(data) {
        Ok(tag) => tag,
        Err(malformed) => {
            return Some(TagFact {
                oid: *oid,
                target: *oid,
                name: String::new(),
                tagger: None,
                malformed: Some(malformed.to_string()),
                signature: Fact::Known(state(SignatureState::Malformed, "the tag is malformed")),
            });
        }
    };
    let claimed_at = tag.tagger.as_ref().map_or(push.received_at, |tagger| tagger.time);
    Some(TagFact {
        oid: *oid,
        target: tag.target,
        name: tag.name,
        signature: judge.signature(tag.signature.as_ref(), claimed_at, true),
        tagger: tag.tagger,
        malformed: None,
    })
}

/// Asks gpgme, in the push, about one good OpenPGP signature of each key that is used for the first time.
/// A disagreement takes the place of the verdict.
async fn first_opinions<R, K, S>(
    world: &World<'_, R, K, S>,
    updates: &[InspectedUpdate],
    mut firsts: Firsts,
    commits: &mut [CommitFact],
    tags: &mut [Option<TagFact>],
) where
    K: Keyring,
    S: Store,
{
    for (fact, seen) in tags.iter().zip(updates) {
        let (Some(fact), Some((_, data))) = (fact, &seen.tag) else {
            continue;
        };
        let Ok(tag) = object::tag(data) else { continue };
        let at = tag.tagger.map_or(Timestamp::from_unix(0), |tagger| tagger.time);
        note_first(&fact.signature, tag.signature, at, &mut firsts);
    }
    if firsts.is_empty() {
        return;
    }
    let used = world.store.used_keys().await;
    if let Ok(used) = &used {
        firsts.retain(|key, _| !used.contains(key));
    }
    let of_commits = commits.iter_mut().map(|fact| &mut fact.signature);
    let of_tags = tags.iter_mut().flatten().map(|fact| &mut fact.signature);
    let mut uses: BTreeMap<&str, Vec<&mut Fact<SignatureFact>>> = BTreeMap::new();
    for fact in of_commits.chain(of_tags) {
        let first = good_key(fact).and_then(|key| firsts.get_key_value(key));
        if let Some((key, _)) = first {
            uses.entry(key).or_default().push(fact);
        }
    }
    for (key, mut uses) in uses {
        match &used {
            Ok(_) => first_opinion(world, key, &firsts[key], &mut uses).await,
            Err(outage) => uses.into_iter().for_each(|fact| *fact = unavailable(outage)),
        }
    }
}

/// Remembers what was signed if it is a good OpenPGP signature, the first by its key.
fn note_first(fact: &Fact<SignatureFact>, parts: Option<SignatureParts>, at: Timestamp, firsts: &mut Firsts) {
    let openpgp = parts.filter(|parts| parts.format == SignatureFormat::Openpgp);
    if let (Some(key), Some(parts)) = (good_key(fact), openpgp)
        && !firsts.contains_key(key)
    {
        firsts.insert(key.to_owned(), (parts, at));
    }
}

/// The key of a good signature.
fn good_key(fact: &Fact<SignatureFact>) -> Option<&str> {
    match fact {
        Fact::Known(known) if known.state == SignatureState::Good => known.key.as_deref(),
        _ => None,
    }
}

async fn first_opinion<R, K, S>(
    world: &World<'_, R, K, S>,
    key: &str,
    (parts, at): &(SignatureParts, Timestamp),
    uses: &mut [&mut Fact<SignatureFact>],
) where
    K: Keyring,
    S: Store,
{
    let opinion = match world.keyring.second_opinion(signed(parts, *at)) {
        Ok(true) => world.store.mark_used(key).await.map(|()| true),
        other => other,
    };
    for (at, fact) in uses.iter_mut().enumerate() {
        match (&opinion, &mut **fact) {
            (Err(outage), fact) => *fact = unavailable(outage),
            (Ok(false), Fact::Known(known)) => {
                known.state = SignatureState::Disagreement;
                known.detail = "gpgme does not find it good".into();
            }
            // Only this one was asked about; the others get their second opinion after the push.
            (Ok(_), Fact::Known(known)) => known.first_use = at == 0,
            (Ok(_), Fact::Unavailable { .. }) => {}
        }
    }
}

/// What the scan found in objects (`hits`) and in the names of refs.
fn scan<R, K, S>(
    world: &World<'_, R, K, S>,
    push: &Push,
    inspected: &Inspected<Match>,
    mut hits: Vec<(Place, Match)>,
    introduced: Option<Introduced<Match>>,
) -> ScanFact {
    let names = push
        .updates
        .iter()
        .filter(|update| !update.new.is_zero())
        .flat_map(|update| {
            let place = Place {
                ref_name: Some(update.name.clone()),
                ..Place::default()
            };
            world
                .scanner
                .scan(update.name.as_str().as_bytes())
                .into_iter()
                .map(move |m| (place.clone(), m))
        });
    let mut objects = inspected.objects;
    let mut bytes = inspected.bytes;
    let mut bounds = inspected.bounds.clone();
    hits.extend(names);
    if let Some(more) = introduced {
        objects += more.objects;
        bytes += more.bytes;
        bounds.extend(more.bounds);
        hits.extend(more.hits);
    }
    let mut secrets: Vec<SecretFact> = hits.into_iter().map(|(place, hit)| secret(place, hit)).collect();
    secrets.sort_by(|a, b| (&a.place, &a.rule, &a.fingerprint).cmp(&(&b.place, &b.rule, &b.fingerprint)));
    secrets.dedup();
    bounds.sort();
    ScanFact {
        rule_set: world.rule_set.to_owned(),
        objects,
        bytes,
        secrets,
        bounds,
    }
}

fn secret(mut place: Place, hit: Match) -> SecretFact {
    place.span = Some(hit.span);
    SecretFact {
        rule: hit.rule,
        title: hit.title,
        severity: hit.severity,
        confidence: hit.confidence,
        place,
        excerpt: hit.excerpt,
        fingerprint: hit.fingerprint,
        revoke: hit.revoke,
        paths: None,
    }
}

/// The guarantees of the revision that the update starts from.
async fn previous<R, K, S: Store>(world: &World<'_, R, K, S>, update: &RefUpdate) -> Fact<Option<Vec<Guarantee>>> {
    if !world.policy.protects(&update.name) {
        return Fact::Known(None);
    }
    let entry = match starting_entry(world.store, update).await {
        Ok(entry) => entry,
        Err(outage) => return unavailable(&outage),
    };
    let Some(entry) = entry else { return Fact::Known(None) };
    match serde_json::from_str(&entry.guarantees) {
        Ok(guarantees) => Fact::Known(Some(guarantees)),
        Err(_) => Fact::Unavailable {
            code: "store-corrupt".into(),
            why: format!("the guarantees of entry {} cannot be read", entry.id),
        },
    }
}

/// The newest published entry of the ref whose revision is `update.old`.
///
/// Not simply the ref's latest: a `close` issues older entries anew, so that one of those may be the latest.
async fn starting_entry<S: Store>(store: &S, update: &RefUpdate) -> Result<Option<EntryRecord>, Outage> {
    let starts = |entry: &EntryRecord| entry.update.name == update.name && entry.update.new == update.old;
    let of_commit = store.entries_of(update.old).await?;
    if let Some(entry) = of_commit.into_iter().rev().find(starts) {
        return Ok(Some(entry));
    }
    // An annotated tag's entries are filed under the commit that it names.
    Ok(store.latest(&update.name).await?.filter(starts))
}
