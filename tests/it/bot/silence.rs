//! A Git server that takes the connection and says nothing.

use super::canary::{exchange, get, read, terminate, until};
use super::hub::{Trouble, request, signature, touched};
use super::yard::Yard;
use crate::support::{LYCHGATE, free_port};
use std::path::Path;
use std::time::Duration;

#[test]
fn a_fetch_from_a_silent_server_ends_and_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let yard = Yard::new(Path::new(LYCHGATE), folder.path(), 1);
    let (dir, base) = {
        let state = yard.hub.state.lock().unwrap();
        (state.repos[0].dir.clone(), state.repos[0].base.parse().unwrap())
    };
    let git = git2::Repository::open_bare(dir).unwrap();
    let head = yard.author().commit(&git, Some(base), true);
    yard.hub.point(0, 1, head, true);
    // Longer than the test waits: only the bot's own bound ends it.
    let silent = Trouble::Slow(Duration::from_secs(300));
    yard.hub
        .trouble(Some(Box::new(move |_, path| path.contains(".git/").then_some(silent))));
    let port = free_port();
    let store = format!("store = \"{}\"", yard.dir.join("bot.db").display());
    yard.configure("bot", port, &store, 240);
    let bot = yard.start("bot");
    until("ready", || get(port, "/readyz").contains("ready"));
    let body = touched(1, 1, "opened");
    exchange(port, &request("pull_request", "d1", &body, &signature(body.as_bytes())));
    let log = yard.dir.join("bot.log");
    until("the fetch ends", || read(&log).contains("fetch-failed"));
    yard.hub.trouble(None);
    until("judged", || yard.hub.state.lock().unwrap().unsettled().is_empty());
    assert_eq!(terminate(bot), Some(0));
}
