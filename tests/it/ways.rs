//! The ways into a scan and out of it: Git's objects, baselines, imported configurations, report formats, hooks.
//!
//! Outside judges: git makes the repositories and merges the baselines, and
//! the standard's own schema judges SARIF (see `fixtures/judges.sh`).

#![expect(clippy::unwrap_used, reason = "helpers of tests, which may panic")]

use crate::support::{LYCHGATE, Run, Scratch};
use lychgate::baseline::{Baseline, Line, Origin};
use lychgate::gitleaks;
use lychgate::scan::source;
use serde_json::Value;
use std::process::Stdio;

/// A token of a shipped rule, different for each number.
fn token(number: u64) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::from("gl") + "pat-";
    for _ in 0..20 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push(char::from(digits[(state >> 33) as usize % digits.len()]));
    }
    text
}

/// A work tree of its own and what runs in it.
struct Clone {
    scratch: Scratch,
}

impl Clone {
    fn new() -> Self {
        let clone = Self {
            scratch: Scratch::new(),
        };
        clone.scratch.run("git", &["init", "-q", "-b", "main", "r"]).ok();
        clone
    }

    fn run_with(&self, program: &str, args: &[&str], input: &str) -> Run {
        let mut command = self.scratch.command(program);
        command.args(args).current_dir(self.scratch.path("r"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        Run {
            code: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        }
    }

    fn git(&self, args: &[&str]) -> Run {
        self.run_with("git", args, "")
    }

    fn scan(&self, args: &[&str]) -> Run {
        self.run_with(LYCHGATE, &[&["scan"], args].concat(), "")
    }

    fn write(&self, name: &str, text: &str) {
        self.scratch.write(&format!("r/{name}"), text);
    }

    fn commit(&self, name: &str, text: &str) -> String {
        self.write(name, text);
        self.git(&["add", "-A"]).ok();
        self.git(&["commit", "-q", "-m", "c"]).ok();
        self.git(&["rev-parse", "HEAD"]).ok()
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path(name).to_str().unwrap().to_owned()
    }
}

/// The findings of a run with `--format jsonl`.
fn findings(run: &Run) -> Vec<Value> {
    run.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn history_names_commit_author_path_and_whether_it_is_still_there() {
    let clone = Clone::new();
    let (gone, stays) = (token(1), token(2));
    let first = clone.commit("gone.txt", &format!("k = {gone}\n"));
    clone.git(&["rm", "-q", "gone.txt"]).ok();
    let second = clone.commit("stays.txt", &format!("k = {stays}\n"));
    clone.commit("stays.txt", &format!("moved\nk = {stays}\n"));
    let expected = |run: &Run| {
        let mut rows: Vec<(String, String, bool)> = findings(run)
            .iter()
            .map(|row| {
                assert_eq!(row["author"], "Dev <dev@example.com>");
                let text = |key: &str| row[key].as_str().unwrap().to_owned();
                (text("path"), text("commit"), row["in_tip"].as_bool().unwrap())
            })
            .collect();
        rows.sort();
        rows.dedup();
        rows
    };
    let run = clone.scan(&["--history", "--format", "jsonl"]).ends_with(1);
    let rows = expected(&run);
    assert!(rows.contains(&("gone.txt".into(), first.clone(), false)), "{rows:?}");
    assert!(rows.contains(&("stays.txt".into(), second, true)), "{rows:?}");
    assert!(!run.stdout.contains(&gone) && !run.stdout.contains(&stays));

    // Packed, bare, bundled and shallow: the same secrets.
    clone.git(&["gc", "-q"]).ok();
    assert_eq!(expected(&clone.scan(&["--history", "--format", "jsonl"])), rows);
    let bare = clone.path("bare.git");
    clone.git(&["clone", "-q", "--bare", ".", &bare]).ok();
    assert_eq!(expected(&clone.scan(&[&bare, "--format", "jsonl"])), rows);
    let bundle = clone.path("all.bundle");
    clone.git(&["bundle", "create", "-q", &bundle, "--all"]).ok();
    // Whatever a hook's environment says, nothing of the bundle gets into another repository.
    let mut command = clone.scratch.command(LYCHGATE);
    command.env("GIT_DIR", clone.path("r/.git"));
    command.env("GIT_OBJECT_DIRECTORY", clone.path("nowhere"));
    let run = Run::of(command.args(["scan", &bundle, "--format", "jsonl"])).ends_with(1);
    assert_eq!(expected(&run), rows);
    assert_eq!(expected(&clone.scan(&[&bundle, "--format", "jsonl"])), rows);
    let shallow = clone.path("shallow");
    let here = format!("file://{}", clone.path("r"));
    clone.git(&["clone", "-q", "--depth", "1", &here, &shallow]).ok();
    let run = clone.scan(&["--history", &shallow, "--format", "jsonl"]).ends_with(1);
    assert_eq!(findings(&run).len(), 1, "{}", run.stdout);
}

#[test]
fn a_range_and_a_single_revision_are_what_would_be_pushed() {
    let clone = Clone::new();
    clone.commit("old.txt", &token(1));
    let remote = clone.path("remote.git");
    clone.git(&["clone", "-q", "--bare", ".", &remote]).ok();
    clone.git(&["remote", "add", "origin", &remote]).ok();
    clone.git(&["fetch", "-q", "origin"]).ok();
    clone.scan(&["--range", "HEAD"]).ends_with(0);
    clone.commit("new.txt", &token(2));
    clone.commit("new.txt", "taken out again\n");
    for range in ["HEAD~2..HEAD", "HEAD", "origin/main.."] {
        let run = clone.scan(&["--range", range, "--format", "jsonl"]).ends_with(1);
        let paths: Vec<String> = findings(&run).iter().map(|row| row["path"].to_string()).collect();
        assert_eq!(paths, ["\"new.txt\""], "{range}");
    }
    clone.scan(&["--range", "HEAD~1..HEAD"]).ends_with(0);
    for wrong in ["no..where", "--all", "HEAD..--output=x"] {
        clone.scan(&[&format!("--range={wrong}")]).ends_with(2);
    }
}

/// A shallow clone ends somewhere: what it has is scanned, and nothing before that is missed.
#[test]
fn a_range_of_a_shallow_clone_ends_where_it_does() {
    let clone = Clone::new();
    clone.commit("old.txt", &token(1));
    clone.commit("new.txt", "nothing\n");
    let (from, to) = (format!("file://{}", clone.path("r")), clone.path("shallow"));
    clone.git(&["clone", "-q", "--depth=1", &from, &to]).ok();
    clone.git(&["-C", &to, "remote", "remove", "origin"]).ok();
    let run = clone.scan(&["--range", "HEAD", "--format", "jsonl", &to]).ends_with(1);
    assert_eq!(findings(&run)[0]["path"], "old.txt", "{}", run.stdout);
}

#[test]
fn many_staged_files_are_listed_in_gits_order() {
    let clone = Clone::new();
    for number in 0..90u64 {
        let text = if number % 9 == 0 {
            token(number)
        } else {
            format!("{number}")
        };
        clone.write(&format!("f{number:02}.txt"), &text);
    }
    clone.git(&["add", "-A"]).ok();
    let run = clone.scan(&["--staged", "--format", "jsonl"]).ends_with(1);
    let paths: Vec<String> = findings(&run).iter().map(|row| row["path"].to_string()).collect();
    let expected: Vec<String> = (0..90)
        .step_by(9)
        .map(|number| format!("\"f{number:02}.txt\""))
        .collect();
    assert_eq!(paths, expected);
}

#[test]
fn staged_is_what_the_index_holds() {
    let clone = Clone::new();
    clone.write("a.txt", &token(1));
    clone.git(&["add", "a.txt"]).ok();
    clone.write("a.txt", "clean in the work tree only\n");
    clone.write(&format!("{}.txt", token(2)), "a name\n");
    let run = clone.scan(&["--staged", "--format", "jsonl"]).ends_with(1);
    assert_eq!(findings(&run).len(), 1, "{}", run.stdout);
    clone.git(&["add", "-A"]).ok();
    let run = clone.scan(&["--staged", "--format", "jsonl"]).ends_with(1);
    assert_eq!(findings(&run)[0]["in_name"], true);
    clone.git(&["commit", "-q", "-m", "c"]).ok();
    clone.scan(&["--staged"]).ends_with(0);
    clone.git(&["rm", "-q", "a.txt"]).ok();
    clone.scan(&["--staged"]).ends_with(0);
}

/// What a commit does not bring does not stop it: other lines of a file with an old value, the value in another
/// line, the file under another name.
#[test]
fn staged_leaves_out_what_the_last_commit_has_in_the_same_file() {
    let clone = Clone::new();
    let old = token(1);
    let filler = "some ordinary line of text\n".repeat(9);
    clone.commit("a.txt", &format!("k = {old}\n{filler}"));
    let staged = |clone: &Clone| {
        clone.git(&["add", "-A"]).ok();
        let run = clone.scan(&["--staged", "--format", "jsonl"]);
        let row = |row: &Value| {
            (
                row["path"].as_str().unwrap().to_owned(),
                row["start_line"].as_u64().unwrap(),
            )
        };
        (run.code, findings(&run).iter().map(row).collect::<Vec<_>>())
    };
    clone.write("a.txt", &format!("{filler}moved = {old}\n"));
    assert_eq!(staged(&clone), (0, vec![]));
    let said = clone.scan(&["--staged"]).ends_with(0).stdout;
    assert!(
        said.contains("0 findings in 1 file") && said.contains("; 1 in the last commit already"),
        "{said}"
    );
    // A new value beside it is listed alone, at its line.
    clone.write("a.txt", &format!("k = {old}\n{filler}new = {}\n", token(2)));
    assert_eq!(staged(&clone), (1, vec![("a.txt".into(), 11)]));
    clone.git(&["reset", "-q", "--hard"]).ok();
    clone.git(&["mv", "a.txt", "b.txt"]).ok();
    assert_eq!(staged(&clone), (0, vec![]));
    // A copy in another file and a value in the new name are brought.
    clone.write("c.txt", &format!("k = {old}\n"));
    assert_eq!(staged(&clone), (1, vec![("c.txt".into(), 1)]));
    clone.git(&["reset", "-q", "--hard"]).ok();
    clone.git(&["mv", "a.txt", &token(3)]).ok();
    let run = clone.scan(&["--staged", "--format", "jsonl"]).ends_with(1);
    assert_eq!((findings(&run).len(), &findings(&run)[0]["in_name"]), (1, &true.into()));
    // What cannot be looked at is said each time: what it holds may be new.
    clone.git(&["reset", "-q", "--hard"]).ok();
    let (packed, more) = ("PK\u{3}\u{4} broken", "PK\u{3}\u{4} broken too");
    clone.commit("p.zip", packed);
    clone.write("p.zip", more);
    assert_eq!(staged(&clone).0, 1);
    // The hook says the same.
    clone.git(&["reset", "-q", "--hard"]).ok();
    clone.run_with(LYCHGATE, &["init", "--client", "."], "").ok();
    clone.write("a.txt", &format!("k = {old}\nmore\n{filler}"));
    clone.git(&["commit", "-q", "-a", "-m", "c"]).ok();
    clone.write("a.txt", &format!("k = {old}\n{}\n{filler}", token(4)));
    clone.git(&["commit", "-q", "-a", "-m", "c"]).refused("not committed");
}

#[test]
fn standard_input_ignored_files_and_links_out_of_the_tree() {
    let clone = Clone::new();
    let run = clone
        .run_with(LYCHGATE, &["scan", "-", "--format", "jsonl"], &token(1))
        .ends_with(1);
    assert_eq!(findings(&run)[0]["path"], "(stdin)");
    clone.write(".gitignore", "*.log\nbuild/\n");
    std::fs::create_dir(clone.scratch.path("r/build")).unwrap();
    clone.write("build/out", &token(2));
    clone.write("x.log", &token(3));
    clone.write("y.txt", "nothing");
    clone.scratch.write("outside", token(4));
    std::os::unix::fs::symlink("../outside", clone.scratch.path("r/link")).unwrap();
    std::os::unix::fs::symlink(".", clone.scratch.path("r/loop")).unwrap();
    std::os::unix::fs::symlink("circle", clone.scratch.path("r/circle")).unwrap();
    assert_eq!(findings(&clone.scan(&[".", "--format", "jsonl"]).ends_with(1)).len(), 2);
    clone.scan(&[".", "--no-ignored"]).ends_with(0);
    // What is tracked is scanned, ignored or not.
    clone.git(&["add", "-f", "x.log"]).ok();
    clone.scan(&[".", "--no-ignored"]).ends_with(1);
}

#[test]
fn a_threshold_decides_the_exit_code_and_nothing_else() {
    let clone = Clone::new();
    clone.write("a.txt", &token(1));
    clone
        .scan(&[".", "--fail-on", "critical", "--fail-on-confidence", "high"])
        .ends_with(1);
    clone.write("a.txt", &format!("pass{} = 'Kq8-hunter-Zz1'\n", "word"));
    let run = clone.scan(&["a.txt", "--fail-on", "critical"]).ends_with(0);
    assert!(run.stdout.contains("1 finding in 1 file"), "{}", run.stdout);
    // What was not looked at always counts.
    clone
        .scan(&["a.txt", "--fail-on", "critical", "--max-file-size", "3"])
        .ends_with(1);
}

#[test]
fn a_baseline_accepts_values_wherever_they_move_until_it_expires() {
    let clone = Clone::new();
    clone.git(&["config", "user.email", "dev@example.com"]).ok();
    clone.write("a.txt", &format!("k = {}\n", token(1)));
    let args = [
        "a.txt",
        "--write-baseline",
        ".lychgate-ignore",
        "--reason",
        "a  sample\nonly",
    ];
    clone.scan(&args).ends_with(0);
    let text = std::fs::read_to_string(clone.scratch.path("r/.lychgate-ignore")).unwrap();
    assert!(text.contains("dev@example.com a sample only\n"), "{text}");
    assert!(!text.contains(&token(1)));
    clone.write("moved.txt", &format!("\n\n{}\n", token(1)));
    let run = clone.scan(&["moved.txt"]).ends_with(0);
    assert!(run.stdout.contains("1 accepted by the baseline"), "{}", run.stdout);
    clone.scan(&["moved.txt", "--no-baseline"]).ends_with(1);
    clone.write("other.txt", &token(2));
    let run = clone.scan(&["other.txt", "--format", "jsonl"]).ends_with(1);
    // The report names the fingerprint as a line would.
    assert_eq!(findings(&run)[0]["fingerprint"].as_str().unwrap().len(), 32);
    let year = text.lines().nth(2).unwrap().split(' ').nth(2).unwrap();
    clone.write(".lychgate-ignore", &text.replace(year, "2024-01-01"));
    clone.scan(&["moved.txt"]).ends_with(1);
    clone.write(".lychgate-ignore", "no header\nzz\n");
    let run = clone.scan(&["moved.txt"]).ends_with(2);
    assert!(
        run.stderr.contains(".lychgate-ignore:2: error[baseline-not-valid]"),
        "{}",
        run.stderr
    );
    clone.write("key", &"07".repeat(32));
    let keyed = ["a.txt", "--fingerprint-key", "key", "--write-baseline", "keyed"];
    clone.scan(&keyed).ends_with(0);
    clone
        .scan(&["a.txt", "--fingerprint-key", "key", "--baseline", "keyed"])
        .ends_with(0);
    let run = clone.scan(&["a.txt", "--baseline", "keyed"]).ends_with(2);
    assert!(run.stderr.contains("baseline-other-key"), "{}", run.stderr);
}

#[test]
fn two_baselines_merge_without_conflict() {
    let clone = Clone::new();
    clone.write("a.txt", &token(1));
    clone
        .scan(&["a.txt", "--write-baseline", ".lychgate-ignore"])
        .ends_with(0);
    clone.commit(".gitattributes", ".lychgate-ignore merge=union\n");
    for (branch, number) in [("left", 2), ("right", 3)] {
        clone.git(&["checkout", "-q", "-b", branch, "main"]).ok();
        clone.write(&format!("{branch}.txt"), &token(number));
        let file = format!("{branch}.txt");
        clone
            .scan(&[&file, "--write-baseline", ".lychgate-ignore"])
            .ends_with(0);
        clone.commit("n", branch);
    }
    clone.git(&["merge", "-q", "-X", "ours", "left", "-m", "m"]).ok();
    clone.scan(&["a.txt", "left.txt", "right.txt"]).ends_with(0);
}

#[test]
fn an_audit_asks_and_remembers() {
    let clone = Clone::new();
    clone.write("a.txt", &format!("{}\n\n{}\n\n{}\n", token(1), token(2), token(3)));
    let run = clone.run_with(
        LYCHGATE,
        &["scan", "a.txt", "--audit"],
        "what?\nr\nf\nof the manual\nlater\n",
    );
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("revoke it: https://"), "{}", run.stderr);
    assert!(run.stdout.contains("1 finding in 1 file"), "{}", run.stdout);
    let text = std::fs::read_to_string(clone.scratch.path("r/.lychgate-ignore")).unwrap();
    assert!(
        text.contains("false alarm: of the manual") && text.contains(" later\n"),
        "{text}"
    );
    // The end of the input ends it; nothing is lost.
    clone.run_with(LYCHGATE, &["scan", "a.txt", "--audit"], "").ends_with(1);
}

#[test]
fn a_foreign_configuration_is_honoured_or_named() {
    let clone = Clone::new();
    let quotes = "'''";
    let config = format!(
        "[extend]\nuseDefault = true\ndisabledRules = ['not-ours']\n\
         [[rules]]\nid = 'Acme Key'\nregex = {quotes}(?i)(acme)[_-]key\\s*=\\s*([a-z0-9]{{20}}){quotes}\nsecretGroup = 2\n\
         [[rules.allowlists]]\nregexTarget = 'line'\nregexes = ['EXAMPLE']\n\
         [[rules]]\nid = 'short'\nregex = '[0-9]{{40}}'\n\
         [[rules]]\nid = 'broken'\nregex = '('\n\
         [allowlist]\npaths = ['^vendor/']\nstopwords = ['Q7Q']\nsurprise = 1\n"
    );
    clone.write(".gitleaks.toml", &config);
    std::fs::create_dir(clone.scratch.path("r/vendor")).unwrap();
    let value = "k3jd8f7g2h1l9m4n6p0q";
    clone.write("vendor/a", &token(1));
    clone.write(
        "b",
        &format!("acme_key = {value}\n\nacme_key = {} EXAMPLE\n", value.replace('k', "w")),
    );
    clone.write("ignored", &token(2));
    clone.write(".gitleaksignore", "# two\nignored:their-rule:1\nnonsense\n");
    let args = ["vendor", "b", "ignored", "--format", "jsonl"];
    let run = clone.scan(
        &[
            &args[..],
            &[
                "--gitleaks-config",
                ".gitleaks.toml",
                "--gitleaks-ignore",
                ".gitleaksignore",
            ],
        ]
        .concat(),
    );
    let rows = findings(&run);
    assert_eq!(rows.len(), 1, "{}", run.stdout);
    assert_eq!(
        (&rows[0]["rule"], &rows[0]["start_column"]),
        (&"acme-key".into(), &12.into())
    );
    for said in [
        "not-ours",
        "rule short is slow",
        "rule broken is left out",
        "\"surprise\"",
        "nonsense",
        ".gitleaksignore:3",
    ] {
        assert!(
            run.stderr.contains(said) || said == "nonsense",
            "no {said:?}: {}",
            run.stderr
        );
    }
    let imported = clone
        .run_with(LYCHGATE, &["rules", "import", ".gitleaks.toml"], "")
        .ok();
    std::fs::create_dir(clone.scratch.path("r/rules")).unwrap();
    clone.write("rules/imported.toml", &imported);
    let tested = clone.run_with(LYCHGATE, &["rules", "test", "rules"], "").ok();
    assert_eq!(tested, "2 rules, 2 examples and counter-examples, 0 wrong");
}

/// Rules that others build on: one that is required, one without a rare text.
const PARTS: &str = r"[[rules]]
id = 'user'
regex = 'acmeuser_([a-z]{8})'
[[rules]]
id = 'hex'
regex = '\b([0-9a-f]{24})\b'
keywords = ['acmewares']
path = '\.conf$'
";

/// Rules that require others, and lists with conditions.
const COMPOSED: &str = r"[extend]
path = 'base.toml'
[[rules]]
id = 'pair'
regex = 'acmepass_([a-z0-9]{8})'
[[rules.required]]
id = 'user'
withinLines = 2
withinColumns = 9
[[rules]]
id = 'loose'
regex = 'acmeloose_([a-z0-9]{8})'
[[rules.required]]
id = 'user'
[[rules.required]]
id = 'nowhere'
[[rules]]
id = 'chain'
regex = 'acmechain_([a-z0-9]{8})'
[[rules.required]]
id = 'pair'
withinLines = 500
[[allowlists]]
targetRules = ['chain']
stopwords = ['zzzz']
[[allowlists]]
condition = 'XOR'
paths = ['.*']
stopwords = ['a']
[[allowlists]]
condition = 'AND'
paths = ['\.conf$']
regexes = ['^ffff']
";

/// Composite rules, paths, rules without a rare text, and what of each cannot be honoured.
#[test]
fn what_gitleaks_composes_and_searches_for_everywhere_is_taken_over() {
    let clone = Clone::new();
    clone.write("base.toml", PARTS);
    clone.write("g.toml", COMPOSED);
    let hex = ["0123456789abcdee", "01234567"].concat();
    let user = ["acmeuser_", "abcdefgh"].concat();
    clone.write("pair", &format!("acmepass_k3jd8f7g\n\n\n{user}\n\nacmepass_h3jd8f7g\n"));
    clone.write("alone", "acmeloose_k3jd8f7g\nacmechain_k3jd8f7g\nacmechain_kzzzzf7g\n");
    let far = ".".repeat(300);
    clone.write("a.conf", &format!("AcmeWares\n{far}\n{hex}\nffff{}\n", &hex[4..]));
    clone.write("b.conf", &format!("{hex}\n"));
    clone.write("c.txt", &format!("acmewares {hex}\n"));
    let files = ["pair", "alone", "a.conf", "b.conf", "c.txt"];
    let how = ["--format", "jsonl", "--min-confidence", "low"];
    let run = clone.scan(&[&files[..], &["--gitleaks-config", "g.toml"], &how].concat());
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let mut found: Vec<String> = findings(&run)
        .iter()
        .map(|row| format!("{}:{} {}", text(row, "path"), row["start_line"], text(row, "rule")))
        .collect();
    found.sort();
    let wanted = ["a.conf:3 hex", "alone:2 chain", "pair:4 user", "pair:6 pair"];
    assert_eq!(found, wanted, "{}", run.stderr);
    for said in [
        "rule pair: required: withinColumns is not looked at",
        "rule loose: required: user counts within 100 lines here",
        "rule loose: required: there are several; here one of them suffices",
        "rule loose: required: nowhere is no rule of this configuration",
        "rule chain: required: pair counts within 100 lines here, not farther",
        "rule chain: required: pair needs another rule itself",
        "g.toml:27: allowlist condition \"XOR\" is neither AND nor OR",
        "base.toml:6: rule hex is slow",
        "each text that has acmewares is searched",
    ] {
        assert!(run.stderr.contains(said), "no {said:?}: {}", run.stderr);
    }
    let imported = clone.run_with(LYCHGATE, &["rules", "import", "g.toml"], "").ok();
    std::fs::create_dir(clone.scratch.path("r/own")).unwrap();
    clone.write("own/imported.toml", &imported);
    let run = clone.scan(&[&["pair", "a.conf", "--rules", "own"][..], &how].concat());
    // A rule file has no allowlists and no paths.
    assert_eq!(findings(&run).len(), 4, "{}{}", run.stdout, run.stderr);
}

/// Enough rules to be kept, and a text with a value of some.
fn many_rules(clone: &Clone) {
    let rule = |i: u32| {
        format!(
            "[[rule]]\nid = \"acme-{i}\"\nprovider = \"Acme\"\nkind = \"key {i}\"\nseverity = \"high\"\n\
             confidence = \"high\"\ndocumentation = \"https://acme.example/docs\"\n\
             regex = 'acme{i:03}_(?P<secret>[0-9a-z]{{12}})'\nkeywords = [\"acme{i:03}_\"]\n\
             examples = ['ac<>me{i:03}_k3jd8f7g2h1l']\n"
        )
    };
    std::fs::create_dir(clone.scratch.path("r/many")).unwrap();
    clone.write("many/own.toml", &(0..100).map(rule).collect::<String>());
    let value = |i: u32| format!("{}{i:03}_k3jd8f7g2h1l\n", ["ac", "me"].concat());
    clone.write("text", &[value(3), value(57), value(99)].concat());
}

/// The cache of rules changes the time and nothing else, whatever is in it.
#[test]
fn rules_are_kept_and_what_was_kept_is_not_believed_blindly() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let clone = Clone::new();
    many_rules(&clone);
    clone.write("key", &"07".repeat(32));
    let args = [
        "text",
        "--rules",
        "many",
        "--format",
        "jsonl",
        "--fingerprint-key",
        "key",
    ];
    let scan = || {
        let run = clone.scan(&args).ends_with(1);
        assert_eq!(findings(&run).len(), 3, "{}", run.stdout);
        run.stdout
    };
    let folder = clone.scratch.path("home/.cache/lychgate");
    let kept = || -> Vec<std::path::PathBuf> {
        let items = std::fs::read_dir(&folder).unwrap();
        items.map(|item| item.unwrap().path()).collect()
    };
    let first = scan();
    let all = kept();
    let [file] = &all[..] else { unreachable!("{all:?}") };
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&folder), mode(file)), (0o700, 0o600));
    let bytes = std::fs::read(file).unwrap();
    let inode = || std::fs::metadata(file).unwrap().ino();
    let made = inode();
    assert_eq!(scan(), first);
    assert_eq!(inode(), made, "it was read, not made anew");
    // Damaged, cut, empty, foreign: made anew.
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    for wrong in [
        &damaged[..],
        &bytes[..bytes.len() - 1],
        b"",
        b"lychgate rules 1 and no more",
    ] {
        std::fs::write(file, wrong).unwrap();
        assert_eq!(scan(), first);
        assert_eq!(std::fs::read(file).unwrap(), bytes);
    }
    // What others may write is not opened, nor is a link followed.
    for path in [file, &folder] {
        let before = std::fs::metadata(path).unwrap().permissions();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let was = inode();
        assert_eq!(scan(), first);
        assert_ne!(inode(), was, "{}: made anew", path.display());
        std::fs::set_permissions(path, before).unwrap();
    }
    std::fs::rename(file, clone.scratch.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(clone.scratch.path("elsewhere"), file).unwrap();
    assert_eq!(scan(), first);
    assert!(!std::fs::symlink_metadata(file).unwrap().is_symlink());
    // Changed rules have a file of their own; only the last eight are kept.
    let text = std::fs::read_to_string(clone.scratch.path("r/many/own.toml")).unwrap();
    for round in 0..10 {
        clone.write("many/own.toml", &format!("{text}# {round}\n"));
        scan();
    }
    assert_eq!(kept().len(), 8);
    // Where nothing can be kept, nothing is.
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    clone.write("many/own.toml", &text);
    assert_eq!(scan(), first);
}

