//! The pure core: what records add up to, who may approve what for how long, what a decision makes of it.

use lychgate::config::{Policy, WaiverPolicy};
use lychgate::push::{Oid, Timestamp};
use lychgate::waiver::{Act, Ask, Event, Order, Refusal, Standing, Step, Target, WAIVABLE, Waiver, fold, plan};

const POLICY: &str = r#"
version = 1
[waivers]
approvers = ["carol", "dave"]
max_days = 10
break_glass = ["erin", "frank", "carol"]
break_glass_hours = 4
never = ["key-revoked"]
"#;

fn policy() -> WaiverPolicy {
    Policy::parse("policy.toml", POLICY).unwrap().waivers
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + hours * 3_600)
}

fn commit() -> Oid {
    "c".repeat(40).parse().unwrap()
}

fn ask() -> Ask {
    Ask {
        repository: "git+https://git.example.com/a/b".into(),
        code: "unsigned-commit".into(),
        target: Target::Commit(commit()),
        reason: "the build machine has no key yet".into(),
        requester: "ann".into(),
        authors: vec!["ann".into(), "ann@example.com".into(), "bob".into()],
        break_glass: false,
        change: None,
        created: at(0),
        expires: at(48),
    }
}

fn record(waiver: &str, hours: i64, act: Act) -> (Event, String) {
    let event = Event {
        event: format!("{waiver}-{hours}"),
        waiver: waiver.into(),
        via: "test".into(),
        at: at(hours),
        act,
    };
    let digest = format!("digest of {}", event.event);
    (event, digest)
}

fn approve(by: &str) -> Act {
    Act::Approve {
        by: by.into(),
        request: "digest of W-0".into(),
    }
}

fn with(ask: Ask, acts: &[Act]) -> Waiver {
    let request = record("W", 0, Act::Request(Box::new(ask)));
    let others = acts.iter().zip(1..).map(|(act, hours)| record("W", hours, act.clone()));
    let records: Vec<_> = std::iter::once(request).chain(others).collect();
    fold(&records).pop().unwrap()
}

#[test]
fn a_waiver_has_effect_from_its_approval_to_its_end() {
    let policy = policy();
    let standing = |acts: &[Act], hours| with(ask(), acts).standing(&policy, at(hours));
    assert_eq!(standing(&[], 1), Standing::Asked(1));
    assert_eq!(standing(&[approve("carol")], 1), Standing::Active);
    assert_eq!(standing(&[approve("carol")], 47), Standing::Active);
    assert_eq!(standing(&[approve("carol")], 48), Standing::Expired);
    let revoked = Act::Revoke {
        by: "carol".into(),
        reason: "no need any more".into(),
    };
    assert_eq!(standing(&[approve("carol"), revoked.clone()], 3), Standing::Revoked);
    assert_eq!(
        standing(&[revoked, approve("carol")], 3),
        Standing::Revoked,
        "nothing revives it"
    );
}

#[test]
fn who_asks_or_wrote_it_does_not_approve() {
    let policy = Policy::parse("p", &POLICY.replace("[\"carol\", \"dave\"]", "[\"*\"]"))
        .unwrap()
        .waivers;
    let standing = |by: &str| with(ask(), &[approve(by)]).standing(&policy, at(2));
    for (by, wanted) in [
        ("ann", Refusal::OwnRequest("ann".into())),
        ("Ann", Refusal::OwnRequest("Ann".into())),
        ("bob", Refusal::OwnWork("bob".into())),
        ("BOB", Refusal::OwnWork("BOB".into())),
        ("", Refusal::NotApprover(String::new())),
        ("NAME", Refusal::NotApprover("NAME".into())),
    ] {
        assert_eq!(standing(by), Standing::Refused(wanted), "{by}");
    }
    assert_eq!(standing("anybody-else"), Standing::Active);
}

#[test]
fn a_policy_that_was_tightened_holds_for_what_was_approved_before() {
    let active = with(ask(), &[approve("carol")]);
    let standing = |from: &str, to: &str| {
        let policy = Policy::parse("p", &POLICY.replace(from, to)).unwrap().waivers;
        active.standing(&policy, at(2))
    };
    let refused = |standing: Standing| match standing {
        Standing::Refused(refusal) => refusal.code(),
        other => panic!("{other:?}"),
    };
    assert_eq!(standing("max_days = 10", "max_days = 2"), Standing::Active);
    assert_eq!(refused(standing("max_days = 10", "max_days = 1")), "waiver-too-long");
    assert_eq!(
        refused(standing("approvers = [\"carol\", \"dave\"]", "approvers = [\"dave\"]")),
        "not-an-approver"
    );
    assert_eq!(
        refused(standing("approvers = [\"carol\", \"dave\"]", "approvers = []")),
        "not-an-approver"
    );
    assert_eq!(refused(standing("key-revoked", "unsigned-commit")), "never-waived");
}

