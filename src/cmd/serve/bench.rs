//! Where changes are fetched and judged: the evaluator of `lychgate serve`.

use super::open;
use super::{custody, desk};
use crate::cmd::error::CommandError;
use crate::cmd::process;
use crate::config::{BotConfig, Policy, RepositoryConfig, WaiverPolicy};
use crate::decision::hex;
use crate::facts::no_waivers;
use crate::finding::Cause;
use crate::forge::{Change, ForgeKind, ForgeRepo};
use crate::git::Gate;
use crate::keyring::FolderKeyring;
use crate::mirror::{self, Fetched, Head, Mirrors, Wanted};
use crate::pipeline::change::{Judged, Proposal, judge};
use crate::pipeline::lane::{Evaluator, RepositoryFault, Stamp, Unable};
use crate::pipeline::survey::{HISTORY, Survey};
use crate::pipeline::{Waivers, World};
use crate::port::{FetchSource, Outage};
use crate::push::{Oid, RefName, Timestamp};
use crate::scan::{RuleSet, Scanner};
use crate::store::SqliteStore;
use crate::waiver::{Done, Order};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tokio::sync::OnceCell;

/// Evaluations between two looks at the mirrors' size.
const TRIM_EVERY: u32 = 64;

/// Mirrors, policies and keyrings. Cheap to clone.
#[derive(Clone)]
pub struct Bench(pub(super) Arc<Tools>);

pub(super) struct Tools {
    mirrors: Mirrors,
    pub(super) config: BotConfig,
    /// What the ledger is for a push: which keys gpgme has seen, what was scanned. It may be lost.
    verdicts: OnceCell<SqliteStore>,
    evaluations: AtomicU32,
}

impl Bench {
    /// Judges by the policies and keyrings that the configuration names.
    pub fn new(mirrors: Mirrors, config: BotConfig) -> Self {
        Self(Arc::new(Tools {
            mirrors,
            config,
            verdicts: OnceCell::new(),
            evaluations: AtomicU32::new(0),
        }))
    }

    /// Whether the configuration has an entry for the repository.
    pub fn knows(&self, repo: &ForgeRepo) -> bool {
        self.0.repository(repo).is_some()
    }
}

impl Evaluator for Bench {
    fn stamp(&self, repo: &ForgeRepo) -> Result<Option<Stamp>, Outage> {
        let Some(config) = self.0.repository(repo) else {
            return Ok(None);
        };
        let (policy, _) = policy(config)?;
        // The mode is part of it, so that each head gets its verdict again once it is enforced.
        let mode = if config.report_only { " report" } else { "" };
        // A waiver that begins or ends makes old verdicts out of date, as another policy does.
        let loosened = match custody::is_anothers(config, repo) {
            true => String::new(),
            false => desk::in_effect(config, &policy.waivers, process::now()),
        };
        let text = format!("{} {}{loosened}{mode}", policy.digest, RuleSet::builtin().digest());
        Ok(Some(Stamp {
            all: hex(&Sha256::digest(text.as_bytes()))[..16].to_owned(),
            policy: policy.digest.chars().take(12).collect(),
            report_only: config.report_only,
            sarif: config.sarif,
        }))
    }

    async fn faults(&self) -> Vec<RepositoryFault> {
        let looked = self.aside(|tools| Ok(tools.faults())).await;
        let failed = |unable| match unable {
            Unable::Outage(outage) => vec![RepositoryFault {
                repository: "all".to_owned(),
                outage,
            }],
            Unable::Moved => Vec::new(),
        };
        looked.unwrap_or_else(failed)
    }

    async fn evaluate(&self, change: &Change, source: FetchSource, now: Timestamp) -> Result<Judged, Unable> {
        let change = change.clone();
        self.aside(move |tools| tools.evaluate(&change, &source, now)).await
    }

    fn waivers(&self, repo: &ForgeRepo) -> Result<Option<(WaiverPolicy, String)>, Outage> {
        // Who has the name of a repository that is gone has none of its waivers, and makes none.
        let own = |it: &&RepositoryConfig| it.gate.is_some() && !custody::is_anothers(it, repo);
        let Some(config) = self.0.repository(repo).filter(own) else {
            return Ok(None);
        };
        let (policy, _) = policy(config)?;
        Ok(Some((policy.waivers, config.resource.clone())))
    }

