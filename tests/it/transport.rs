//! The same pushes over every way in: a local path, SSH, smart HTTP, gitolite.
//!
//! Real servers on loopback ports, ended by their process id. In scope: that
//! the gate decides alike behind each, and records the name that the server
//! authenticated. Out of scope: what each check says in detail (`hook`).

use crate::support::{Gate, Scratch, Signing, free_port, system_account, token};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(20);

/// A server of ours, ended with the value.
pub(crate) struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something listens on the port.
fn wait_for(port: u16, service: &mut Service) {
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        let ended = service.0.try_wait().unwrap();
        assert!(ended.is_none(), "the server ended: {ended:?}");
        assert!(begun.elapsed() < START, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Pushes all that every transport must let in or refuse, and asks the ledger who pushed.
fn pushes_are_judged(gate: &Gate, url: &str, env: &[(&str, &str)], actor: &str) {
    let dev = gate.work_tree(url, env);
    let first = dev.commit("README", "hello\n", Signing::Openpgp);
    dev.push(&["main"]).ok();
    let second = dev.commit("main.c", "int main(void) { return 0; }\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    for revision in [&first, &second] {
        gate.ask(&["verify", revision, "--ref", "refs/heads/main"]).ok();
    }

    dev.commit("unsigned.c", "int x;\n", Signing::None);
    dev.push(&["main"]).refused("unsigned-commit");
    dev.git(&["reset", "-q", "--hard", &second]).ok();

    let secret = token(1);
    dev.commit("config.py", &format!("github = \"{secret}\"\n"), Signing::Openpgp);
    let refused = dev.push(&["main"]).refused("config.py");
    assert!(!refused.stderr.contains(&secret), "the message repeats the secret");
    dev.push(&["HEAD:refs/heads/topic"]).refused("config.py");

    dev.git(&["reset", "-q", "--hard", &first]).ok();
    dev.commit("other.c", "int y;\n", Signing::Openpgp);
    dev.push(&["--force", "main"]).refused("non-fast-forward");
    dev.push(&["--delete", "main"]).refused("ref-deletion-denied");

    assert_eq!(gate.tip("refs/heads/main"), Some(second), "a refused push moved main");
    assert_eq!(gate.tip("refs/heads/topic"), None, "a refused push made topic");
    assert_eq!(
        recorded_actors(gate),
        [actor, actor],
        "the two entries are not of {actor}"
    );
}

/// Who brought each entry, as its signed provenance says.
fn recorded_actors(gate: &Gate) -> Vec<String> {
    let json = |args: &[&str]| -> serde_json::Value {
        let text = gate.ask(&[&["log", "--format", "json"], args].concat()).ok();
        serde_json::from_str(&text).unwrap()
    };
    let entries = json(&[])["entries"].take();
    let ids = entries
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["id"].as_str());
    ids.flat_map(|id| actors(&json(&["show", id]))).collect()
}

/// Every actor's name in a JSON document: an `actor` that is a text, or an object with a `name`.
fn actors(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Array(items) => items.iter().flat_map(actors).collect(),
        serde_json::Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, inner)| match inner.as_str().or_else(|| inner["name"].as_str()) {
                Some(name) if key == "actor" => vec![name.to_owned()],
                _ => actors(inner),
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn over_a_local_path() {
    let gate = Gate::new();
    let account = system_account(&gate.scratch);
    pushes_are_judged(&gate, gate.bare.to_str().unwrap(), &[], &account);
}

/// Starts a server of our own on a loopback port, as the account that runs the tests.
fn sshd(gate: &Gate, port: u16) -> Service {
    let scratch = &gate.scratch;
    let host_key = scratch.path("host_key");
    scratch
        .run(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-f", host_key.to_str().unwrap()],
        )
        .ok();
    let public = std::fs::read_to_string(host_key.with_extension("pub")).unwrap();
    scratch.write("known_hosts", format!("[127.0.0.1]:{port} {public}"));
    let config = scratch.write(
        "sshd_config",
        format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}.pub\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             SetEnv GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null LC_ALL=C\n",
            host_key.display(),
            gate.ssh_key().display(),
        ),
    );
    // Where no service manager has made it yet, sshd refuses to start as root.
    let _ = std::fs::create_dir_all("/run/sshd");
    let mut server = scratch.command("/usr/sbin/sshd");
    server.args(["-D", "-e", "-f"]).arg(config);
    let log = std::fs::File::create(scratch.path("sshd.log")).unwrap();
    let mut service = Service(server.stdin(Stdio::null()).stderr(log).spawn().unwrap());
    wait_for(port, &mut service);
    service
}

