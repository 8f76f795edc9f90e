//! A forge in this process, a repository that it serves, and a bot that looks at both.

use crate::support::{Gate, Scratch, Signing, WorkTree, free_port};
use hmac::{Hmac, KeyInit, Mac};
use lychgate::cmd::serve::bench::Bench;
use lychgate::config::{BotConfig, Settings};
use lychgate::forge::guard::{GuardedTags, LandedChange, Landing, OUR_CHECK, Protection, RequiredCheck, Wanted};
use lychgate::forge::{Change, CheckState, Display, ForgeKind, ForgeRepo, Leak, Permission};
use lychgate::mirror::Mirrors;
use lychgate::pipeline::lane::{Bot, Breaker, Journal};
use lychgate::pipeline::metrics::Metrics;
use lychgate::port::{Delivery, FetchSource, Forge, ForgeError, Leased, Queue};
use lychgate::push::{Oid, RefName, Timestamp};
use lychgate::server::{self, Door, Hook};
use lychgate::store::SqliteStore;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The webhook's secret.
pub(crate) const SECRET: &str = "canary-webhook-secret-3f9c";
/// The credential for fetching.
pub(crate) const PASSWORD: &str = concat!("canary-fetch-", "credential-77aa");

thread_local! {
    static AHEAD: AtomicI64 = const { AtomicI64::new(0) };
}

/// The clock of the tests: the test's own thread may put it ahead.
pub(crate) fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    let ahead = AHEAD.with(|ahead| ahead.load(Ordering::Relaxed));
    Timestamp::from_unix(i64::try_from(since.as_secs()).unwrap() + ahead)
}

/// Runs a test on a stage of its own, on one thread.
pub(crate) fn run(test: impl AsyncFnOnce(Stage)) {
    run_on(|gate| config(gate, "acme/pay"), test);
}

/// Runs a test on a stage whose gate keeps a ledger of what lands.
pub(crate) fn run_kept(test: impl AsyncFnOnce(Stage)) {
    run_on(
        |gate| configured(gate, &format!("gate = \"{}\"\n", gate.bare.display())),
        test,
    );
}

/// Runs a test on a stage with this configuration.
pub(crate) fn run_on(config: impl FnOnce(&Gate) -> Configured, test: impl AsyncFnOnce(Stage)) {
    run_in(Gate::new(), config, test);
}

/// As [`run_kept`], where all repositories are of SHA-256.
pub(crate) fn run_sha256(test: impl AsyncFnOnce(Stage)) {
    let kept = |gate: &Gate| configured(gate, &format!("gate = \"{}\"\n", gate.bare.display()));
    run_in(Gate::of(Scratch::of_format("sha256")), kept, test);
}

fn run_in(gate: Gate, config: impl FnOnce(&Gate) -> Configured, test: impl AsyncFnOnce(Stage)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stage = Stage::new(gate, config).await;
        test(stage).await;
    });
}

/// A webhook's body: a change was opened.
pub(crate) fn opened(number: u64) -> String {
    format!(r#"{{"action":"opened","number":{number},"repository":{{"id":5,"full_name":"acme/pay"}}}}"#)
}

/// All that the policy can want of a forge.
pub(crate) fn guarded() -> Protection {
    let ours = RequiredCheck {
        name: OUR_CHECK.into(),
        ours: true,
    };
    Protection {
        deletion_blocked: true,
        force_push_blocked: true,
        changes_only: true,
        approvals: 1,
        stale_dismissed: true,
        checks: vec![ours],
        ..Protection::default()
    }
}

/// All that the policy can want of a forge for a tag which there is.
pub(crate) fn guarded_tag() -> Protection {
    Protection {
        deletion_blocked: true,
        force_push_blocked: true,
        move_blocked: true,
        ..Protection::default()
    }
}

pub(crate) fn repo() -> ForgeRepo {
    ForgeRepo {
        forge: "hub".into(),
        id: 5,
        full_name: "acme/pay".into(),
        installation: None,
    }
}

struct State {
    changes: BTreeMap<u64, Change>,
    /// The repository as it is now.
    place: ForgeRepo,
    shown: Vec<Display>,
    permissions: BTreeMap<String, Permission>,
    url: String,
    broken: bool,
    protection: Protection,
    /// Of tags; `None`: it has no API for that.
    tags: Option<Protection>,
    leak: Option<Leak>,
    landed: Vec<LandedChange>,
    missing: Vec<String>,
    sarif: Vec<(String, Oid, String)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            place: repo(),
            changes: BTreeMap::new(),
            shown: Vec::new(),
            permissions: BTreeMap::new(),
            url: String::new(),
            broken: false,
            protection: Protection::default(),
            tags: Some(Protection::default()),
            leak: None,
            landed: Vec::new(),
            missing: Vec::new(),
            sarif: Vec::new(),
        }
    }
}

