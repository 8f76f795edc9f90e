//! The strict reader of commits and tags: what it accepts, what it refuses, and agreement with git2.

#![expect(clippy::expect_used, reason = "what a test cannot set up fails the test")]

use lychgate::object::{self, Commit, SignatureFormat};
use proptest::prelude::*;

const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
const TREE_256: &str = "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321";
const PERSON: &str = "A U Thor <author@example.com> 1717200000 +0200";
const PGP: &str = "-----BEGIN PGP SIGNATURE-----\n\niHUEABYKAB0WIQ==\n=abcd\n-----END PGP SIGNATURE-----\n";
const SSH: &str = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----\n";

/// A header of several lines: each but the first starts with a space.
fn folded(name: &str, text: &str) -> String {
    format!("{name} {}\n", text.trim_end_matches('\n').replace('\n', "\n "))
}

/// A commit with these lines after the committer's.
fn with(extra: &str) -> String {
    format!("tree {TREE}\nauthor {PERSON}\ncommitter {PERSON}\n{extra}\nsubject\n\nbody\n")
}

fn refused(data: impl AsRef<[u8]>) -> &'static str {
    object::commit(data.as_ref()).expect_err("it must be refused").code
}

fn accepted(data: impl AsRef<[u8]>) -> Commit {
    object::commit(data.as_ref()).expect("it must be accepted")
}

#[test]
fn a_plain_commit_is_read() {
    let text = format!("tree {TREE}\nparent {TREE}\nparent {TREE}\nauthor {PERSON}\ncommitter {PERSON}\n\nhello\n");
    let commit = accepted(&text);
    assert_eq!(commit.tree.to_string(), TREE);
    assert_eq!(commit.parents.len(), 2);
    assert_eq!(commit.author.name, "A U Thor");
    assert_eq!(commit.author.email, "author@example.com");
    assert_eq!(commit.committer.time.unix(), 1_717_200_000);
    assert_eq!(commit.message, b"hello\n");
    assert!(commit.signature.is_none());
}

#[test]
fn a_signature_is_cut_out_and_the_rest_is_the_payload() {
    for (armor, format) in [(PGP, SignatureFormat::Openpgp), (SSH, SignatureFormat::Ssh)] {
        let parts = accepted(with(&folded("gpgsig", armor))).signature.expect("signed");
        assert_eq!(parts.payload, with("").as_bytes());
        assert_eq!(parts.signature, armor.as_bytes());
        assert_eq!(parts.format, format);
    }
}

#[test]
fn the_signature_header_goes_with_the_hash() {
    let with_256 = |header: &str| with(&folded(header, PGP)).replace(TREE, TREE_256);
    assert!(accepted(with_256("gpgsig-sha256")).signature.is_some());
    assert_eq!(refused(with_256("gpgsig")), "stray-signature-header");
    assert_eq!(refused(with(&folded("gpgsig-sha256", PGP))), "stray-signature-header");
}

#[test]
fn an_armor_in_the_message_is_text() {
    let commit = accepted(with("") + PGP);
    assert!(commit.signature.is_none());
    assert!(commit.message.ends_with(PGP.as_bytes()));
}

#[test]
fn the_empty_line_after_a_web_made_signature_is_allowed() {
    let header = format!("{} \n", folded("gpgsig", PGP));
    assert!(accepted(with(&header)).signature.is_some());
    assert_eq!(refused(with(&format!("{header} \n"))), "bad-armor");
}

#[test]
fn headers_of_other_tools_are_allowed_once_after_the_committer() {
    let extra = format!(
        "encoding ISO-8859-1\nchange-id abc\nx-note one\n two\n{}",
        folded("gpgsig", PGP)
    );
    let parts = accepted(with(&extra)).signature.expect("signed");
    assert_eq!(
        parts.payload,
        with("encoding ISO-8859-1\nchange-id abc\nx-note one\n two\n").as_bytes()
    );
    assert_eq!(refused(with("change-id a\nchange-id b\n")), "duplicate-header");
    assert_eq!(refused(with("change-id a\nChange-Id b\n")), "duplicate-header");
    assert_eq!(refused(with("no_value\n")), "bad-header");
    assert_eq!(refused(with("Encoding utf-8\n")), "misplaced-header");
}

