//! What is attested is accepted by verifiers that others wrote, and every change to it is refused by ours.
//!
//! The outside judges are set up by `tests/fixtures/judges.sh` in `target/judges`, or in the folder that
//! `LYCHGATE_JUDGES` names; nothing is skipped when they are missing.

use crate::worker::{MemoryStore, NOW, gate, oid, push, signer, wait};
use lychgate::attest::{Bundle, Envelope, PAYLOAD_TYPE, PublicKey, pae};
use lychgate::port::{EntryRecord, Signer, Store};
use lychgate::push::Timestamp;
use lychgate::signer::FileSigner;
use lychgate::verify::{Evidence, Expectation, NAMES, Report, State, TrustedKey, verify};
use lychgate::worker;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A published entry with all that is needed to verify it.
struct Attested {
    _dir: tempfile::TempDir,
    store: MemoryStore,
    signer: FileSigner,
    entry: EntryRecord,
    bundle: String,
    proof: String,
    status: String,
}

fn attested() -> Attested {
    let (store, (dir, signer)) = (MemoryStore::default(), signer());
    let entries = (1..=5)
        .map(|n| push(&store, &format!("P{n}"), "refs/heads/main", n - 1, n))
        .collect();
    wait(worker::publish(&store, &signer, &gate(), entries)).unwrap();
    let entry = wait(store.entry("EP3")).unwrap().unwrap();
    let head = wait(store.head()).unwrap();
    let proof = wait(worker::prove(&store, &head, entry.log_index.unwrap())).unwrap();
    let status = wait(worker::status_list(&store, &signer, &gate(), now())).unwrap();
    Attested {
        bundle: worker::bundle(&entry).unwrap().unwrap(),
        proof: proof.to_text(),
        _dir: dir,
        store,
        signer,
        entry,
        status,
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix(NOW + 5000)
}

impl Attested {
    fn key(&self) -> PublicKey {
        PublicKey::from_der(self.signer.public_key()).unwrap()
    }

    fn trusted(&self) -> TrustedKey {
        TrustedKey {
            key: self.key(),
            verifier_id: Some(gate().verifier_id),
            max_level: 3,
        }
    }

    fn expected(&self) -> Expectation {
        Expectation {
            resource_uri: Some(gate().resource),
            commit: self.entry.commit,
            ref_name: Some(self.entry.update.name.clone()),
            min_level: 3,
            origin: Some(gate().origin),
        }
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            bundle: self.bundle.as_bytes(),
            proof: Some(&self.proof),
            status: Some(&self.status),
            ..Evidence::default()
        }
    }

    fn judge(&self, evidence: Evidence<'_>, expected: &Expectation) -> Report {
        verify(evidence, &[self.trusted()], expected, now())
    }

    /// The VSA with `change` made and signed anew by the same key, in a bundle.
    fn resigned(&self, change: impl Fn(&mut Value)) -> String {
        let envelope = Envelope::parse(self.entry.vsa.as_ref().unwrap().as_bytes()).unwrap();
        let payload = envelope.open(&[&self.key()]).unwrap();
        let mut statement: Value = serde_json::from_slice(payload.bytes()).unwrap();
        change(&mut statement);
        let payload = serde_json::to_vec(&statement).unwrap();
        let signature = self.signer.sign(&pae(PAYLOAD_TYPE, &payload)).unwrap();
        let envelope = Envelope::new(payload, self.key().key_id(), signature);
        Bundle { envelope }.to_json()
    }
}

/// The checks that did not pass, but for those that follow from another.
fn refused(report: &Report) -> Vec<&'static str> {
    assert_eq!(report.checks.iter().map(|c| c.name).collect::<Vec<_>>(), NAMES);
    report
        .failures()
        .filter(|c| c.state != State::Unjudged)
        .map(|c| c.name)
        .collect()
}

