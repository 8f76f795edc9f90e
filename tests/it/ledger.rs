//! `lychgate verify`, `reopen` and `log` as an administrator and a consumer run them: selection, evidence, exit codes.

use crate::support::{ACCOUNT, EMAIL, Gate, LYCHGATE, Scratch, Signing, WorkTree, system_account};
use std::fs;
use std::path::{Path, PathBuf};

/// A gate with three commits on `main`, each an entry: the middle one brings `file`, the last one removes it.
struct Lab {
    gate: Gate,
    /// The commits, oldest first.
    commits: Vec<String>,
    /// The blob of `file`.
    blob: String,
}

impl Lab {
    fn new() -> Self {
        let gate = Gate::new();
        let mut commits = Vec::new();
        let blob;
        {
            let dev = gate.work_tree(gate.bare.to_str().unwrap(), &[]);
            commits.push(entered(&dev, "README"));
            commits.push(entered(&dev, "file"));
            blob = dev.git(&["rev-parse", "HEAD:file"]).ok();
            dev.git(&["rm", "-q", "file"]).ok();
            commits.push(entered(&dev, "last"));
        }
        gate.scratch.settled(&gate.bare);
        Self { gate, commits, blob }
    }

    /// Which of the commits `verify` accepts: 0 is the oldest.
    fn valid(&self) -> Vec<usize> {
        let accepts = |at: &usize| match self.verify(*at).code {
            0 => true,
            1 => false,
            code => panic!("verify ended with {code}"),
        };
        (0..self.commits.len()).filter(accepts).collect()
    }

    fn verify(&self, at: usize) -> crate::support::Run {
        self.gate.ask(&["verify", &self.commits[at], "--ref", "main"])
    }

    fn reopen(&self, args: &[&str]) -> crate::support::Run {
        self.gate.ask(&[&["reopen", "--reason", "operator"], args].concat())
    }
}

fn entered(dev: &WorkTree<'_>, path: &str) -> String {
    let commit = dev.commit(path, &format!("{path}\n"), Signing::Ssh);
    dev.push(&["main"]).ok();
    commit
}

#[test]
fn a_commit_takes_its_descendants_with_it_and_a_close_needs_evidence() {
    let lab = Lab::new();
    let middle = lab.commits[1].as_str();
    lab.reopen(&["--commit", middle, "--dry-run"]).ok();
    assert_eq!(lab.valid(), [0, 1, 2], "a dry run appends nothing");
    lab.reopen(&["--commit", middle]).ok();
    assert_eq!(lab.valid(), [0]);
    let said = lab.verify(1).stdout;
    assert!(
        said.starts_with("NOT VERIFIED: status") && said.contains("operator"),
        "{said}"
    );
    assert!(lab.reopen(&["--commit", middle]).ok().contains("already so"));

    let close = ["--commit", middle, "--action", "close"];
    let refused = lab.reopen(&close).ends_with(2);
    assert!(refused.stderr.contains("close-needs-evidence"), "{}", refused.stderr);
    lab.reopen(&[&close[..], &["--evidence", "looked at by two"]].concat())
        .ok();
    assert_eq!(lab.valid(), [0, 1, 2]);
    lab.reopen(&[&close[..], &["--evidence", "again"]].concat())
        .ends_with(1);

    lab.reopen(&["--commit", middle, "--action", "revoke"]).ok();
    lab.reopen(&[&close[..], &["--evidence", "regret"]].concat())
        .ends_with(1);
    assert_eq!(lab.valid(), [0], "a revocation is final");
    lab.gate.ask(&["log", "check"]).ok();
    lab.gate.ask(&["log", "replay", "--all"]).ok();
}

