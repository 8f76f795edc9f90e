//! The Git adapter against real git: what it visits, which commits it calls new, where it says a hit is.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail loudly, as tests do"
)]

use lychgate::config::Bounds;
use lychgate::facts::{Ancestry, Fact};
use lychgate::finding::Place;
use lychgate::git::Gate;
use lychgate::object::ObjectKind;
use lychgate::port::{Inspected, Looked, ObjectVisitor, Outage, Repository};
use lychgate::push::{Oid, RefUpdate};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

const BOUNDS: Bounds = Bounds {
    objects: 1_000_000,
    object_bytes: 10 << 20,
    commits: 100_000,
    seconds: 120,
    threads: 0,
};

/// What the visitor of these tests looks for.
const NEEDLE: &str = "N33DLE";

/// Notes each object that it sees, and finds [`NEEDLE`].
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<(Oid, ObjectKind, usize)>>,
}

impl ObjectVisitor for Recorder {
    type Hit = usize;

    fn visit(&self, oid: Oid, kind: ObjectKind, data: &[u8]) -> Looked<usize> {
        self.seen.lock().unwrap().push((oid, kind, data.len()));
        let text = String::from_utf8_lossy(data);
        Looked {
            hits: text.match_indices(NEEDLE).map(|(at, _)| at).collect(),
            plain: false,
        }
    }
}

impl Recorder {
    /// The ids seen; fails if one was seen twice.
    fn once(&self) -> BTreeSet<Oid> {
        let seen = self.seen.lock().unwrap();
        let set: BTreeSet<Oid> = seen.iter().map(|s| s.0).collect();
        assert_eq!(set.len(), seen.len(), "an object was visited twice");
        set
    }
}

#[expect(clippy::disallowed_methods, reason = "tests drive real git")]
fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", "/nonexistent").env("LC_ALL", "C");
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "A U Thor");
        command.env(format!("GIT_{who}_EMAIL"), "author@example.com");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    command
}

fn run(mut command: Command, input: &[u8]) -> (bool, Vec<u8>) {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    if !output.status.success() {
        return (false, [output.stdout, output.stderr].concat());
    }
    (true, output.stdout)
}

/// Runs git, which must succeed; returns trimmed output.
fn git(dir: &Path, args: &[&str]) -> String {
    git_with(dir, args, b"")
}

fn git_with(dir: &Path, args: &[&str], input: &[u8]) -> String {
    let (ok, out) = run(command(dir, args), input);
    let out = String::from_utf8_lossy(&out).trim_end().to_owned();
    assert!(ok, "git {args:?} failed: {out}");
    out
}

