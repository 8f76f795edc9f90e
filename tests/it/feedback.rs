//! What a developer sees in git's terminal, and that each remedy mends what it says it mends.

use crate::support::{Run, Scratch, token};
use lychgate::feedback::remedy::{self, SecretPlace};
use lychgate::feedback::{Limits, allowed, could_not_decide, refused};
use lychgate::finding::{Finding, Place, PolicyLine, Severity, Span};
use lychgate::push::{Actor, Oid, Push, RefName, Server, Timestamp};
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

fn oid(number: u32) -> Oid {
    let part = format!("{:08x}", (number + 1).wrapping_mul(0x9e37_79b9));
    part.repeat(5).parse().unwrap()
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

fn push_on(server: Server) -> Push {
    Push {
        id: "01JD9Z3V5T8M2K4Q6R7S8T9V0W".into(),
        repository: "git+https://git.example.com/acme/pay".into(),
        received_at: Timestamp::from_unix(1_800_000_000),
        actor: Actor {
            server,
            name: "ann".into(),
            protocol: None,
        },
        options: Vec::new(),
        updates: Vec::new(),
    }
}

fn unsigned(number: u32) -> Finding {
    let place = Place {
        ref_name: Some(name("refs/heads/main")),
        commit: Some(oid(number)),
        ..Place::default()
    };
    let message = format!("commit {} on refs/heads/main has no signature", oid(number).short());
    Finding {
        required_by: Some(line(18)),
        remedy: remedy::unsigned(&name("refs/heads/main"), Some(oid(1)), 15),
        ..Finding::new("unsigned-commit", Severity::High, place, message)
    }
}

fn line(line: u32) -> PolicyLine {
    PolicyLine {
        file: "policy.toml".into(),
        line,
    }
}

fn secret(number: u32, path: &str) -> Finding {
    let span = Span {
        start: 120,
        end: 160,
        start_line: 12,
        end_line: 12,
        start_column: 9,
    };
    let place = Place {
        ref_name: Some(name("refs/heads/main")),
        commit: Some(oid(number)),
        path: Some(path.into()),
        span: Some(span),
        ..Place::default()
    };
    let remedy = remedy::secret(
        Some("https://github.com/settings/tokens"),
        SecretPlace {
            branch: &name("refs/heads/main"),
            base: Some(oid(1)),
            commit: Some(oid(number)),
            tip: false,
            path: Some(path),
            sign: true,
        },
    );
    Finding {
        excerpt: Some("token = \"<secret>\"  # SURROUNDINGS".into()),
        fingerprint: Some("5f".repeat(32)),
        rule: Some("github-pat-classic".into()),
        required_by: Some(line(42)),
        remedy,
        ..Finding::new(
            "secret-github-pat-classic",
            Severity::Critical,
            place,
            "a GitHub personal access token (classic) is in a file",
        )
    }
}

#[test]
fn one_finding() {
    insta::assert_snapshot!(refused(&push_on(Server::Plain), &[unsigned(7)], Limits::default()));
}

#[test]
fn the_same_finding_at_many_commits_is_one_block() {
    let findings: Vec<Finding> = (7..22).map(unsigned).collect();
    insta::assert_snapshot!(refused(&push_on(Server::Plain), &findings, Limits::default()));
}

#[test]
fn a_secret_comes_first_and_never_shows() {
    let findings = [unsigned(7), secret(8, "src/pay.rs"), secret(9, "src/pay.rs")];
    let text = refused(&push_on(Server::Plain), &findings, Limits::default());
    assert!(!text.contains("SURROUNDINGS"));
    insta::assert_snapshot!(text);
}

#[test]
fn gitlab_shows_lines_with_its_prefix() {
    insta::assert_snapshot!(refused(
        &push_on(Server::Gitlab),
        &[secret(8, "a b.rs")],
        Limits::default()
    ));
}

#[test]
fn an_outage_is_no_verdict() {
    let outage = Finding::outage(
        "keyring-unreadable",
        Place::default(),
        "the keyring cannot be read: permission denied",
    );
    let push = push_on(Server::Gitea);
    let alone = refused(&push, std::slice::from_ref(&outage), Limits::default());
    let mixed = refused(&push, &[unsigned(7), outage], Limits::default());
    let early = could_not_decide(
        None,
        "store-unreadable",
        "ledger.db: no such file",
        "run lychgate init --check /srv/git/pay.git",
        Limits::default(),
    );
    insta::assert_snapshot!(format!("{alone}\n{mixed}\n{early}"));
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut findings: Vec<Finding> = (0..9).map(|n| secret(n, &format!("src/{n}.rs"))).collect();
    for (n, finding) in findings.iter_mut().enumerate() {
        finding.fingerprint = Some(format!("{n:064x}"));
    }
    findings.push(unsigned(3));
    let text = refused(&push_on(Server::Plain), &findings, Limits::default());
    assert!(text.lines().count() <= 40);
    insta::assert_snapshot!(text);
}

#[test]
fn advice_is_short_or_silent() {
    let push = push_on(Server::Gitlab);
    assert_eq!(allowed(&push, &[], Limits::default()), "");
    assert_eq!(
        allowed(&push, &[unsigned(7)], Limits::default()),
        "",
        "a denial is no advice"
    );
    let mut advice: Vec<Finding> = (0..7).map(|n| secret(n, &format!("src/{n}.rs"))).collect();
    for (n, finding) in advice.iter_mut().enumerate() {
        finding.denies = false;
        finding.fingerprint = Some(format!("{n:064x}"));
    }
    insta::assert_snapshot!(allowed(&push, &advice, Limits::default()));
}

#[test]
fn every_remedy_reads_well() {
    let (main, tag) = (name("refs/heads/main"), name("refs/tags/v1.0"));
    let odd = name("refs/heads/$(touch${IFS}pwned)");
    let place = SecretPlace {
        branch: &main,
        base: Some(oid(1)),
        commit: Some(oid(5)),
        tip: true,
        path: Some("src/a.rs"),
        sign: true,
    };
    let emails = ["ann@example.com".to_owned()];
    let base = Some(oid(1));
    let pgp = "A".repeat(40);
    let all = [
        ("unsigned, one", remedy::unsigned(&main, base, 1)),
        ("unsigned, from the root", remedy::unsigned(&main, None, 3)),
        ("unsigned tag", remedy::unsigned_tag(&tag)),
        ("malformed commit", remedy::malformed_commit(&main, base)),
        ("bad signature", remedy::bad_signature(&main, base)),
        ("wrong committer", remedy::wrong_committer(&main, base, &emails)),
        ("wrong committer, no address", remedy::wrong_committer(&main, base, &[])),
        ("wrong pusher", remedy::wrong_pusher(&main, base)),
        ("unknown SSH key", remedy::unknown_key(&main, Some("SHA256:abc+/"))),
        ("unknown OpenPGP key", remedy::unknown_key(&main, Some(&pgp))),
        ("expired OpenPGP key", remedy::expired_key(&main, base, Some(&pgp))),
        ("expired SSH key", remedy::expired_key(&main, base, Some("SHA256:abc"))),
        ("revoked key", remedy::revoked_key(&main, base)),
        ("weak algorithm", remedy::weak_algorithm(&main, base)),
        ("unfit key", remedy::unfit_key(&main, base)),
        ("outside time", remedy::outside_time(&main, base)),
        ("secret at the tip", remedy::secret(None, place)),
        (
            "secret earlier",
            remedy::secret(Some("https://x.example/revoke"), SecretPlace { tip: false, ..place }),
        ),
        (
            "secret in the message",
            remedy::secret(None, SecretPlace { path: None, ..place }),
        ),
        (
            "secret in an earlier message",
            remedy::secret(
                None,
                SecretPlace {
                    path: None,
                    tip: false,
                    ..place
                },
            ),
        ),
        (
            "secret in no commit",
            remedy::secret(None, SecretPlace { commit: None, ..place }),
        ),
        (
            "secret in an odd file",
            remedy::secret(
                None,
                SecretPlace {
                    path: Some("a\\x0ab"),
                    ..place
                },
            ),
        ),
        ("non-fast-forward", remedy::non_fast_forward(&main)),
        ("non-fast-forward, odd name", remedy::non_fast_forward(&odd)),
        ("protected deletion", remedy::protected_deletion(&main)),
        ("creation denied", remedy::creation_denied(&main)),
        ("update denied", remedy::update_denied(&tag)),
        ("not allowed", remedy::not_allowed_actor(&odd)),
        ("too many commits", remedy::bound(&"too-many-commits".into(), &main)),
    ];
    let text: Vec<String> = all
        .iter()
        .map(|(what, lines)| format!("{what}:\n  {}\n", lines.join("\n  ")))
        .collect();
    insta::assert_snapshot!(text.concat());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_findings_fit_on_one_screen(
        parts in proptest::collection::vec((any::<bool>(), any::<bool>(), 0u32..6, "\\PC{0,300}", "[ -~]{0,120}"), 0..30),
        gitlab in any::<bool>(),
        lines in 8usize..50,
        columns in 70usize..120,
    ) {
        let findings: Vec<Finding> = parts.into_iter().map(|(outage, placed, number, message, path)| {
            let place = Place { commit: placed.then(|| oid(number)), path: Some(path), ..Place::default() };
            match outage {
                true => Finding::outage(format!("outage-{number}"), place, message),
                false => Finding {
                    remedy: remedy::unsigned(&name("refs/heads/main"), None, 2),
                    ..Finding::new(format!("code-{number}"), Severity::Low, place, message)
                },
            }
        }).collect();
        let push = push_on(if gitlab { Server::Gitlab } else { Server::Plain });
        let text = refused(&push, &findings, Limits { lines, columns });
        prop_assert!(text.lines().count() <= lines, "{} lines:\n{}", text.lines().count(), text);
        let last: Vec<&str> = text.lines().rev().take(2).collect();
        prop_assert!(last.concat().contains(&push.id));
        for line in text.lines() {
            prop_assert!(line.len() <= columns, "{}", line);
            prop_assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert!(!gitlab || line.starts_with("GL-HOOK-ERR: "));
        }
    }
}

/// A developer's machine: a home with a signing key, a work tree, and the repository that it pushes to.
struct Desk {
    scratch: Scratch,
    tree: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path("home/.ssh")).unwrap();
        let key = scratch.path("home/.ssh/id_ed25519");
        let key = key.to_str().unwrap();
        scratch
            .run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key])
            .ok();
        let public = fs::read_to_string(format!("{key}.pub")).unwrap();
        scratch.write("signers", format!("dev@example.com {public}"));
        let desk = Self {
            tree: scratch.path("tree"),
            scratch,
        };
        let bare = desk.scratch.path("origin.git");
        desk.scratch
            .run("git", &["init", "-q", "--bare", "-b", "main", bare.to_str().unwrap()])
            .ok();
        desk.scratch
            .run("git", &["clone", "-q", bare.to_str().unwrap(), "tree"])
            .ok();
        desk.sh("git config user.name Dev && git config user.email dev@example.com")
            .ok();
        desk.sh("git config gpg.ssh.allowedSignersFile ../signers").ok();
        desk.sh("git config push.default simple && git config push.autoSetupRemote true")
            .ok();
        desk
    }

    fn with_signing(self) -> Self {
        for line in remedy::ssh_signing() {
            self.sh(&line).ok();
        }
        self.sh("git config --global commit.gpgsign false").ok();
        self
    }

    /// Runs one line as the developer's shell would.
    fn sh(&self, line: &str) -> Run {
        let mut command = self.scratch.command("sh");
        for claimed in ["NAME", "EMAIL", "DATE"] {
            command.env_remove(format!("GIT_AUTHOR_{claimed}"));
            command.env_remove(format!("GIT_COMMITTER_{claimed}"));
        }
        let global = self.scratch.path("home/.gitconfig");
        let command = command.current_dir(if self.tree.exists() {
            self.tree.clone()
        } else {
            self.scratch.path("")
        });
        Run::of(command.env("GIT_CONFIG_GLOBAL", global).args(["-c", line]))
    }

    fn commit(&self, path: &str, text: &str) -> Oid {
        fs::write(self.tree.join(path), text).unwrap();
        self.sh("git add -A && git commit -q --no-gpg-sign -m Work").ok();
        self.head()
    }

    fn head(&self) -> Oid {
        self.sh("git rev-parse HEAD").ok().parse().unwrap()
    }

    /// Carries out a remedy: its commands in their order.
    fn follow(&self, remedy: &[String]) {
        for line in remedy.iter().filter(|line| !line.starts_with('#')) {
            self.sh(line).ok();
        }
    }

    fn main(&self) -> RefName {
        name("refs/heads/main")
    }

    /// Fails unless every commit after `base` on the server is signed by the developer's key.
    #[track_caller]
    fn all_signed(&self, base: Option<Oid>) {
        let range = base.map_or("origin/main".to_owned(), |base| format!("{base}..origin/main"));
        let commits = self.sh(&format!("git fetch -q && git rev-list {range}")).ok();
        assert!(!commits.is_empty());
        for commit in commits.lines() {
            self.sh(&format!("git verify-commit {commit}")).ok();
        }
    }

    #[track_caller]
    fn nowhere_on_the_server(&self, text: &str) {
        let log = self.sh("git fetch -q && git log -p --all --format=%B").ok();
        assert!(!log.contains(text));
        assert_eq!(self.sh("git status --porcelain").ok(), "");
        assert_eq!(
            self.sh("git rev-parse HEAD").ok(),
            self.sh("git rev-parse origin/main").ok()
        );
    }
}

