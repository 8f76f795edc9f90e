//! The gate of a repository that a forge hosts: its own bare repository with ledger, policy and keys.
//!
//! In scope: following the forge's refs, judging and recording what landed,
//! publishing the entry, drift. Out of scope: when to look, and what the forge
//! says about it (`pipeline::landed`). One step of it is the same as a push
//! through the hooks: decision and pending entry, the ref moves, publication.

use super::bench::{Bench, Tools, gone, policy};
use crate::attest::sha256_hex;
use crate::cmd::error::CommandError;
use crate::cmd::home::Home;
use crate::cmd::{open, process, settle};
use crate::config::{BotConfig, Policy, RepositoryConfig};
use crate::decision::{Decision, Verdict, canonical};
use crate::facts::Facts;
use crate::finding::Finding;
use crate::forge::guard::{Landing, Protection, drift};
use crate::forge::{ForgeKind, ForgeRepo};
use crate::git::Gate;
use crate::guarantee::{Guarantee, source_level};
use crate::keyring::FolderKeyring;
use crate::mirror::{self, Followed};
use crate::pipeline::change::Judged;
use crate::pipeline::landed::{Arrival, Entered, Keeper, Own, Standing};
use crate::pipeline::lane::Unable;
use crate::pipeline::leak::Suspended;
use crate::pipeline::survey::Survey;
use crate::pipeline::{self, Waivers, World};
use crate::port::{EntryRecord, FetchSource, Outage, Repository, Store};
use crate::push::{Actor, Oid, Push, RefName, RefUpdate, Server, Timestamp};
use crate::scan::{RuleSet, Scanner};
use crate::store::SqliteStore;
use crate::worker::drift::Watch;
use crate::worker::{self, drift as lapses};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Decisions among which an equal refusal is looked for.
const RECENT: u32 = 50;

/// The gate of one repository.
pub(super) struct Custody<'a> {
    config: &'a BotConfig,
    repository: &'a RepositoryConfig,
    pub(super) home: Home,
}

fn home(repository: &RepositoryConfig) -> Result<Option<Home>, Outage> {
    let Some(gate) = &repository.gate else { return Ok(None) };
    let home = Home::of(gate);
    if home.dir.is_dir() {
        return Ok(Some(home));
    }
    Err(Outage {
        code: "gate-unreadable",
        what: format!("{} is no gate", gate.display()),
        why: "it has no folder lychgate".to_owned(),
        next: format!(
            "make it: git init --bare {0} && lychgate init --no-hooks {0}",
            gate.display()
        ),
    })
}

/// Whether the gate that a repository's entry names, if any, has all that is needed of it.
pub(super) fn whole(repository: &RepositoryConfig) -> Result<(), Outage> {
    let Some(home) = home(repository)? else { return Ok(()) };
    Gate::open(&home.git_dir, None)?;
    open::settings(&home)?;
    match std::fs::File::open(home.ledger()) {
        Ok(_) => Ok(()),
        Err(error) => Err(Outage {
            code: "store-missing",
            what: format!("cannot open {}", home.ledger().display()),
            why: error.to_string(),
            next: format!("make it: lychgate init --no-hooks {}", home.git_dir.display()),
        }),
    }
}

/// Binds a gate to the one repository whose landings it records, the first time that it is used: a repository which
/// was made anew under an old name is another one, and must not go on where that one ended.
fn bind(home: &Home, repo: &ForgeRepo) -> Result<(), Outage> {
    let (path, own) = (home.forge_repository(), mark(repo));
    let unusable = |code, why: String, next: &str| Outage {
        code,
        what: format!("{} cannot be used for {}", home.git_dir.display(), repo.full_name),
        why,
        next: format!("{next} {}", path.display()),
    };
    if !path.exists() {
        written(home, &path, &own).map_err(|why| unusable("gate-unwritable", why, "let this account write"))?;
    }
    let bound = std::fs::read_to_string(&path)
        .map_err(|error| unusable("gate-unreadable", error.to_string(), "let this account read"))?;
    if bound == own {
        return Ok(());
    }
    let why = format!(
        "it is the gate of repository {}, and this is {}",
        bound.trim(),
        own.trim()
    );
    let next = "make a gate of its own for the new repository; if both are the same one, delete";
    Err(unusable("gate-of-another-repository", why, next))
}