    async fn order(
        &self,
        repo: &ForgeRepo,
        order: &Order,
        via: &str,
        source: &str,
        now: Timestamp,
    ) -> Result<Done, Outage> {
        let config = self.0.repository(repo).cloned().ok_or_else(|| gone(repo))?;
        custody::bind_to(&config, repo)?;
        let (order, via, source) = (order.clone(), via.to_owned(), source.to_owned());
        let work = tokio::task::spawn_blocking(move || {
            let given = desk::Given {
                order: &order,
                via: &via,
                source: Some(&source),
                now,
            };
            open::runtime()?.block_on(desk::order(&config, &given))
        });
        work.await.unwrap_or_else(|_| Err(crashed()))
    }
}

impl Bench {
    /// Works in a thread of its own: fetching, git and the ledger of a gate block.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tools) -> Result<T, Unable> + Send + 'static,
    ) -> Result<T, Unable> {
        let tools = Arc::clone(&self.0);
        let work = tokio::task::spawn_blocking(move || work(&tools));
        work.await.unwrap_or_else(|_| Err(Unable::Outage(crashed())))
    }
}

fn crashed() -> Outage {
    Outage {
        code: "evaluation-crashed",
        what: "an evaluation ended in the middle".to_owned(),
        why: "a panic in its thread".to_owned(),
        next: "report this with the log".to_owned(),
    }
}

impl Tools {
    fn faults(&self) -> Vec<RepositoryFault> {
        let fault = |config: &RepositoryConfig| {
            let outage = self.usable(config).err()?;
            let number = config.id.map(|id| format!("#{id}"));
            let name = config.name.clone().or(number).unwrap_or_default();
            Some(RepositoryFault {
                repository: format!("{}:{name}", config.forge),
                outage,
            })
        };
        self.config.repositories.iter().filter_map(fault).collect()
    }

    /// Whether all that the entry of a repository names can be used.
    fn usable(&self, config: &RepositoryConfig) -> Result<(), Outage> {
        policy(config)?;
        open::fingerprint_key(&self.config.fingerprint_key)?;
        custody::whole(config)?;
        match std::fs::read_dir(&config.keyring) {
            Ok(_) => Ok(()),
            Err(error) => Err(Outage {
                code: "keyring-unreadable",
                what: format!("cannot read {}", config.keyring.display()),
                why: error.to_string(),
                next: "make it, or let this account read it; without it no signature is known".to_owned(),
            }),
        }
    }

    fn evaluate(&self, change: &Change, source: &FetchSource, now: Timestamp) -> Result<Judged, Unable> {
        let config = self
            .repository(&change.repo)
            .ok_or_else(|| Unable::Outage(gone(&change.repo)))?;
        let fetched = self.fetch(change, source)?;
        if fetched.head != Some(change.head_oid) {
            return Err(Unable::Moved);
        }
        let judged = open::runtime().and_then(|runtime| runtime.block_on(self.judge(config, change, &fetched, now)));
        drop(fetched);
        if self.evaluations.fetch_add(1, Relaxed) % TRIM_EVERY == TRIM_EVERY - 1 {
            self.mirrors.trim();
        }
        judged.map_err(Unable::Outage)
    }

    fn fetch(&self, change: &Change, source: &FetchSource) -> Result<Fetched, Unable> {
        let head = format!("refs/changes/{}/head", change.number);
        let merge = format!("refs/changes/{}/merge", change.number);
        let queued = change.number == 0;
        let wanted = Wanted {
            repo: &change.repo,
            source,
            base: &change.base,
            told: change.head_oid,
            head: if queued {
                Head::Commit(change.head_oid)
            } else {
                Head::Ref(&head)
            },
            merge: (!queued).then_some(merge.as_str()),
        };
        self.mirrors.fetch(&wanted).map_err(Unable::Outage)
    }