#[test]
fn unsigned_commits_are_signed_and_merges_stay_merges() {
    let desk = Desk::new();
    let base = desk.commit("a", "1");
    desk.sh("git push -q").ok();
    desk.commit("b", "1");
    desk.sh("git switch -q -c side HEAD~1").ok();
    desk.commit("c", "1");
    desk.sh("git switch -q main && git merge -q --no-edit side").ok();
    desk.follow(&remedy::unsigned(&desk.main(), Some(base), 3));
    desk.all_signed(Some(base));
    assert_eq!(desk.sh("git rev-list --count --merges origin/main").ok(), "1");
    assert_eq!(
        desk.sh(&format!("git merge-base {base} origin/main")).ok(),
        base.to_string()
    );
}

#[test]
fn a_whole_unsigned_history_is_signed() {
    let desk = Desk::new().with_signing();
    desk.commit("a", "1");
    desk.commit("b", "1");
    desk.follow(&remedy::bad_signature(&desk.main(), None));
    desk.all_signed(None);
}

#[test]
fn an_unsigned_tag_is_made_again() {
    let desk = Desk::new().with_signing();
    let commit = desk.commit("a", "1");
    desk.sh("git tag -m one v1.0 && git tag v1.1").ok();
    for tag in ["v1.0", "v1.1"] {
        desk.follow(&remedy::unsigned_tag(&name(&format!("refs/tags/{tag}"))));
        desk.sh(&format!("git verify-tag {tag}")).ok();
        let there = desk.sh(&format!("git ls-remote origin 'refs/tags/{tag}^{{}}'")).ok();
        assert!(there.starts_with(&commit.to_string()));
    }
}