#[test]
fn a_blob_selects_what_brought_it() {
    let lab = Lab::new();
    let run = lab.reopen(&["--blob", &lab.blob]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let valid = lab.valid();
    assert!(valid.contains(&0) && !valid.contains(&1), "{valid:?}: {}", run.stdout);
    lab.reopen(&["--blob", &"1".repeat(40)]).ends_with(1);
}

#[test]
fn a_key_and_an_actor_select_theirs() {
    let lab = Lab::new();
    let account = system_account(&lab.gate.scratch);
    lab.reopen(&["--actor", "nobody-here"]).ends_with(1);
    lab.reopen(&["--actor", &account]).ok();
    assert!(lab.valid().is_empty());
    let close = ["--actor", &account, "--action", "close", "--evidence", "it was them"];
    lab.reopen(&close).ok();
    assert_eq!(lab.valid(), [0, 1, 2]);

    let keys = lab.gate.json(&["keys", "list"]);
    let key = |kind: &str| {
        let mut keys = keys.as_array().unwrap().iter();
        let found = keys.rfind(|key| key["kind"] == kind).unwrap();
        found["fingerprint"].as_str().unwrap().to_owned()
    };
    lab.reopen(&["--key", &key("openpgp")]).ends_with(1);
    lab.reopen(&["--key", &key("ssh")]).ok();
    assert!(lab.valid().is_empty());
}

#[test]
fn a_wrong_question_is_no_answer() {
    let lab = Lab::new();
    lab.reopen(&[]).ends_with(2);
    lab.reopen(&["--commit", "main"]).ends_with(2);
    lab.reopen(&["--commit", &lab.commits[0], "--actor", ACCOUNT])
        .ends_with(2);
    lab.gate
        .ask(&["reopen", "--commit", &lab.commits[0], "--reason", EMAIL])
        .ends_with(2);
    lab.gate.ask(&["verify", "no-such-branch"]).ends_with(2);
    lab.gate.ask(&["verify", "main", "--ref", "release/1"]).ends_with(1);
    lab.gate.ask(&["verify", "main", "--level", "4"]).ends_with(1);
    lab.gate.ask(&["log", "show", "99"]).ends_with(2);
    lab.gate.ask(&["log", "replay", "01NOTHING"]).ends_with(2);
    fs::remove_file(lab.gate.home("ledger.db")).unwrap();
    lab.verify(0).ends_with(3);
    lab.gate.ask(&["log"]).ends_with(3);
}

/// Evidence of the newest commit in a folder far from the repository.
struct Abroad {
    scratch: Scratch,
    commit: String,
}

impl Abroad {
    fn new(lab: &Lab) -> Self {
        let scratch = Scratch::new();
        let commit = lab.commits[2].clone();
        let folder = scratch.path("evidence");
        let export = ["log", "export", &commit, "--out", folder.to_str().unwrap()];
        lab.gate.ask(&export).ok();
        Self { scratch, commit }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path("evidence").join(name)
    }

    /// Verifies the bundle, with more arguments.
    fn verify(&self, more: &[&str]) -> crate::support::Run {
        let (bundle, key) = (self.file("bundle.json"), self.file("attestation.pub"));
        let base = [
            "verify",
            "--bundle",
            bundle.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
            "--commit",
            &self.commit,
        ];
        self.scratch.run(LYCHGATE, &[&base, more].concat())
    }

    /// Changes a file, wants the named check to fail, and puts the file back.
    #[track_caller]
    fn spoiled(&self, name: &str, change: impl FnOnce(&str) -> String, check: &str) {
        let path = self.file(name);
        let text = fs::read_to_string(&path).unwrap();
        let changed = change(&text);
        assert_ne!(changed, text, "{name} was not changed");
        fs::write(&path, changed).unwrap();
        let said = self.verify(&[]).ends_with(1).stdout;
        let first = said.lines().next().unwrap();
        assert!(
            first.starts_with("NOT VERIFIED") && first.contains(check),
            "{name}: {said}"
        );
        fs::write(&path, text).unwrap();
    }
}

/// Another letter in the middle of a text's longest word.
fn other_letter(text: &str) -> String {
    let word = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .max_by_key(|word| word.len())
        .unwrap();
    let at = text.find(word).unwrap() + word.len() / 2;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

#[test]
fn evidence_is_verified_without_the_repository() {
    let lab = Lab::new();
    let abroad = Abroad::new(&lab);
    assert!(abroad.verify(&[]).ok().starts_with("verified: "));
    abroad.verify(&["--ref", "main"]).ok();
    abroad.verify(&["--ref", "other"]).ends_with(1);
    abroad
        .verify(&["--resource", "git+https://elsewhere.example/x"])
        .ends_with(1);
    abroad
        .verify(&["--verifier-id", "https://elsewhere.example"])
        .ends_with(1);
    abroad.verify(&["--seen-size", "1000"]).ends_with(1);

    abroad.spoiled("bundle.json", other_letter, "signature");
    abroad.spoiled("bundle.json.proof", other_letter, "inclusion");
    abroad.spoiled("bundle.json.status", other_letter, "status");

    let (first, key) = (lab.commits[0].as_str(), abroad.file("attestation.pub"));
    let bundle = abroad.file("bundle.json");
    let other = [
        "verify",
        "--bundle",
        bundle.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
        "--commit",
        first,
    ];
    abroad.scratch.run(LYCHGATE, &other).ends_with(1);

    for sidecar in ["bundle.json.proof", "bundle.json.status"] {
        fs::remove_file(abroad.file(sidecar)).unwrap();
    }
    let said = abroad.verify(&[]).ends_with(1).stdout;
    assert!(said.contains("MISSING"), "{said}");
    assert!(abroad.verify(&["--without-log"]).ok().contains("waived"));
    fs::remove_file(abroad.file("bundle.json")).unwrap();
    abroad.verify(&[]).ends_with(2);
}

#[test]
fn another_key_verifies_nothing() {
    let (lab, stranger) = (Lab::new(), Gate::new());
    let abroad = Abroad::new(&lab);
    let copy = |from: &Path| fs::copy(from, abroad.file("attestation.pub")).unwrap();
    copy(&stranger.home("attestation.pub"));
    let said = abroad.verify(&[]).ends_with(1).stdout;
    assert!(said.contains("FAIL      signature"), "{said}");
    copy(&stranger.home("gate.toml"));
    abroad.verify(&[]).ends_with(2);
}

#[test]
fn evidence_made_after_a_reopen_says_so_abroad() {
    let lab = Lab::new();
    lab.reopen(&["--commit", &lab.commits[2]]).ok();
    let abroad = Abroad::new(&lab);
    let said = abroad.verify(&[]).ends_with(1).stdout;
    assert!(said.starts_with("NOT VERIFIED: status"), "{said}");
}