impl State {
    /// An installation that lost the repository sees nothing of it.
    fn sees(&self, repo: &ForgeRepo) -> Result<(), ForgeError> {
        let lost = repo.installation.is_some() && repo.installation != self.place.installation;
        match lost {
            true => Err(none("not-found")),
            false => Ok(()),
        }
    }
}

fn none(code: &'static str) -> ForgeError {
    ForgeError::Refused {
        code,
        why: "404".into(),
    }
}

/// A forge that remembers what it was told to show.
#[derive(Clone, Default)]
pub(crate) struct FakeForge {
    state: Arc<Mutex<State>>,
    failures: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
    called: Arc<Notify>,
}

impl FakeForge {
    pub(crate) fn set_head(&self, number: u64, head: Oid) {
        self.state.lock().unwrap().changes.get_mut(&number).unwrap().head_oid = head;
    }

    pub(crate) fn permit(&self, account: &str, permission: Permission) {
        let mut state = self.state.lock().unwrap();
        state.permissions.insert(account.to_owned(), permission);
    }

    pub(crate) fn break_source(&self, broken: bool) {
        self.state.lock().unwrap().broken = broken;
    }

    pub(crate) fn fail(&self, times: u32) {
        self.failures.store(times, Ordering::Relaxed);
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// A change is no longer there.
    pub(crate) fn forget(&self, number: u64) {
        self.state.lock().unwrap().changes.remove(&number);
    }

    /// A change is closed without a merge.
    pub(crate) fn close(&self, number: u64) {
        self.state.lock().unwrap().changes.get_mut(&number).unwrap().open = false;
    }

    /// The repository is another place, or another repository, from now on.
    pub(crate) fn place(&self, repo: &ForgeRepo) {
        let mut state = self.state.lock().unwrap();
        for change in state.changes.values_mut() {
            change.repo = repo.clone();
        }
        state.place = repo.clone();
    }

    /// The repository is served elsewhere.
    pub(crate) fn serve(&self, url: &str) {
        self.state.lock().unwrap().url = url.to_owned();
    }

    /// What the forge enforces from now on.
    pub(crate) fn enforce(&self, protection: Protection) {
        self.state.lock().unwrap().protection = protection;
    }

    /// What the forge enforces on tags from now on; `None`: it does not tell.
    pub(crate) fn enforce_on_tags(&self, protection: Option<Protection>) {
        self.state.lock().unwrap().tags = protection;
    }

    /// What the forge says of each alert about a secret from now on.
    pub(crate) fn alert(&self, leak: Option<Leak>) {
        self.state.lock().unwrap().leak = leak;
    }

    /// What the forge lacks of permissions and events.
    pub(crate) fn lack(&self, what: &str) {
        self.state.lock().unwrap().missing.push(what.to_owned());
    }

    /// What was uploaded: ref, commit, SARIF.
    pub(crate) fn uploads(&self) -> Vec<(String, Oid, String)> {
        self.state.lock().unwrap().sarif.clone()
    }

    /// A change landed as this revision; the forge tells it of the change.
    pub(crate) fn land(&self, number: u64, merged_as: Oid) {
        let mut state = self.state.lock().unwrap();
        let change = state.changes.get_mut(&number).unwrap();
        (change.open, change.merged_as) = (false, Some(merged_as));
        let landed = LandedChange {
            number,
            author: change.author.clone(),
            merged_by: Some("merger".into()),
            head: change.head_oid,
            merged_as,
            approved_by: vec!["reviewer".into()],
            passed: vec![OUR_CHECK.into()],
        };
        state.landed.push(landed);
    }

    pub(crate) async fn wait_for_a_call(&self) {
        self.called.notified().await;
    }

    fn answer<T>(&self, with: impl FnOnce(&mut State) -> T) -> Result<T, ForgeError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.called.notify_one();
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.fetch_sub(1, Ordering::Relaxed);
            let why = "502".to_owned();
            return Err(ForgeError::Later { after_seconds: 1, why });
        }
        Ok(with(&mut self.state.lock().unwrap()))
    }
}

