//! Waivers from a refused push to the entry that it becomes, with real git and the program itself.
//!
//! In scope: the command that the refusal tells, who may approve, ends and revocations, what the attestation says,
//! replay. [`rules`]: the pure core. Out of scope: the bot's commands (`bot::chat`).

mod rules;

use crate::support::{Gate, Signing, WorkTree, masked, system_account, token};
use crate::worker::wait;
use serde_json::Value;

/// A gate whose policy lets `carol` and `dave` approve, with one signed commit on `main`.
fn begin(gate: &Gate) -> WorkTree<'_> {
    gate.edit_policy("approvers = []", "approvers = [\"carol\", \"dave\", \"dev\"]");
    let dev = gate.work_tree(gate.bare.to_str().unwrap(), &[]);
    dev.commit("README", "hello\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    dev
}

/// The commands for an administrator in a refusal, each on one line.
pub(crate) fn told(said: &str) -> Vec<String> {
    let joined = said.replace("remote: ", "").replace(" \\", "\\");
    let mut commands = Vec::new();
    let mut rest = joined.lines().map(str::trim).peekable();
    while let Some(line) = rest.next() {
        if !line.starts_with("lychgate waiver grant") {
            continue;
        }
        let mut command = line.to_owned();
        while command.ends_with('\\') {
            command.pop();
            command.push(' ');
            command.push_str(rest.next().unwrap());
        }
        commands.push(command);
    }
    commands
}

/// Does what the refusal says, as an administrator would: the words in capitals filled in, in the repository.
pub(crate) fn obey(gate: &Gate, command: &str, approver: &str) -> crate::support::Run {
    let program = crate::support::LYCHGATE;
    let command = command
        .replacen("lychgate", program, 1)
        .replace("WHY", "the release cannot wait")
        .replace("NAME", approver);
    let script = format!("cd '{}' && {command}", gate.bare.display());
    gate.scratch.run("sh", &["-euc", &script])
}

pub(crate) fn waivers(gate: &Gate, which: &str) -> Vec<Value> {
    let mut args = vec!["waiver", "list"];
    args.extend((!which.is_empty()).then_some(which));
    gate.json(&args)["waivers"].as_array().unwrap().clone()
}

/// The two statements of a commit's newest entry: provenance and VSA.
fn statements(gate: &Gate, commit: &str) -> [Value; 2] {
    use base64::Engine;
    use lychgate::port::Store;
    // It is published in the background, after the push.
    gate.scratch.settled(&gate.bare);
    let entry = wait(async {
        let store = lychgate::store::SqliteStore::open(&gate.home("ledger.db"))
            .await
            .unwrap();
        store.entries_of(commit.parse().unwrap()).await.unwrap().pop().unwrap()
    });
    [entry.provenance, entry.vsa].map(|envelope| {
        let envelope: Value = serde_json::from_str(&envelope.unwrap()).unwrap();
        let payload = envelope["payload"].as_str().unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(payload).unwrap()).unwrap()
    })
}

