//! `lychgate init`: it can be run again, its hooks fail closed in real git, and its audit finds each way around.

use crate::support::{Run, Scratch};
use lychgate::cmd::error::{CommandError, Outcome};
use lychgate::cmd::init::{InitArgs, run_in};
use lychgate::cmd::output::{Format, Output};
use lychgate::config::{DEFAULT_POLICY, Settings};
use lychgate::push::Timestamp;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const NOW: i64 = 1_800_000_000;

/// Notes how it was called, then ends as the test wants: a stand-in for the program.
const PROGRAM: &str = "#!/bin/sh
[ \"${1:-}\" = --version ] && echo \"lychgate VERSION\" && exit 0
echo \"$*\" >>LOG
case \"$*\" in *pre-receive*) cat >>LOG ;; esac
[ ! -e LOG.deny ] || { echo 'the gate says no' >&2; exit 1; }
";

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A bare repository on a server, and a work tree that pushes to it.
struct Site {
    scratch: Scratch,
    bare: PathBuf,
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Site {
    fn new() -> Self {
        Self::with_program("lychgate")
    }

    fn with_program(name: &str) -> Self {
        let scratch = Scratch::new();
        let bare = scratch.path("pay.git");
        scratch
            .run("git", &["init", "-q", "--bare", "-b", "main", bare.to_str().unwrap()])
            .ok();
        for path in [bare.clone(), bare.join("hooks"), bare.join("config")] {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & !0o022)).unwrap();
        }
        let text = PROGRAM.replace("VERSION", env!("CARGO_PKG_VERSION"));
        let text = text.replace("LOG", scratch.path("log").to_str().unwrap());
        let program = scratch.script(name, &text);
        let command = scratch.command("true");
        let variables = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let environment = variables
            .filter(|(name, _)| !name.to_string_lossy().starts_with("GIT_CONFIG"))
            .collect();
        Self {
            scratch,
            bare,
            program,
            environment,
        }
    }

    fn args(&self) -> InitArgs {
        InitArgs {
            repository: self.bare.clone(),
            client: false,
            check: false,
            resource: None,
            verifier_id: None,
            program: Some(self.program.clone()),
            chain: false,
            no_hooks: false,
            format: Format::Text,
        }
    }

    fn run(&self, args: &InitArgs) -> (Result<Outcome, CommandError>, String) {
        let buffer = Buffer::default();
        let mut out = Output::to(Box::new(buffer.clone()), Box::new(buffer.clone()));
        let outcome = run_in(args, &self.environment, Timestamp::from_unix(NOW), &mut out);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        (outcome, text.replace(self.scratch.path("").to_str().unwrap(), "/SITE/"))
    }

    #[track_caller]
    fn init(&self) -> String {
        let (outcome, text) = self.run(&self.args());
        assert_eq!(outcome.unwrap(), Outcome::Yes);
        text
    }

    fn check(&self, format: Format) -> (Outcome, String) {
        let (outcome, text) = self.run(&InitArgs {
            check: true,
            program: None,
            format,
            ..self.args()
        });
        (outcome.unwrap(), text)
    }

    /// Names of what the audit found at a level.
    fn found(&self, level: &str) -> Vec<String> {
        let (outcome, text) = self.check(Format::Json);
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let results = report["results"].as_array().unwrap();
        assert_eq!(outcome == Outcome::No, report["problems"] != 0);
        let found = results.iter().filter(|item| item["level"] == level);
        found.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Fails unless exactly these problems are found.
    #[track_caller]
    fn problems(&self, wanted: &[&str]) {
        assert_eq!(self.found("problem"), wanted, "{}", self.check(Format::Text).1);
    }

    #[track_caller]
    fn warns(&self, wanted: &str) {
        assert!(
            self.found("warning").iter().any(|name| name == wanted),
            "{}",
            self.check(Format::Text).1
        );
        self.problems(&[]);
    }

    fn hook(&self, name: &str) -> PathBuf {
        self.bare.join("hooks").join(name)
    }

    fn git(&self, args: &[&str]) -> Run {
        let dir = format!("--git-dir={}", self.bare.display());
        self.scratch.run("git", &[&[dir.as_str()], args].concat())
    }

    /// Commits in a work tree and pushes it to a new branch.
    fn push(&self, branch: &str) -> Run {
        let tree = self.scratch.path("tree");
        let tree = tree.to_str().unwrap();
        if !Path::new(tree).exists() {
            self.scratch.run("git", &["init", "-q", "-b", "main", tree]).ok();
            self.scratch
                .run("git", &["-C", tree, "commit", "-q", "--allow-empty", "-m", "One"])
                .ok();
        }
        let to = format!("HEAD:refs/heads/{branch}");
        self.scratch
            .run("git", &["-C", tree, "push", "-q", self.bare.to_str().unwrap(), &to])
    }

    fn has(&self, branch: &str) -> bool {
        self.git(&["rev-parse", "--verify", "-q", &format!("refs/heads/{branch}")])
            .code
            == 0
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.path("log")).unwrap_or_default()
    }

    /// Every file of the repository with its content, the ledger's left out: SQLite writes its own.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.bare.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.to_string_lossy().contains("ledger.db") {
                    found.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        found
    }
}