#[test]
fn every_deviation_of_a_commit_has_its_code() {
    let sig = folded("gpgsig", PGP);
    let second_block = folded("gpgsig", &format!("{PGP}{PGP}"));
    let pgp_message = PGP.replace("SIGNATURE", "MESSAGE");
    let no_empty_line = PGP.replacen("\n\n", "\n", 1);
    let other_header = PGP.replacen("\n\n", "\nEvil: yes\n\n", 1);
    let huge = format!(
        "-----BEGIN SSH SIGNATURE-----\n{}-----END SSH SIGNATURE-----\n",
        "AAAA\n".repeat(4000)
    );
    let tag = format!("object {TREE}\ntype commit\ntag v1\ntagger {PERSON}\n\nnote\n");
    let cases: Vec<(String, &str)> = vec![
        (with(&format!("{sig}{sig}")), "duplicate-header"),
        (with(&format!("{sig}gpgsigX evil\n")), "stray-signature-header"),
        (with(&format!("GPGSIG evil\n{sig}")), "stray-signature-header"),
        (with(&second_block), "several-signatures"),
        (with(&folded("gpgsig", &pgp_message)), "unknown-signature-format"),
        (with(&folded("gpgsig", &no_empty_line)), "bad-armor"),
        (with(&folded("gpgsig", &other_header)), "bad-armor"),
        (with(&folded("gpgsig", &format!("{PGP}tail"))), "bad-armor"),
        (with(&folded("gpgsig", &PGP.replace("iHUE", "iH E"))), "bad-armor"),
        (
            with(&folded("gpgsig", &PGP.replace('\n', "\r\n"))),
            "unknown-signature-format",
        ),
        (with(&folded("gpgsig", &huge)), "signature-too-large"),
        (with(&format!("committer {PERSON}\n")), "duplicate-header"),
        (with(&format!("author {PERSON}\n")), "duplicate-header"),
        (with(&format!("tree {TREE}\n")), "duplicate-header"),
        (with(&format!("parent {TREE}\n")), "misplaced-header"),
        (with("encoding UTF-7\n"), "unknown-encoding"),
        (with("encoding utf-8\n folded\n"), "bad-header"),
        (with(" folded committer\n"), "bad-identity"),
        (with(&folded("mergetag", "nonsense")), "bad-mergetag"),
        (
            with(&folded("mergetag", &tag.replace("commit", "blob"))),
            "bad-mergetag",
        ),
        (with("").replace("subject", "sub\0ject"), "nul-byte"),
        (with("").replace(TREE, &TREE.to_uppercase()), "bad-object-id"),
        (
            with("").replacen("author", &format!("parent {TREE_256}\nauthor"), 1),
            "bad-object-id",
        ),
        (
            with("").replacen("author", &format!("{sig}author"), 1),
            "misplaced-header",
        ),
        (with("").replacen("tree", "parent", 1), "misplaced-header"),
        (format!("tree {TREE}\nauthor {PERSON}\n\nx"), "missing-header"),
        (
            format!("tree {TREE}\nauthor {PERSON}\ncommitter {PERSON}\n"),
            "no-message",
        ),
        (String::new(), "no-message"),
        ("\n\n".to_owned(), "bad-header"),
        (
            with(&format!("x {}\n", "y".repeat(object::MAX_HEADER_BYTES))),
            "header-too-large",
        ),
    ];
    for (text, code) in cases {
        assert_eq!(refused(&text), code, "{text}");
    }
    assert!(object::commit(with(&folded("mergetag", &tag)).as_bytes()).is_ok());
}