impl Forge for FakeForge {
    async fn change(&self, repo: &ForgeRepo, number: u64) -> Result<Change, ForgeError> {
        self.answer(|state| {
            state.sees(repo)?;
            let change = state.changes.get(&number).cloned();
            change.ok_or_else(|| none("gone"))
        })?
    }

    async fn whereabouts(&self, repo: &ForgeRepo) -> Result<ForgeRepo, ForgeError> {
        self.answer(|state| match state.place.id == repo.id {
            true => Ok(state.place.clone()),
            false => Err(none("gone")),
        })?
    }

    async fn open_changes(&self, _: &ForgeRepo) -> Result<Vec<u64>, ForgeError> {
        self.answer(|state| state.changes.keys().copied().collect())
    }

    async fn repositories(&self) -> Result<Vec<ForgeRepo>, ForgeError> {
        self.answer(|state| vec![state.place.clone()])
    }

    async fn permission(&self, _: &ForgeRepo, account: &str) -> Result<Permission, ForgeError> {
        self.answer(|state| state.permissions.get(account).copied().unwrap_or(Permission::Write))
    }

    async fn fetch_source(&self, _: &ForgeRepo, number: Option<u64>) -> Result<FetchSource, ForgeError> {
        self.answer(|state| FetchSource {
            url: if state.broken {
                format!("{}-not-there", state.url)
            } else {
                state.url.clone()
            },
            user: "x".into(),
            password: SecretString::from(PASSWORD.to_owned()),
            refspecs: match number {
                Some(number) => vec![format!("+refs/pull/{number}/*:refs/changes/{number}/*")],
                None => vec!["+refs/heads/*:refs/heads/*".to_owned()],
            },
        })
    }

    async fn show(&self, display: &Display) -> Result<bool, ForgeError> {
        self.answer(|state| {
            state.sees(&display.repo)?;
            if state.place.id != display.repo.id {
                return Err(none("gone"));
            }
            let number = display.number.unwrap_or_default();
            if state
                .changes
                .get(&number)
                .is_some_and(|change| change.head_oid != display.head)
            {
                return Ok(false);
            }
            // Absolute: what is shown last is not shown again.
            let mut known = state.shown.iter().rev();
            let last = known.find(|known| known.number == display.number);
            let same = |known: &Display| (&known.evaluation, &known.answers) == (&display.evaluation, &display.answers);
            if !last.is_some_and(same) {
                state.shown.push(display.clone());
            }
            Ok(true)
        })?
    }

    async fn reply(&self, _: &ForgeRepo, _: u64, _: &str, _: &str) -> Result<(), ForgeError> {
        self.answer(|_| ())
    }

    async fn redeliver(&self, _: Timestamp) -> Result<u32, ForgeError> {
        self.answer(|_| 0)
    }

    async fn protection(&self, _: &ForgeRepo, _: &RefName) -> Result<Protection, ForgeError> {
        self.answer(|state| state.protection.clone())
    }

    async fn landing(&self, _: &ForgeRepo, _: &RefName, steps: &[Oid]) -> Result<Landing, ForgeError> {
        self.answer(|state| {
            let here = |change: &&LandedChange| steps.contains(&change.merged_as);
            let changes: Vec<LandedChange> = state.landed.iter().filter(here).cloned().collect();
            let brought = |oid: &&Oid| !changes.iter().any(|change| change.merged_as == **oid);
            Landing {
                direct: steps.iter().filter(brought).copied().collect(),
                protection: state.protection.clone(),
                changes,
                ..Landing::default()
            }
        })
    }

    async fn protect(&self, _: &ForgeRepo, _: &RefName, _: Wanted, _: bool) -> Result<Vec<String>, ForgeError> {
        self.answer(|_| Vec::new())
    }

    async fn tag_protection(&self, _: &ForgeRepo, names: &[RefName]) -> Result<Vec<Protection>, ForgeError> {
        self.answer(|state| match &state.tags {
            Some(protection) => Ok(names.iter().map(|_| protection.clone()).collect()),
            None => Err(none("not-found")),
        })?
    }

    async fn protect_tags(&self, _: &ForgeRepo, _: &GuardedTags, _: bool) -> Result<Vec<String>, ForgeError> {
        self.answer(|_| Vec::new())
    }

    async fn leak(&self, _: &ForgeRepo, _: u64) -> Result<Option<Leak>, ForgeError> {
        self.answer(|state| state.leak.clone())
    }

    async fn missing(&self, _: &ForgeRepo) -> Result<Vec<String>, ForgeError> {
        self.answer(|state| state.missing.clone())
    }