#[test]
fn odd_headers_go_when_a_commit_is_written_anew() {
    let desk = Desk::new().with_signing();
    let base = desk.commit("a", "1");
    desk.sh("git push -q").ok();
    desk.commit("b", "1");
    let odd =
        "git cat-file commit HEAD | sed '/^committer/a gpgsigX odd' | git hash-object -t commit -w --stdin --literally";
    desk.sh(&format!("git reset -q --hard $({odd})")).ok();
    assert!(desk.sh("git cat-file commit HEAD").ok().contains("gpgsigX"));
    desk.follow(&remedy::malformed_commit(&desk.main(), Some(base)));
    assert!(!desk.sh("git cat-file commit origin/main").ok().contains("gpgsigX"));
    desk.all_signed(Some(base));
}

#[test]
fn every_way_to_sign_again_signs() {
    let main = name("refs/heads/main");
    let ways = [
        remedy::wrong_pusher,
        remedy::revoked_key,
        remedy::weak_algorithm,
        remedy::unfit_key,
        remedy::outside_time,
    ];
    let desk = Desk::new().with_signing();
    let mut base = desk.commit("a", "1");
    desk.sh("git push -q").ok();
    for (number, way) in ways.iter().enumerate() {
        desk.commit("b", &number.to_string());
        for line in way(&main, Some(base)).iter().filter(|line| !line.starts_with('#')) {
            desk.sh(&line.replace("ssh-keygen", "ssh-keygen -q -N ''")).ok();
            if line.starts_with("ssh-keygen") {
                // The administrator's part.
                desk.sh("echo \"dev@example.com $(cat ~/.ssh/git_signing.pub)\" >>../signers")
                    .ok();
            }
        }
        desk.all_signed(Some(base));
        base = desk.head();
    }
    desk.commit("c", "1");
    desk.follow(&remedy::unknown_key(&main, Some("SHA256:abc")));
    assert_eq!(desk.sh("git rev-parse origin/main").ok(), desk.head().to_string());
}