#[test]
fn person_lines_are_well_formed() {
    let with_person = |person: &str| with("").replacen(PERSON, person, 1);
    let long = format!("{} <a@b> 1 +0000", "x".repeat(1024));
    for (person, code) in [
        ("A <a@b> 1717200000", "bad-time"),
        ("A <a@b>  1717200000 +0000", "bad-time"),
        ("A <a@b> 01 +0000", "bad-time"),
        ("A <a@b> -1 +0000", "bad-time"),
        ("A <a@b> 999999999999 +0000", "bad-time"),
        ("A <a@b> 1 0000", "bad-time"),
        ("A <a@b> 1 +1460", "bad-time"),
        ("A <a@b> 1 +9900", "bad-time"),
        ("A <a@b> 1 +0000 ", "bad-time"),
        ("A<a@b> 1 +0000", "bad-identity"),
        ("<a@b> 1 +0000", "bad-identity"),
        ("A  <a@b> 1 +0000", "bad-identity"),
        ("A <a@b> B <c@d> 1 +0000", "bad-identity"),
        ("A <a<b> 1 +0000", "bad-identity"),
        ("A a@b> 1 +0000", "bad-identity"),
        ("A <a@b 1 +0000", "bad-identity"),
        ("A\t<a@b> 1 +0000", "bad-identity"),
        ("A <a\r@b> 1 +0000", "bad-identity"),
        (long.as_str(), "bad-identity"),
    ] {
        assert_eq!(refused(with_person(person)), code, "{person}");
    }
    assert_eq!(accepted(with_person("Ä B <> 0 -0000")).author.name, "Ä B");
    let latin = with("").into_bytes();
    let at = latin.iter().position(|&b| b == b'U').expect("U Thor");
    let mut latin = latin;
    latin[at] = 0xdc;
    assert_eq!(accepted(latin).author.name, "A \u{fffd} Thor");
}

fn tag_text(headers: &str, body: &str) -> String {
    format!("object {TREE}\ntype commit\ntag v1.0\n{headers}\n{body}")
}

#[test]
fn tags_are_read_with_their_trailing_signature() {
    let headers = format!("tagger {PERSON}\n");
    for armor in [PGP, SSH] {
        let text = tag_text(&headers, &format!("release\n{armor}"));
        let tag = object::tag(text.as_bytes()).expect("well-formed");
        assert_eq!(
            (tag.name.as_str(), tag.message.as_slice()),
            ("v1.0", b"release\n".as_slice())
        );
        let parts = tag.signature.expect("signed");
        assert_eq!([parts.payload, parts.signature].concat(), text.as_bytes());
    }
    let plain = object::tag(tag_text("", "old tag\n").as_bytes()).expect("well-formed");
    assert!(plain.tagger.is_none() && plain.signature.is_none());
}

#[test]
fn every_deviation_of_a_tag_has_its_code() {
    let headers = format!("tagger {PERSON}\n");
    for (text, code) in [
        (tag_text(&headers, &format!("{PGP}{PGP}")), "several-signatures"),
        (tag_text(&headers, &format!("{PGP}text\n{SSH}")), "several-signatures"),
        (tag_text(&headers, &format!("{PGP}tail\n")), "bad-armor"),
        (
            tag_text(&headers, "-----BEGIN PGP SIGNATURE-----junk\n"),
            "unknown-signature-format",
        ),
        (
            tag_text(&headers, "-----BEGIN SIGNED MESSAGE-----\n"),
            "unknown-signature-format",
        ),
        (tag_text(&format!("{headers}{headers}"), "x"), "misplaced-header"),
        (
            tag_text(&format!("{headers}{}", folded("gpgsig-sha256", PGP)), "x"),
            "misplaced-header",
        ),
        (tag_text(&headers, "x").replace("type commit", "type thing"), "bad-type"),
        (tag_text(&headers, "x").replace("v1.0", "v\t1"), "bad-tag-name"),
        (tag_text(&headers, "x").replace("v1.0", ""), "bad-tag-name"),
        (tag_text(&headers, "x").replace("object", "tree"), "misplaced-header"),
        (tag_text(&headers, "x\0"), "nul-byte"),
    ] {
        assert_eq!(object::tag(text.as_bytes()).expect_err("refused").code, code, "{text}");
    }
}