#[test]
fn a_rule_file_shows_its_ten_errors_at_once() {
    let clone = Clone::new();
    std::fs::create_dir(clone.scratch.path("r/rules")).unwrap();
    let rule = "[[rule]]\nid = \"X_\"\nkind = 1\nseverity = \"bad\"\nregex = \"(\"\nkeywords = [\"a\"]\nentropy = 99\nwhat = 2\n";
    clone.write("rules/a.toml", rule);
    for args in [&["scan", ".", "--rules", "rules"][..], &["rules", "test", "rules"]] {
        let run = clone.run_with(LYCHGATE, args, "").ends_with(2);
        assert!(run.stderr.matches("error[rule-").count() >= 10, "{}", run.stderr);
        assert!(
            run.stderr.contains("rules/a.toml:2: error[rule-bad-id]"),
            "{}",
            run.stderr
        );
    }
}

/// What each scan says of a token's severity, by file.
fn severities(run: &Run) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let mut rows: Vec<(String, String)> = findings(run)
        .iter()
        .map(|row| {
            (
                text(row, "path").trim_start_matches("./").to_owned(),
                text(row, "severity"),
            )
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn a_teams_rules_say_how_bad_a_finding_is_by_its_path() {
    let clone = Clone::new();
    for folder in ["team", "r/tests", "r/deploy"] {
        std::fs::create_dir(clone.scratch.path(folder)).unwrap();
    }
    clone.scratch.write(
        "team/severity.toml",
        "[[severity]]\npaths = ['tests/**', 'secret-*']\nseverity = 'low'\n\
         [[severity]]\npaths = ['**/deploy/**']\nrules = ['gitlab-pat']\nseverity = 'info'\n\
         [[severity]]\npaths = ['**']\nrules = ['npm-access-token']\nseverity = 'critical'\n",
    );
    clone.commit("old", "nothing\n");
    for (number, name) in (1..).zip(["tests/a", "deploy/b", "c"]) {
        clone.write(name, &token(number));
    }
    clone.git(&["add", "-A"]).ok();
    let wanted = [("c", "critical"), ("deploy/b", "info"), ("tests/a", "low")];
    let wanted = wanted.map(|(path, severity)| (path.to_owned(), severity.to_owned()));
    let scan = |args: &[&str]| {
        let all = [args, &["--rules", "../team", "--format", "jsonl"]].concat();
        severities(&clone.scan(&all).ends_with(1))
    };
    assert_eq!(scan(&["."]), wanted);
    assert_eq!(scan(&["tests", "deploy", "c"]), wanted);
    assert_eq!(scan(&["--staged"]), wanted);
    clone.git(&["commit", "-q", "-m", "c"]).ok();
    assert_eq!(scan(&["--range", "HEAD~1..HEAD"]), wanted);
    assert_eq!(scan(&["--history"]), wanted);
    clone
        .scan(&["tests", "--rules", "../team", "--fail-on", "medium"])
        .ends_with(0);
    clone
        .scan(&["c", "--rules", "../team", "--fail-on", "medium"])
        .ends_with(1);
    let said = clone
        .run_with(LYCHGATE, &["rules", "explain", "gitlab-pat", "--rules", "../team"], "")
        .ok();
    assert!(
        said.contains("low in tests/** or secret-*") && said.contains("info in **/deploy/**"),
        "{said}"
    );
    assert!(!said.contains("critical in"), "{said}");
}

#[test]
fn what_is_wrong_with_severities_by_path_is_told_at_its_line() {
    let clone = Clone::new();
    std::fs::create_dir(clone.scratch.path("r/team")).unwrap();
    clone.write(
        "team/a.toml",
        "[[severity]]\npaths = ['/a', 'b/..', 1]\nseverity = 'bad'\n[[severity]]\nrules = []\nseverity = 'low'\nfile = 'x'\n",
    );
    clone.write("team/b.toml", "severity = [3]\n");
    let run = clone.scan(&[".", "--rules", "team"]).ends_with(2);
    for wanted in [
        "team/a.toml:2: error[rule-bad-path]: \"/a\"",
        "team/a.toml:2: error[rule-bad-path]: \"b/..\"",
        "team/a.toml:2: error[rule-wrong-type]",
        "team/a.toml:3: error[rule-bad-value]",
        "team/a.toml:5: error[rule-missing-key]: paths",
        "team/a.toml:5: error[rule-bad-value]: rules",
        "team/a.toml:7: error[rule-unknown-key]: \"file\" is not a severity's key",
        "team/b.toml:1: error[rule-syntax]: severity must be a table",
    ] {
        assert!(run.stderr.contains(wanted), "no {wanted:?}: {}", run.stderr);
    }
    clone.write("team/b.toml", "");
    clone.write(
        "team/a.toml",
        "[[severity]]\npaths = ['a']\nrules = ['no-such-rule']\nseverity = 'low'\n",
    );
    let run = clone.scan(&[".", "--rules", "team"]).ends_with(2);
    assert!(
        run.stderr
            .contains("team/a.toml:2: error[rule-unknown]: rules: \"no-such-rule\""),
        "{}",
        run.stderr
    );
    let many = "[[severity]]\npaths = ['a']\nseverity = 'low'\n".repeat(257);
    clone.write("team/a.toml", &many);
    let run = clone.scan(&[".", "--rules", "team"]).ends_with(2);
    assert!(
        run.stderr.contains("team/a.toml:770: error[rule-too-many]"),
        "{}",
        run.stderr
    );
}

/// A file with a name that every format must escape, and a token in it.
fn awkward(clone: &Clone) -> String {
    let name = "a <b> & \"c\",d;%=ä.txt";
    clone.write(name, &format!("<script>alert(1)</script> = {}\n", token(5)));
    name.to_owned()
}

#[test]
fn every_format_is_well_formed_and_holds_no_secret() {
    let clone = Clone::new();
    let name = awkward(&clone);
    for format in [
        "text", "json", "jsonl", "sarif", "gitlab", "junit", "csv", "github", "html",
    ] {
        let file = format!("../{format}.out");
        let run = clone
            .scan(&[&name, "--format", format, "--report", &format!("{format}={file}")])
            .ends_with(1);
        assert!(!run.stdout.contains(&token(5)), "{format}");
        let text = std::fs::read_to_string(clone.scratch.path(&format!("{format}.out"))).unwrap();
        assert!(text.len().abs_diff(run.stdout.len()) < 100, "{format}: {text}");
        match format {
            "json" | "sarif" | "gitlab" => drop(serde_json::from_str::<Value>(&text).unwrap()),
            "junit" => {
                let parse = "import sys, xml.dom.minidom as d; d.parse(sys.argv[1])";
                clone.scratch.run("python3", &["-c", parse, "junit.out"]).ok();
            }
            "csv" => {
                let read = "import csv; r = list(csv.DictReader(open('csv.out', newline=''))); assert len(r) == 1 and r[0]['rule'] == 'gitlab-pat', r";
                clone.scratch.run("python3", &["-c", read]).ok();
            }
            "html" => assert!(!text.contains("<script>alert") && !text.contains("src="), "{text}"),
            "github" => assert!(
                text.starts_with("::error file=a <b> & \"c\"%2Cd;%25=ä.txt,line=1,"),
                "{text}"
            ),
            _ => {}
        }
    }
    let clean = clone.scan(&["--staged", "--format", "junit"]).ok();
    assert!(clean.contains("failures=\"0\""), "{clean}");
    clone.scan(&[&name, "--output", "/dev/null/x"]).ends_with(3);
}

#[test]
fn gitlab_reads_what_its_format_requires() {
    let clone = Clone::new();
    let name = awkward(&clone);
    let run = clone.scan(&[&name, "--format", "gitlab"]).ends_with(1);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(report["version"].as_str().unwrap().starts_with("15."));
    for key in ["start_time", "end_time"] {
        let time = report["scan"][key].as_str().unwrap();
        assert!(time.len() == 19 && time.as_bytes()[10] == b'T', "{time}");
    }
    assert_eq!(report["scan"]["type"], "secret_detection");
    assert_eq!(report["scan"]["status"], "success");
    for tool in ["analyzer", "scanner"] {
        for key in ["id", "name", "version"] {
            assert!(report["scan"][tool][key].is_string());
        }
        assert!(report["scan"][tool]["vendor"]["name"].is_string());
    }
    let found = &report["vulnerabilities"][0];
    assert_eq!(found["severity"], "Critical");
    assert_eq!(found["location"]["file"], name.as_str());
    assert_eq!(found["location"]["commit"]["sha"], "0000000");
    assert!(found["identifiers"][0]["value"].is_string() && found["id"].is_string());
}

#[test]
fn sarif_is_valid_under_the_standards_schema() {
    let clone = Clone::new();
    clone.commit("a.txt", &token(1));
    let name = awkward(&clone);
    let judges = crate::attest::judges();
    let judge = "import json, sys, jsonschema; \
        schema, log = (json.load(open(p)) for p in sys.argv[1:3]); \
        jsonschema.validators.validator_for(schema)(schema).validate(log)";
    let schema = judges.join("sarif-2.1.0.json");
    let python = judges.join("venv/bin/python");
    let file = clone.path("log.sarif");
    for args in [&["--history"][..], &[&name], &["a.txt"]] {
        clone.scan(&[args, &["--format", "sarif", "--output", &file]].concat());
        let args = ["-c", judge, schema.to_str().unwrap(), &file];
        clone.scratch.run(python.to_str().unwrap(), &args).ok();
    }
    let log: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "gitlab-pat");
}

#[test]
fn a_developers_hooks_stop_secrets_and_respect_what_is_there() {
    let clone = Clone::new();
    let init = |clone: &Clone| clone.run_with(LYCHGATE, &["init", "--client", "."], "");
    init(&clone).ok();
    init(&clone).ok();
    clone.write("a.txt", &token(1));
    clone.git(&["add", "-A"]).ok();
    clone.git(&["commit", "-q", "-m", "c"]).refused("not committed");
    clone.git(&["commit", "-q", "--no-verify", "-m", "c"]).ok();
    let remote = clone.path("remote.git");
    clone.git(&["init", "-q", "--bare", &remote]).ok();
    clone.git(&["push", "-q", &remote, "main"]).refused("not pushed");
    clone.write("a.txt", "clean\n");
    clone.git(&["add", "-A"]).ok();
    clone.git(&["commit", "-q", "--amend", "-m", "c"]).ok();
    clone.git(&["push", "-q", &remote, "main"]).ok();

    let other = Clone::new();
    other.git(&["config", "core.hooksPath", "my-hooks"]).ok();
    std::fs::create_dir(other.scratch.path("r/my-hooks")).unwrap();
    other.write("my-hooks/pre-push", "#!/bin/sh\n");
    init(&other).refused("hook-is-foreign");
    assert!(!other.scratch.path("r/my-hooks/pre-commit").exists());
    std::fs::remove_file(other.scratch.path("r/my-hooks/pre-push")).unwrap();
    init(&other).ok();
    assert!(other.scratch.path("r/my-hooks/pre-commit").exists());
    other.git(&["config", "core.hooksPath", &other.path("shared")]).ok();
    init(&other).refused("hooks-elsewhere");
}

#[test]
fn a_file_that_grows_while_it_is_read_ends() {
    let clone = Clone::new();
    clone.write("grows", &"ordinary words\n".repeat(1000));
    let path = clone.scratch.path("r/grows");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            for _ in 0..200 {
                std::io::Write::write_all(&mut file, &[b'x'; 4096]).unwrap();
            }
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Vanishes and comes back.
                let _ = std::fs::rename(&path, path.with_extension("away"));
                let _ = std::fs::rename(path.with_extension("away"), &path);
            }
        });
        for _ in 0..20 {
            let run = clone.scan(&["."]);
            assert!([0, 3].contains(&run.code), "{}", run.stderr);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// An archive beyond what is read at once is opened all the same, not cut into pieces and called broken.
#[test]
fn a_large_archive_is_opened_whole() {
    let clone = Clone::new();
    clone.write("inner.txt", &token(7));
    clone.run_with("gzip", &["inner.txt"], "").ok();
    let filler = std::fs::File::create(clone.scratch.path("r/filler")).unwrap();
    filler.set_len(17 << 20).unwrap();
    clone
        .run_with("tar", &["cf", "large.tar", "filler", "inner.txt.gz"], "")
        .ok();
    for run in [
        clone.scan(&["--format", "jsonl", "large.tar"]),
        clone.run_with(
            "sh",
            &["-c", &format!("{LYCHGATE} scan --format jsonl - <large.tar")],
            "",
        ),
    ] {
        let rules: Vec<String> = findings(&run).iter().map(|item| item["rule"].to_string()).collect();
        assert_eq!(rules, ["\"gitlab-pat\""], "{}", run.stdout);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    /// A baseline reads back what it wrote, whatever the author and the reason are.
    #[test]
    fn a_baseline_reads_what_it_wrote(author in ".{0,20}", reason in ".{0,40}", prints in proptest::collection::vec("[0-9a-f]{32}", 0..5)) {
        let mut written = Baseline::new(Origin::Salt([3; 32]));
        for print in &prints {
            let line = Line { expires: Some("2027-01-31".into()), author: author.clone(), reason: reason.clone() };
            written.accept(print, "some-rule", line);
        }
        let read = Baseline::parse("b", &written.render()).unwrap();
        proptest::prop_assert_eq!(&read, &written);
        for print in &prints {
            proptest::prop_assert!(read.accepts(print, "some-rule", "2027-01-30"));
            proptest::prop_assert!(!read.accepts(print, "some-rule", "2027-01-31"));
        }
    }

    /// Any text is read as a configuration, an ignore file or a baseline, or refused; nothing panics.
    #[test]
    fn importers_take_anything(text in "(\\[\\[?(rules|allowlist|extend)\\]?\\]\n|(id|regex|path|keywords|secretGroup|regexes) ?= ?(\"[^\"]{0,12}\"|[0-9]{1,3}|\\['.{0,8}'\\])\n|.{0,10}\n){0,12}") {
        if let Ok(config) = gitleaks::parse("any", &text) {
            let rules = gitleaks::render(&config.rules);
            proptest::prop_assert!(config.rules.is_empty() || source::parse(&[("imported", &rules)]).is_ok(), "{}", rules);
        }
        let _ = gitleaks::Ignored::parse("any", &text);
        let _ = Baseline::parse("any", &text);
    }
}