/// As [`bind`], for the gate that an entry names, if any.
pub(super) fn bind_to(entry: &RepositoryConfig, repo: &ForgeRepo) -> Result<(), Outage> {
    home(entry)?.map_or(Ok(()), |home| bind(&home, repo))
}

/// What a gate says of the repository that it is bound to.
fn mark(repo: &ForgeRepo) -> String {
    format!("{} {}\n", repo.forge, repo.id)
}

/// What the gate of an entry says of its repository; `None`: it has none, or was not used yet.
fn marked(entry: &RepositoryConfig) -> Option<String> {
    let home = Home::of(entry.gate.as_deref()?);
    std::fs::read_to_string(home.forge_repository()).ok()
}

/// Whether the gate that an entry names is bound to another repository than this.
pub(super) fn is_anothers(entry: &RepositoryConfig, repo: &ForgeRepo) -> bool {
    marked(entry).is_some_and(|bound| bound != mark(repo))
}

/// Whole or not at all, and by the first who comes.
fn written(home: &Home, path: &Path, text: &str) -> Result<(), String> {
    let mut file = tempfile::NamedTempFile::new_in(&home.dir).map_err(|error| error.to_string())?;
    file.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(error.error.to_string()),
        _ => Ok(()),
    }
}

impl Keeper for Bench {
    async fn survey(&self, repo: &ForgeRepo, source: FetchSource) -> Result<Survey, Unable> {
        let repo = repo.clone();
        self.aside(move |tools| tools.survey_of(&repo, &source).map_err(Unable::Outage))
            .await
    }

    async fn history(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        source: FetchSource,
        now: Timestamp,
    ) -> Result<Judged, Unable> {
        let (repo, name) = (repo.clone(), name.clone());
        self.aside(move |tools| tools.history_of(&repo, &name, &source, now).map_err(Unable::Outage))
            .await
    }

    fn keeps(&self, repo: &ForgeRepo) -> Result<bool, Outage> {
        Ok(self.0.custody(repo)?.is_some())
    }

    fn records(&self, repo: &ForgeRepo, name: &RefName) -> Result<bool, Outage> {
        let Some(config) = self.0.repository(repo).filter(|it| it.gate.is_some()) else {
            return Ok(false);
        };
        Ok(policy(config)?.0.protects(name))
    }

    async fn arrival(
        &self,
        repo: &ForgeRepo,
        told: &RefUpdate,
        source: FetchSource,
        now: Timestamp,
    ) -> Result<Option<Arrival>, Unable> {
        let (repo, told) = (repo.clone(), told.clone());
        self.at_gate(repo.clone(), async move |gate| {
            gate.arrival(&repo, &told, &source, now).await
        })
        .await
    }

    async fn is_rebase(
        &self,
        repo: &ForgeRepo,
        source: FetchSource,
        head: Oid,
        from: Oid,
        steps: &[Oid],
    ) -> Result<bool, Unable> {
        let (repo, steps) = (repo.clone(), steps.to_vec());
        self.at_gate(repo.clone(), async move |gate| {
            mirror::is_rebase(&gate.home.git_dir, &repo, &source, head, from, &steps)
        })
        .await
    }

    async fn enter(
        &self,
        repo: &ForgeRepo,
        update: &RefUpdate,
        landing: Landing,
        now: Timestamp,
    ) -> Result<Entered, Unable> {
        let (repo, update) = (repo.clone(), update.clone());
        self.at_gate(repo.clone(), async move |gate| {
            gate.enter(&repo, &update, landing, now).await
        })
        .await
    }

    async fn standings(&self, repo: &ForgeRepo, source: FetchSource, now: Timestamp) -> Result<Vec<Standing>, Unable> {
        let repo = repo.clone();
        self.at_gate(repo.clone(), async move |gate| {
            gate.standings(&repo, &source, now).await
        })
        .await
    }

    async fn leaked(
        &self,
        repo: &ForgeRepo,
        blob: Oid,
        alert: u64,
        now: Timestamp,
    ) -> Result<Option<Suspended>, Unable> {
        let told = repo.clone();
        self.at_gate(repo.clone(), async move |gate| {
            gate.leaked(&told, blob, alert, now).await
        })
        .await
    }