#[track_caller]
fn usage(outcome: Result<Outcome, CommandError>) -> &'static str {
    match outcome {
        Err(CommandError::Usage { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn it_makes_everything_once() {
    let site = Site::new();
    insta::assert_snapshot!("init_first", site.init());
    let home = site.bare.join("lychgate");
    let mode = |name: &str| fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("attestation.key"), 0o600);
    assert_eq!(mode("fingerprint.key"), 0o600);
    assert_eq!(mode("ledger.db"), 0o600);
    assert_eq!(fs::read_to_string(home.join("policy.toml")).unwrap(), DEFAULT_POLICY);
    let settings = Settings::parse("gate.toml", &fs::read_to_string(home.join("gate.toml")).unwrap()).unwrap();
    assert_eq!(settings.resource, format!("git+file://{}", site.bare.display()));

    fs::write(home.join("policy.toml"), format!("{DEFAULT_POLICY}# mine\n")).unwrap();
    // The changed policy is published to developers, once.
    site.init();
    let published = site.git(&["cat-file", "blob", "refs/lychgate/gate:policy.toml"]).ok();
    assert!(published.ends_with("# mine"), "{published}");
    let before = site.files();
    let again = site.init();
    assert!(!again.contains("made"), "{again}");
    assert_eq!(site.files(), before);
    site.problems(&[]);
    insta::assert_snapshot!(
        "init_check",
        site.check(Format::Text)
            .1
            .replace(&policy_digest(&site), "DIGEST")
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
    );
}

fn policy_digest(site: &Site) -> String {
    let text = fs::read_to_string(site.bare.join("lychgate/policy.toml")).unwrap();
    lychgate::config::Policy::parse("policy.toml", &text).unwrap().digest
}

#[test]
fn what_a_crash_left_is_completed() {
    let site = Site::new();
    site.init();
    let home = site.bare.join("lychgate");
    let public = fs::read(home.join("attestation.pub")).unwrap();
    for name in ["attestation.pub", "gate.toml", "fingerprint.key"] {
        fs::remove_file(home.join(name)).unwrap();
    }
    fs::remove_file(site.hook("pre-receive")).unwrap();
    site.init();
    assert_eq!(fs::read(home.join("attestation.pub")).unwrap(), public);
    site.problems(&[]);
    fs::remove_file(home.join("attestation.key")).unwrap();
    assert_eq!(usage(site.run(&site.args()).0), "attestation-key-missing");
}

#[test]
fn names_are_checked_before_anything_is_written() {
    let site = Site::new();
    let before = site.files();
    let named = |resource: &str| InitArgs {
        resource: Some(resource.into()),
        ..site.args()
    };
    assert_eq!(usage(site.run(&named("no uri")).0), "bad-settings");
    assert_eq!(
        usage(site.run(&named("https://ann:pw@example.com/x")).0),
        "bad-settings"
    );
    let elsewhere = InitArgs {
        repository: site.scratch.path("home"),
        ..site.args()
    };
    assert_eq!(usage(site.run(&elsewhere).0), "no-repository");
    let without = InitArgs {
        program: Some(site.scratch.path("missing")),
        ..site.args()
    };
    assert_eq!(usage(site.run(&without).0), "no-program");
    assert_eq!(site.files(), before);
    let good = named("git+https://git.example.com/acme/pay");
    assert_eq!(site.run(&good).0.unwrap(), Outcome::Yes);
    assert_eq!(site.run(&good).0.unwrap(), Outcome::Yes);
    assert_eq!(
        usage(site.run(&named("git+https://git.example.com/other")).0),
        "settings-differ"
    );
}

#[test]
fn git_runs_the_program_itself_and_obeys_it() {
    let site = Site::new();
    site.init();
    site.push("one").ok();
    let head = site.git(&["rev-parse", "one"]).ok();
    let log = site.log();
    let zero = "0".repeat(40);
    assert!(
        log.contains(&format!("hook hooks/pre-receive\n{zero} {head} refs/heads/one\n")),
        "{log}"
    );
    for call in [
        "hook hooks/reference-transaction prepared",
        "hook hooks/reference-transaction committed",
    ] {
        assert!(log.contains(call), "{log}");
    }
    assert!(log.contains("hook hooks/post-receive"), "{log}");
    fs::write(site.scratch.path("log.deny"), "").unwrap();
    site.push("two").refused("the gate says no");
    assert!(!site.has("two"));
}

#[test]
fn a_missing_program_refuses_every_push() {
    for name in ["lychgate", "lych gate"] {
        let site = Site::with_program(name);
        site.init();
        let direct = fs::read_to_string(site.hook("pre-receive")).unwrap();
        assert_eq!(direct.starts_with("#!/bin/sh"), name.contains(' '));
        site.push("one").ok();
        fs::remove_file(&site.program).unwrap();
        site.push("two").refused("pre-receive");
        assert!(!site.has("two"));
        // The reference-transaction hook alone holds too, against pushes and against what no push shows.
        fs::remove_file(site.hook("pre-receive")).unwrap();
        site.push("two").refused("");
        assert_ne!(site.git(&["update-ref", "refs/heads/two", "refs/heads/one"]).code, 0);
        assert!(!site.has("two"));
    }
}

#[test]
fn a_hook_of_someone_else_is_kept() {
    let site = Site::new();
    let before = {
        let text = format!(
            "#!/bin/sh\necho \"theirs $*\" >>{0}\ncat >>{0}\n[ ! -e {0}.theirs ]\n",
            site.scratch.path("log").display()
        );
        for hook in ["pre-receive", "reference-transaction", "post-receive"] {
            fs::write(site.hook(hook), &text).unwrap();
            set_mode(&site.hook(hook), 0o755);
        }
        site.files()
    };
    let (outcome, _) = site.run(&site.args());
    assert_eq!(usage(outcome), "foreign-hook");
    assert_eq!(site.files(), before, "nothing was changed");

    let chain = InitArgs {
        chain: true,
        ..site.args()
    };
    assert_eq!(site.run(&chain).0.unwrap(), Outcome::Yes);
    assert_eq!(site.run(&site.args()).0.unwrap(), Outcome::Yes, "it can be run again");
    site.problems(&[]);
    site.push("one").ok();
    let head = site.git(&["rev-parse", "one"]).ok();
    let line = format!("{} {head} refs/heads/one\n", "0".repeat(40));
    let log = site.log();
    assert!(
        log.contains(&format!("theirs \n{line}hook pre-receive\n{line}")),
        "{log}"
    );
    assert!(log.contains("hook reference-transaction committed"), "{log}");
    assert!(log.contains("hook post-receive"), "{log}");

    fs::write(site.scratch.path("log.theirs"), "").unwrap();
    site.push("two").refused("pre-receive hook declined");
    fs::remove_file(site.scratch.path("log.theirs")).unwrap();
    fs::write(site.scratch.path("log.deny"), "").unwrap();
    site.push("two").refused("the gate says no");
    assert!(!site.has("two"));
}

#[test]
fn hooks_placed_by_hand_are_left_alone() {
    let site = Site::new();
    fs::write(site.hook("pre-receive"), "#!/bin/sh\n").unwrap();
    site.git(&["config", "core.hooksPath", "/somewhere/else"]).ok();
    let by_hand = InitArgs {
        no_hooks: true,
        ..site.args()
    };
    assert_eq!(site.run(&by_hand).0.unwrap(), Outcome::Yes);
    assert_eq!(fs::read_to_string(site.hook("pre-receive")).unwrap(), "#!/bin/sh\n");
    assert!(!site.hook("post-receive").exists() && site.bare.join("lychgate/ledger.db").exists());
    let (outcome, text) = site.run(&InitArgs { check: true, ..by_hand });
    assert_eq!(outcome.unwrap(), Outcome::Yes, "{text}");
    site.problems(&[
        "hook-reference-transaction",
        "hook-post-receive",
        "hook-pre-receive",
        "core-hooks-path",
    ]);
}

#[test]
fn hooks_that_git_looks_for_elsewhere_are_found() {
    let site = Site::new();
    site.init();
    site.git(&["config", "core.hooksPath", "/somewhere/else"]).ok();
    site.problems(&["core-hooks-path"]);
    assert_eq!(usage(site.run(&site.args()).0), "hooks-elsewhere");
    site.git(&["config", "core.hooksPath", "hooks"]).ok();
    site.warns("core-hooks-path");
    site.git(&["config", "--unset", "core.hooksPath"]).ok();
    // The account's own configuration counts as well.
    site.scratch
        .write("home/.gitconfig", "[core]\n\thooksPath = /somewhere/else\n");
    site.problems(&["core-hooks-path"]);
}

#[test]
fn each_damage_to_a_hook_is_found() {
    let site = Site::new();
    site.init();
    let hook = site.hook("pre-receive");
    let ours = fs::read(&hook).unwrap();
    let broken: [(&str, &dyn Fn()); 4] = [
        ("missing", &|| fs::remove_file(&hook).unwrap()),
        ("foreign", &|| fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap()),
        ("not executable", &|| set_mode(&hook, 0o644)),
        ("others may write it", &|| set_mode(&hook, 0o777)),
    ];
    for (what, damage) in broken {
        damage();
        assert_eq!(site.found("problem"), ["hook-pre-receive"], "{what}");
        fs::write(&hook, &ours).unwrap();
        set_mode(&hook, 0o755);
        site.problems(&[]);
    }
    let program = fs::read_to_string(&site.program).unwrap();
    let all = ["hook-reference-transaction", "hook-post-receive", "hook-pre-receive"];
    site.scratch
        .script("lychgate", &program.replace(env!("CARGO_PKG_VERSION"), "9.9.9"));
    site.warns("hook-pre-receive");
    site.scratch.script("lychgate", "#!/bin/sh\nexit 0\n");
    site.problems(&all);
    set_mode(&site.program, 0o777);
    site.problems(&all);
    fs::remove_file(&site.program).unwrap();
    site.problems(&all);
}

#[test]
fn each_damage_to_the_gates_folder_is_found() {
    let site = Site::new();
    site.init();
    let home = site.bare.join("lychgate");
    let damage = |name: &str, text: &str, wanted: &str| {
        let path = home.join(name);
        let (kept, mode) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().permissions());
        fs::write(&path, text).unwrap();
        site.problems(&[wanted]);
        fs::remove_file(&path).unwrap();
        assert_eq!(site.found("problem")[0], wanted, "{name} is missing");
        fs::write(&path, kept).unwrap();
        fs::set_permissions(&path, mode).unwrap();
        site.problems(&[]);
    };
    damage("policy.toml", "version = 1\n[[ref]]\npatern = 1\n", "policy");
    damage("gate.toml", "version = 1\n", "settings");
    damage("attestation.key", "no key", "attestation-key");
    damage("attestation.pub", "no key", "attestation-key");
    damage("fingerprint.key", "abc", "fingerprint-key");
    damage(
        "ledger.db",
        "no ledger at all, but long enough to be read as a page",
        "ledger",
    );
    for (name, wanted) in [
        ("attestation.key", "attestation-key"),
        ("fingerprint.key", "fingerprint-key"),
    ] {
        set_mode(&home.join(name), 0o644);
        site.problems(&[wanted]);
        set_mode(&home.join(name), 0o600);
    }
    fs::remove_dir(home.join("keyring")).unwrap();
    site.problems(&["keyring", "permissions"]);
}

#[test]
fn what_others_could_change_is_found() {
    let site = Site::new();
    site.init();
    for path in [
        "",
        "hooks",
        "config",
        "lychgate",
        "lychgate/policy.toml",
        "lychgate/keyring",
    ] {
        let path = site.bare.join(path);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        for bit in [0o020, 0o002] {
            set_mode(&path, mode | bit);
            site.problems(&["permissions"]);
        }
        set_mode(&path, mode);
    }
    set_mode(&site.bare.join("lychgate"), 0o755);
    site.warns("permissions");
    set_mode(&site.bare.join("lychgate"), 0o700);
    for name in ["hooks/reference-transaction", "lychgate/ledger.db"] {
        let path = site.bare.join(name);
        let own = fs::metadata(&path).unwrap().uid();
        // Only root can give a file away.
        if std::os::unix::fs::chown(&path, Some(own + 12_345), None).is_ok() {
            site.problems(&["permissions"]);
            std::os::unix::fs::chown(&path, Some(own), None).unwrap();
        }
    }
}

#[test]
fn variables_that_open_a_way_around_are_found() {
    let mut site = Site::new();
    site.init();
    let clean = site.environment.clone();
    for (name, value) in [
        ("GITEA_INTERNAL_PUSH", "true"),
        ("GL_BYPASS_ACCESS_CHECKS", "1"),
        ("GIT_CONFIG_COUNT", "0"),
    ] {
        site.environment.push((name.into(), value.into()));
        site.problems(&["environment"]);
        site.environment = clean.clone();
    }
    let injected = [
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "core.hooksPath"),
        ("GIT_CONFIG_VALUE_0", "/x"),
    ];
    site.environment
        .extend(injected.map(|(name, value)| (name.into(), value.into())));
    site.problems(&["core-hooks-path", "environment"]);
    site.environment = clean.clone();
    site.environment.push(("GIT_CONFIG_GLOBAL".into(), "/dev/null".into()));
    site.warns("environment");
    // What would lead our own git astray is dropped, and is no finding.
    site.environment = clean;
    site.environment.push(("GIT_DIR".into(), "/nowhere".into()));
    site.problems(&[]);
}