fn oid(text: &str) -> Oid {
    text.trim().parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

/// A server with a pre-receive hook that keeps a copy of the quarantine and refuses, and a client.
struct World {
    dir: tempfile::TempDir,
}

/// One captured push.
struct Captured {
    updates: Vec<RefUpdate>,
    quarantine: Option<PathBuf>,
}

impl World {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(init: &[&str]) -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for name in ["server", "client"] {
            let args = [&["init", "-q", "--bare", "-b", "main"], init, &[name]].concat();
            git(world.dir.path(), &args);
        }
        world
    }

    fn server(&self) -> PathBuf {
        self.dir.path().join("server")
    }

    fn client(&self) -> PathBuf {
        self.dir.path().join("client")
    }

    fn gate(&self) -> Gate {
        Gate::open(&self.server(), None).unwrap()
    }

    /// Puts refs on the server without asking anyone.
    fn place(&self, refspecs: &[&str]) {
        let hook = self.server().join("hooks/pre-receive");
        let _ = std::fs::remove_file(hook);
        let args = [&["push", "-q", "-f", "../server"], refspecs].concat();
        git(&self.client(), &args);
    }

    /// Pushes; the hook keeps the quarantine, and the server stays as it was.
    fn capture(&self, refspecs: &[&str]) -> Captured {
        use std::os::unix::fs::PermissionsExt;
        let kept = self.dir.path().join("kept");
        let _ = std::fs::remove_dir_all(&kept);
        std::fs::create_dir(&kept).unwrap();
        let hook = self.server().join("hooks/pre-receive");
        std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
        let script = format!(
            "#!/bin/sh\ncat >'{0}/stdin'\n[ -z \"$GIT_QUARANTINE_PATH\" ] || cp -r \"$GIT_QUARANTINE_PATH\" '{0}/q'\nexit 1\n",
            kept.display()
        );
        std::fs::write(&hook, script).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let args = [&["push", "-q", "-f", "../server"], refspecs].concat();
        let (ok, out) = run(command(&self.client(), &args), b"");
        assert!(!ok);
        let lines = std::fs::read_to_string(kept.join("stdin"))
            .unwrap_or_else(|_| panic!("no hook ran: {}", String::from_utf8_lossy(&out)));
        let quarantine = kept.join("q");
        Captured {
            updates: lines.lines().map(update).collect(),
            quarantine: quarantine.exists().then_some(quarantine),
        }
    }

    /// Fills a quarantine with exactly these objects of the client.
    fn pack_by_hand(&self, push: &Captured, ids: &[&str], packed: bool) {
        let quarantine = push.quarantine.as_ref().unwrap();
        let pack_dir = quarantine.join("pack");
        std::fs::create_dir_all(&pack_dir).unwrap();
        let path = pack_dir.join("pack");
        let list = ids.join("\n");
        git_with(
            &self.client(),
            &["pack-objects", "-q", path.to_str().unwrap()],
            list.as_bytes(),
        );
        if packed {
            return;
        }
        for entry in std::fs::read_dir(&pack_dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "pack") {
                let pack = std::fs::read(&path).unwrap();
                let mut unpack = command(&self.server(), &["unpack-objects", "-q"]);
                std::fs::remove_dir_all(&pack_dir).unwrap();
                unpack.env("GIT_OBJECT_DIRECTORY", quarantine);
                assert!(run(unpack, &pack).0);
                return;
            }
        }
    }

    fn inspect(&self, push: &Captured, known: &[Oid], bounds: &Bounds) -> Result<(Inspected<usize>, Recorder), Outage> {
        let gate = Gate::open(&self.server(), push.quarantine.as_deref())?;
        let recorder = Recorder::default();
        let known = vec![known.to_vec(); push.updates.len()];
        let mut inspected = gate.inspect(&push.updates, &known, bounds, &recorder)?;
        let older: Vec<Oid> = inspected
            .commits
            .iter()
            .filter(|c| !c.in_quarantine)
            .map(|c| c.oid)
            .collect();
        let mut more = gate.introduced(&older, bounds, &recorder)?;
        inspected.hits.append(&mut more.hits);
        inspected.hits.sort_by(|a, b| a.0.cmp(&b.0));
        inspected.objects += more.objects;
        inspected.bytes += more.bytes;
        inspected.bounds.append(&mut more.bounds);
        inspected.bounds.sort();
        inspected.bounds.dedup();
        Ok((inspected, recorder))
    }

    /// git in the server, with the quarantine as its object folder.
    fn in_quarantine(&self, push: &Captured, args: &[&str]) -> String {
        let mut command = command(&self.server(), args);
        if let Some(quarantine) = &push.quarantine {
            command.env("GIT_OBJECT_DIRECTORY", quarantine);
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", self.server().join("objects"));
        }
        let (ok, out) = run(command, b"");
        assert!(ok, "git {args:?}: {}", String::from_utf8_lossy(&out));
        String::from_utf8(out).unwrap()
    }

    /// The ids in the quarantine alone, as git lists them.
    fn brought(&self, push: &Captured) -> BTreeSet<Oid> {
        let Some(quarantine) = &push.quarantine else {
            return BTreeSet::new();
        };
        let args = ["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"];
        let mut command = command(&self.server(), &args);
        command.env("GIT_OBJECT_DIRECTORY", quarantine);
        let (ok, out) = run(command, b"");
        assert!(ok);
        String::from_utf8(out).unwrap().lines().map(oid).collect()
    }

    fn blob(&self, text: &str) -> String {
        git_with(&self.client(), &["hash-object", "-w", "--stdin"], text.as_bytes())
    }

    /// Makes a tree of `(mode type path-component, id)` lines.
    fn tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let lines: Vec<String> = entries
            .iter()
            .map(|(mode, name, id)| {
                let kind = if *mode == "040000" { "tree" } else { "blob" };
                format!("{mode} {kind} {id}\t{name}\n")
            })
            .collect();
        git_with(&self.client(), &["mktree"], lines.concat().as_bytes())
    }

    fn commit(&self, tree: &str, parents: &[&str]) -> String {
        self.dated(tree, parents, 1_700_000_000)
    }

    fn dated(&self, tree: &str, parents: &[&str], seconds: i64) -> String {
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            text += &format!("parent {parent}\n");
        }
        text +=
            &format!("author a <a@example.com> {seconds} +0000\ncommitter a <a@example.com> {seconds} +0000\n\nm\n");
        self.raw("commit", text.as_bytes())
    }

    fn raw(&self, kind: &str, data: &[u8]) -> String {
        let args = ["hash-object", "-w", "-t", kind, "--literally", "--stdin"];
        git_with(&self.client(), &args, data)
    }

    fn point(&self, name: &str, id: &str) {
        git(&self.client(), &["update-ref", name, id]);
    }

    /// A commit with one file of its own.
    fn simple(&self, text: &str, parents: &[&str]) -> String {
        let tree = self.tree(&[("100644", "file", &self.blob(text))]);
        self.commit(&tree, parents)
    }
}

fn update(line: &str) -> RefUpdate {
    let fields: Vec<&str> = line.split(' ').collect();
    RefUpdate {
        old: oid(fields[0]),
        new: oid(fields[1]),
        name: fields[2].parse().unwrap(),
    }
}

fn commits_of(inspected: &Inspected<usize>, update: usize) -> BTreeSet<Oid> {
    match &inspected.updates[update].commits {
        Fact::Known(at) => at.iter().map(|&i| inspected.commits[i as usize].oid).collect(),
        Fact::Unavailable { code, .. } => panic!("{code}"),
    }
}

fn set(ids: &[&str]) -> BTreeSet<Oid> {
    ids.iter().map(|id| oid(id)).collect()
}

fn place(commit: &str, object: &str, path: &str) -> Place {
    Place {
        commit: Some(oid(commit)),
        object: Some(oid(object)),
        path: (!path.is_empty()).then(|| path.to_owned()),
        ..Place::default()
    }
}

fn places(inspected: &Inspected<usize>) -> Vec<Place> {
    inspected.hits.iter().map(|(place, _)| place.clone()).collect()
}

fn codes(inspected: &Inspected<usize>) -> Vec<&str> {
    inspected.bounds.iter().map(|(code, _)| code.as_str()).collect()
}