#[test]
fn a_wrong_committer_is_mended() {
    let desk = Desk::new().with_signing();
    let base = desk.commit("a", "1");
    desk.sh("git push -q && git config user.email wrong@example.com").ok();
    desk.commit("b", "1");
    desk.follow(&remedy::wrong_committer(
        &desk.main(),
        Some(base),
        &["dev@example.com".into()],
    ));
    desk.all_signed(Some(base));
    assert_eq!(desk.sh("git log -1 --format=%ce origin/main").ok(), "dev@example.com");
}

fn place<'a>(branch: &'a RefName, base: Oid, commit: Oid) -> SecretPlace<'a> {
    SecretPlace {
        branch,
        base: Some(base),
        commit: Some(commit),
        tip: true,
        path: Some("b it's*"),
        sign: true,
    }
}

#[test]
fn a_secret_at_the_tip_goes() {
    let desk = Desk::new().with_signing();
    let (base, secret) = (desk.commit("a", "1"), token(1));
    desk.sh("git push -q").ok();
    let commit = desk.commit("b it's*", &secret);
    fs::write(desk.tree.join("b it's*"), "clean").unwrap();
    desk.follow(&remedy::secret(None, place(&desk.main(), base, commit)));
    desk.nowhere_on_the_server(&secret);
    desk.all_signed(Some(base));
}