#[test]
fn over_ssh() {
    let gate = Gate::new();
    let port = free_port();
    let _server = sshd(&gate, port);
    let account = system_account(&gate.scratch);
    let ssh = format!(
        "ssh -F none -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes \
         -o UserKnownHostsFile={} -i {}",
        gate.scratch.path("known_hosts").display(),
        gate.ssh_key().display(),
    );
    let url = format!("ssh://{account}@127.0.0.1:{port}{}", gate.bare.display());
    pushes_are_judged(&gate, &url, &[("GIT_SSH_COMMAND", &ssh)], &account);
}

/// Starts `git http-backend` behind the small server of `tests/fixtures`; returns its port too.
pub(crate) fn http_backend(gate: &Gate, credentials: &str) -> (Service, u16) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/http_backend.py");
    let folder = gate.bare.parent().unwrap();
    let mut server = gate.scratch.command("python3");
    server.arg(script).arg(folder).arg(credentials);
    let mut child = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (Service(child), line.trim().parse().unwrap())
}

#[test]
fn over_smart_http() {
    let gate = Gate::new();
    let receive = ["config", "--file", "pay.git/config", "http.receivepack", "true"];
    gate.scratch.run("git", &receive).ok();
    let (_server, port) = http_backend(&gate, "mallory-of-http:guess");
    let url = format!("http://mallory-of-http:guess@127.0.0.1:{port}/pay.git");
    pushes_are_judged(&gate, &url, &[], "mallory-of-http");
}

/// A gitolite in its own home, with the repository `pay` that everybody may write to.
fn gitolite(scratch: &Scratch) -> PathBuf {
    let key = scratch.path("admin");
    let quiet = ["-q", "-t", "ed25519", "-N", "", "-f"];
    scratch
        .run("ssh-keygen", &[&quiet[..], &[key.to_str().unwrap()]].concat())
        .ok();
    scratch.run("gitolite", &["setup", "-pk", "admin.pub"]).ok();
    let conf = scratch.path("home/.gitolite/conf/gitolite.conf");
    let mut text = std::fs::read_to_string(&conf).unwrap();
    text.push_str("\nrepo pay\n    RW+ = @all\n");
    std::fs::write(&conf, text).unwrap();
    scratch.run("gitolite", &["compile"]).ok();
    scratch.path("home/repositories/pay.git")
}

#[test]
fn through_gitolite() {
    let scratch = Scratch::new();
    let bare = gitolite(&scratch);
    scratch
        .run(
            "git",
            &[
                "--git-dir",
                bare.to_str().unwrap(),
                "symbolic-ref",
                "HEAD",
                "refs/heads/main",
            ],
        )
        .ok();
    let gate = Gate::install(scratch, bare);
    // What sshd does for gitolite: the forced command, with the client's command in a variable.
    let home = gate.scratch.path("home");
    let wrapper = gate.scratch.script(
        "gitolite-ssh",
        &format!(
            "#!/bin/sh\nset -eu\nunset GIT_DIR GIT_SSH\nexport HOME='{}'\n\
             export SSH_CONNECTION='127.0.0.1 1 127.0.0.1 22'\nshift\nexport SSH_ORIGINAL_COMMAND=\"$*\"\n\
             exec /usr/share/gitolite3/gitolite-shell carol\n",
            home.display()
        ),
    );
    let env = [("GIT_SSH", wrapper.to_str().unwrap()), ("GIT_SSH_VARIANT", "simple")];
    pushes_are_judged(&gate, "git@gitolite.invalid:pay", &env, "carol");
}