#[test]
fn loose_push_is_visited_whole_and_hits_have_their_place() {
    let world = World::new();
    let base = world.simple("one", &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let secret = world.blob(NEEDLE);
    let folder = world.tree(&[("100644", "k\u{e4}y", &secret)]);
    let first = world.commit(&world.tree(&[("040000", "etc", &folder)]), &[&base]);
    let second = world.commit(&world.tree(&[("040000", "etc2", &folder)]), &[&first]);
    world.point("refs/heads/main", &second);
    let push = world.capture(&["main"]);
    let (inspected, recorder) = world.inspect(&push, &[oid(&base)], &BOUNDS).unwrap();

    assert_eq!(recorder.once(), world.brought(&push));
    assert_eq!(inspected.objects, world.brought(&push).len() as u64);
    assert_eq!(places(&inspected), [place(&first, &secret, "etc/k\u{e4}y")]);
    let order: Vec<Oid> = inspected.commits.iter().map(|c| c.oid).collect();
    assert_eq!(order, [oid(&first), oid(&second)]);
    assert!(inspected.commits.iter().all(|c| c.in_quarantine));
    let update = &inspected.updates[0];
    assert_eq!(update.ancestry, Fact::Known(Ancestry::FastForward));
    assert_eq!(update.commit, Some(oid(&second)));
    let tree = git(&world.client(), &["rev-parse", &format!("{second}^{{tree}}")]);
    assert_eq!(update.tree, Some(oid(&tree)));
}

#[test]
fn thin_pack_push_is_visited_whole() {
    let world = World::new();
    git(&world.server(), &["config", "receive.unpackLimit", "1"]);
    let long: String = (0..3000).map(|i| format!("line {i}\n")).collect();
    let base = world.simple(&long, &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let next = world.simple(&format!("{long}{NEEDLE}\n"), &[&base]);
    world.point("refs/heads/main", &next);
    let push = world.capture(&["main"]);
    let brought = world.brought(&push);
    let base_blob = git(&world.client(), &["rev-parse", &format!("{base}:file")]);
    assert!(
        brought.contains(&oid(&base_blob)),
        "the pack was thin, so git appended the base"
    );
    let (inspected, recorder) = world.inspect(&push, &[oid(&base)], &BOUNDS).unwrap();
    assert_eq!(recorder.once(), brought);
    assert_eq!(commits_of(&inspected, 0), set(&[&next]));
    let blob = git(&world.client(), &["rev-parse", &format!("{next}:file")]);
    assert_eq!(places(&inspected), [place(&next, &blob, "file")]);
}

#[test]
fn evil_merge_message_file_name_and_dangling_objects_are_found() {
    let world = World::new();
    let base = world.simple("base", &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let (left, right) = (world.simple("left", &[&base]), world.simple("right", &[&base]));
    let evil_blob = world.blob(&format!("evil {NEEDLE}"));
    let named = world.tree(&[("100644", &format!("{NEEDLE}\x01x"), &evil_blob)]);
    let root = world.tree(&[("040000", "dir", &named)]);
    let merge = world.commit(&root, &[&left, &right]);
    let text = format!("tree {root}\nparent {merge}\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\n{NEEDLE}\n");
    let message = world.raw("commit", text.as_bytes());
    world.point("refs/heads/main", &message);
    let push = world.capture(&["main"]);
    // A dangling blob: what no ref leads to, yet lies in the quarantine.
    let dangling = {
        let mut hash = command(&world.server(), &["hash-object", "-w", "--stdin"]);
        hash.env("GIT_OBJECT_DIRECTORY", push.quarantine.as_ref().unwrap());
        let (ok, out) = run(hash, format!("dangling {NEEDLE}").as_bytes());
        assert!(ok);
        String::from_utf8(out).unwrap()
    };
    let (inspected, _) = world.inspect(&push, &[oid(&base)], &BOUNDS).unwrap();
    let found: BTreeSet<Place> = places(&inspected).into_iter().collect();
    let expected = [
        place(&message, &message, ""),
        place(&merge, &named, "dir"),
        place(&merge, &evil_blob, &format!("dir/{NEEDLE}\\x01x")),
        Place {
            object: Some(oid(&dangling)),
            ..Place::default()
        },
    ];
    assert_eq!(found, BTreeSet::from(expected));
    assert_eq!(commits_of(&inspected, 0), set(&[&left, &right, &merge, &message]));
}

#[test]
fn create_delete_and_force_push() {
    let world = World::new();
    let base = world.simple("base", &[]);
    let lost = world.simple("lost", &[&base]);
    world.point("refs/heads/main", &lost);
    world.point("refs/heads/gone", &base);
    world.place(&["main", "gone"]);
    let other = world.simple("other", &[&base]);
    world.point("refs/heads/main", &other);
    world.point("refs/heads/fresh", &other);
    let push = world.capture(&["main", "fresh", ":gone"]);
    let (inspected, _) = world.inspect(&push, &[], &BOUNDS).unwrap();
    let at = |name: &str| push.updates.iter().position(|u| u.name.short() == name).unwrap();
    assert_eq!(inspected.updates[at("main")].ancestry, Fact::Known(Ancestry::Diverged));
    assert_eq!(commits_of(&inspected, at("main")), set(&[&other]));
    assert_eq!(inspected.updates[at("fresh")].ancestry, Fact::Known(Ancestry::None));
    assert_eq!(commits_of(&inspected, at("fresh")), set(&[&base, &other]));
    assert_eq!(inspected.updates[at("gone")].ancestry, Fact::Known(Ancestry::None));
    assert_eq!(inspected.updates[at("gone")].commit, None);
    assert!(commits_of(&inspected, at("gone")).is_empty());
}

#[test]
fn tags_are_peeled_and_refs_to_blobs_have_no_commit() {
    let world = World::new();
    let base = world.simple("base", &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let next = world.simple("next", &[&base]);
    let tag_of = |target: &str, kind: &str, name: &str| {
        let text = format!("object {target}\ntype {kind}\ntag {name}\ntagger a <a> 1 +0000\n\n{NEEDLE}\n");
        (world.raw("tag", text.as_bytes()), text)
    };
    let (inner, _) = tag_of(&next, "commit", "inner");
    let (outer, text) = tag_of(&inner, "tag", "outer");
    let blob = world.blob("lone");
    world.point("refs/tags/outer", &outer);
    world.point("refs/tags/blob", &blob);
    let mut deep = next.clone();
    for i in 0..12 {
        deep = tag_of(&deep, if i == 0 { "commit" } else { "tag" }, &format!("t{i}")).0;
    }
    world.point("refs/tags/zdeep", &deep);
    let push = world.capture(&["refs/tags/outer", "refs/tags/blob", "refs/tags/zdeep"]);
    let (inspected, _) = world.inspect(&push, &[oid(&base)], &BOUNDS).unwrap();
    let at = |name: &str| push.updates.iter().position(|u| u.name.short() == name).unwrap();
    let outer_update = &inspected.updates[at("outer")];
    assert_eq!(outer_update.tag, Some((oid(&outer), text.into_bytes())));
    assert_eq!(outer_update.commit, Some(oid(&next)));
    assert_eq!(commits_of(&inspected, at("outer")), set(&[&next]));
    let blob_update = &inspected.updates[at("blob")];
    assert_eq!((blob_update.commit, &blob_update.tag), (None, &None));
    assert_eq!(inspected.updates[at("zdeep")].commit, None);
    assert_eq!(codes(&inspected), ["tag-too-deep"]);
    assert!(places(&inspected).contains(&place(&outer, &outer, "")));
}

#[test]
fn objects_in_the_store_that_become_reachable_are_visited() {
    let world = World::new();
    let secret = world.blob(NEEDLE);
    let kept = world.blob("kept");
    let base = world.commit(&world.tree(&[("100644", "kept", &kept)]), &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let folder = world.tree(&[("100644", "key", &secret), ("100644", "other", &world.blob("o"))]);
    let side = world.commit(
        &world.tree(&[("040000", "d", &folder), ("100644", "kept", &kept)]),
        &[&base],
    );
    let cleaned = world.commit(&world.tree(&[("100644", "kept", &kept)]), &[&side]);
    world.point("refs/heads/side", &cleaned);
    world.place(&["side"]);
    // Nothing travels: the store has it all.
    world.point("refs/heads/main", &cleaned);
    let push = world.capture(&["main"]);
    let (inspected, recorder) = world.inspect(&push, &[oid(&base)], &BOUNDS).unwrap();
    assert_eq!(commits_of(&inspected, 0), set(&[&side, &cleaned]));
    assert!(inspected.commits.iter().all(|c| !c.in_quarantine));
    assert_eq!(places(&inspected), [place(&side, &secret, "d/key")]);
    let seen = recorder.once();
    assert!(!seen.contains(&oid(&kept)), "what the parents have is not introduced");
    let side_tree = git(&world.client(), &["rev-parse", &format!("{side}^{{tree}}")]);
    let other = git(&world.client(), &["rev-parse", &format!("{side}:d/other")]);
    // `cleaned` brings the root tree of `base` back: its parent does not have it.
    let base_tree = git(&world.client(), &["rev-parse", &format!("{base}^{{tree}}")]);
    assert_eq!(
        seen,
        set(&[&side, &cleaned, &side_tree, &base_tree, &folder, &secret, &other])
    );

    let gate = Gate::open(&world.server(), push.quarantine.as_deref()).unwrap();
    let recorder = Recorder::default();
    gate.introduced(&[oid(&cleaned)], &BOUNDS, &recorder).unwrap();
    assert!(
        !recorder.once().contains(&oid(&secret)),
        "only what the named commits introduce is visited"
    );
}

#[test]
fn objects_in_the_store_that_new_commits_take_up_are_visited() {
    for packed in [false, true] {
        let world = World::new();
        let kept = world.tree(&[("100644", "k", &world.blob("kept"))]);
        let base = world.commit(&world.tree(&[("040000", "kept", &kept)]), &[]);
        let (lone, inner) = (
            world.blob(&format!("lone {NEEDLE}")),
            world.blob(&format!("inner {NEEDLE}")),
        );
        let folder = world.tree(&[("100644", "in", &inner), ("040000", "kept", &kept)]);
        let side = world.commit(
            &world.tree(&[("100644", "l", &lone), ("040000", "f", &folder)]),
            &[&base],
        );
        world.point("refs/heads/main", &base);
        world.point("refs/heads/side", &side);
        world.place(&["main", "side"]);
        // A new commit on main takes up the side branch's folder and file. Git sends them again;
        // a client that knows what the server has need not.
        let sub = world.tree(&[("100644", "again", &lone)]);
        let root = world.tree(&[
            ("040000", "g", &folder),
            ("040000", "kept", &kept),
            ("040000", "sub", &sub),
        ]);
        let next = world.commit(&root, &[&base]);
        let push = Captured {
            updates: vec![update(&format!("{base} {next} refs/heads/main"))],
            quarantine: Some(world.dir.path().join("byhand")),
        };
        world.pack_by_hand(&push, &[&next, &root, &sub], packed);
        let brought = world.brought(&push);
        assert_eq!(brought, set(&[&next, &root, &sub]));
        let (inspected, recorder) = world.inspect(&push, &[], &BOUNDS).unwrap();
        assert_eq!(commits_of(&inspected, 0), set(&[&next]));
        let mut expected = brought;
        expected.extend(set(&[&lone, &folder, &inner]));
        assert_eq!(recorder.once(), expected);
        let found: BTreeSet<Place> = places(&inspected).into_iter().collect();
        let expected = [place(&next, &inner, "g/in"), place(&next, &lone, "sub/again")];
        assert_eq!(found, BTreeSet::from(expected));
    }
}

#[test]
fn alternates_are_followed() {
    let world = World::new();
    let base = world.simple("base", &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let pool = world.dir.path().join("pool");
    std::fs::rename(world.server().join("objects"), &pool).unwrap();
    std::fs::create_dir_all(world.server().join("objects/info")).unwrap();
    std::fs::create_dir_all(world.server().join("objects/pack")).unwrap();
    std::fs::write(world.server().join("objects/info/alternates"), "../../pool\n").unwrap();
    let next = world.simple("next", &[&base]);
    world.point("refs/heads/main", &next);
    let push = world.capture(&["main"]);
    // `known` names no parent: the graph below it is read from the alternate.
    let (inspected, _) = world.inspect(&push, &[], &BOUNDS).unwrap();
    assert_eq!(commits_of(&inspected, 0), set(&[&next]));
    let (inspected, _) = {
        let mut created = world.capture(&["main:refs/heads/created"]);
        created.updates.truncate(1);
        world.inspect(&created, &[], &BOUNDS).unwrap()
    };
    assert_eq!(commits_of(&inspected, 0), set(&[&base, &next]));
}

#[test]
fn replace_refs_and_grafts_are_ignored() {
    let world = World::new();
    let base = world.simple("base", &[]);
    let second = world.simple("second", &[&base]);
    let third = world.simple("third", &[&second]);
    world.point("refs/heads/main", &base);
    world.point("refs/heads/side", &third);
    world.place(&["main", "side"]);
    // Both say that `third` has no parents.
    git(&world.server(), &["replace", "--graft", &third]);
    std::fs::create_dir_all(world.server().join("info")).unwrap();
    std::fs::write(world.server().join("info/grafts"), format!("{third}\n")).unwrap();
    std::fs::write(world.server().join("shallow"), format!("{third}\n")).unwrap();
    let gate = world.gate();
    let push = [update(&format!("{base} {third} refs/heads/main"))];
    let inspected = gate.inspect(&push, &[vec![]], &BOUNDS, &Recorder::default()).unwrap();
    assert_eq!(commits_of(&inspected, 0), set(&[&second, &third]));
    assert_eq!(inspected.updates[0].ancestry, Fact::Known(Ancestry::FastForward));
}

#[test]
fn lying_dates_change_nothing() {
    let world = World::new();
    let tree = world.tree(&[("100644", "f", &world.blob("x"))]);
    // A long chain whose dates run backwards, so that a walk by date leaves it too early.
    let root = world.dated(&tree, &[], 4_000_000_000);
    let mut chain = vec![root.clone()];
    for i in 1..40 {
        let parent = chain.last().unwrap().clone();
        chain.push(world.dated(&tree, &[&parent], 2_000_000_000 - i));
    }
    let tip = chain.last().unwrap().clone();
    let early = chain[5].clone();
    // Side branches from deep within the known history, dated far in the past and the future.
    let old_side = world.dated(&tree, &[&early], 1);
    let new_side = world.dated(&tree, &[&early, &chain[3]], 4_100_000_000);
    world.point("refs/heads/main", &tip);
    world.point("refs/heads/a", &old_side);
    world.point("refs/heads/b", &new_side);
    world.place(&["main", "a", "b"]);
    let gate = world.gate();
    for (side, new) in [("a", &old_side), ("b", &new_side)] {
        let push = [update(&format!("{tip} {new} refs/heads/main"))];
        let inspected = gate.inspect(&push, &[vec![]], &BOUNDS, &Recorder::default()).unwrap();
        assert_eq!(commits_of(&inspected, 0), set(&[new]), "{side}");
        assert_eq!(inspected.updates[0].ancestry, Fact::Known(Ancestry::Diverged), "{side}");
    }
    let push = [update(&format!("{root} {tip} refs/heads/main"))];
    let inspected = gate
        .inspect(&push, &[vec![oid(&old_side)]], &BOUNDS, &Recorder::default())
        .unwrap();
    let expected: BTreeSet<Oid> = chain[6..].iter().map(|c| oid(c)).collect();
    assert_eq!(commits_of(&inspected, 0), expected);
    assert_eq!(inspected.updates[0].ancestry, Fact::Known(Ancestry::FastForward));
}

#[test]
fn malformed_commits_are_kept_raw() {
    let world = World::new();
    let base = world.simple("base", &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let tree = world.tree(&[("100644", "f", &world.blob("x"))]);
    let raws = [
        format!("tree {tree}\nparent {base}\nparent zz\n\nbad parent"),
        format!("tree {tree}\nauthor x\nparent {base}\n\nlate parent"),
        "no commit at all".to_owned(),
        String::new(),
    ];
    // git's own unpacking may refuse such objects, so they are put into a quarantine by hand.
    let quarantine = world.dir.path().join("byhand");
    std::fs::create_dir_all(quarantine.join("pack")).unwrap();
    for raw in &raws {
        let mut hash = command(
            &world.server(),
            &["hash-object", "-w", "-t", "commit", "--literally", "--stdin"],
        );
        hash.env("GIT_OBJECT_DIRECTORY", &quarantine);
        let (ok, id) = run(hash, raw.as_bytes());
        assert!(ok);
        let id = String::from_utf8(id).unwrap();
        let push = Captured {
            updates: vec![update(&format!("{base} {} refs/heads/main", id.trim()))],
            quarantine: Some(quarantine.clone()),
        };
        let (inspected, _) = world.inspect(&push, &[], &BOUNDS).unwrap();
        let commit = inspected.commits.iter().find(|c| c.oid == oid(&id)).unwrap();
        assert_eq!(commit.data, raw.as_bytes());
        assert!(commit.in_quarantine);
    }
}

#[test]
fn each_bound_is_kept() {
    let world = World::new();
    let base = world.simple("base", &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let large = world.blob(&"x".repeat(5000));
    let small = world.blob(NEEDLE);
    let first = world.commit(
        &world.tree(&[("100644", "large", &large), ("100644", "s", &small)]),
        &[&base],
    );
    let second = world.simple("second", &[&first]);
    world.point("refs/heads/main", &second);
    for unpack_limit in ["100", "1"] {
        git(&world.server(), &["config", "receive.unpackLimit", unpack_limit]);
        let push = world.capture(&["main"]);
        let object_bytes = Bounds {
            object_bytes: 4999,
            ..BOUNDS
        };
        let (inspected, recorder) = world.inspect(&push, &[], &object_bytes).unwrap();
        assert_eq!(
            inspected.bounds,
            [("object-too-large".to_owned(), place(&first, &large, "large"))]
        );
        assert!(!recorder.once().contains(&oid(&large)));
        assert_eq!(places(&inspected), [place(&first, &small, "s")]);

        let objects = world.brought(&push).len() as u64;
        let bounds = |objects| Bounds { objects, ..BOUNDS };
        let (inspected, recorder) = world.inspect(&push, &[], &bounds(objects - 1)).unwrap();
        assert_eq!(codes(&inspected), ["too-many-objects"]);
        assert!(recorder.once().is_empty());
        assert!(matches!(&inspected.updates[0].commits, Fact::Unavailable { code, .. } if code == "too-many-objects"));
        assert!(codes(&world.inspect(&push, &[], &bounds(objects)).unwrap().0).is_empty());

        let commits = |commits| Bounds { commits, ..BOUNDS };
        let (inspected, _) = world.inspect(&push, &[], &commits(1)).unwrap();
        assert_eq!(codes(&inspected), ["too-many-commits"]);
        assert!(matches!(&inspected.updates[0].commits, Fact::Unavailable { code, .. } if code == "too-many-commits"));
        assert!(codes(&world.inspect(&push, &[], &commits(2)).unwrap().0).is_empty());

        let late = world.inspect(&push, &[], &Bounds { seconds: 0, ..BOUNDS });
        assert_eq!(late.err().unwrap().code, "deadline-passed");
    }
}

/// A client with `count` commits on `base`, by fast-import; returns the tip.
fn many(world: &World, count: usize, base: Option<&str>) -> String {
    let mut text = String::new();
    for i in 0..count {
        let mark = i + 1;
        text += &format!(
            "commit refs/heads/main\nmark :{mark}\ncommitter a <a> {} +0000\ndata 1\nm",
            1_700_000_000 + i
        );
        if let (0, Some(base)) = (i, base) {
            text += &format!("\nfrom {base}");
        }
        let body = format!("{}file {i}\n", "some longer text to find deltas in\n".repeat(i % 50));
        text += &format!("\nM 644 inline d{}/f{}\ndata {}\n{body}\n", i % 7, i % 31, body.len());
    }
    git_with(&world.client(), &["fast-import", "--quiet", "--force"], text.as_bytes());
    git(&world.client(), &["rev-parse", "main"])
}

#[test]
fn threads_change_nothing_and_an_object_beyond_the_bound_does_not_hide_the_others() {
    let world = World::new();
    git(&world.server(), &["config", "receive.unpackLimit", "1"]);
    let tip = many(&world, 300, None);
    let large = world.blob(&"large ".repeat(2000));
    let noted = world.blob(&format!("{NEEDLE} {NEEDLE}"));
    let tree = world.tree(&[("100644", "large", &large), ("100644", "n", &noted)]);
    let last = world.commit(&tree, &[&tip]);
    world.point("refs/heads/main", &last);
    let push = world.capture(&["main"]);
    let brought = world.brought(&push);
    assert!(brought.len() > 600, "enough for threads");
    let mut first = None;
    for round in 0..12 {
        let bounds = Bounds {
            threads: round % 4,
            object_bytes: if round < 6 { 10 << 20 } else { 10_000 },
            ..BOUNDS
        };
        let (inspected, recorder) = world.inspect(&push, &[], &bounds).unwrap();
        let mut expected = brought.clone();
        if round >= 6 {
            expected.remove(&oid(&large));
            assert_eq!(
                inspected.bounds,
                [("object-too-large".to_owned(), place(&last, &large, "large"))]
            );
        }
        assert_eq!(recorder.once(), expected, "round {round}");
        let commits: Vec<Oid> = inspected.commits.iter().map(|c| c.oid).collect();
        let result = (inspected.hits, commits);
        assert_eq!(result.0.iter().map(|h| h.1).collect::<Vec<_>>(), [0, NEEDLE.len() + 1]);
        assert_eq!(first.get_or_insert_with(|| result.clone()), &result);
    }
}

#[test]
fn broken_packs_and_loose_objects_are_outages() {
    let world = World::new();
    git(&world.server(), &["config", "receive.unpackLimit", "1"]);
    many(&world, 150, None);
    let push = world.capture(&["main"]);
    let pack_dir = push.quarantine.as_ref().unwrap().join("pack");
    let find = |ending: &str| {
        let files = std::fs::read_dir(&pack_dir).unwrap().map(|e| e.unwrap().path());
        files
            .into_iter()
            .find(|p| p.to_string_lossy().ends_with(ending))
            .unwrap()
    };
    let (pack, idx) = (find(".pack"), find(".idx"));
    for (path, ending) in [(&pack, "pack"), (&idx, "idx")] {
        let whole = std::fs::read(path).unwrap();
        let make_writable = || {
            let _ = std::fs::remove_file(path);
        };
        for cut in [0, 10, 100, whole.len() / 2, whole.len() - 30] {
            make_writable();
            std::fs::write(path, &whole[..cut]).unwrap();
            let outage = world.inspect(&push, &[], &BOUNDS).err();
            let outage = outage.unwrap_or_else(|| panic!("{ending} cut to {cut} was read"));
            assert!(outage.code.ends_with("-unreadable"), "{ending} {cut}: {outage:?}");
            assert!(outage.what.contains("pack-"), "{outage:?}");
        }
        make_writable();
        std::fs::write(path, &whole).unwrap();
    }
    let whole = std::fs::read(&pack).unwrap();
    // Flipped bytes: any answer but a crash; git's checksum is what tells.
    for at in (12..whole.len() - 20).step_by(whole.len() / 40) {
        let mut bad = whole.clone();
        bad[at] ^= 0x5a;
        let _ = std::fs::remove_file(&pack);
        std::fs::write(&pack, &bad).unwrap();
        let _ = world.inspect(&push, &[], &BOUNDS);
    }
    std::fs::remove_file(&idx).unwrap();
    assert_eq!(
        world.inspect(&push, &[], &BOUNDS).err().unwrap().code,
        "pack-unreadable"
    );

    let missing = Gate::open(&world.server(), Some(Path::new("/nonexistent/q")))
        .err()
        .unwrap();
    assert_eq!(missing.code, "quarantine-unreadable");
    let none = Gate::open(world.dir.path(), None).err().unwrap();
    assert_eq!(none.code, "repository-unreadable");
}

#[test]
fn truncated_loose_and_missing_objects_are_outages() {
    let world = World::new();
    let base = world.simple("base", &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let next = world.simple(&"next ".repeat(500), &[&base]);
    world.point("refs/heads/main", &next);
    let push = world.capture(&["main"]);
    let blob = git(&world.client(), &["rev-parse", &format!("{next}:file")]);
    let file = push.quarantine.as_ref().unwrap().join(&blob[..2]).join(&blob[2..]);
    let whole = std::fs::read(&file).unwrap();
    for cut in [0, 1, whole.len() / 2] {
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, &whole[..cut]).unwrap();
        let outage = world.inspect(&push, &[], &BOUNDS).err().unwrap();
        assert_eq!(outage.code, "object-unreadable", "cut to {cut}");
    }
    let nowhere = Captured {
        updates: vec![update(&format!("{base} {} refs/heads/main", "ab".repeat(20)))],
        quarantine: None,
    };
    assert_eq!(
        world.inspect(&nowhere, &[], &BOUNDS).err().unwrap().code,
        "object-missing"
    );
    let gate = world.gate();
    assert_eq!(gate.object(oid(&"cd".repeat(20))).err().unwrap().code, "object-missing");
    assert_eq!(gate.object(oid(&base)).unwrap().kind, ObjectKind::Commit);
}

#[test]
fn refs_are_read_loose_packed_and_symbolic() {
    let world = World::new();
    let base = world.simple("base", &[]);
    let next = world.simple("next", &[&base]);
    world.point("refs/heads/main", &base);
    world.point("refs/heads/deep/er", &base);
    world.point("refs/tags/refs/heads/trap", &base);
    world.place(&["refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"]);
    git(&world.server(), &["pack-refs", "--all"]);
    world.point("refs/heads/main", &next);
    world.place(&["main"]);
    git(
        &world.server(),
        &["symbolic-ref", "refs/heads/alias", "refs/heads/main"],
    );
    git(
        &world.server(),
        &["symbolic-ref", "refs/heads/nowhere", "refs/heads/absent"],
    );
    let gate = world.gate();
    let target = |name: &str| gate.ref_target(&name.parse().unwrap()).unwrap();
    assert_eq!(target("refs/heads/main"), Some(oid(&next)), "loose before packed");
    assert_eq!(target("refs/heads/deep/er"), Some(oid(&base)));
    assert_eq!(target("refs/heads/alias"), Some(oid(&next)));
    assert_eq!(target("refs/heads/nowhere"), None);
    assert_eq!(target("refs/heads/trap"), None, "no other ref stands in for it");
    assert_eq!(target("refs/heads/deep"), None);
    let listed: BTreeMap<String, Oid> = gate
        .refs("refs/heads/")
        .unwrap()
        .into_iter()
        .map(|(name, id)| (name.short().to_owned(), id))
        .collect();
    let expected = [("alias", &next), ("deep/er", &base), ("main", &next)];
    assert_eq!(listed, expected.map(|(n, id)| (n.to_owned(), oid(id))).into());
    assert!(gate.refs("refs/none/").unwrap().is_empty());
    git(&world.server(), &["symbolic-ref", "refs/heads/a", "refs/heads/b"]);
    git(&world.server(), &["symbolic-ref", "refs/heads/b", "refs/heads/a"]);
    let circle = gate.ref_target(&"refs/heads/a".parse().unwrap());
    assert_eq!(circle.err().unwrap().code, "ref-unreadable");
}

#[test]
fn sha256_repositories_are_read_and_unknown_formats_are_not() {
    let world = World::with(&["--object-format=sha256"]);
    let base = world.simple("base", &[]);
    world.point("refs/heads/main", &base);
    world.place(&["main"]);
    let next = world.simple(NEEDLE, &[&base]);
    world.point("refs/heads/main", &next);
    let push = world.capture(&["main"]);
    let (inspected, recorder) = world.inspect(&push, &[], &BOUNDS).unwrap();
    assert_eq!(recorder.once(), world.brought(&push));
    assert_eq!(commits_of(&inspected, 0), set(&[&next]));
    assert_eq!(inspected.hits.len(), 1);
    std::fs::write(world.server().join("config"), "[extensions]\n\tobjectFormat = sha3\n").unwrap();
    let outage = Gate::open(&world.server(), None).err().unwrap();
    assert_eq!(outage.code, "object-format-unsupported");
}

/// A small generator with a seed: the same histories on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// A random history of `count` commits with merges, by fast-import; returns their ids.
fn history(world: &World, dice: &mut Dice, count: usize, honest: bool) -> Vec<String> {
    let mut text = String::new();
    for i in 1..=count {
        let seconds = if honest {
            1_700_000_000 + i
        } else {
            1 + dice.roll(2_000_000_000)
        };
        text += &format!(
            "reset refs/heads/tmp\ncommit refs/heads/tmp\nmark :{i}\ncommitter a <a> {seconds} +0000\ndata 1\nm"
        );
        let mut parents = BTreeSet::new();
        if i > 1 && dice.roll(12) > 0 {
            for _ in 0..=dice.roll(5) / 3 {
                parents.insert(i - 1 - dice.roll((i - 1).min(8)));
            }
        }
        for (n, parent) in parents.iter().enumerate() {
            text += &format!("\n{} :{parent}", if n == 0 { "from" } else { "merge" });
        }
        let body = format!("text {}\n", dice.roll(40));
        text += &format!(
            "\nM 644 inline d{}/f{}\ndata {}\n{body}\n",
            dice.roll(3),
            dice.roll(4),
            body.len()
        );
    }
    let marks = world.dir.path().join("marks");
    let export = format!("--export-marks={}", marks.display());
    git_with(
        &world.client(),
        &["fast-import", "--quiet", "--force", &export],
        text.as_bytes(),
    );
    let mut ids = vec![String::new(); count];
    for line in std::fs::read_to_string(&marks).unwrap().lines() {
        let (mark, id) = line[1..].split_once(' ').unwrap();
        ids[mark.parse::<usize>().unwrap() - 1] = id.to_owned();
    }
    ids
}

fn reachable(world: &World, push: &Captured, from: &[&str], objects: bool) -> BTreeSet<Oid> {
    if from.is_empty() {
        return BTreeSet::new();
    }
    let mut args = vec!["rev-list"];
    if objects {
        args.push("--objects");
    }
    args.extend(from);
    let out = world.in_quarantine(push, &args);
    out.lines().map(|line| oid(line.split(' ').next().unwrap())).collect()
}

#[test]
fn generated_histories_agree_with_git() {
    for seed in 0..16 {
        let mut dice = Dice(seed * 7919 + 1);
        let world = World::new();
        let honest = seed % 2 == 0;
        git(
            &world.server(),
            &["config", "receive.unpackLimit", if seed % 4 < 2 { "1" } else { "1000" }],
        );
        let ids = history(&world, &mut dice, 40, honest);
        let pick = |dice: &mut Dice, below: usize| ids[dice.roll(below)].clone();
        let (main, side, other) = (pick(&mut dice, 20), pick(&mut dice, 40), pick(&mut dice, 30));
        for (name, id) in [("main", &main), ("side", &side), ("other", &other)] {
            world.point(&format!("refs/heads/{name}"), id);
        }
        world.place(&["main", "side", "other"]);
        let (next, fresh) = (pick(&mut dice, 40), pick(&mut dice, 40));
        world.point("refs/heads/main", &next);
        world.point("refs/heads/fresh", &fresh);
        if next == main {
            continue;
        }
        let push = world.capture(&["main", "fresh"]);
        let known: Vec<&str> = [&other]
            .into_iter()
            .filter(|_| seed % 3 > 0)
            .map(String::as_str)
            .collect();
        let known_ids: Vec<Oid> = known.iter().map(|k| oid(k)).collect();
        let (inspected, recorder) = world.inspect(&push, &known_ids, &BOUNDS).unwrap();
        let brought = world.brought(&push);
        check_updates(&world, &push, &inspected, &known, honest, seed);
        check_order(&world, &inspected);

        let visited = recorder.once();
        assert!(visited.is_superset(&brought), "seed {seed}");
        // What in-store commits introduce beyond all that is known to some update.
        let in_store: Vec<String> = inspected
            .commits
            .iter()
            .filter(|c| !c.in_quarantine)
            .map(|c| c.oid.to_string())
            .collect();
        let in_store: Vec<&str> = in_store.iter().map(String::as_str).collect();
        let all = reachable(&world, &push, &in_store, true);
        let covered = [known.clone(), vec![main.as_str()]].concat();
        let old = reachable(&world, &push, &covered, true);
        let expected: BTreeSet<Oid> = all.difference(&old).copied().collect();
        assert!(visited.is_superset(&expected), "seed {seed}");
        // What the push brings to any ref, sent or not, is visited as well.
        let news: Vec<String> = push.updates.iter().map(|u| u.new.to_string()).collect();
        let news: Vec<&str> = news.iter().map(String::as_str).collect();
        let all = reachable(&world, &push, &news, true);
        let expected: BTreeSet<Oid> = all.difference(&old).copied().collect();
        assert!(visited.is_superset(&expected), "seed {seed}");
        assert!(
            visited.iter().all(|o| all.contains(o) || brought.contains(o)),
            "seed {seed}"
        );
    }
}

fn check_updates(
    world: &World,
    push: &Captured,
    inspected: &Inspected<usize>,
    known: &[&str],
    honest: bool,
    seed: u64,
) {
    for (at, update) in push.updates.iter().enumerate() {
        let (old, new) = (update.old.to_string(), update.new.to_string());
        let mut not = known.to_vec();
        if !update.old.is_zero() {
            not.push(&old);
        }
        let all = reachable(world, push, &[&new], false);
        let excluded = reachable(world, push, &not, false);
        let expected: BTreeSet<Oid> = all.difference(&excluded).copied().collect();
        assert_eq!(commits_of(inspected, at), expected, "seed {seed} {}", update.name);
        if honest {
            let args = [&["rev-list", new.as_str(), "--not"], not.as_slice()].concat();
            let listed: BTreeSet<Oid> = world.in_quarantine(push, &args).lines().map(oid).collect();
            assert_eq!(expected, listed);
        }
        let ancestry = match (update.old.is_zero(), all.contains(&update.old)) {
            (true, _) => Ancestry::None,
            (false, true) => Ancestry::FastForward,
            (false, false) => Ancestry::Diverged,
        };
        assert_eq!(
            inspected.updates[at].ancestry,
            Fact::Known(ancestry),
            "seed {seed} {}",
            update.name
        );
    }
}

fn check_order(world: &World, inspected: &Inspected<usize>) {
    let mut before = BTreeSet::new();
    let all: BTreeSet<Oid> = inspected.commits.iter().map(|c| c.oid).collect();
    for commit in &inspected.commits {
        let raw = git(&world.client(), &["cat-file", "commit", &commit.oid.to_string()]);
        assert_eq!(raw.trim_end(), String::from_utf8_lossy(&commit.data).trim_end());
        let head = lychgate::git::commit_head(&commit.data);
        assert!(head.parents.iter().all(|p| !all.contains(p) || before.contains(p)));
        before.insert(commit.oid);
    }
}