#[test]
fn a_secret_in_an_earlier_commit_goes() {
    let desk = Desk::new().with_signing();
    let (base, secret) = (desk.commit("a", "1"), token(2));
    desk.sh("git push -q").ok();
    let commit = desk.commit("b it's*", &secret);
    desk.commit("c", "1");
    fs::write(desk.tree.join("b it's*"), "clean").unwrap();
    let main = desk.main();
    let mut remedy = remedy::secret(
        None,
        SecretPlace {
            tip: false,
            ..place(&main, base, commit)
        },
    );
    remedy.retain(|line| !line.starts_with("git reset")); // The other way, below.
    desk.follow(&remedy);
    desk.nowhere_on_the_server(&secret);
    desk.all_signed(Some(base));
    assert_eq!(desk.sh(&format!("git rev-list --count {base}..origin/main")).ok(), "2");
}

#[test]
fn a_secret_that_a_later_commit_removed_goes() {
    let desk = Desk::new().with_signing();
    let (base, secret) = (desk.commit("a", "1"), token(3));
    desk.sh("git push -q && git config core.editor 'echo One >'").ok();
    let commit = desk.commit("b it's*", &secret);
    desk.commit("b it's*", "clean");
    let main = desk.main();
    let remedy = remedy::secret(
        None,
        SecretPlace {
            tip: false,
            ..place(&main, base, commit)
        },
    );
    let other = remedy.iter().filter(|line| line.starts_with("git reset"));
    for line in other {
        desk.sh(&format!("unset GIT_EDITOR; {line}")).ok();
    }
    desk.nowhere_on_the_server(&secret);
    desk.all_signed(Some(base));
}

#[test]
fn a_secret_in_a_message_goes() {
    for tip in [true, false] {
        let desk = Desk::new().with_signing();
        let (base, secret) = (desk.commit("a", "1"), token(4));
        desk.sh("git push -q").ok();
        fs::write(desk.tree.join("b"), "1").unwrap();
        desk.sh(&format!("git add b && git commit -q -m 'Use {secret}'")).ok();
        let commit = desk.head();
        if !tip {
            desk.commit("c", "1");
        }
        let main = desk.main();
        let place = SecretPlace {
            path: None,
            tip,
            ..place(&main, base, commit)
        };
        let (edit, mark) = (format!("sed -i 's/{secret}/it/'"), "sed -i '1s/^pick/reword/'");
        for line in remedy::secret(None, place).iter().filter(|line| !line.starts_with('#')) {
            desk.sh(&format!(
                "GIT_EDITOR=\"{edit}\" GIT_SEQUENCE_EDITOR=\"{mark}\"; export GIT_EDITOR GIT_SEQUENCE_EDITOR; {line}"
            ))
            .ok();
        }
        desk.nowhere_on_the_server(&secret);
        desk.all_signed(Some(base));
    }
}

#[test]
fn diverged_work_goes_on_top() {
    let desk = Desk::new();
    desk.commit("a", "1");
    desk.sh("git push -q").ok();
    let theirs = desk.commit("b", "theirs");
    desk.sh("git push -q && git reset -q --hard HEAD~1").ok();
    desk.commit("c", "ours");
    desk.sh("git push").refused("rejected");
    desk.follow(&remedy::non_fast_forward(&desk.main()));
    assert_eq!(desk.sh("git rev-parse origin/main~1").ok(), theirs.to_string());
}