#[test]
fn the_statement_has_the_form_that_the_world_verifies() {
    let a = attested();
    let payload = Envelope::parse(a.entry.vsa.as_ref().unwrap().as_bytes()).unwrap();
    let payload = payload.open(&[&a.key()]).unwrap();
    let text = String::from_utf8(payload.bytes().to_vec()).unwrap();
    let provenance = lychgate::attest::sha256_hex(a.entry.provenance.as_ref().unwrap().as_bytes());
    let policy = lychgate::attest::sha256_hex(b"version = 1\n");
    let (commit, tree) = (oid(3), oid(0x1003));
    let time = a.entry.received_at;
    let wanted = format!(
        concat!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"git+https://git.example.com/acme/pay","#,
            r#""uri":"https://git.example.com/acme/pay/commit/{commit}","digest":{{"gitCommit":"{commit}","gitTree":"{tree}"}},"#,
            r#""annotations":{{"sourceRefs":["refs/heads/main"],"source_refs":["refs/heads/main"]}}}}],"#,
            r#""predicateType":"https://slsa.dev/verification_summary/v1","predicate":{{"#,
            r#""verifier":{{"id":"https://entry.example.com/gate/v1","version":{{"lychgate":"0.1.0"}}}},"#,
            r#""timeVerified":"{time}","resourceUri":"git+https://git.example.com/acme/pay","#,
            r#""policy":{{"uri":"https://entry.example.com/gate/v1/policy","digest":{{"sha256":"{policy}"}}}},"#,
            r#""inputAttestations":[{{"uri":"https://entry.example.com/gate/v1/entry/EP3","digest":{{"sha256":"{provenance}"}}}}],"#,
            r#""verificationResult":"PASSED","verifiedLevels":["SLSA_SOURCE_LEVEL_3","ORG_SOURCE_HISTORY_KEPT","#,
            r#""ORG_SOURCE_REF_PROTECTED","ORG_SOURCE_SIGNED","ORG_SOURCE_SECRETS_SCANNED"],"slsaVersion":"1.2","#,
            r#""https://lychgate.dev/status/v1":{{"uri":"https://entry.example.com/gate/v1/status/1","idx":2}}}}}}"#,
        ),
        commit = commit,
        tree = tree,
        time = time,
        policy = policy,
        provenance = provenance,
    );
    assert_eq!(text, wanted);
}

#[test]
fn whole_evidence_passes_every_check() {
    let a = attested();
    let report = a.judge(a.evidence(), &a.expected());
    assert!(report.verified(), "{report:?}");
    assert!(report.checks.iter().all(|c| c.state == State::Pass));
    let bare = a.entry.vsa.clone().unwrap();
    let evidence = Evidence {
        bundle: bare.as_bytes(),
        ..a.evidence()
    };
    assert!(a.judge(evidence, &a.expected()).verified(), "a bare envelope will do");
}

#[test]
fn another_demand_fails_its_own_check() {
    let a = attested();
    let other = |change: fn(&mut Expectation)| {
        let mut expected = a.expected();
        change(&mut expected);
        refused(&a.judge(a.evidence(), &expected))
    };
    assert_eq!(other(|e| e.commit = Some(oid(4))), ["subject"]);
    assert_eq!(
        other(|e| e.resource_uri = Some("git+https://other".into())),
        ["resource-uri"]
    );
    assert_eq!(
        other(|e| e.ref_name = Some("refs/heads/other".parse().unwrap())),
        ["ref"]
    );
    assert_eq!(other(|e| e.min_level = 4), ["level"]);
    assert_eq!(other(|e| e.origin = Some("other".into())), ["inclusion", "status"]);
}

#[test]
fn another_trust_fails_its_own_check() {
    let a = attested();
    let judge = |trusted: TrustedKey| refused(&verify(a.evidence(), &[trusted], &a.expected(), now()));
    let (_dir, stranger) = signer();
    let key = PublicKey::from_der(stranger.public_key()).unwrap();
    assert_eq!(judge(TrustedKey { key, ..a.trusted() }), ["signature"]);
    assert_eq!(
        judge(TrustedKey {
            max_level: 2,
            ..a.trusted()
        }),
        ["level"]
    );
    let verifier_id = Some("https://entry.example.com/other".into());
    // A pair that is not trusted is believed for no level either.
    assert_eq!(
        judge(TrustedKey {
            verifier_id,
            ..a.trusted()
        }),
        ["verifier", "level"]
    );
    assert_eq!(refused(&verify(a.evidence(), &[], &a.expected(), now())), ["signature"]);
}

