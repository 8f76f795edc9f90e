//! What was found of objects before makes pushes and scans cheaper, and changes nothing else.

use crate::deltas::{BOUNDS, history, repository};
use crate::support::{Gate as Installed, Scratch, Signing, WorkTree, token};
use lychgate::finding::Place;
use lychgate::git::Gate;
use lychgate::object::ObjectKind;
use lychgate::pipeline;
use lychgate::port::{Looked, ObjectVisitor, Part};
use lychgate::push::Oid;
use lychgate::scan::{FingerprintKey, Match, RuleSet, Scanner};
use lychgate::verdicts::Verdicts;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The gate's visitor, counting what it has to look at.
struct Counting<'a> {
    inner: pipeline::Visitor<'a>,
    looked: AtomicUsize,
    known: Mutex<BTreeSet<Oid>>,
}

impl ObjectVisitor for Counting<'_> {
    type Hit = Match;

    fn visit(&self, oid: Oid, kind: ObjectKind, data: &[u8]) -> Looked<Match> {
        self.looked.fetch_add(1, Relaxed);
        self.inner.visit(oid, kind, data)
    }

    fn margin(&self) -> usize {
        self.inner.margin()
    }

    fn clean_part(&self, part: Part<'_>) -> bool {
        self.inner.clean_part(part)
    }

    fn clean_name(&self, name: &[u8]) -> bool {
        self.inner.clean_name(name)
    }

    fn is_known(&self, oid: Oid, bytes: u64) -> bool {
        let known = self.inner.is_known(oid, bytes);
        if known {
            self.known.lock().unwrap().insert(oid);
        }
        known
    }

    fn passed(&self, oid: Oid, bytes: u64) {
        self.looked.fetch_add(1, Relaxed);
        self.inner.passed(oid, bytes);
    }
}

/// What is found in a repository: the hits, and how much was there.
#[derive(Debug, PartialEq)]
struct Outcome {
    hits: Vec<(Place, Match)>,
    objects: u64,
    bytes: u64,
}

/// What is found in a repository, how many objects were looked at, and which were known.
fn found(repository: &Path, verdicts: Option<&Verdicts>) -> (Outcome, usize, BTreeSet<Oid>) {
    let gate = Gate::whole(repository).unwrap();
    let key = FingerprintKey::new(Box::new([7; 32]));
    let scanner = Scanner::new(RuleSet::builtin(), &key);
    let visitor = Counting {
        inner: pipeline::Visitor::new(&scanner, verdicts.map(|known| known as _)),
        looked: AtomicUsize::new(0),
        known: Mutex::default(),
    };
    let seen = gate.survey(&BOUNDS, &visitor).unwrap();
    let outcome = Outcome {
        hits: seen.hits,
        objects: seen.objects,
        bytes: seen.bytes,
    };
    (
        outcome,
        visitor.looked.into_inner(),
        visitor.known.into_inner().unwrap(),
    )
}

fn verdicts(folder: &Path) -> Verdicts {
    let key = FingerprintKey::new(Box::new([9; 32]));
    Verdicts::new(folder, &key, RuleSet::builtin().digest())
}

#[test]
fn a_history_is_judged_the_same_with_what_is_known_of_it() {
    let scratch = Scratch::new();
    for seed in 20..22 {
        let name = format!("r{seed}.git");
        let path = repository(&scratch, &name, &history(seed, 16, 120));
        let folder = scratch.path(&format!("verdicts-{seed}"));
        let (outcome, looked, _) = found(&path, None);
        assert!(!outcome.hits.is_empty());

        let first = verdicts(&folder);
        let (same, all, known) = found(&path, Some(&first));
        assert_eq!((&same, all, known.len()), (&outcome, looked, 0));
        first.keep().unwrap();

        let (same, less, known) = found(&path, Some(&verdicts(&folder)));
        assert_eq!(same, outcome);
        assert_eq!(less + known.len(), looked, "an object was lost");
        assert!(less < looked / 2, "{less} of {looked}");
        let with_hits = outcome.hits.iter().filter_map(|(place, _)| place.object);
        assert!(
            with_hits.into_iter().all(|oid| !known.contains(&oid)),
            "what has a match is never known"
        );
    }
}

