//! What the adapters write at a forge: everything once, nothing to a moved head, and nothing secret.
//!
//! The forges are stateful fakes, which the forges' own API descriptions judge
//! in [`judged`]. Nothing is skipped when the judges are missing.

mod forgejo;
mod github;
mod gitlab;
mod guard;
pub(crate) mod judged;
mod leaks;
mod limits;
mod tags;

use crate::fake_forge::github::{APP, GitHubBrain, INSTALLATION, REPO, REPO_ID};
use crate::fake_forge::{Brain, Fake, Reply, Trouble};
use axum::http::Method;
use lychgate::forge::{Annotation, CheckState, Display, ForgeRepo};
use lychgate::forges::{GitHub, GitHubApp, Manner};
use lychgate::port::{Forge, ForgeError};
use lychgate::push::Timestamp;
use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::Duration;

/// Runs a test's future; the adapters want a runtime.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Without the waiting times of real forges.
pub(crate) fn hasty() -> Manner {
    Manner {
        patience: Duration::from_secs(10),
        mutation_gap: Duration::ZERO,
        mutation_burst: 1,
        retry_after: Duration::from_millis(5),
    }
}

/// A key of an App, made for this run.
#[expect(clippy::disallowed_methods, reason = "ssh-keygen makes an RSA key in PEM")]
pub(crate) fn app_key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        std::fs::read_to_string(path).unwrap()
    })
}

/// A running GitHub that knows its own URL.
pub(crate) fn github() -> Fake<GitHubBrain> {
    let fake = Fake::start(GitHubBrain::new());
    fake.brain.lock().unwrap().public.clone_from(&fake.url);
    fake.brain.lock().unwrap().heads.insert(7, head());
    fake
}

pub(crate) fn hub_at(url: &str, manner: Manner) -> GitHub {
    GitHub::new(GitHubApp {
        forge: "hub".to_owned(),
        api: url.to_owned(),
        app_id: APP,
        key: app_key().into(),
        admin: None,
        manner,
    })
    .unwrap()
}

pub(crate) fn head() -> String {
    "1234567890abcdef1234567890abcdef12345678".to_owned()
}

pub(crate) fn other_head() -> String {
    "fedcba0987654321fedcba0987654321fedcba09".to_owned()
}

pub(crate) fn repo() -> ForgeRepo {
    ForgeRepo {
        forge: "hub".to_owned(),
        id: REPO_ID,
        full_name: REPO.to_owned(),
        installation: Some(INSTALLATION),
    }
}

pub(crate) fn display(state: CheckState, annotations: usize) -> Display {
    let annotation = |line: u32| Annotation {
        path: "src/settings.rs".to_owned(),
        start_line: line,
        end_line: line,
        title: format!("finding {line}"),
        message: "A credential stands here.".to_owned(),
        denies: line.is_multiple_of(2),
    };
    Display {
        repo: repo(),
        number: Some(7),
        head: head().parse().unwrap(),
        evaluation: format!("evaluation-{state:?}-{annotations}"),
        state,
        title: format!("{annotations} findings"),
        summary: "What, where, why, remedy.".to_owned(),
        annotations: (1..).take(annotations).map(annotation).collect(),
        comment: Some("It cannot enter yet.".to_owned()),
        answers: Vec::new(),
        at: Timestamp::from_unix(1_764_000_000),
    }
}

/// Seconds after which to try again.
#[track_caller]
pub(crate) fn later<T>(result: Result<T, ForgeError>) -> u64 {
    match result {
        Err(ForgeError::Later { after_seconds, .. }) => after_seconds,
        Err(why) => panic!("not to be tried again: {why}"),
        Ok(_) => panic!("it worked"),
    }
}

/// The code of a refusal and its reason.
#[track_caller]
pub(crate) fn refused<T>(result: Result<T, ForgeError>) -> (&'static str, String) {
    match result {
        Err(ForgeError::Refused { code, why }) => (code, why),
        Err(why) => panic!("not refused: {why}"),
        Ok(_) => panic!("it worked"),
    }
}

/// Bodies of the comments of a change.
pub(crate) fn bodies(fake: &Fake<GitHubBrain>) -> Vec<String> {
    let brain = fake.brain.lock().unwrap();
    brain
        .comments
        .iter()
        .map(|comment| comment["body"].as_str().unwrap().to_owned())
        .collect()
}

/// The access token of an account.
pub(crate) fn token() -> String {
    "canary".repeat(6)
}

/// For a fake whose change 7 has another head than the display.
pub(crate) async fn moved_head_gets_nothing<B: Brain>(fake: &Fake<B>, hub: &impl Forge) {
    assert!(!hub.show(&display(CheckState::Success, 0)).await.unwrap());
    assert_eq!(fake.writes(), Vec::<String>::new());
}

/// A refusal has a code, and says neither the forge's words nor the token.
pub(crate) async fn no_secret_is_told<B: Brain, F: Forge + Debug>(fake: &Fake<B>, hub: &F, stranger: &F) {
    let trouble = Trouble::Refuse(Reply::refuse(403, &token()));
    fake.order(Method::POST, "/statuses/", trouble);
    let (code, why) = refused(hub.show(&display(CheckState::Failure, 1)).await);
    assert_eq!(code, "permission-missing");
    let (code, stranger_why) = refused(stranger.open_changes(&repo()).await);
    assert_eq!(code, "credentials-refused");
    assert!(!format!("{why} {stranger_why} {hub:?} {stranger:?}").contains("canary"));
}

/// Every request carried a credential.
#[track_caller]
pub(crate) fn all_signed<B: Brain>(fake: &Fake<B>) {
    for seen in fake.log() {
        let signed = !seen.header("authorization").is_empty() || !seen.header("private-token").is_empty();
        assert!(signed, "{} {} without a credential", seen.method, seen.path);
    }
}