#[test]
fn who_may_not_move_the_ref_pushes_elsewhere() {
    let desk = Desk::new();
    let commit = desk.commit("a", "1");
    desk.follow(&remedy::not_allowed_actor(&desk.main()));
    let there = desk.sh("git ls-remote origin refs/heads/for-review/main").ok();
    assert!(there.starts_with(&commit.to_string()));
    desk.follow(&remedy::creation_denied(&name("refs/heads/new")));
    assert!(
        !desk
            .sh("git ls-remote origin refs/heads/for-review/new")
            .ok()
            .is_empty()
    );
    desk.follow(&remedy::update_denied(&name("refs/heads/frozen")));
    assert!(
        !desk
            .sh("git ls-remote origin refs/heads/for-review/frozen")
            .ok()
            .is_empty()
    );
    let desk = desk.with_signing();
    for line in remedy::update_denied(&name("refs/tags/v1"))
        .iter()
        .filter(|line| !line.starts_with('#'))
    {
        desk.sh(&line.replace("NEXT-VERSION", "v2")).ok();
    }
    desk.sh("git verify-tag v2").ok();
    assert!(!desk.sh("git ls-remote origin refs/tags/v2").ok().is_empty());
}

#[test]
fn what_has_a_secret_in_its_name_is_pushed_under_another() {
    let desk = Desk::new().with_signing();
    let commit = desk.commit("a", "1");
    for there in ["refs/heads/harmless", "refs/tags/harmless"] {
        let held = name(&there.replace("harmless", "held"));
        let named = remedy::secret_in_name(None, &held);
        desk.follow(
            &named
                .iter()
                .map(|line| line.replace("NEW-NAME", "harmless"))
                .collect::<Vec<_>>(),
        );
        let told = desk.sh(&format!("git ls-remote origin '{there}' '{there}^{{}}'")).ok();
        assert!(told.contains(&commit.to_string()), "{told}");
    }
}

#[test]
fn a_malicious_ref_name_does_nothing_when_pasted() {
    let desk = Desk::new();
    let base = desk.commit("a", "1");
    for text in [
        "refs/heads/$(touch${IFS}pwned)",
        "refs/heads/;touch${IFS}pwned;'",
        "refs/heads/`touch${IFS}pwned`",
    ] {
        let odd = name(text);
        let tag = name(&text.replace("heads", "tags"));
        let place = SecretPlace {
            path: Some("$(touch pwned)'`touch pwned`"),
            ..place(&odd, base, base)
        };
        let remedies = [
            remedy::non_fast_forward(&odd),
            remedy::not_allowed_actor(&odd),
            remedy::unsigned_tag(&tag),
            remedy::update_denied(&odd),
            remedy::bound(&"too-many-commits".into(), &odd),
            remedy::secret(None, place),
            remedy::wrong_committer(&odd, Some(base), &["$(touch pwned)@example.com".into()]),
            remedy::unknown_key(&odd, Some("$(touch pwned)")),
        ];
        for line in remedies.concat().iter().filter(|line| !line.starts_with('#')) {
            desk.sh(line);
        }
    }
    assert!(!desk.tree.join("pwned").exists());
}

#[test]
fn an_expired_key_is_prolonged() {
    use std::os::unix::fs::DirBuilderExt;
    let desk = Desk::new();
    fs::DirBuilder::new()
        .mode(0o700)
        .create(desk.scratch.path("gnupg"))
        .unwrap();
    let gpg = "gpg --batch --pinentry-mode loopback --passphrase ''";
    let make = "--faked-system-time=20240101T000000 --quick-generate-key 'Dev <dev@example.com>' ed25519 sign 1d";
    desk.sh(&format!("{gpg} {make}")).ok();
    let listing = desk.sh("gpg --batch --with-colons --list-keys").ok();
    assert!(listing.contains("pub:e:"), "{listing}");
    let key = listing
        .lines()
        .find_map(|line| line.strip_prefix("fpr:"))
        .unwrap()
        .trim_matches(':');
    desk.commit("a", "1");
    desk.follow(&remedy::expired_key(&desk.main(), None, Some(key)));
    assert!(!desk.sh("gpg --batch --with-colons --list-keys").ok().contains("pub:e:"));
    desk.sh("gpgconf --kill all").ok();
}