    async fn watch(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        protection: &Protection,
        now: Timestamp,
    ) -> Result<Watch, Unable> {
        let (name, protection) = (name.clone(), protection.clone());
        self.at_gate(repo.clone(), async move |gate| {
            gate.watch(&name, &protection, now).await
        })
        .await
    }
}

impl Bench {
    async fn at_gate<T: Send + 'static>(
        &self,
        repo: ForgeRepo,
        work: impl AsyncFnOnce(&Custody<'_>) -> Result<T, Outage> + Send + 'static,
    ) -> Result<T, Unable> {
        self.aside(move |tools| {
            let done = || {
                let custody = tools.custody(&repo)?.ok_or_else(|| gone(&repo))?;
                open::runtime()?.block_on(work(&custody))
            };
            done().map_err(Unable::Outage)
        })
        .await
    }
}

impl Tools {
    /// What a repository is judged by: by its number, by its name, by the gate that is bound to it, which a rename
    /// leaves, or by its forge's `*`.
    pub(super) fn repository(&self, repo: &ForgeRepo) -> Option<&RepositoryConfig> {
        let found = self.config.repository(repo);
        let itself = |it: &&RepositoryConfig| it.id.is_some() || it.name.as_deref() == Some(&repo.full_name);
        found.filter(itself).or_else(|| {
            let entries = self.config.repositories.iter().filter(|it| it.forge == repo.forge);
            let mut renamed = entries.filter(|it| it.id.is_none() && marked(it).is_some_and(|it| it == mark(repo)));
            renamed.next().or(found)
        })
    }

    /// The gate of a repository; `None`: it has none.
    pub(super) fn custody(&self, repo: &ForgeRepo) -> Result<Option<Custody<'_>>, Outage> {
        let Some(repository) = self.repository(repo) else {
            return Ok(None);
        };
        let Some(home) = home(repository)? else { return Ok(None) };
        bind(&home, repo)?;
        Ok(Some(Custody {
            config: &self.config,
            repository,
            home,
        }))
    }
}

