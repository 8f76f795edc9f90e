//! The installation's settings, `gate.toml`: by which names this gate speaks in its attestations.

use super::PolicyError;
use super::reader::{Reader, Section, Text};
use std::fmt::Write;

const TOP: [&str; 6] = [
    "version",
    "resource",
    "verifier_id",
    "origin",
    "policy_uri",
    "status_uri",
];
/// Most bytes of a name: each stands in every attestation.
const LONGEST: usize = 1024;

/// The names under which one installation attests.
///
/// ```
/// let text = "version = 1\nresource = \"git+https://git.example.com/acme/pay\"\n\
///             verifier_id = \"https://git.example.com/lychgate\"\norigin = \"git.example.com/acme/pay\"\n";
/// let settings = lychgate::config::Settings::parse("gate.toml", text).unwrap();
/// assert_eq!(settings.policy_uri, "https://git.example.com/lychgate/policy");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The repository's resource URI, `git+https://git.example.com/acme/pay`.
    pub resource: String,
    /// Who verifies: the `verifier.id` of the VSA, a URI that consumers trust together with the key.
    pub verifier_id: String,
    /// The log's name in its checkpoints: <https://c2sp.org/tlog-checkpoint>.
    pub origin: String,
    /// Where the policy may be read; `<verifier_id>/policy` unless set.
    pub policy_uri: String,
    /// The status list's URI; `<verifier_id>/status/1` unless set.
    pub status_uri: String,
}

impl Settings {
    /// Settings with the default URIs for a repository; validated when the text is read back.
    pub fn new(resource: &str, verifier_id: &str) -> Self {
        let bare = resource.split_once("://").map_or(resource, |(_, rest)| rest);
        Self {
            resource: resource.to_owned(),
            verifier_id: verifier_id.to_owned(),
            origin: bare.trim_start_matches('/').to_owned(),
            policy_uri: below(verifier_id, "policy"),
            status_uri: below(verifier_id, "status/1"),
        }
    }

    /// Reads and validates the text of `gate.toml`.
    ///
    /// * `file`: the file's name, for messages.
    ///
    /// # Errors
    /// Every error of the text, in the order of their places.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<PolicyError>> {
        let mut blanked = String::new();
        let mut reader = Reader::new(file, text);
        let settings = reader.value(&mut blanked).and_then(|value| {
            let mut top = reader.section(value, "gate.toml", &TOP)?;
            settings(&mut reader, &mut top)
        });
        match settings {
            Some(settings) if !reader.failed() => Ok(settings),
            _ => Err(reader.into_errors()),
        }
    }

    /// The text that [`Settings::parse`] reads back as these settings, commented.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(
            "# By which names this gate speaks in its attestations. Consumers trust the pair of\n\
             # verifier_id and attestation.pub for exactly this resource: change nothing here once\n\
             # something has entered.\nversion = 1\n",
        );
        for (comment, key, value) in [
            ("The repository's resource URI.", "resource", &self.resource),
            (
                "Who verifies: the verifier.id of every attestation.",
                "verifier_id",
                &self.verifier_id,
            ),
            ("The log's name in its checkpoints.", "origin", &self.origin),
            ("Where the policy may be read.", "policy_uri", &self.policy_uri),
            ("The status list's URI.", "status_uri", &self.status_uri),
        ] {
            // Names have neither quotes nor backslashes (see `uri` and `origin`), so this is a TOML string.
            let _ = write!(text, "\n# {comment}\n{key} = \"{value}\"\n");
        }
        text
    }
}

fn below(uri: &str, path: &str) -> String {
    format!("{}/{path}", uri.trim_end_matches('/'))
}

fn settings(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Option<Settings> {
    if top.has("version") {
        let (version, span) = reader.integer(top, "version", i64::MIN..=i64::MAX, 1);
        if version != 1 {
            reader.error(
                "unknown-version",
                span,
                format!("this program reads gate.toml of version 1, not {version}"),
            );
        }
    }
    let what = "gate.toml";
    let resource = reader.required(top, "resource", what);
    let resource = resource.and_then(|text| checked(reader, &text, uri));
    let verifier_id = reader.required(top, "verifier_id", what);
    let verifier_id = verifier_id.and_then(|text| checked(reader, &text, uri));
    let origin = reader.required(top, "origin", what);
    let origin = origin.and_then(|text| checked(reader, &text, self::origin));
    let policy_uri = reader.text(top, "policy_uri");
    let policy_uri = policy_uri.and_then(|text| checked(reader, &text, uri));
    let status_uri = reader.text(top, "status_uri");
    let status_uri = status_uri.and_then(|text| checked(reader, &text, uri));
    let default = Settings::new(&resource?, &verifier_id?);
    Some(Settings {
        origin: origin?,
        policy_uri: policy_uri.unwrap_or(default.policy_uri),
        status_uri: status_uri.unwrap_or(default.status_uri),
        resource: default.resource,
        verifier_id: default.verifier_id,
    })
}

fn checked(reader: &mut Reader<'_>, text: &Text<'_>, check: fn(&str) -> Result<(), &'static str>) -> Option<String> {
    match check(&text.value) {
        Ok(()) => Some(text.value.to_string()),
        Err(why) => {
            reader.error("invalid-name", text.span, why);
            None
        }
    }
}

/// A URI as far as we need it: a scheme, printable ASCII, no password. <https://www.rfc-editor.org/rfc/rfc3986>
fn uri(text: &str) -> Result<(), &'static str> {
    printable(text)?;
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err("it is no URI: it has no scheme, such as git+https:");
    };
    let letters = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !letters || !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || rest.is_empty() {
        return Err("it is no URI: write scheme:rest, such as git+https://git.example.com/acme/pay");
    }
    let authority = rest.strip_prefix("//").unwrap_or("").split(['/', '?', '#']).next();
    if authority.is_some_and(|a| a.contains('@') && a.contains(':')) {
        return Err("it holds a user name and password; every attestation would publish them");
    }
    Ok(())
}

/// A log's origin is the key name of its checkpoints: no space, no plus. <https://c2sp.org/signed-note>
fn origin(text: &str) -> Result<(), &'static str> {
    printable(text)?;
    if text.contains('+') {
        return Err("an origin has no +; write it without a scheme, such as git.example.com/acme/pay");
    }
    Ok(())
}

fn printable(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > LONGEST {
        return Err("it must have 1 to 1024 bytes");
    }
    if text.bytes().any(|b| !b.is_ascii_graphic() || b"\"\\<>".contains(&b)) {
        return Err("it may have printable ASCII only, without spaces, quotes, \\, < and >; write %XX for the rest");
    }
    Ok(())
}