#[test]
fn the_command_of_a_refusal_lets_the_push_in_and_the_attestation_says_how() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let head = dev.commit("a", "1\n", Signing::None);
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    let [command] = &told(&said)[..] else { panic!("{said}") };
    assert!(
        command.contains(&head) && command.contains("--code unsigned-commit"),
        "{command}"
    );
    obey(&gate, command, "dev").refused("error[approver-is-author]");
    obey(&gate, command, "mallory").refused("error[not-an-approver]");
    dev.push(&["main"]).refused("unsigned-commit");
    let granted = obey(&gate, command, "carol").ok();
    assert!(
        granted.contains("active") && granted.contains("approved by carol"),
        "{granted}"
    );
    let entered = dev.push(&["main"]).ends_with(0).stderr.replace("remote: ", "");
    assert!(entered.contains("waived[unsigned-commit]"), "{entered}");
    assert_eq!(gate.tip("refs/heads/main").as_deref(), Some(head.as_str()));

    let waiver = waivers(&gate, "--active").pop().unwrap();
    let vsa = statements(&gate, &head)[1].clone();
    let levels = vsa["predicate"]["verifiedLevels"].to_string();
    assert!(
        !levels.contains("ORG_SOURCE_SIGNED") && levels.contains("SLSA_SOURCE_LEVEL_2"),
        "{levels}"
    );
    assert!(levels.contains("ORG_SOURCE_SECRETS_SCANNED"), "{levels}");
    let inputs = vsa["predicate"]["inputAttestations"].as_array().unwrap();
    let digests: Vec<&Value> = inputs.iter().skip(1).map(|input| &input["digest"]["sha256"]).collect();
    assert_eq!(
        digests,
        waiver["records"].as_array().unwrap().iter().collect::<Vec<_>>()
    );
    gate.ask(&["verify", &head]).ok();
    gate.ask(&["log", "check"]).ok();
    gate.ask(&["log", "replay", "--all"]).ok();

    // What comes after is signed again: the guarantee begins anew there.
    let after = dev.commit("b", "1\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    let vsa = statements(&gate, &after)[1].clone();
    assert!(
        vsa["predicate"]["verifiedLevels"]
            .to_string()
            .contains("ORG_SOURCE_SIGNED")
    );
    let provenance = statements(&gate, &after)[0].clone();
    let controls = provenance["predicate"]["controls"].as_array().unwrap();
    let signed = controls.iter().find(|control| control["control"] == "signed").unwrap();
    assert_eq!(signed["since"], after.as_str());
    gate.ask(&["log", "replay", "--all"]).ok();
}

#[test]
fn a_value_that_is_no_secret_enters_by_its_fingerprint_wherever_it_stands() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let text = format!("key = {}\n", token(71));
    dev.commit("sample", &text, Signing::Ssh);
    let said = dev.push(&["main"]).refused("secret-found").stderr;
    let command = told(&said).pop().unwrap();
    assert!(
        command.contains("--fingerprint ") && !command.contains("--commit"),
        "{command}"
    );
    obey(&gate, &command, "dave").ok();
    dev.push(&["main"]).ok();
    // Elsewhere, in another commit; another value is still refused.
    let head = dev.commit("other", &format!("# copied\n{text}"), Signing::Ssh);
    dev.push(&["main"]).ok();
    let vsa = statements(&gate, &head)[1].clone();
    assert!(
        !vsa["predicate"]["verifiedLevels"]
            .to_string()
            .contains("SECRETS_SCANNED")
    );
    dev.commit("real", &format!("key = {}\n", token(72)), Signing::Ssh);
    dev.push(&["main"]).refused("secret-found");
    gate.ask(&["log", "replay", "--all"]).ok();
}

#[test]
fn a_refusal_tells_whom_to_ask_and_what_to_send() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.commit("a", "1\n", Signing::None);
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    let lines = said.lines().filter_map(|line| line.strip_prefix("remote: "));
    let text: Vec<&str> = lines.map(str::trim_end).collect();
    insta::assert_snapshot!(masked(&text.join("\n")));
}

#[test]
fn two_people_who_approve_at_once_both_count() {
    let gate = Gate::new();
    let dev = begin(&gate);
    gate.edit_policy("break_glass = []", "break_glass = [\"erin\", \"frank\", \"gus\"]");
    dev.commit("a", "1\n", Signing::None);
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    let push = crate::hook::push_id(&said);
    let request = [
        "waiver",
        "request",
        "--break-glass",
        "--push",
        &push,
        "--code",
        "unsigned-commit",
        "--reason",
        "r",
    ];
    let id = gate.json(&request)["waivers"][0]["id"].as_str().unwrap().to_owned();
    std::thread::scope(|scope| {
        for who in ["erin", "frank", "gus"] {
            let (gate, id) = (&gate, &id);
            scope.spawn(move || gate.ask(&["waiver", "grant", id, "--approver", who]).ok());
        }
    });
    let waiver = waivers(&gate, "--active").pop().unwrap();
    assert_eq!(waiver["approvals"].as_array().unwrap().len(), 3);
    gate.ask(&["log", "check"]).ok();
    dev.push(&["main"]).ok();
}