#[test]
fn files_of_any_content_change_no_outcome() {
    let scratch = Scratch::new();
    let path = repository(&scratch, "r.git", &history(31, 16, 120));
    let folder = scratch.path("verdicts");
    let first = verdicts(&folder);
    let (outcome, looked, _) = found(&path, Some(&first));
    first.keep().unwrap();
    let file = only_file(&folder);
    let good = std::fs::read(&file).unwrap();
    let mut mixed = good.clone();
    mixed
        .iter_mut()
        .step_by(3)
        .for_each(|byte| *byte = byte.wrapping_add(1));
    for bytes in [&mixed[..], &good[..good.len() / 2 + 3], &good[3..], &[0xff; 4_000], &[]] {
        std::fs::write(&file, bytes).unwrap();
        let (same, all, known) = found(&path, Some(&verdicts(&folder)));
        assert_eq!(same, outcome);
        assert_eq!(all + known.len(), looked);
    }
    // Under other rules none of it counts.
    std::fs::write(&file, &good).unwrap();
    let key = FingerprintKey::new(Box::new([9; 32]));
    let (same, _, known) = found(&path, Some(&Verdicts::new(&folder, &key, "other rules")));
    assert_eq!((same, known.len()), (outcome, 0));
}

/// The only file in a folder.
fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    file.clone()
}

/// Bytes of what pushes have added to an installation's verdicts.
fn added(gate: &Installed) -> u64 {
    let entries = std::fs::read_dir(gate.home("verdicts")).into_iter().flatten();
    let files = entries.map(|entry| entry.unwrap());
    let new = files.filter(|file| file.file_name().to_string_lossy().ends_with(".new"));
    new.map(|file| file.metadata().unwrap().len()).sum()
}

/// A gate that asks for no signatures, with a first push of 40 long files.
fn begun() -> Installed {
    let gate = Installed::new();
    gate.edit_policy("require_signed = true", "require_signed = false");
    gate.edit_policy("committer_is_signer = true", "committer_is_signer = false");
    gate
}

fn long_files(dev: &WorkTree<'_>) {
    let script =
        "for f in $(seq 1 40); do for l in $(seq 1 200); do echo \"file $f, line $l of a text\"; done >f$f; done
        git add . && git commit -q -m files";
    dev.shell(script, "").ok();
}

/// Many commits, each of which changes a line of several files.
fn many_changes(dev: &WorkTree<'_>, text: &str) {
    let script = "for c in $(seq 1 30); do
          for f in $(seq 1 12); do sed -i \"$((c * 5))s/.*/change $c of $f $TOKEN/\" f$f; done
          git commit -q -a -m \"change $c\"
        done";
    dev.shell(script, text).ok();
}

/// The scan's part of the newest decision's facts.
fn scan_facts(gate: &Installed) -> serde_json::Value {
    use lychgate::port::Store;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let record = runtime.block_on(async {
        let store = lychgate::store::SqliteStore::open(&gate.home("ledger.db"))
            .await
            .unwrap();
        store.decisions(1).await.unwrap().remove(0)
    });
    let facts: serde_json::Value = serde_json::from_slice(&record.facts).unwrap();
    facts["scan"].clone()
}

#[test]
fn a_push_is_judged_the_same_whether_its_bases_are_known_or_not() {
    let mut seen = Vec::new();
    for warm in [false, true] {
        let gate = begun();
        let dev = gate.work_tree(&gate.bare.display().to_string(), &[]);
        long_files(&dev);
        dev.push(&["main"]).ok();
        gate.scratch.settled(&gate.bare);
        std::fs::remove_dir_all(gate.home("verdicts")).unwrap();
        if warm {
            let bare = gate.bare.display().to_string();
            gate.lychgate(&["scan", "--history", "--remember", &bare]).ok();
        }
        let before = added(&gate);
        many_changes(&dev, "");
        dev.push(&["main"]).ok();
        seen.push((scan_facts(&gate), added(&gate) - before));
    }
    let [(cold_facts, cold_added), (warm_facts, warm_added)] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(cold_facts, warm_facts);
    assert!(cold_facts["known"]["objects"].as_u64().unwrap() > 400, "{cold_facts}");
    // The bases of the thin pack, which were not known.
    assert!(*warm_added > 0 && cold_added > warm_added, "{cold_added} {warm_added}");
}

#[test]
fn a_push_that_is_refused_makes_nothing_known() {
    let gate = begun();
    let dev = gate.work_tree(&gate.bare.display().to_string(), &[]);
    dev.commit("one", "1\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    let before = added(&gate);
    assert!(before > 0);
    long_files(&dev);
    many_changes(&dev, &token(3));
    dev.push(&["main"]).refused("error[secret-found]");
    assert_eq!(added(&gate), before);
}

#[test]
fn only_an_installation_remembers() {
    let scratch = Scratch::new();
    let path = repository(&scratch, "r.git", &history(5, 4, 20));
    let said = scratch.run(
        crate::support::LYCHGATE,
        &["scan", "--history", "--remember", &path.display().to_string()],
    );
    assert!(said.ends_with(2).stderr.contains("not-installed"));
    // Without the wish there is nothing to complain of: the findings are the outcome.
    scratch
        .run(
            crate::support::LYCHGATE,
            &["scan", "--history", &path.display().to_string()],
        )
        .ends_with(1);
}