#[test]
fn an_approval_is_of_exactly_one_request() {
    let other = Act::Approve {
        by: "carol".into(),
        request: "digest of another".into(),
    };
    assert_eq!(with(ask(), &[other]).standing(&policy(), at(2)), Standing::Asked(1));
    let lone = [record("X", 1, approve("carol"))];
    assert!(fold(&lone).is_empty(), "an approval of nothing is nothing");
    // A second request under a known id changes nothing.
    let wider = Ask {
        code: "secret-found".into(),
        ..ask()
    };
    let twice = with(ask(), &[Act::Request(Box::new(wider)), approve("carol")]);
    assert_eq!(twice.ask, ask());
}

#[test]
fn break_glass_takes_two_and_hours() {
    let policy = policy();
    let glass = Ask {
        break_glass: true,
        expires: at(4),
        ..ask()
    };
    let standing = |acts: &[Act]| with(glass.clone(), acts).standing(&policy, at(3));
    assert_eq!(standing(&[]), Standing::Asked(2));
    assert_eq!(standing(&[approve("erin")]), Standing::Asked(1));
    assert_eq!(standing(&[approve("erin"), approve("frank")]), Standing::Active);
    let twice = Refusal::Twice("Erin".into());
    let listed = WaiverPolicy {
        break_glass: vec!["*".into()],
        ..policy.clone()
    };
    let same = with(glass.clone(), &[approve("erin"), approve("Erin")]);
    assert_eq!(same.standing(&listed, at(3)), Standing::Refused(twice));
    assert_eq!(
        standing(&[approve("erin"), approve("dave")]),
        Standing::Refused(Refusal::NotApprover("dave".into()))
    );
    let longer = Ask {
        expires: at(5),
        ..glass
    };
    let long = with(longer, &[approve("erin"), approve("frank")]);
    assert_eq!(
        long.standing(&policy, at(3)),
        Standing::Refused(Refusal::TooLong("4 hours".into()))
    );
}

#[test]
fn an_order_is_planned_against_what_is_there() {
    let policy = policy();
    let order = |ask: Ask, approver: Option<&str>| Order::Ask {
        asks: vec![ask],
        approver: approver.map(str::to_owned),
    };
    let steps = |existing: &[Waiver], order: &Order| plan(&policy, existing, order, at(1)).unwrap();
    let asked = with(ask(), &[]);
    assert_eq!(steps(&[], &order(ask(), None)).len(), 1);
    assert_eq!(steps(&[], &order(ask(), Some("carol"))).len(), 2);
    assert_eq!(steps(std::slice::from_ref(&asked), &order(ask(), None)), []);
    let approval = Step {
        waiver: Some("W".into()),
        act: approve("carol"),
    };
    assert_eq!(
        steps(std::slice::from_ref(&asked), &order(ask(), Some("carol"))),
        [approval]
    );
    let active = with(ask(), &[approve("carol")]);
    assert_eq!(steps(&[active], &order(ask(), Some("dave"))), []);
    let refused = |order: &Order| plan(&policy, std::slice::from_ref(&asked), order, at(1)).unwrap_err();
    let approve_it = |waiver: &str, by: &str| Order::Approve {
        waiver: waiver.into(),
        by: by.into(),
    };
    assert_eq!(refused(&approve_it("V", "carol")).code(), "unknown-waiver");
    assert_eq!(refused(&approve_it("W", "bob")).code(), "not-an-approver");
    let over = plan(&policy, std::slice::from_ref(&asked), &approve_it("W", "carol"), at(48)).unwrap_err();
    assert_eq!(over.code(), "waiver-over");
    for reason in ["", "  ", "WHY", "two\nlines", &"x".repeat(257)] {
        let bad = Ask {
            reason: reason.into(),
            ..ask()
        };
        assert_eq!(refused(&order(bad, None)).code(), "invalid-reason");
    }
    let outage = Ask {
        code: "store-busy".into(),
        ..ask()
    };
    assert_eq!(refused(&order(outage, None)).code(), "never-waived");
}

#[test]
fn every_code_of_the_table_is_documented() {
    let readme = crate::tidy::read("README.md");
    for (code, controls) in WAIVABLE {
        assert!(readme.contains(&format!("`{code}`")), "{code}");
        assert!(!controls.is_empty(), "{code} would loosen nothing");
    }
}

#[test]
fn the_section_is_read_with_all_its_errors() {
    let text = "version = 1\n[waivers]\napprovers = [\"carol\", \"carol\", \"sec*\"]\nmax_days = 91\n\
                never = [\"unsigned-comit\"]\nbreak_glass = [\"erin\"]\nbreak_glass_hours = 0\npermission = \"triage\"\n";
    let errors = Policy::parse("policy.toml", text).unwrap_err();
    insta::assert_snapshot!(lychgate::config::render_errors("policy.toml", &errors));
}