#[test]
fn one_command_waives_all_commits_of_a_push() {
    let gate = Gate::new();
    let dev = begin(&gate);
    for file in ["a", "b", "c"] {
        dev.commit(file, "1\n", Signing::None);
    }
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    let command = told(&said).pop().unwrap();
    assert!(!command.contains("--commit"), "{command}");
    obey(&gate, &command, "carol").ok();
    assert_eq!(waivers(&gate, "--active").len(), 3);
    let again = obey(&gate, &command, "dave").ok();
    assert!(again.contains("already so"), "{again}");
    // A commit more is another push: it needs its own.
    dev.commit("d", "1\n", Signing::None);
    dev.push(&["main"]).refused("1 finding on refs/heads/main");
    dev.push(&["HEAD~1:refs/heads/main"]).ok();
}

#[test]
fn it_waits_for_an_approver_and_ends_by_a_revocation() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let head = dev.commit("a", "1\n", Signing::None);
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    let push = crate::hook::push_id(&said);
    let request = [
        "waiver",
        "request",
        "--push",
        &push,
        "--code",
        "unsigned-commit",
        "--reason",
    ];
    let asked = gate.json(&[&request[..], &["no key yet"]].concat());
    let id = asked["waivers"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(asked["waivers"][0]["standing"], "requested");
    dev.push(&["main"]).refused("unsigned-commit");
    gate.ask(&["waiver", "grant", &id, "--approver", "dev"])
        .refused("approver-is-author");
    let account = system_account(&gate.scratch);
    gate.ask(&["waiver", "grant", &id, "--approver", &account])
        .refused("not-an-approver");
    gate.ask(&["waiver", "grant", &id, "--approver", "carol"]).ok();
    let pasted = format!("the token is {}", token(73));
    gate.ask(&["waiver", "revoke", &id, "--reason", &pasted])
        .refused("secret-in-reason");
    gate.ask(&["waiver", "revoke", &id, "--reason", "the key came"]).ok();
    dev.push(&["main"]).refused("unsigned-commit");
    gate.ask(&["waiver", "grant", &id, "--approver", "dave"])
        .refused("waiver-over");
    assert!(waivers(&gate, "").is_empty());
    let over = waivers(&gate, "--all").pop().unwrap();
    assert_eq!(over["standing"], "revoked");
    assert_eq!(over["target"]["value"], head.as_str());
    let list = gate.ask(&["waiver", "list", "--all"]).stdout;
    insta::assert_snapshot!(
        masked(&list)
            .replace(&format!("for {account}"), "for [account]")
            .replace(&format!("by {account}"), "by [account]")
    );
    gate.ask(&["log", "check"]).ok();
}

#[test]
fn break_glass_takes_two_people_and_is_announced() {
    let gate = Gate::new();
    let dev = begin(&gate);
    gate.edit_policy("break_glass = []", "break_glass = [\"erin\", \"frank\", \"gus\"]");
    gate.edit_policy("approvers = [\"carol\", \"dave\", \"dev\"]", "approvers = []");
    let head = dev.commit("a", "1\n", Signing::None);
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    let command = told(&said).pop().unwrap();
    assert!(command.contains("--break-glass"), "{command}");
    let first = obey(&gate, &command, "erin").ok();
    assert!(
        first.contains("requested") && first.contains("1 other approver"),
        "{first}"
    );
    dev.push(&["main"]).refused("unsigned-commit");
    obey(&gate, &command, "erin").refused("approved-already");
    obey(&gate, &command, "frank").ok();
    let entered = dev.push(&["main"]).ends_with(0).stderr.replace("remote: ", "");
    let entered = entered.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(entered.contains("waived under break-glass until"), "{entered}");
    let provenance = statements(&gate, &head)[0].clone();
    assert_eq!(provenance["predicate"]["waivers"][0]["break_glass"], true);
    gate.ask(&["log", "replay", "--all"]).ok();
}

