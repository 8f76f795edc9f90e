//! The section [waivers]: who may loosen a rule, for how long, and what nobody may.

use super::WaiverPolicy;
use super::policy::{accounts, named};
use super::reader::{Reader, Section, Text, nearest, quoted};
use crate::forge::Permission;
use crate::waiver::WAIVABLE;

const KEYS: [&str; 6] = [
    "approvers",
    "max_days",
    "never",
    "break_glass",
    "break_glass_hours",
    "permission",
];
/// Longer than a quarter is no exception any more, but another policy.
const MOST_DAYS: i64 = 90;
/// Three days bridge a weekend until the ordinary approvers are back.
const MOST_HOURS: i64 = 72;
/// What denies by default even with a waiver: keys that somebody else may hold, and objects that may show another
/// text than the one that was signed.
const NEVER: [&str; 3] = ["key-revoked", "malformed-commit", "malformed-tag"];
const PERMISSIONS: [(&str, Permission); 3] = [
    ("write", Permission::Write),
    ("maintain", Permission::Maintain),
    ("admin", Permission::Admin),
];

/// Reads the section; the defaults where it or a key is absent.
pub(super) fn waivers(reader: &mut Reader<'_>, top: &mut Section<'_>) -> WaiverPolicy {
    let mut section = match reader.subsection(top, "waivers", "[waivers]", &KEYS) {
        Some(section) => section,
        None => Section::absent(),
    };
    let (days, _) = reader.integer(&mut section, "max_days", 1..=MOST_DAYS, 30);
    let (hours, _) = reader.integer(&mut section, "break_glass_hours", 1..=MOST_HOURS, 24);
    let approvers = list(reader, &mut section, "approvers");
    let break_glass = list(reader, &mut section, "break_glass");
    two(reader, &section, &break_glass);
    WaiverPolicy {
        approvers,
        max_days: days,
        never: never(reader, &mut section),
        break_glass,
        break_glass_hours: hours,
        permission: named(reader, &mut section, "permission", &PERMISSIONS, Permission::Maintain).value,
    }
}

fn list(reader: &mut Reader<'_>, section: &mut Section<'_>, key: &str) -> Vec<String> {
    let Some((texts, _)) = reader.texts(section, key) else {
        return Vec::new();
    };
    accounts(reader, &texts, key);
    texts.iter().map(|text| text.value.to_string()).collect()
}

/// Break-glass takes two different approvers, so a list of one would promise what can never happen.
fn two(reader: &mut Reader<'_>, section: &Section<'_>, list: &[String]) {
    if list.len() == 1 && list[0] != "*" {
        reader.error(
            "too-few-approvers",
            section.span(),
            "break_glass names one account, and a break-glass waiver takes two; name more, or [] for none",
        );
    }
}

fn never(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<String> {
    let Some((texts, _)) = reader.texts(section, "never") else {
        return NEVER.map(str::to_owned).to_vec();
    };
    texts.iter().for_each(|text| known(reader, text));
    texts.into_iter().map(|text| text.value.into_owned()).collect()
}

fn known(reader: &mut Reader<'_>, text: &Text<'_>) {
    let all: Vec<&str> = WAIVABLE.iter().map(|(code, _)| *code).collect();
    if all.contains(&text.value.as_ref()) {
        return;
    }
    let guess = nearest(&text.value, &all).map_or(String::new(), |near| format!("; did you mean {near}?"));
    let given = quoted(&text.value);
    reader.error(
        "unknown-value",
        text.span,
        format!("{given} is no code that could be waived{guess}"),
    );
}