#[test]
fn configuration_that_opens_a_way_around_is_found() {
    let site = Site::new();
    site.init();
    let set = |key: &str, value: &str| site.git(&["config", key, value]).ok();
    let unset = |key: &str| site.git(&["config", "--unset-all", key]).ok();
    for (key, value) in [
        ("hook.pre-receive.enabled", "false"),
        ("hook.mine.event", "pre-receive"),
        ("hook.pre-receive.command", "true"),
    ] {
        set(key, value);
        site.problems(&["config-hooks"]);
        unset(key);
    }
    set("hook.mine.command", "true");
    site.warns("config-hooks");
    unset("hook.mine.command");
    set("receive.advertisePushOptions", "false");
    site.warns("receive-advertisepushoptions");
    site.init();
    assert_eq!(site.git(&["config", "receive.advertisePushOptions"]).ok(), "true");
}

#[test]
fn hooks_that_could_move_refs_are_found() {
    let site = Site::new();
    site.init();
    let proc_receive = site.hook("proc-receive");
    for name in ["update", "proc-receive"] {
        fs::write(site.hook(name), "#!/bin/sh\n").unwrap();
        assert!(
            !site.found("warning").contains(&"other-hooks".into()),
            "{name} cannot run"
        );
        set_mode(&site.hook(name), 0o755);
        site.warns("other-hooks");
        fs::remove_file(site.hook(name)).unwrap();
    }
    fs::write(&proc_receive, "#!/bin/sh\n").unwrap();
    set_mode(&proc_receive, 0o755);
    site.git(&["config", "receive.procReceiveRefs", "refs/for"]).ok();
    site.problems(&["other-hooks"]);
}

