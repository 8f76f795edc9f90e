//! Looking at what deltas change gives what looking at every object whole gives.

use crate::support::{Scratch, token};
use lychgate::config::Bounds;
use lychgate::finding::Place;
use lychgate::git::Gate;
use lychgate::object::ObjectKind;
use lychgate::pipeline;
use lychgate::port::{Looked, ObjectVisitor, Part, Repository};
use lychgate::push::Oid;
use lychgate::scan::{FingerprintKey, Match, RuleSet, Scanner};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub(crate) const BOUNDS: Bounds = Bounds {
    objects: 10_000_000,
    object_bytes: 64 << 20,
    commits: 1_000_000,
    seconds: 3_600,
    threads: 0,
};

/// The gate's visitor, with or without its leave to look at parts.
struct Counting<'a> {
    inner: pipeline::Visitor<'a>,
    by_parts: bool,
    whole: AtomicUsize,
    passed: AtomicUsize,
    bytes: AtomicUsize,
}

/// How many objects were looked at whole and passed by their parts, and how many bytes were looked at for both.
struct Counts {
    whole: usize,
    passed: usize,
    bytes: usize,
}

impl ObjectVisitor for Counting<'_> {
    type Hit = Match;

    fn visit(&self, oid: Oid, kind: ObjectKind, data: &[u8]) -> Looked<Match> {
        self.whole.fetch_add(1, Relaxed);
        self.bytes.fetch_add(data.len(), Relaxed);
        let looked = self.inner.visit(oid, kind, data);
        Looked {
            plain: looked.plain && self.by_parts,
            ..looked
        }
    }

    fn margin(&self) -> usize {
        self.inner.margin()
    }

    fn clean_part(&self, part: Part<'_>) -> bool {
        self.bytes.fetch_add(part.bytes.len(), Relaxed);
        self.by_parts && self.inner.clean_part(part)
    }

    fn clean_name(&self, name: &[u8]) -> bool {
        self.by_parts && self.inner.clean_name(name)
    }

    fn passed(&self, _: Oid, _: u64) {
        self.passed.fetch_add(1, Relaxed);
    }
}

/// What an inspection finds, and how many objects were looked at whole and passed by their parts.
fn found(repository: &Path, by_parts: bool) -> (Vec<(Place, Match)>, usize, usize) {
    let gate = Gate::whole(repository).unwrap();
    let (hits, counts) = counted(by_parts, |visitor| gate.survey(&BOUNDS, visitor).unwrap().hits);
    (hits, counts.whole, counts.passed)
}

/// What a look gives, and what it looked at.
fn counted<R>(by_parts: bool, look: impl FnOnce(&Counting<'_>) -> R) -> (R, Counts) {
    let key = FingerprintKey::new(Box::new([7; 32]));
    let scanner = Scanner::new(RuleSet::builtin(), &key);
    let visitor = Counting {
        inner: pipeline::Visitor::new(&scanner, None),
        by_parts,
        whole: AtomicUsize::new(0),
        passed: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
    };
    let given = look(&visitor);
    let counts = Counts {
        whole: visitor.whole.into_inner(),
        passed: visitor.passed.into_inner(),
        bytes: visitor.bytes.into_inner(),
    };
    (given, counts)
}

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

/// Texts of which some, together with what stands around them, are secrets.
fn fragment(numbers: &mut Numbers) -> Vec<u8> {
    let token = token(numbers.below(5) as u64);
    let (head, tail) = token.split_at(10);
    let block: String = (0..numbers.below(6))
        .map(|_| "QmFzZTY0IGlzIG5vdCBhIGNpcGhlciBhdCBhbGwsIG9ubHkgYSB3cml0\n")
        .collect();
    let choices = [
        token.clone(),
        format!("x = '{token}'\n"),
        head.into(),
        tail.into(),
        format!("\"{head}\" +\n    \"{tail}\"\n"),
        "password = \"".into(),
        "\"\n".into(),
        "xK9#mQ2$vL5n".into(),
        "https://deploy:hW7vQz3kLm@".into(),
        "git.internal.acme.io/x\n".into(),
        "machine git.internal.acme.io\n  login deploy\n".into(),
        "  password hW7vQz3kLmPq\n".into(),
        "int main(void)\n{\n\treturn 0;\n}\n".into(),
        "\n".into(),
        "    if (argc > 1)\n        usage(argv[0]);\n".into(),
        "x".repeat(numbers.below(9_000)),
        block,
        ["-----BEGIN ", "RSA PRIVATE KEY-----\n"].concat(),
        "\u{0}".into(),
    ];
    // Most of the time something harmless, so that there are long chains of plain objects.
    let kind = match numbers.below(4) {
        0 => numbers.below(choices.len()),
        _ => 12 + numbers.below(3),
    };
    choices[kind].clone().into_bytes()
}

/// A history in which a few long files are changed again and again, in the middle of lines and of secrets.
pub(crate) fn history(seed: u64, files: usize, commits: usize) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let line = |i: usize| format!("line {i} of a text that is long enough to be kept by deltas\n");
    let mut texts: Vec<Vec<u8>> = (0..files)
        .map(|_| (0..300).map(line).collect::<String>().into_bytes())
        .collect();
    let mut stream = Vec::new();
    for number in 0..commits {
        stream
            .extend(format!("commit refs/heads/main\ncommitter A <a@example.com> {number} +0000\ndata 1\nc\n").bytes());
        for _ in 0..3 {
            let file = numbers.below(files);
            let text = &mut texts[file];
            let at = numbers.below(text.len());
            let gone = [0, 0, numbers.below(30), numbers.below(2_000)][numbers.below(4)];
            let inserted = fragment(&mut numbers);
            text.splice(at..(at + gone).min(text.len()), inserted);
            stream.extend(format!("M 644 inline folder/file-{file}\ndata {}\n", text.len()).bytes());
            stream.extend_from_slice(text);
            stream.push(b'\n');
        }
    }
    stream
}