    async fn upload(&self, _: &ForgeRepo, name: &str, head: Oid, sarif: &str) -> Result<bool, ForgeError> {
        self.answer(|state| {
            state.sarif.push((name.to_owned(), head, sarif.to_owned()));
            true
        })
    }
}

/// A configuration, and its text for another process.
pub(crate) type Configured = (BotConfig, String);
pub(crate) type TestBot = Bot<SqliteStore, FakeForge, Bench>;

/// The forge, its repository and a bot.
pub(crate) struct Stage {
    pub(crate) gate: Gate,
    pub(crate) forge: FakeForge,
    pub(crate) bot: Arc<TestBot>,
    pub(crate) store: PathBuf,
    config: BotConfig,
    text: String,
    lines: Arc<Mutex<String>>,
    pub(crate) base: String,
    _stop: watch::Sender<bool>,
    stop: watch::Receiver<bool>,
}

impl Stage {
    async fn new(gate: Gate, config: impl FnOnce(&Gate) -> Configured) -> Self {
        let served = gate.scratch.path("forge.git");
        gate.scratch
            .run("git", &["init", "-q", "--bare", "-b", "main", served.to_str().unwrap()])
            .ok();
        let url = format!("file://{}", served.display());
        let work = gate.work_tree(&url, &[]);
        let base = work.commit("README", "base\n", Signing::Ssh);
        work.push(&["HEAD:refs/heads/main"]).ok();
        let forge = FakeForge::default();
        forge.state.lock().unwrap().url = url;
        let (config, text) = config(&gate);
        let store = gate.scratch.path("bot.db");
        let lines = Arc::new(Mutex::new(String::new()));
        let bot = Arc::new(bot(&store, &config, forge.clone(), &lines).await);
        let (_stop, stop) = watch::channel(false);
        Self {
            gate,
            forge,
            bot,
            store,
            config,
            text,
            lines,
            base,
            _stop,
            stop,
        }
    }

    /// A bot as another process would have it, on the same store.
    pub(crate) async fn second_process(&self) -> TestBot {
        bot(&self.store, &self.config, self.forge.clone(), &self.lines).await
    }

    /// A bot at another forge, which calls the repository `name`.
    pub(crate) async fn bot_at<F: Forge>(&self, forge: F, name: &str) -> Bot<SqliteStore, F, Bench> {
        let lines = format!("gate = \"{}\"\n", self.gate.bare.display());
        let (config, _) = configured_as(&self.gate, name, &lines);
        bot(&self.store, &config, forge, &self.lines).await
    }

    /// Where the forge's repository can be fetched.
    pub(crate) fn url(&self) -> String {
        self.forge.state.lock().unwrap().url.clone()
    }

    /// Makes a branch at the base; gives the base.
    pub(crate) fn branch(&self, name: &str) -> String {
        let work = self.tree();
        work.push(&[&format!("{}:refs/heads/{name}", self.base)]).ok();
        self.base.clone()
    }

