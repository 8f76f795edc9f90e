//! Limits and refusals: how long to wait, which code, and no secret in any of it.

use super::{app_key, bodies, display, github, hasty, hub_at, later, refused, repo, wait};
use crate::fake_forge::{Reply, Trouble};
use axum::http::Method;
use lychgate::forge::CheckState;
use lychgate::forges::{GitHub, GitHubApp};
use lychgate::port::{Forge, ForgeError};
use std::time::{Duration, Instant};

#[test]
fn a_limit_is_waited_for_and_nobody_asks_meanwhile() {
    let reset = (time::OffsetDateTime::now_utc().unix_timestamp() + 500).to_string();
    let primary = || Reply::refuse(403, "API rate limit exceeded").with("x-ratelimit-remaining", "0");
    for (reply, seconds) in [
        (Reply::refuse(429, "no").with("retry-after", "7"), 7..=7),
        (Reply::refuse(403, "no").with("retry-after", "90"), 90..=90),
        (Reply::refuse(429, "no"), 60..=60),
        (Reply::refuse(403, "You have exceeded a secondary rate limit."), 60..=60),
        (primary().with("x-ratelimit-reset", reset), 480..=500),
        (primary(), 60..=60),
    ] {
        let fake = github();
        fake.order(Method::POST, "/check-runs", Trouble::Refuse(reply));
        wait(async {
            let hub = hub_at(&fake.url, hasty());
            let display = display(CheckState::Failure, 1);
            let said = later(hub.show(&display).await);
            assert!(seconds.contains(&said), "{said} s, not {seconds:?}");
            let asked = fake.log().len();
            assert!(later(hub.show(&display).await) <= said);
            assert_eq!(fake.log().len(), asked, "not asked while the limit holds");
        });
    }
}

#[test]
fn a_limit_of_one_installation_stops_no_other() {
    let fake = github();
    fake.order(Method::GET, "/pulls", Trouble::Refuse(Reply::refuse(429, "no")));
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        later(hub.open_changes(&repo()).await);
        let mut other = repo();
        other.installation = Some(79);
        assert_eq!(hub.open_changes(&other).await.unwrap(), [7]);
    });
}

#[test]
fn what_has_no_effect_is_asked_again_at_once_and_a_write_never() {
    let fake = github();
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        fake.order(Method::GET, "/pulls", Trouble::Refuse(Reply::refuse(502, "no")));
        fake.order(Method::GET, "/pulls", Trouble::Refuse(Reply::refuse(503, "no")));
        assert_eq!(hub.open_changes(&repo()).await.unwrap(), [7]);
        let busy = Reply::refuse(503, "no").with("retry-after", "30");
        fake.order(Method::GET, "/pulls", Trouble::Refuse(busy));
        assert_eq!(later(hub.open_changes(&repo()).await), 30);
        fake.order(Method::POST, "/check-runs", Trouble::Refuse(Reply::refuse(502, "no")));
        later(hub.show(&display(CheckState::Failure, 1)).await);
        assert_eq!(fake.writes().len(), 1);
    });
}

#[test]
fn a_forge_that_is_slow_or_away_delays() {
    let fake = github();
    fake.order(Method::POST, "/comments", Trouble::Slow(Duration::from_millis(3_000)));
    wait(async {
        let mut manner = hasty();
        manner.patience = Duration::from_millis(1_500);
        let hub = hub_at(&fake.url, manner);
        let display = display(CheckState::Failure, 1);
        later(hub.show(&display).await);
        let away = hub_at(&format!("http://127.0.0.1:{}", crate::support::free_port()), hasty());
        later(away.change(&repo(), 7).await);
        assert!(hub.show(&display).await.unwrap());
    });
    assert_eq!(bodies(&fake).len(), 1);
}

#[test]
fn writes_of_one_installation_keep_their_distance() {
    let fake = github();
    let begun = Instant::now();
    wait(async {
        let mut manner = hasty();
        manner.mutation_gap = Duration::from_millis(150);
        hub_at(&fake.url, manner)
            .show(&display(CheckState::Failure, 60))
            .await
            .unwrap();
    });
    assert_eq!(fake.writes().len(), 4);
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
}

#[test]
fn a_missing_permission_is_named() {
    let fake = github();
    let reply = Reply::refuse(403, "Resource not accessible by integration");
    let reply = reply.with("x-accepted-github-permissions", "checks=write");
    fake.order(Method::POST, "/check-runs", Trouble::Refuse(reply));
    wait(async {
        let (code, why) = refused(hub_at(&fake.url, hasty()).show(&display(CheckState::Failure, 1)).await);
        assert_eq!(code, "permission-missing");
        assert!(
            why.contains("checks=write") && why.contains("POST /repos/acme/widget/check-runs"),
            "{why}"
        );
    });
}

#[test]
fn no_secret_and_no_answer_is_in_an_error_or_in_debug() {
    let fake = github();
    let mut said = Vec::new();
    wait(async {
        for status in [400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 503] {
            let hub = hub_at(&fake.url, hasty());
            for _ in 0..3 {
                let echo = Reply::refuse(status, "canary-of-the-body");
                let echo = echo.with("x-accepted-github-permissions", "canary\"of<the>header");
                fake.order(Method::GET, "/pulls", Trouble::Refuse(echo));
            }
            let why = hub.open_changes(&repo()).await.unwrap_err();
            said.push(format!("{hub:?} {why} {why:?}"));
            fake.forget_orders();
        }
        let hub = hub_at(&fake.url, hasty());
        let odd = Reply::new(201, serde_json::json!({ "canary": "canary-of-the-body" }));
        fake.order(Method::POST, "access_tokens", Trouble::Refuse(odd));
        said.push(format!("{:?}", hub.open_changes(&repo()).await.unwrap_err()));
        let credential = format!("http://user:{}@127.0.0.1", "canary-of-the-url");
        said.push(format!("{:?}", app_at(&credential, app_key()).unwrap_err()));
        said.push(format!("{:?}", app_at(&fake.url, "canary-of-the-key").unwrap_err()));
    });
    let tokens: Vec<String> = fake.brain.lock().unwrap().tokens.keys().cloned().collect();
    let bearers = fake
        .log()
        .into_iter()
        .map(|seen| seen.header("authorization").to_owned());
    let mut secrets: Vec<String> = bearers.chain(tokens).collect();
    secrets.extend(["canary".to_owned(), app_key()[40..80].to_owned()]);
    assert_eq!(said.len(), 14);
    for text in &said {
        assert!(!secrets.iter().any(|secret| text.contains(secret.as_str())), "{text}");
    }
}

fn app_at(api: &str, key: &str) -> Result<GitHub, ForgeError> {
    GitHub::new(GitHubApp {
        forge: "hub".to_owned(),
        api: api.to_owned(),
        app_id: 1,
        key: key.into(),
        admin: None,
        manner: hasty(),
    })
}
