//! The queue in a real PostgreSQL server of the test's own, as several replicas use it.
#![cfg(feature = "postgres")]

use super::queue::{at, closed, conforms, holds_its_lanes, lease};
use crate::support::{Scratch, free_port, system_account};
use lychgate::port::Queue;
use lychgate::store::postgres::PostgresQueue;
use secrecy::SecretString;
use std::process::{Child, Stdio};
use std::sync::Arc;

/// A server in a folder of its own; it ends with the value.
pub(crate) struct Server {
    scratch: Scratch,
    child: Child,
    port: u16,
}

/// Where Debian keeps the server's programs, newest version first.
fn programs() -> String {
    let mut found: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap_or_else(|_| panic!("install PostgreSQL: apt-get install postgresql"))
        .map(|entry| entry.unwrap().path().join("bin"))
        .collect();
    found.sort();
    found.pop().unwrap().display().to_string()
}

/// The words before a program that must not run as root.
fn unprivileged(scratch: &Scratch) -> Vec<&'static str> {
    if system_account(scratch) != "root" {
        return Vec::new();
    }
    vec!["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
}

impl Server {
    pub(crate) fn start() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let (scratch, bin, port) = (Scratch::new(), programs(), free_port());
        let data = scratch.path("data");
        std::fs::create_dir(&data).unwrap();
        let before = unprivileged(&scratch);
        if !before.is_empty() {
            std::fs::set_permissions(scratch.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
            scratch.run("chown", &["postgres", data.to_str().unwrap()]).ok();
        }
        let run = |words: &[&str]| {
            let words: Vec<&str> = before.iter().chain(words).copied().collect();
            let mut command = scratch.command(words[0]);
            command.args(&words[1..]);
            command
        };
        let (initdb, postgres, data) = (
            format!("{bin}/initdb"),
            format!("{bin}/postgres"),
            data.to_str().unwrap(),
        );
        let made = ["-D", data, "-U", "bot", "--auth=trust", "--no-sync", "-E", "UTF8"];
        crate::support::Run::of(&mut run(&[&[initdb.as_str()], &made[..]].concat())).ok();
        let number = port.to_string();
        let socket = format!("unix_socket_directories={data}");
        let words = [
            postgres.as_str(),
            "-D",
            data,
            "-p",
            &number,
            "-h",
            "127.0.0.1",
            "-c",
            &socket,
            "-c",
            "fsync=off",
        ];
        let log = std::fs::File::create(scratch.path("log")).unwrap();
        let child = run(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { scratch, child, port };
        server.wait();
        server
    }

    fn wait(&self) {
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.scratch.path("log")).unwrap_or_default();
        panic!("PostgreSQL does not start:\n{log}");
    }

    pub(crate) fn url(&self) -> SecretString {
        SecretString::from(format!(
            "postgres://bot:canary@127.0.0.1:{}/postgres?sslmode=disable",
            self.port
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A fast shutdown of this server alone, by its pid.
        self.scratch.run("kill", &["-INT", &self.child.id().to_string()]);
        let _ = self.child.wait();
    }
}

#[test]
fn postgres_keeps_the_promises() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = server.url();
        // Two replicas make the tables at the same time.
        let (one, two) = tokio::join!(PostgresQueue::connect(&url), PostgresQueue::connect(&url));
        let (one, two) = (Arc::new(one.unwrap()), Arc::new(two.unwrap()));
        conforms(&*one).await;
        holds_its_lanes(vec![Arc::clone(&one), Arc::clone(&two)]).await;
        one.close().await;
        two.close().await;
    });
}

#[test]
fn dead_letters_are_listed_shown_and_replayed_by_the_command() {
    let server = Server::start();
    let scratch = Scratch::new();
    let here = scratch.path("").display().to_string();
    scratch.write("url", secrecy::ExposeSecret::expose_secret(&server.url()));
    let config = scratch.write(
        "bot.toml",
        format!(
            "postgres_url_file = \"{here}url\"\nmirrors = \"{here}m\"\nfingerprint_key = \"{here}k\"\n\
             [[forge]]\nname = \"hub\"\nkind = \"gitlab\"\napi = \"https://example.com/api/v4\"\n\
             key_file = \"{here}k\"\nwebhook_secret_files = [\"{here}s\"]\n"
        ),
    );
    let queue = |args: &[&str]| {
        let config = ["--config", config.to_str().unwrap()];
        scratch.run(crate::support::LYCHGATE, &[&["queue"], args, &config].concat())
    };
    assert!(queue(&["list"]).ok().contains("no dead letters"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let dies = async |store: &PostgresQueue, number, id: &str| {
        store.accept(&closed(number, id)).await.unwrap();
        while let Some(lease) = lease(store, 2000).await {
            store.postpone_delivery(&lease, at(0), "gone: 404").await.unwrap();
        }
    };
    runtime.block_on(async {
        let store = PostgresQueue::connect(&server.url()).await.unwrap();
        dies(&store, 4, "one").await;
        dies(&store, 5, "two").await;
        store.close().await;
    });
    let listed = queue(&["list"]).ok();
    assert!(
        listed.contains("hub/1/change/4  tried 40 times") && listed.contains("gone: 404"),
        "{listed}"
    );
    let letters: serde_json::Value = serde_json::from_str(&queue(&["list", "--format", "json"]).ok()).unwrap();
    let ids: Vec<&str> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 2);
    let shown = queue(&["show", ids[1]]).ok();
    assert!(
        shown.contains("change-closed") && shown.contains("hub/1/change/4"),
        "{shown}"
    );
    queue(&["show", "inbox/999999"]).ends_with(2);
    assert!(queue(&["replay", ids[1]]).ok().contains(ids[1]));
    queue(&["replay", ids[1]]).ends_with(2);
    assert!(queue(&["replay", "--all"]).ok().starts_with("1 to be tried again"));
    runtime.block_on(async {
        let store = PostgresQueue::connect(&server.url()).await.unwrap();
        let again = lease(&store, 2000).await.unwrap();
        assert_eq!((again.work.delivery.as_str(), again.attempts), ("one", 0));
        store.close().await;
    });
    let said = queue(&["list"]);
    assert!(!format!("{}{}", said.stdout, said.stderr).contains("canary"));
}

#[test]
fn a_server_that_is_not_there_is_an_outage_without_the_password() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let canary = "canary-credential";
        let url = format!("postgres://bot:{canary}@127.0.0.1:{}/x", free_port());
        let outage = PostgresQueue::connect(&SecretString::from(url)).await.err().unwrap();
        assert_eq!(outage.code, "store-unreadable");
        assert!(!format!("{outage:?}").contains(canary));
    });
}