#[test]
fn nothing_is_offered_that_would_not_help() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.commit("a", "1\n", Signing::None);
    gate.edit_policy("never = [\"key-revoked\"", "never = [\"unsigned-commit\"");
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    assert!(told(&said).is_empty(), "{said}");
    let push = crate::hook::push_id(&said);
    let grant = [
        "waiver",
        "grant",
        "--push",
        &push,
        "--code",
        "unsigned-commit",
        "--reason",
        "r",
        "--approver",
        "carol",
    ];
    gate.ask(&grant).refused("error[never-waived]");
    gate.edit_policy("never = [\"unsigned-commit\"", "never = [\"key-revoked\"");
    gate.edit_policy("approvers = [\"carol\", \"dave\", \"dev\"]", "approvers = []");
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    assert!(told(&said).is_empty(), "{said}");
    gate.ask(&grant).refused("error[not-an-approver]");
}

#[test]
fn a_forged_record_lets_nothing_in_and_reads_as_an_outage() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let head = dev.commit("a", "1\n", Signing::None);
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    obey(&gate, &told(&said).pop().unwrap(), "carol").ok();
    // Whoever can write the ledger, but not sign, makes it name another approver: the old rows go, for they never change.
    let database = gate.home("ledger.db");
    let forge =
        "DROP TRIGGER waiver_is_final; UPDATE waiver SET envelope = replace(envelope, 'sig\":\"M', 'sig\":\"N');";
    wait(async {
        use sqlx::Connection;
        let mut sql = sqlx::SqliteConnection::connect(&format!("sqlite://{}", database.display()))
            .await
            .unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(forge))
            .execute(&mut sql)
            .await
            .unwrap();
    });
    let said = dev.push(&["main"]).refused("waiver-unverified").stderr;
    assert!(said.contains("this says nothing about your work"), "{said}");
    assert_ne!(gate.tip("refs/heads/main").as_deref(), Some(head.as_str()));
    gate.ask(&["log", "check"]).ends_with(1);
}

/// Lets the work after the last push be done: by the process that the push started, and by our own.
fn settle(gate: &Gate) {
    gate.scratch.settled(&gate.bare);
    gate.ask(&["settle"]).ok();
}

#[test]
fn a_force_push_voids_what_it_leaves_behind() {
    let gate = Gate::new();
    let dev = begin(&gate);
    gate.edit_policy("non_fast_forward = false", "non_fast_forward = true ");
    let waived = dev.commit("a", "1\n", Signing::None);
    let said = dev.push(&["main"]).refused("unsigned-commit").stderr;
    obey(&gate, &told(&said).pop().unwrap(), "carol").ok();
    dev.push(&["main"]).ok();
    settle(&gate);
    assert_eq!(waivers(&gate, "--active").len(), 1, "it stands while its commit does");
    dev.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    dev.commit("b", "1\n", Signing::Ssh);
    dev.push(&["-f", "main"]).ok();
    settle(&gate);
    let over = waivers(&gate, "--all").pop().unwrap();
    assert_eq!(
        (over["standing"].as_str(), over["revoked"]["by"].as_str()),
        (Some("revoked"), Some("lychgate"))
    );
    dev.git(&["reset", "-q", "--hard", &waived]).ok();
    dev.push(&["-f", "main"]).refused("unsigned-commit");
    gate.ask(&["log", "check"]).ok();
    gate.ask(&["log", "replay", "--all"]).ok();
}