    pub(crate) fn tree(&self) -> WorkTree<'_> {
        // Behind whatever it serves by.
        let url = format!("file://{}", self.gate.scratch.path("forge.git").display());
        let work = self.gate.work_tree(&url, &[]);
        work.git(&["fetch", "-q", "origin", "+refs/*:refs/remotes/all/*"]).ok();
        work
    }

    /// Opens a change with one commit.
    pub(crate) fn propose(&self, number: u64, file: &str, signed: bool) -> Oid {
        self.proposed(number, file, "text\n", signed)
    }

    /// Opens a change with one signed commit that holds this text.
    pub(crate) fn propose_text(&self, number: u64, file: &str, text: &str) -> Oid {
        self.proposed(number, file, text, true)
    }

    fn proposed(&self, number: u64, file: &str, text: &str, signed: bool) -> Oid {
        let work = self.tree();
        work.git(&["checkout", "-q", &self.base]).ok();
        let head = commit(&work, number, file, text, signed);
        self.propose_head(number, head);
        head
    }

    /// Opens a change at a commit that the forge's repository has, or moves it there.
    pub(crate) fn change_at(&self, number: u64, head: Oid) {
        self.point(number, head);
        self.propose_head(number, head);
    }

    /// Tells the API about a change.
    pub(crate) fn propose_head(&self, number: u64, head: Oid) {
        let base: Oid = self.base.parse().unwrap();
        let change = Change {
            repo: self.forge.state.lock().unwrap().place.clone(),
            number,
            open: true,
            base: "refs/heads/main".parse().unwrap(),
            base_oid: base,
            head_oid: head,
            author: crate::support::ACCOUNT.into(),
            merged_as: None,
        };
        self.forge.state.lock().unwrap().changes.insert(number, change);
    }

    /// Pushes one more commit, without telling the API.
    pub(crate) fn push(&self, number: u64, file: &str, signed: bool) -> Oid {
        let work = self.tree();
        work.git(&["checkout", "-q", &format!("refs/remotes/all/pull/{number}/head")])
            .ok();
        commit(&work, number, file, "more\n", signed)
    }

    /// Replaces the change's commits by a signed one.
    pub(crate) fn replace(&self, number: u64, file: &str) -> Oid {
        self.proposed(number, file, "signed\n", true)
    }

    /// Moves the change's ref.
    pub(crate) fn point(&self, number: u64, head: Oid) {
        let served = format!("--git-dir={}", self.gate.scratch.path("forge.git").display());
        let name = format!("refs/pull/{number}/head");
        self.gate
            .scratch
            .run("git", &[&served, "update-ref", &name, &head.to_string()])
            .ok();
    }

    /// Time passes: every lease ends, every pause is over.
    pub(crate) fn later(&self) {
        self.pass(1000);
    }

    /// So many seconds pass.
    pub(crate) fn pass(&self, seconds: i64) {
        AHEAD.with(|ahead| ahead.fetch_add(seconds, Ordering::Relaxed));
    }

    /// The pause between two sweeps, as it is without a setting.
    pub(crate) fn sweep_seconds(&self) -> i64 {
        i64::try_from(self.config.sweep_seconds).unwrap()
    }

    /// Runs `lychgate queue` on the bot's store.
    pub(crate) fn queue(&self, args: &[&str]) -> String {
        let config = self.gate.scratch.write("bot.toml", &self.text);
        let config = ["--config", config.to_str().unwrap()];
        let args = [&["queue"], args, &config].concat();
        self.gate.scratch.run(crate::support::LYCHGATE, &args).ok()
    }

    /// Works until nothing is due.
    pub(crate) async fn settle(&self) {
        while self.bot.one_delivery().await.unwrap() || self.bot.one_display().await.unwrap() {}
    }

    pub(crate) async fn lease(&self) -> Option<Leased<Delivery>> {
        let until = Timestamp::from_unix(now().unix() + 100);
        self.bot.queue.lease_delivery(now(), until, "other").await.unwrap()
    }

    pub(crate) async fn finish(&self, lease: &Leased<Delivery>) -> bool {
        self.bot.queue.finish_delivery(lease, &[]).await.unwrap()
    }

    pub(crate) fn shown(&self) -> Vec<Display> {
        self.forge.state.lock().unwrap().shown.clone()
    }

    pub(crate) fn verdicts(&self) -> Vec<Display> {
        let verdict = |d: &Display| matches!(d.state, CheckState::Success | CheckState::Failure);
        self.shown().into_iter().filter(verdict).collect()
    }

    /// Commits that need no second scan, sorted.
    pub(crate) async fn noted(&self) -> Vec<Oid> {
        use sqlx::{Connection, Row};
        let verdicts = self.config.mirrors.join("verdicts.db");
        let mut sql = sqlx::SqliteConnection::connect(&format!("sqlite://{}", verdicts.display()))
            .await
            .unwrap();
        let noted = sqlx::query("SELECT oid FROM scanned_commit ORDER BY oid");
        let rows = noted.fetch_all(&mut sql).await.unwrap();
        rows.iter().map(|row| Oid::from_bytes(row.get(0)).unwrap()).collect()
    }

    pub(crate) fn log(&self) -> String {
        self.lines.lock().unwrap().clone()
    }

    /// Opens the door on a free port.
    pub(crate) async fn open(&self) -> Client {
        let port = free_port();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let hook = Hook {
            kind: ForgeKind::Github,
            secrets: vec![SecretString::from(SECRET.to_owned())],
        };
        let door = Door {
            queue: Arc::clone(&self.bot.queue),
            hooks: BTreeMap::from([("hub".to_owned(), hook)]),
            clock: now,
            metrics: Arc::clone(&self.bot.metrics),
            bell: Arc::clone(&self.bot.bell),
            journal: Arc::clone(&self.bot.journal),
        };
        tokio::spawn(server::serve(door, listener, self.stop.clone()));
        Client { port }
    }
}