#[test]
fn other_objects_and_another_history_are_found() {
    let site = Site::new();
    site.init();
    let other = site.scratch.path("other");
    fs::create_dir(&other).unwrap();
    set_mode(&other, 0o755);
    let alternates = site.bare.join("objects/info/alternates");
    fs::write(&alternates, format!("{}\n", other.display())).unwrap();
    site.warns("alternates");
    set_mode(&other, 0o777);
    site.problems(&["alternates"]);
    fs::remove_dir(&other).unwrap();
    site.problems(&["alternates"]);
    fs::remove_file(&alternates).unwrap();

    site.push("one").ok();
    site.git(&[
        "update-ref",
        "refs/replace/1111111111111111111111111111111111111111",
        "refs/heads/one",
    ])
    .ok();
    site.warns("replaced-history");
}

#[test]
fn a_policy_that_lost_its_force_is_a_warning() {
    let site = Site::new();
    site.init();
    let path = site.bare.join("lychgate/policy.toml");
    let allow = format!(
        "version = 1\n[secrets]\nrefs = []\n[[secrets.allow]]\nfingerprint = \"{}\"\nreason = \"old\"\nexpires = \"2020-01-01T00:00:00Z\"\n",
        "0".repeat(64)
    );
    fs::write(&path, allow).unwrap();
    for name in ["policy", "policy-secrets", "policy-allow-expired"] {
        site.warns(name);
    }
}

#[test]
fn the_hooks_to_copy_fail_closed_and_pass_everything_on() {
    let site = Site::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks");
    for hook in ["pre-receive", "reference-transaction", "post-receive"] {
        let text = fs::read_to_string(folder.join(hook)).unwrap();
        assert!(text.contains("\nprogram=/usr/local/bin/lychgate\n"));
        let text = text.replace("/usr/local/bin/lychgate", site.program.to_str().unwrap());
        fs::write(site.hook(hook), text).unwrap();
        set_mode(&site.hook(hook), 0o755);
        assert_ne!(
            fs::metadata(folder.join(hook)).unwrap().permissions().mode() & 0o111,
            0,
            "{hook}"
        );
    }
    site.push("one").ok();
    let log = site.log();
    for call in [
        "hook pre-receive",
        "hook reference-transaction prepared",
        "hook post-receive",
    ] {
        assert!(log.contains(call), "{log}");
    }
    fs::remove_file(&site.program).unwrap();
    site.push("two").refused("lychgate: push refused: ");
    fs::remove_file(site.hook("pre-receive")).unwrap();
    site.push("two").refused("lychgate: ref update refused: ");
    assert!(!site.has("two"));
}