/// A bare repository of a history, in one pack with long chains of deltas.
pub(crate) fn repository(scratch: &Scratch, name: &str, history: &[u8]) -> PathBuf {
    scratch.run("git", &["init", "-q", "--bare", "-b", "main", name]).ok();
    scratch.write("stream", history);
    let import = format!("git --git-dir={name} fast-import --quiet <stream");
    scratch.run("sh", &["-c", &import]).ok();
    let repack = ["--git-dir", name, "repack", "-qadf", "--depth=50", "--window=20"];
    scratch.run("git", &repack).ok();
    scratch.path(name)
}

#[test]
fn parts_give_what_whole_objects_give() {
    let scratch = Scratch::new();
    let mut passed_in_all = 0;
    for seed in 0..3 {
        let name = format!("r{seed}.git");
        let path = repository(&scratch, &name, &history(seed, 16, 120));
        let (whole, looked_at, none) = found(&path, false);
        let (parts, less, passed) = found(&path, true);
        assert_eq!(none, 0);
        assert_eq!(less + passed, looked_at, "an object was lost");
        assert_eq!(parts, whole, "seed {seed}");
        assert!(!whole.is_empty());
        passed_in_all += passed;
    }
    assert!(
        passed_in_all > 100,
        "only {passed_in_all} objects were passed by their parts"
    );
}

/// What visiting the introduced objects of all commits finds, in how many objects, by looking at how many bytes.
fn introduced(repository: &Path, commits: &[Oid], by_parts: bool) -> (Vec<(Place, Match)>, usize, usize) {
    let gate = Gate::open(repository, None).unwrap();
    let look = |visitor: &Counting<'_>| gate.introduced(commits, &BOUNDS, visitor).unwrap();
    let (seen, counts) = counted(by_parts, look);
    let objects = counts.whole + counts.passed;
    assert_eq!(objects as u64, seen.objects, "each object once");
    assert!(by_parts || counts.passed == 0);
    (seen.hits, objects, counts.bytes)
}