#[test]
fn a_statement_that_the_key_signed_but_the_gate_did_not_log_is_refused() {
    let a = attested();
    let judge = |change: fn(&mut Value)| {
        let bundle = a.resigned(change);
        let evidence = Evidence {
            bundle: bundle.as_bytes(),
            ..a.evidence()
        };
        refused(&a.judge(evidence, &a.expected()))
    };
    // Signed anew, so the leaf is another: inclusion always fails beside the check at hand.
    assert_eq!(
        judge(|s| s["predicateType"] = "https://slsa.dev/provenance/v1".into()),
        ["predicate-type"]
    );
    assert_eq!(
        judge(|s| s["_type"] = "https://in-toto.io/Statement/v0.1".into()),
        ["predicate-type"]
    );
    assert_eq!(judge(|s| s["subject"] = serde_json::json!([])), ["predicate-type"]);
    assert_eq!(
        judge(|s| s["subject"][0]["digest"]["gitCommit"] = "00".into()),
        ["subject", "inclusion"]
    );
    assert_eq!(
        judge(|s| s["predicate"]["verificationResult"] = "FAILED".into()),
        ["result", "inclusion"]
    );
    assert_eq!(
        judge(|s| s["predicate"]["resourceUri"] = "git+https://x".into()),
        ["resource-uri", "inclusion"]
    );
    let levels = |s: &mut Value| s["predicate"]["verifiedLevels"] = serde_json::json!(["SLSA_SOURCE_LEVEL_33"]);
    assert_eq!(judge(levels), ["level", "inclusion"]);
    let both = |s: &mut Value| {
        s["predicate"]["verifiedLevels"] = serde_json::json!(["SLSA_SOURCE_LEVEL_3", "SLSA_SOURCE_LEVEL_1"]);
    };
    assert_eq!(judge(both), ["level", "inclusion"]);
    let annotations = |s: &mut Value| s["subject"][0]["annotations"] = serde_json::json!({});
    assert_eq!(judge(annotations), ["ref", "inclusion"]);
    let far = |s: &mut Value| s["predicate"]["https://lychgate.dev/status/v1"]["idx"] = 9.into();
    assert_eq!(judge(far), ["inclusion", "status"]);
    let elsewhere = |s: &mut Value| s["predicate"]["https://lychgate.dev/status/v1"]["uri"] = "https://x".into();
    assert_eq!(judge(elsewhere), ["inclusion", "status"]);
}

#[test]
fn no_changed_byte_of_the_bundle_changes_what_is_verified() {
    let a = attested();
    for at in (0..a.bundle.len()).step_by(7) {
        let mut bytes = a.bundle.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let evidence = Evidence {
            bundle: &bytes,
            ..a.evidence()
        };
        if a.judge(evidence, &a.expected()).verified() {
            // A reader skips members that it does not know: `tlogEntries` may be called anything.
            let around = &a.bundle[at.saturating_sub(16)..at + 16];
            assert!(around.contains("tlogEntries"), "byte {at}: {around}");
        }
    }
}

#[test]
fn absent_evidence_is_missing_unless_it_is_waived() {
    let a = attested();
    let without = Evidence {
        proof: None,
        status: None,
        ..a.evidence()
    };
    let report = a.judge(without, &a.expected());
    assert_eq!(refused(&report), ["inclusion", "status"]);
    assert!(
        report
            .failures()
            .all(|c| c.state == State::Missing && !c.hint.is_empty())
    );
    let waived = a.judge(
        Evidence {
            without_log: true,
            ..without
        },
        &a.expected(),
    );
    assert!(waived.verified());
    assert_eq!(waived.checks.iter().filter(|c| c.state == State::Waived).count(), 2);
    let broken = Evidence {
        without_log: true,
        status: Some("no list"),
        ..a.evidence()
    };
    assert_eq!(
        refused(&a.judge(broken, &a.expected())),
        ["status"],
        "what is there is judged"
    );
    let no_refs = Expectation {
        ref_name: None,
        commit: None,
        resource_uri: None,
        ..a.expected()
    };
    let report = a.judge(a.evidence(), &no_refs);
    assert!(report.verified());
    assert_eq!(report.checks.iter().filter(|c| c.state == State::Waived).count(), 3);
}