    pub(super) fn survey_of(&self, repo: &ForgeRepo, source: &FetchSource) -> Result<Survey, Outage> {
        let config = self.repository(repo).ok_or_else(|| gone(repo))?;
        let (policy, _) = policy(config)?;
        let tips = mirror::tips(repo, source)?;
        let wanted = |(name, oid): &(RefName, Oid)| Some((name.clone(), *oid, policy.wants_of_forge(name)?));
        let branches = tips.refs.iter().filter(|(name, _)| name.is_branch());
        let default = tips
            .default
            .and_then(|name| tips.refs.iter().find(|(known, _)| *known == name));
        Ok(Survey {
            branches: branches.filter_map(wanted).collect(),
            tags: policy.tags_to_guard(tips.refs.iter().map(|(name, _)| name)),
            default: default.cloned(),
        })
    }

    pub(super) fn history_of(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        source: &FetchSource,
        now: Timestamp,
    ) -> Result<Judged, Outage> {
        let config = self.repository(repo).ok_or_else(|| gone(repo))?;
        let held = self.mirrors.branch(repo, source, name)?;
        let from = mirror::back(&held.git_dir, held.tip, HISTORY)?;
        let change = Change {
            repo: repo.clone(),
            number: 0,
            open: true,
            base: name.clone(),
            base_oid: from,
            head_oid: held.tip,
            author: String::new(),
            merged_as: None,
        };
        let fetched = Fetched::between(&held, from);
        open::runtime()?.block_on(self.judge(config, &change, &fetched, now))
    }

    async fn judge(
        &self,
        config: &RepositoryConfig,
        change: &Change,
        fetched: &Fetched,
        now: Timestamp,
    ) -> Result<Judged, Outage> {
        let (policy, policy_text) = policy(config)?;
        let key = open::fingerprint_key(&self.config.fingerprint_key)?;
        let repository = Gate::open(&fetched.git_dir, None)?;
        let keyring = FolderKeyring::open(&config.keyring);
        let path = self.config.mirrors.join("verdicts.db");
        let store = self.verdicts.get_or_try_init(|| SqliteStore::create(&path)).await?;
        let waivers = match custody::is_anothers(config, &change.repo) {
            true => no_waivers(),
            false => desk::waivers(config, now).await,
        };
        let rules = RuleSet::builtin();
        let scanner = Scanner::new(rules, &key);
        let world = World {
            repository: &repository,
            keyring: &keyring,
            store,
            scanner: &scanner,
            rule_set: rules.digest(),
            policy: &policy,
            policy_text: &policy_text,
            waivers: Waivers::Read(&waivers),
            verdicts: None,
        };
        let kind = self.config.forges.iter().find(|forge| forge.name == change.repo.forge);
        let proposal = Proposal {
            change,
            kind: kind.map_or(ForgeKind::Github, |forge| forge.kind),
            base: fetched.base,
            merge_base: fetched.merge_base,
            merge: fetched.merge,
        };
        let judged = judge(&world, &config.resource, &proposal, now).await;
        // Where something could not be read, nobody knows which commits the change has.
        let whole = !judged.findings.iter().any(|finding| finding.cause == Cause::Outage);
        if change.number != 0 && whole {
            let lane = change.repo.change_lane(change.number);
            desk::end_left_behind(config, &waivers, &lane, &judged.ids, now).await?;
        }
        Ok(judged)
    }
}

/// Read each time: a changed policy holds from the next evaluation on.
pub(super) fn policy(config: &RepositoryConfig) -> Result<(Policy, String), Outage> {
    open::policy(&config.policy).map_err(|error| match error {
        CommandError::Outage(outage) => outage,
        other => Outage {
            code: "policy-invalid",
            what: format!("cannot use {}", config.policy.display()),
            why: other.to_string(),
            next: "correct it".to_owned(),
        },
    })
}

pub(super) fn gone(repo: &ForgeRepo) -> Outage {
    Outage {
        code: "repository-not-configured",
        what: format!("{} is not in the configuration", repo.full_name),
        why: "it has no [[repository]]".to_owned(),
        next: "add it to bot.toml".to_owned(),
    }
}