/// A range of commits is read along the deltas of the packs: with the outcome of reading every object whole,
/// wherever the objects are.
#[test]
fn a_range_by_parts_gives_what_whole_objects_give() {
    let scratch = Scratch::new();
    scratch.write("stream", history(5, 24, 160));
    let make = "git init -q --bare -b main r.git && git --git-dir=r.git fast-import --quiet <stream &&
        git --git-dir=r.git repack -qadf --depth=50 --window=20 &&
        git clone -q --bare --shared r.git borrowed.git &&
        git init -q --bare -b main loose.git && cat r.git/objects/pack/*.pack | git --git-dir=loose.git unpack-objects -q &&
        git --git-dir=r.git pack-objects -q --revs --delta-base-offset borrowed.git/objects/pack/pack </dev/null";
    scratch.run("sh", &["-c", make]).ok();
    let listed = scratch
        .run(
            "git",
            &["--git-dir=r.git", "rev-list", "--reverse", "--topo-order", "main"],
        )
        .ok();
    let commits: Vec<Oid> = listed.lines().map(|line| line.parse().unwrap()).collect();
    let (whole, all, _) = introduced(&scratch.path("r.git"), &commits, false);
    assert!(!whole.is_empty());
    for name in ["r.git", "borrowed.git", "loose.git"] {
        for part in [&commits[..], &commits[100..]] {
            let (parts, objects, bytes) = introduced(&scratch.path(name), part, true);
            let (same, _, most) = introduced(&scratch.path(name), part, false);
            assert_eq!(parts, same, "{name}");
            assert!(part.len() < 160 || (&parts, objects) == (&whole, all), "{name}");
            assert!(
                name == "loose.git" || bytes * 6 < most * 5,
                "{name}: {bytes} of {most} bytes"
            );
        }
    }
}

/// Which commits a range has is what git says, and nothing of a shallow clone's past is asked for.
#[test]
fn the_commits_between_are_those_that_git_lists() {
    let scratch = Scratch::new();
    let make = "git init -q -b main r && cd r && for i in 1 2 3 4 5 6; do
        git commit -q --allow-empty -m a$i; git branch b$i; git checkout -q b$i; git commit -q --allow-empty -m b$i;
        git checkout -q main; git commit -q --allow-empty -m c$i; git merge -q -m m$i b$i; done;
        git tag -a -m t tag main~3; git clone -q --depth 2 file://$PWD ../shallow";
    scratch.run("sh", &["-c", make]).ok();
    let id = |folder: &str, name: &str| -> Oid {
        scratch
            .run("git", &["-C", folder, "rev-parse", name])
            .ok()
            .parse()
            .unwrap()
    };
    for (folder, tip, known) in [
        ("r", "main", "main~4"),
        ("r", "main", "b3"),
        ("r", "b2", "main"),
        ("r", "main", "tag"),
        ("r", "tag", "b5"),
        ("shallow", "main", "main~1"),
    ] {
        let gate = Gate::open(&scratch.path(folder), None).unwrap();
        let mut ours = gate.between(&[id(folder, tip)], &[id(folder, known)]).unwrap();
        let listed = scratch
            .run("git", &["-C", folder, "rev-list", tip, &format!("^{known}")])
            .ok();
        let mut theirs: Vec<Oid> = listed.lines().map(|line| line.parse().unwrap()).collect();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{folder}: {known}..{tip}");
    }
}

/// Notes which threads look, each for long enough that others come to it.
struct Slow {
    threads: std::sync::Mutex<std::collections::HashSet<std::thread::ThreadId>>,
}

impl ObjectVisitor for Slow {
    type Hit = ();

    fn visit(&self, _: Oid, _: ObjectKind, _: &[u8]) -> Looked<()> {
        self.threads.lock().unwrap().insert(std::thread::current().id());
        std::thread::sleep(std::time::Duration::from_millis(1));
        let plain = false;
        Looked {
            hits: Vec::new(),
            plain,
        }
    }
}

/// One pack keeps all threads busy, in a survey and in a range.
#[test]
fn one_pack_is_shared_by_all_threads() {
    let scratch = Scratch::new();
    scratch.write("stream", history(3, 40, 150));
    let make = "git init -q --bare -b main r.git && git --git-dir=r.git fast-import --quiet <stream &&
        git --git-dir=r.git repack -qadf && ls r.git/objects/pack/*.pack | wc -l && git --git-dir=r.git rev-list main";
    let listed = scratch.run("sh", &["-c", make]).ok();
    let (packs, listed) = listed.split_once('\n').unwrap();
    assert_eq!(packs, "1");
    let commits: Vec<Oid> = listed.lines().map(|line| line.parse().unwrap()).collect();
    let bounds = Bounds { threads: 4, ..BOUNDS };
    let slow = || Slow {
        threads: std::sync::Mutex::default(),
    };
    let (survey, range) = (slow(), slow());
    Gate::whole(&scratch.path("r.git"))
        .unwrap()
        .survey(&bounds, &survey)
        .unwrap();
    let gate = Gate::open(&scratch.path("r.git"), None).unwrap();
    gate.introduced(&commits, &bounds, &range).unwrap();
    for seen in [survey, range] {
        assert_eq!(seen.threads.into_inner().unwrap().len(), 4);
    }
}

/// A pack with a byte changed: an outage or other objects, but no crash, no hang and no object beyond those it has.
#[test]
fn broken_packs_end_in_an_outage() {
    let scratch = Scratch::new();
    repository(&scratch, "r.git", &history(9, 16, 120));
    scratch.run("sh", &["-c", "chmod +w r.git/objects/pack/*.pack"]).ok();
    let packs = std::fs::read_dir(scratch.path("r.git/objects/pack")).unwrap();
    let pack = packs
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "pack"))
        .unwrap();
    let good = std::fs::read(&pack).unwrap();
    let key = FingerprintKey::new(Box::new([7; 32]));
    let scanner = Scanner::new(RuleSet::builtin(), &key);
    let visitor = pipeline::Visitor::new(&scanner, None);
    let survey = || Gate::whole(&scratch.path("r.git")).and_then(|gate| gate.survey(&BOUNDS, &visitor));
    let objects = survey().unwrap().objects;
    let (mut numbers, mut refused) = (Numbers(3), 0);
    for _ in 0..12 {
        let mut bad = good.clone();
        let at = 12 + numbers.below(good.len() - 32);
        bad[at] ^= 1 << numbers.below(8);
        std::fs::write(&pack, bad).unwrap();
        match survey() {
            Ok(seen) => assert!(seen.objects <= objects),
            Err(outage) => {
                assert!(!outage.code.is_empty() && !outage.why.is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > 6, "only {refused} of 12 were refused");
}