#[test]
fn a_wrong_proof_is_refused() {
    let a = attested();
    let judge = |proof: &str| {
        refused(&a.judge(
            Evidence {
                proof: Some(proof),
                ..a.evidence()
            },
            &a.expected(),
        ))
    };
    assert_eq!(judge(&a.proof.replace("index 5", "index 4")), ["inclusion"]);
    assert_eq!(judge(&a.proof.replace("\n10\n", "\n11\n")), ["inclusion"]);
    assert_eq!(judge(&a.proof.replacen('A', "B", 1)), ["inclusion"]);
    let head = wait(a.store.head()).unwrap();
    let other = wait(worker::prove(&a.store, &head, 3)).unwrap().to_text();
    assert_eq!(judge(&other), ["inclusion"], "the proof of another leaf");
}

#[test]
fn an_old_or_foreign_status_list_is_refused() {
    let a = attested();
    let at = |seconds| {
        let report = verify(
            a.evidence(),
            &[a.trusted()],
            &a.expected(),
            Timestamp::from_unix(NOW + 5000 + seconds),
        );
        refused(&report)
    };
    assert_eq!(at(24 * 3600), ["status"], "expired");
    assert_eq!(at(-3600), ["status"], "from the future");
    let strict = Evidence {
        max_status_age: Some(300),
        ..a.evidence()
    };
    let late = Timestamp::from_unix(NOW + 5301);
    assert_eq!(
        refused(&verify(strict, &[a.trusted()], &a.expected(), late)),
        ["status"]
    );
    let seen = Evidence {
        largest_log_size: 11,
        ..a.evidence()
    };
    assert_eq!(refused(&a.judge(seen, &a.expected())), ["status"], "rolled back");
    let more = push(&a.store, "P6", "refs/heads/main", 5, 6);
    wait(worker::publish(&a.store, &a.signer, &gate(), vec![more])).unwrap();
    let head = wait(a.store.head()).unwrap();
    let newer = wait(worker::prove(&a.store, &head, a.entry.log_index.unwrap()))
        .unwrap()
        .to_text();
    let evidence = Evidence {
        proof: Some(&newer),
        ..a.evidence()
    };
    assert_eq!(
        refused(&a.judge(evidence, &a.expected())),
        ["status"],
        "older than the checkpoint"
    );
    let (_dir, stranger) = signer();
    let forged = wait(worker::status_list(&a.store, &stranger, &gate(), now())).unwrap();
    let evidence = Evidence {
        status: Some(&forged),
        ..a.evidence()
    };
    assert_eq!(refused(&a.judge(evidence, &a.expected())), ["status"]);
}

/// The folder of the outside judges, set up on first use. The script locks, so tests may call it at the same time.
#[expect(clippy::disallowed_methods, reason = "tests/run says where it set the judges up")]
pub(crate) fn judges() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = std::env::var_os("LYCHGATE_JUDGES").map_or_else(|| root.join("target/judges"), PathBuf::from);
    let script = root.join("tests/fixtures/judges.sh");
    let done = command("sh").arg(script).arg(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "the outside judges could not be set up in {}: run tests/run, which installs what they need\n{said}",
        dir.display()
    );
    dir
}

#[expect(clippy::disallowed_methods, reason = "the outside judges are programs")]
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

/// Writes what the judges read, and gives the folder.
fn exhibit(a: &Attested) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let envelope = a.entry.vsa.clone().unwrap();
    let parsed: Value = serde_json::from_str(&envelope).unwrap();
    let decode =
        |text: &Value| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text.as_str().unwrap());
    let payload = decode(&parsed["payload"]).unwrap();
    let write = |name: &str, data: &[u8]| std::fs::write(dir.path().join(name), data).unwrap();
    write("envelope.json", envelope.as_bytes());
    write("bundle.json", a.bundle.as_bytes());
    write("attestation.pub", a.key().to_pem().as_bytes());
    write("pae", &pae(PAYLOAD_TYPE, &payload));
    write("sig", &decode(&parsed["signatures"][0]["sig"]).unwrap());
    write("checkpoint", wait(a.store.head()).unwrap().checkpoint.as_bytes());
    dir
}

