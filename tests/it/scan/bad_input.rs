//! What nobody would hand to a scan on purpose: it ends, in bounded memory, with a name for what is wrong.

use crate::support::{LYCHGATE, Run, Scratch, token};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Nobody's user and group.
const NOBODY: u32 = 65_534;

/// Writes a file, and the folders that it is in.
fn write(scratch: &Scratch, name: &str, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(scratch.path(name).parent().unwrap()).unwrap();
    scratch.write(name, text);
}

fn scan(scratch: &Scratch, args: &[&str]) -> Run {
    scratch.run(LYCHGATE, &[&["scan", "--format", "jsonl"], args].concat())
}

/// Runs the command as an account that may not read everything.
fn as_nobody(scratch: &Scratch, args: &[&str]) -> Run {
    // The tests' own folder may be closed to others.
    let own = scratch.path("lychgate");
    std::fs::copy(LYCHGATE, &own).unwrap();
    let mut command = scratch.command(own.to_str().unwrap());
    command.args(["scan", "--format", "jsonl"]).args(args);
    let root = scratch.run("id", &["-u"]).ok() == "0";
    if root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let done = command.output().unwrap();
    Run {
        code: done.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

#[test]
fn what_may_not_be_read_is_named_after_what_was_found() {
    let scratch = Scratch::new();
    write(&scratch, "d/a.txt", token(1));
    write(&scratch, "d/closed/b.txt", token(2));
    write(&scratch, "d/z.txt", token(3));
    let mode = |name: &str, bits: &str| drop(scratch.run("chmod", &[bits, name]).ok());
    mode(".", "a+rx");
    mode("d/closed", "000");
    mode("d/z.txt", "000");
    let run = as_nobody(&scratch, &["d", "--no-baseline"]).ends_with(3);
    mode("d/closed", "700");
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    assert!(run.stdout.contains("a.txt"), "{}", run.stdout);
    assert!(run.stderr.contains("error[folder-unreadable]"), "{}", run.stderr);
    assert!(run.stderr.contains("(and 1 more)"), "{}", run.stderr);
}

/// A file that opens and fails when it is read, whoever reads it: the kernel's view of unmapped memory.
#[test]
fn a_file_that_breaks_off_is_named() {
    let scratch = Scratch::new();
    write(&scratch, "a.txt", token(1));
    let run = scan(&scratch, &["a.txt", "/proc/self/mem"]).ends_with(3);
    assert!(run.stdout.contains("a.txt"), "{}", run.stdout);
    assert!(
        run.stderr.contains("error[file-unreadable]") && run.stderr.contains("/proc/self/mem"),
        "{}",
        run.stderr
    );
}

#[test]
fn pipes_and_devices_are_left_out_and_not_waited_for() {
    let scratch = Scratch::new();
    write(&scratch, "d/a.txt", token(1));
    scratch.run("mkfifo", &["d/pipe"]).ok();
    scratch.run("ln", &["-s", "/dev/zero", "d/zero"]).ok();
    scratch.run("ln", &["-s", "..", "d/up"]).ok();
    let run = scan(&scratch, &["d"]).ends_with(1);
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    for path in ["d/pipe", "/dev/zero"] {
        let run = scan(&scratch, &[path]).ends_with(2);
        assert!(run.stderr.contains("error[path-not-a-file]"), "{}", run.stderr);
    }
}

/// One line of 48 MiB with a token at its end: found at its place, in the memory of a few pieces for each thread.
#[test]
fn a_line_without_end_needs_bounded_memory() {
    let scratch = Scratch::new();
    let mut line = vec![b'-'; 48 << 20];
    line.extend_from_slice(token(9).as_bytes());
    write(&scratch, "line", &line);
    let measure = "import resource,subprocess,sys; p=subprocess.run(sys.argv[1:],stdout=subprocess.PIPE); \
                   print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); print(p.stdout.decode())";
    let run = scratch
        .run(
            "python3",
            &["-c", measure, LYCHGATE, "scan", "--format", "jsonl", "line"],
        )
        .ok();
    let (memory, found) = run.split_once('\n').unwrap();
    let found: serde_json::Value = serde_json::from_str(found.trim()).unwrap();
    assert_eq!(found["start_line"], 1, "{found}");
    assert_eq!(found["start_column"], (48 << 20) + 1, "{found}");
    // What is read at once, and two pieces for each thread with what stands around them; the program itself.
    let threads = std::thread::available_parallelism().unwrap().get();
    let bound = (16 + threads * 2 * 9 + 9 + 80) << 10;
    assert!(memory.parse::<usize>().unwrap() < bound, "{memory} kB, allowed {bound}");
}

/// Expressions on which an engine that goes back and tries again would never end.
#[test]
fn expressions_that_explode_elsewhere_end_soon() {
    let scratch = Scratch::new();
    let rule = |regex: &str| {
        format!(
            "[[rule]]\nid = \"explode\"\nprovider = \"P\"\nkind = \"k\"\nseverity = \"high\"\nconfidence = \"high\"\n\
             documentation = \"https://x.example/\"\nrevoke = \"https://x.example/\"\nregex = '{regex}'\n\
             keywords = [\"acme_\"]\nentropy = 0.0\nexamples = ['acme_<>aaaaaaaaaaaaaaaaaaaaaaaa!']\n"
        )
    };
    write(
        &scratch,
        "text",
        ["acme_", &"a".repeat(5_000), "\n"].concat().repeat(200),
    );
    for regex in [
        "acme_((a+)+)+!",
        "acme_(a|aa)+!",
        "acme_(a|a?)+!",
        "acme_(.*)(.*)(.*)(.*)(.*)!",
    ] {
        write(&scratch, "rules/a.toml", rule(regex));
        let begun = Instant::now();
        let run = scan(&scratch, &["text", "--rules", "rules"]);
        assert!([0, 2].contains(&run.code), "{regex}: {} {}", run.code, run.stderr);
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{regex}: {:?}",
            begun.elapsed()
        );
    }
    // One that would need more memory than is allowed is refused at its line.
    write(&scratch, "rules/a.toml", rule("acme_((a{1,500}){1,500}){1,500}!"));
    let run = scan(&scratch, &["text", "--rules", "rules"]).ends_with(2);
    assert!(run.stderr.contains("a.toml:9: error[rule-bad-regex]"), "{}", run.stderr);
}

/// Severity and confidence together decide: a finding counts if it reaches both.
#[test]
fn the_thresholds_are_combined() {
    let scratch = Scratch::new();
    write(&scratch, "a.txt", token(1));
    let shown = scan(&scratch, &["a.txt"]).ends_with(1);
    let found: serde_json::Value = serde_json::from_str(shown.stdout.trim()).unwrap();
    let (severity, confidence) = (
        found["severity"].as_str().unwrap(),
        found["confidence"].as_str().unwrap(),
    );
    let grades = ["info", "low", "medium", "high", "critical"];
    let levels = ["low", "medium", "high"];
    let at = |all: &[&str], one: &str| all.iter().position(|name| *name == one).unwrap();
    for grade in grades {
        for level in levels {
            let counts = at(&grades, severity) >= at(&grades, grade) && at(&levels, confidence) >= at(&levels, level);
            let run = scan(&scratch, &["a.txt", "--fail-on", grade, "--fail-on-confidence", level]);
            assert_eq!(run.code, i32::from(counts), "{grade} {level}");
            assert_eq!(run.stdout.lines().count(), 1, "the report stays as it is");
        }
    }
}

/// How far a scan is: on a terminal with rate and estimate, in a pipe nothing.
#[test]
fn progress_is_for_terminals() {
    let scratch = Scratch::new();
    for number in 0..40 {
        write(&scratch, &format!("d/{number}.txt"), "ordinary words\n".repeat(40_000));
    }
    let piped = scratch.run(LYCHGATE, &["scan", "d"]).ends_with(0);
    assert_eq!(piped.stderr, "");
    let terminal = "import os,pty,sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command: Command = scratch.command("python3");
    command
        .args(["-c", terminal, LYCHGATE, "scan", "d"])
        .stdin(Stdio::null());
    let done = command.output().unwrap();
    let shown = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{shown}");
    assert!(
        shown.contains(" of 40 files, ") && shown.contains(" MB/s, about ") && shown.contains(" s left"),
        "{shown}"
    );
    assert!(
        shown.trim_end().ends_with("bytes)"),
        "the line is gone in the end: {shown}"
    );
}