impl Custody<'_> {
    fn policy(&self) -> Result<(Policy, String), Outage> {
        policy(self.repository)
    }

    /// The ledger, with what a crash left settled.
    pub(super) async fn store(&self, now: Timestamp) -> Result<SqliteStore, Outage> {
        let store = open::store(&self.home).await?;
        settle::recover(&self.home, &store, &self.gate()?, now).await?;
        Ok(store)
    }

    fn gate(&self) -> Result<Gate, Outage> {
        Gate::open(&self.home.git_dir, None)
    }

    /// Where our protected refs stand.
    fn own(&self, policy: &Policy) -> Result<BTreeMap<RefName, Oid>, Outage> {
        let gate = self.gate()?;
        let refs = Own(&gate).refs("refs/")?;
        Ok(refs.into_iter().filter(|(name, _)| policy.protects(name)).collect())
    }

    /// Begins with a repository: its protected refs enter unjudged where they stand, as those of a repository in
    /// which the hooks are installed. `told` begins where its move began.
    fn begin(
        &self,
        repo: &ForgeRepo,
        source: &FetchSource,
        policy: &Policy,
        told: Option<&RefUpdate>,
    ) -> Result<(), Outage> {
        let tips = mirror::tips(repo, source)?.refs;
        for (name, _) in tips.iter().filter(|(name, _)| policy.protects(name)) {
            let followed = mirror::follow(&self.home.git_dir, repo, source, name)?;
            let (None, Some(tip)) = (followed.old, followed.new) else {
                continue;
            };
            let from = match told.filter(|told| told.name == *name && !told.old.is_zero()) {
                Some(told) if mirror::moved(&self.home.git_dir, told.old, tip)? => told.old,
                _ => tip,
            };
            mirror::set_ref(&self.home.git_dir, name, None, Some(from))?;
        }
        Ok(())
    }

    pub(super) async fn arrival(
        &self,
        repo: &ForgeRepo,
        told: &RefUpdate,
        source: &FetchSource,
        now: Timestamp,
    ) -> Result<Option<Arrival>, Outage> {
        let (policy, _) = self.policy()?;
        self.store(now).await?.close().await?;
        if self.own(&policy)?.is_empty() {
            self.begin(repo, source, &policy, Some(told))?;
        }
        let Followed { old, new, steps } = mirror::follow(&self.home.git_dir, repo, source, &told.name)?;
        if old == new {
            return Ok(None);
        }
        let zero = told.new.zero();
        let update = RefUpdate {
            name: told.name.clone(),
            old: old.unwrap_or(zero),
            new: new.unwrap_or(zero),
        };
        Ok(Some(Arrival { update, steps }))
    }

    pub(super) async fn standings(
        &self,
        repo: &ForgeRepo,
        source: &FetchSource,
        now: Timestamp,
    ) -> Result<Vec<Standing>, Outage> {
        let (policy, _) = self.policy()?;
        let store = self.store(now).await?;
        if self.own(&policy)?.is_empty() {
            self.begin(repo, source, &policy, None)?;
        }
        let own = self.own(&policy)?;
        let tips = mirror::tips(repo, source)?.refs;
        let there: BTreeMap<RefName, Oid> = tips.into_iter().filter(|(name, _)| policy.protects(name)).collect();
        let names: std::collections::BTreeSet<&RefName> = own.keys().chain(there.keys()).collect();
        let (gate, mut standings) = (self.gate()?, Vec::new());
        for name in names {
            let (there, here) = (there.get(name).copied(), own.get(name).copied());
            // A tag that is an object of its own is nothing that a forge shows anything at.
            let named = here.filter(|_| name.is_tag());
            let commit = named.map(|oid| gate.peel(oid)).transpose()?.flatten();
            standings.push(Standing {
                there,
                here,
                shown_at: commit.or(there).or(here),
                wanted: policy.wants_of_forge(name),
                lapsed: matches!(lapses::standing(&store, name).await?, Watch::Open(_)),
                name: name.clone(),
            });
        }
        store.close().await?;
        Ok(standings)
    }

    pub(super) async fn watch(&self, name: &RefName, protection: &Protection, now: Timestamp) -> Result<Watch, Outage> {
        let store = self.store(now).await?;
        let watch = self.watched(&store, name, protection, now).await?;
        store.close().await?;
        Ok(watch)
    }

    async fn watched(
        &self,
        store: &SqliteStore,
        name: &RefName,
        protection: &Protection,
        now: Timestamp,
    ) -> Result<Watch, Outage> {
        let (policy, _) = self.policy()?;
        let Some(wanted) = policy.wants_of_forge(name) else {
            return Ok(Watch::Clear);
        };
        let (signer, gate) = (open::signer(&self.home)?, settle::gate(&self.home)?);
        let seen = sha256_hex(&canonical(protection));
        let drift = drift(wanted, protection);
        let owner = process::itself();
        lapses::watch(store, &signer, &gate, name, &drift, &seen, (now, &owner)).await
    }

    pub(super) async fn enter(
        &self,
        repo: &ForgeRepo,
        update: &RefUpdate,
        landing: Landing,
        now: Timestamp,
    ) -> Result<Entered, Outage> {
        let store = self.store(now).await?;
        // First, so that a lapse which nobody saw until now does not count as continuity.
        self.watched(&store, &update.name, &landing.protection, now).await?;
        let entered = self.judged(&store, repo, update, landing, now).await;
        store.close().await?;
        entered
    }

    async fn judged(
        &self,
        store: &SqliteStore,
        repo: &ForgeRepo,
        update: &RefUpdate,
        landing: Landing,
        now: Timestamp,
    ) -> Result<Entered, Outage> {
        let (policy, policy_text) = self.policy()?;
        // What could not be attested afterwards must not enter.
        let (signer, gate) = (open::signer(&self.home)?, settle::gate(&self.home)?);
        let key = open::fingerprint_key(&self.config.fingerprint_key)?;
        let own = self.gate()?;
        let rules = RuleSet::builtin();
        let scanner = Scanner::new(rules, &key);
        let keyring = FolderKeyring::open(&self.home.keyring());
        let signed_by = || open::public_key(&self.home);
        let world = World {
            repository: &Own(&own),
            keyring: &keyring,
            store,
            scanner: &scanner,
            rule_set: rules.digest(),
            policy: &policy,
            policy_text: &policy_text,
            waivers: Waivers::Ledger(&signed_by),
            verdicts: None,
        };
        let push = self.push(repo, update, &landing, now)?;
        let id = push.id.clone();
        let named = if update.new.is_zero() { update.old } else { update.new };
        let commit = own.peel(named)?;
        let mut facts = pipeline::facts(&world, push).await;
        facts.landing = Some(landing);
        let commits = facts.commits.len();
        let (facts, decided) = pipeline::judged(&world, facts).await;
        let refused = |decision: Decision| Entered {
            entry: None,
            outage: decision.outage,
            findings: decision.findings,
            commit,
            commits,
            unsettled: None,
        };
        if decided.outage || (decided.verdict == Verdict::Deny && known(store, update, &decided.findings).await?) {
            return Ok(refused(decided));
        }
        let received = pipeline::record(&world, facts, &process::itself()).await?;
        if received.decision.verdict == Verdict::Deny {
            return Ok(refused(received.decision));
        }
        let point = |oid: Oid| (!oid.is_zero()).then_some(oid);
        let pending = store.pending().await?.into_iter().filter(|entry| entry.push_id == id);
        let pending: Vec<EntryRecord> = pending.collect();
        if let Err(outage) = mirror::set_ref(&self.home.git_dir, &update.name, point(update.old), point(update.new)) {
            // This process lives on, so recovery would wait for it.
            let ids: Vec<String> = pending.into_iter().map(|entry| entry.id).collect();
            store.void(&ids).await?;
            return Err(outage);
        }
        worker::publish(store, &signer, &gate, pending.clone()).await?;
        let level = pending.first().map_or(1, |entry| level(entry, gate.max_level));
        let entry = pending.into_iter().next().map(|entry| (entry.id, level));
        let unsettled = settle::rounds(&self.home, store, now).await.err();
        Ok(Entered {
            entry,
            outage: false,
            findings: received.decision.findings,
            commit,
            commits,
            unsettled: unsettled.map(|error| one_line(&error)),
        })
    }

    fn push(&self, repo: &ForgeRepo, update: &RefUpdate, landing: &Landing, now: Timestamp) -> Result<Push, Outage> {
        let kind = self.config.forges.iter().find(|forge| forge.name == repo.forge);
        let server = match kind.map(|forge| forge.kind) {
            Some(ForgeKind::Forgejo) => Server::Gitea,
            Some(ForgeKind::Gitlab) => Server::Gitlab,
            Some(ForgeKind::Github) | None => Server::Ghes,
        };
        let random = process::random()?
            .iter()
            .take(10)
            .fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        Ok(Push {
            id: ulid::Ulid::from_parts(now.unix().unsigned_abs().saturating_mul(1000), random).to_string(),
            repository: open::settings(&self.home)?.resource,
            received_at: now,
            actor: Actor {
                server,
                // No account has this name, so no rule names it.
                name: landing.by.clone().unwrap_or_else(|| "(unknown)".to_owned()),
                protocol: None,
            },
            options: Vec::new(),
            updates: vec![update.clone()],
        })
    }
}

fn one_line(error: &CommandError) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(240)
        .collect()
}

fn level(entry: &EntryRecord, most: u8) -> u8 {
    let guarantees: Vec<Guarantee> = serde_json::from_str(&entry.guarantees).unwrap_or_default();
    source_level(&guarantees).min(most)
}

/// Whether this move was refused before for the same reasons: it is recorded once.
async fn known(store: &SqliteStore, update: &RefUpdate, findings: &[Finding]) -> Result<bool, Outage> {
    for record in store.decisions(RECENT).await?.iter().filter(|record| !record.allowed) {
        let facts: Option<Facts> = serde_json::from_slice(&record.facts).ok();
        let decision: Option<Decision> = serde_json::from_slice(&record.decision).ok();
        let same = facts.is_some_and(|facts| facts.push.updates == [update.clone()]);
        if same && decision.is_some_and(|decision| decision.findings == findings) {
            return Ok(true);
        }
    }
    Ok(false)
}