#[track_caller]
fn run(command: &mut Command) -> (bool, String) {
    let done = command.output().unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn openssl_accepts_the_signature_over_the_pae_bytes() {
    let (a, openssl) = (attested(), |dir: &Path| {
        let mut command = command("openssl");
        command
            .args([
                "dgst",
                "-sha256",
                "-verify",
                "attestation.pub",
                "-signature",
                "sig",
                "pae",
            ])
            .current_dir(dir);
        run(&mut command)
    });
    let dir = exhibit(&a);
    assert_eq!(openssl(dir.path()), (true, "Verified OK\n".to_owned()));
    let mut pae = std::fs::read(dir.path().join("pae")).unwrap();
    *pae.last_mut().unwrap() ^= 1;
    std::fs::write(dir.path().join("pae"), pae).unwrap();
    assert!(!openssl(dir.path()).0);
}

const SECURESYSTEMSLIB: &str = r#"
import base64, hashlib, json, sys
from cryptography.hazmat.primitives.serialization import load_pem_public_key, Encoding, PublicFormat
from in_toto_attestation.v1.statement import Statement
from google.protobuf import json_format
import in_toto_attestation.v1.statement_pb2 as pb
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
pub = load_pem_public_key(open("attestation.pub", "rb").read())
der = pub.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
keyid = base64.b64encode(hashlib.sha256(der).digest()).decode()
key = SSlibKey.from_crypto(pub, keyid=keyid)
envelope = Envelope.from_dict(json.load(open("envelope.json")))
accepted = envelope.verify([key], 1)
assert list(accepted) == [keyid], accepted
statement = Statement.copy_from_pb(json_format.Parse(envelope.payload.decode(), pb.Statement()))
statement.validate()
note = open("checkpoint", encoding="utf-8").read()
body, _, lines = note.partition("\n\n")
name, sig = lines.strip().removeprefix("\u2014 ").split(" ")
raw = base64.b64decode(sig)
assert name == body.split("\n")[0] and raw[:4] == hashlib.sha256(der).digest()[:4]
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import hashes
pub.verify(raw[4:], (body + "\n").encode(), ec.ECDSA(hashes.SHA256()))
print("accepted")
"#;

#[test]
fn securesystemslib_and_in_toto_accept_envelope_and_statement() {
    let (judges, a) = (judges(), attested());
    let dir = exhibit(&a);
    let python = || {
        let mut command = command(judges.join("venv/bin/python"));
        command.args(["-c", SECURESYSTEMSLIB]).current_dir(dir.path());
        run(&mut command)
    };
    let (accepted, said) = python();
    assert!(accepted && said.ends_with("accepted\n"), "{said}");
    let envelope = std::fs::read_to_string(dir.path().join("envelope.json")).unwrap();
    std::fs::write(
        dir.path().join("envelope.json"),
        envelope.replacen("\"payload\":\"eyJf", "\"payload\":\"eyJg", 1),
    )
    .unwrap();
    assert!(!python().0);
}

const SIGSTORE: &str = r#"
const fs = require("fs"), crypto = require("crypto");
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity } = require("@sigstore/verify");
const publicKey = crypto.createPublicKey(fs.readFileSync(process.argv[2] + "/attestation.pub"));
const bundle = bundleFromJSON(JSON.parse(fs.readFileSync(process.argv[2] + "/bundle.json")));
const material = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [],
  publicKey: () => ({ publicKey, validFor: () => true }) };
const verifier = new Verifier(material, { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0, tsaThreshold: 0 });
verifier.verify(toSignedEntity(bundle));
console.log("accepted");
"#;

#[test]
fn sigstore_accepts_the_bundle() {
    let (judges, a) = (judges(), attested());
    let dir = exhibit(&a);
    let node = || {
        let mut command = command("node");
        command
            .args(["-e", SIGSTORE, "--", "x"])
            .arg(dir.path())
            .current_dir(&judges);
        run(&mut command)
    };
    let (accepted, said) = node();
    assert!(accepted && said.ends_with("accepted\n"), "{said}");
    std::fs::write(
        dir.path().join("bundle.json"),
        a.resigned(|_| ()).replacen("eyJf", "eyJg", 1),
    )
    .unwrap();
    assert!(!node().0);
}