fn commit(work: &WorkTree<'_>, number: u64, file: &str, text: &str, signed: bool) -> Oid {
    let signing = if signed { Signing::Ssh } else { Signing::None };
    let head = work.commit(file, text, signing);
    work.push(&["-f", &format!("HEAD:refs/pull/{number}/head")]).ok();
    head.parse().unwrap()
}

fn config(gate: &Gate, name: &str) -> Configured {
    let home = gate.bare.join("lychgate");
    let home = home.display();
    let lines = format!("policy = \"{home}/policy.toml\"\nkeyring = \"{home}/keyring\"\n");
    configured_as(gate, name, &lines)
}

/// A configuration with these lines about the repository.
pub(crate) fn configured(gate: &Gate, lines: &str) -> Configured {
    configured_as(gate, "acme/pay", lines)
}

fn configured_as(gate: &Gate, name: &str, lines: &str) -> Configured {
    let home = gate.bare.join("lychgate");
    let settings = std::fs::read_to_string(home.join("gate.toml")).unwrap();
    let resource = Settings::parse("gate.toml", &settings).unwrap().resource;
    let (home, here) = (home.display(), gate.scratch.path("").display().to_string());
    let text = format!(
        "store = \"{here}bot.db\"\nmirrors = \"{here}mirrors\"\nfingerprint_key = \"{home}/fingerprint.key\"\n\
         [[forge]]\nname = \"hub\"\nkind = \"github\"\napi = \"https://api.example.com\"\napp_id = 1\n\
         key_file = \"{here}key\"\nwebhook_secret_files = [\"{here}secret\"]\n\
         [[repository]]\nforge = \"hub\"\nname = \"{name}\"\nresource = \"{resource}\"\n\
         {lines}"
    );
    let config = BotConfig::parse("bot.toml", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
    (config, text)
}

async fn bot<F: Forge>(
    store: &std::path::Path,
    config: &BotConfig,
    forge: F,
    lines: &Arc<Mutex<String>>,
) -> Bot<SqliteStore, F, Bench> {
    std::fs::create_dir_all(&config.mirrors).unwrap();
    let lines = Arc::clone(lines);
    let journal: Journal = Arc::new(move |what, fields| {
        let line = format!("{what} {fields:?}\n");
        lines.lock().unwrap().push_str(&line);
    });
    Bot {
        queue: Arc::new(SqliteStore::create(store).await.unwrap()),
        forges: BTreeMap::from([("hub".to_owned(), (forge, Breaker::default()))]),
        evaluator: Bench::new(Mirrors::new(&config.mirrors, 1 << 30), config.clone()),
        clock: now,
        journal,
        metrics: Arc::new(Metrics::default()),
        bell: Arc::new(Notify::new()),
        outgoing: Notify::new(),
        owner: "test".into(),
        idle: Duration::from_millis(20),
        kept: config.kept,
    }
}

/// An HTTP client of few words.
pub(crate) struct Client {
    port: u16,
}

impl Client {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Delivers a signed body about a change; gives the status.
    pub(crate) async fn post(&self, body: &str, delivery: &str) -> u16 {
        self.post_as("pull_request", body, delivery).await
    }

    /// Delivers a signed body of another event than a change's.
    pub(crate) async fn post_as(&self, event: &str, body: &str, delivery: &str) -> u16 {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let digits: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let signature = format!("sha256={digits}");
        self.send_as(event, "/hooks/hub", body, delivery, Some(&signature))
            .await
    }

    /// As [`Client::post_as`].
    pub(crate) async fn deliver(&self, event: &str, body: &str, delivery: &str) -> u16 {
        self.post_as(event, body, delivery).await
    }

    pub(crate) async fn send(&self, path: &str, body: &str, delivery: &str, signature: Option<&str>) -> u16 {
        self.send_as("pull_request", path, body, delivery, signature).await
    }

    async fn send_as(&self, event: &str, path: &str, body: &str, delivery: &str, signature: Option<&str>) -> u16 {
        let signature = signature.map_or(String::new(), |s| format!("X-Hub-Signature-256: {s}\r\n"));
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
             X-GitHub-Event: {event}\r\nX-GitHub-Delivery: {delivery}\r\n{signature}\r\n{body}",
            body.len()
        );
        self.exchange(request).await.0
    }

    /// Announces a body of this length and sends none.
    pub(crate) async fn announce(&self, path: &str, length: usize) -> u16 {
        let head = "Host: localhost\r\nConnection: close";
        self.exchange(format!(
            "POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await
        .0
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.exchange(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    async fn exchange(&self, request: String) -> (u16, String) {
        let port = self.port;
        let exchange = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = exchange.await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }
}