/// What git2 reads of a commit that we accept.
fn assert_git2_agrees(text: &str) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let repo = git2::Repository::init_bare(dir.path()).expect("repository");
    let odb = repo.odb().expect("object database");
    let id = odb.write(git2::ObjectType::Commit, text.as_bytes()).expect("written");
    let ours = accepted(text);
    let theirs = repo.find_commit(id).expect("git2 reads it");
    assert_eq!(theirs.tree_id().to_string(), ours.tree.to_string());
    let parents: Vec<String> = theirs.parent_ids().map(|id| id.to_string()).collect();
    assert_eq!(
        parents,
        ours.parents.iter().map(ToString::to_string).collect::<Vec<_>>()
    );
    for (git2, own) in [(theirs.author(), &ours.author), (theirs.committer(), &ours.committer)] {
        assert_eq!(git2.name_bytes(), own.name.as_bytes());
        assert_eq!(git2.email_bytes(), own.email.as_bytes());
        assert_eq!(git2.when().seconds(), own.time.unix());
    }
    assert_eq!(theirs.message_raw_bytes(), ours.message);
    let extracted = repo.extract_signature(&id, None).ok();
    assert_eq!(extracted.is_some(), ours.signature.is_some());
    if let (Some((signature, payload)), Some(parts)) = (extracted, ours.signature) {
        assert_eq!(&*payload, parts.payload.as_slice());
        assert_eq!(signature.trim_ascii_end(), parts.signature.trim_ascii_end());
    }
}

/// Well-formed commits: people, parents, extra headers, signature, message.
fn commits() -> impl Strategy<Value = String> {
    let person = (
        "[A-Z][a-z]{0,9}( [A-Z][a-z]{1,9})?",
        "[a-z.]{1,9}@[a-z]{1,9}\\.org",
        0..4_000_000_000_u64,
    )
        .prop_map(|(name, email, time)| format!("{name} <{email}> {time} +0130"));
    let extra = prop::sample::subsequence(
        vec!["encoding UTF-8\n", "change-id zz\n", "x-note a\n b\n \n c\n"],
        0..=3,
    );
    let signature = prop::option::of(prop::sample::select(vec![PGP, SSH]));
    let message = "[a-zA-Z \\n\u{e9}-]{1,60}".prop_filter("git2 strips leading line feeds", |m| !m.starts_with('\n'));
    (person.clone(), person, 0..4_usize, extra, signature, message).prop_map(
        |(author, committer, parents, extra, signature, message)| {
            let parents = format!("parent {TREE}\n").repeat(parents);
            let signature = signature.map(|armor| folded("gpgsig", armor)).unwrap_or_default();
            let extra = extra.concat();
            format!("tree {TREE}\n{parents}author {author}\ncommitter {committer}\n{extra}{signature}\n{message}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn git2_agrees_on_well_formed_commits(text in commits()) {
        assert_git2_agrees(&text);
    }

    #[test]
    fn payload_and_signature_are_the_object(text in commits()) {
        if let Some(parts) = accepted(&text).signature {
            let header = folded("gpgsig", std::str::from_utf8(&parts.signature).expect("ASCII"));
            let at = text.find(&header).expect("the header stands in the object");
            let rest = [&text[..at], &text[at + header.len()..]].concat();
            prop_assert_eq!(rest.as_bytes(), parts.payload);
        }
    }

    #[test]
    fn mutations_never_panic_and_never_move_signed_bytes(
        text in commits(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut data = text.into_bytes();
        for (at, byte, what) in edits {
            let at = at.index(data.len());
            match what {
                0 => data[at] = byte,
                1 => data.insert(at, byte),
                _ => { data.remove(at); }
            }
        }
        let _ = object::tag(&data);
        if let Ok(commit) = object::commit(&data) {
            let signed = commit.signature.map_or(data.clone(), |parts| parts.payload);
            prop_assert!(signed.ends_with(&commit.message));
            let start = format!("tree {}\n", commit.tree);
            prop_assert!(signed.starts_with(start.as_bytes()));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = object::commit(&data);
        let _ = object::tag(&data);
        let _ = lychgate::keyring::sshsig::parse(&data);
        let _ = lychgate::keyring::openpgp::read_signature(&data);
    }
}
