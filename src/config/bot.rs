//! The bot's configuration, `bot.toml`: forges, repositories, and where its things are.
//!
//! In scope: reading and validating the text, every error at once. Out of scope:
//! the files that it names: secrets stand in files of their own, never in here.

use super::PolicyError;
use super::reader::{Reader, Section, Text, quoted};
use super::retention::{REDELIVERED, Retention};
use crate::forge::{ForgeKind, ForgeRepo};
use std::path::PathBuf;

const TOP: [&str; 14] = [
    "version",
    "listen",
    "store",
    "postgres_url_file",
    "mirrors",
    "mirror_gib",
    "fingerprint_key",
    "workers",
    "sweep_seconds",
    "keep_days",
    "keep_deliveries",
    "otlp",
    "forge",
    "repository",
];
const FORGE: [&str; 6] = ["name", "kind", "api", "app_id", "key_file", "webhook_secret_files"];
const REPOSITORY: [&str; 9] = [
    "forge", "name", "id", "resource", "policy", "keyring", "gate", "mode", "sarif",
];
/// Most forges and repositories, so that every list is bounded.
const MOST: usize = 10_000;

/// The bot's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotConfig {
    /// Address and port to listen on.
    pub listen: String,
    /// Where inbox and outbox are.
    pub store: StorePlace,
    /// Folder of the mirrors.
    pub mirrors: PathBuf,
    /// Bytes that the mirrors may take.
    pub mirror_bytes: u64,
    /// The key of fingerprints, 64 hex digits.
    pub fingerprint_key: PathBuf,
    /// Lanes that are worked on at the same time.
    pub workers: usize,
    /// Seconds between two sweeps.
    pub sweep_seconds: u64,
    /// How long done deliveries are kept.
    pub kept: Retention,
    /// `host:port` of a collector of traces (OTLP over HTTP), if there is one.
    pub otlp: Option<String>,
    /// The forges.
    pub forges: Vec<ForgeConfig>,
    /// The repositories that are judged; others are left alone.
    pub repositories: Vec<RepositoryConfig>,
}

/// Where inbox and outbox are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// An SQLite file: one process.
    Sqlite(PathBuf),
    /// A file that holds the URL of a PostgreSQL database: many processes.
    Postgres(PathBuf),
}

/// One forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgeConfig {
    /// Its name here, which is also in the webhook's URL path: letters, digits, dashes.
    pub name: String,
    /// Its kind.
    pub kind: ForgeKind,
    /// URL of its API.
    pub api: String,
    /// The App's id; only GitHub has one.
    pub app_id: u64,
    /// The file with the App's private key in PEM (GitHub) or with an access token (Forgejo, GitLab).
    pub key_file: PathBuf,
    /// Files with the secrets of its webhooks; several while one takes another's place.
    pub webhook_secret_files: Vec<PathBuf>,
}

/// By what one repository is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// The forge's name.
    pub forge: String,
    /// `owner/name`, or `*` for all that have no entry of their own.
    pub name: Option<String>,
    /// The forge's number of it, which a rename keeps.
    pub id: Option<u64>,
    /// Its resource URI.
    pub resource: String,
    /// Its policy.
    pub policy: PathBuf,
    /// The folder of its keyring.
    pub keyring: PathBuf,
    /// The bare repository where `lychgate init` made its ledger; `None`: nothing is recorded of what lands.
    pub gate: Option<PathBuf>,
    /// Whether verdicts only tell, and hold nothing up.
    pub report_only: bool,
    /// Whether findings are uploaded to the forge's code scanning.
    pub sarif: bool,
}

impl BotConfig {
    /// Reads and validates the text of `bot.toml`.
    ///
    /// * `file`: the file's name, for messages.
    ///
    /// # Errors
    /// Every error of the text, in the order of their places.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<PolicyError>> {
        let mut blanked = String::new();
        let mut reader = Reader::new(file, text);
        let config = reader.value(&mut blanked).and_then(|value| {
            let mut top = reader.section(value, "bot.toml", &TOP)?;
            config(&mut reader, &mut top)
        });
        match config {
            Some(config) if !reader.failed() => Ok(config),
            _ => Err(reader.into_errors()),
        }
    }

    /// What a repository is judged by: by its number, by its name, or by its forge's `*`.
    pub fn repository(&self, repo: &ForgeRepo) -> Option<&RepositoryConfig> {
        let mut here = self.repositories.iter().filter(|it| it.forge == repo.forge);
        let by_id = here.clone().find(|it| it.id == Some(repo.id));
        let named = |name: &str| {
            here.clone()
                .find(|it| it.id.is_none() && it.name.as_deref() == Some(name))
        };
        let found = by_id.or_else(|| named(&repo.full_name));
        found.or_else(|| here.find(|it| it.name.as_deref() == Some("*")))
    }
}

fn config(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Option<BotConfig> {
    let (version, span) = reader.integer(top, "version", i64::MIN..=i64::MAX, 1);
    if version != 1 {
        let why = format!("this program reads bot.toml of version 1, not {version}");
        reader.error("unknown-version", span, why);
    }
    let listen = reader.text(top, "listen").and_then(|text| address(reader, &text));
    let otlp = reader.text(top, "otlp").and_then(|text| address(reader, &text));
    let store = store(reader, top);
    let mirrors = path(reader, top, "mirrors", "bot.toml");
    let key = path(reader, top, "fingerprint_key", "bot.toml");
    let (gib, _) = reader.integer(top, "mirror_gib", 1..=100_000, 20);
    let (workers, _) = reader.integer(top, "workers", 1..=64, 4);
    let (sweep, _) = reader.integer(top, "sweep_seconds", 10..=3600, 240);
    let kept = kept(reader, top);
    let forges = forges(reader, top);
    let repositories = repositories(reader, top, &forges);
    Some(BotConfig {
        listen: listen.unwrap_or_else(|| "127.0.0.1:8080".to_owned()),
        store: store?,
        mirrors: mirrors?,
        mirror_bytes: u64::try_from(gib).ok()? << 30,
        fingerprint_key: key?,
        workers: usize::try_from(workers).ok()?,
        sweep_seconds: u64::try_from(sweep).ok()?,
        kept,
        otlp,
        forges,
        repositories,
    })
}

/// Never shorter than a forge delivers again, or a copy of what is done would be new.
fn kept(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Retention {
    let (default, day) = (Retention::default(), 24 * 3600);
    let (days, _) = reader.integer(top, "keep_days", REDELIVERED / day..=365, default.seconds / day);
    let (deliveries, _) = reader.integer(top, "keep_deliveries", 1..=1_000_000_000_000, default.deliveries);
    Retention {
        seconds: days * day,
        deliveries,
    }
}

fn address(reader: &mut Reader<'_>, text: &Text<'_>) -> Option<String> {
    let parts = text.value.rsplit_once(':');
    if parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Some(text.value.to_string());
    }
    reader.error(
        "invalid-address",
        text.span,
        "it must be an address and a port, such as 127.0.0.1:8080",
    );
    None
}

fn store(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Option<StorePlace> {
    let span = top.span();
    let file = reader.text(top, "store").and_then(|text| absolute(reader, &text));
    let url = reader
        .text(top, "postgres_url_file")
        .and_then(|text| absolute(reader, &text));
    match (file, url) {
        (Some(file), None) => Some(StorePlace::Sqlite(file)),
        (None, Some(file)) => Some(StorePlace::Postgres(file)),
        (Some(_), Some(_)) => {
            reader.error(
                "two-stores",
                span,
                "it has store and postgres_url_file: keep one of them",
            );
            None
        }
        (None, None) => {
            let why = "it must have store (an SQLite file) or postgres_url_file (a file with the URL)";
            reader.error("missing-key", span, why);
            None
        }
    }
}

fn path(reader: &mut Reader<'_>, section: &mut Section<'_>, key: &str, what: &str) -> Option<PathBuf> {
    let text = reader.required(section, key, what)?;
    absolute(reader, &text)
}

/// Whole paths only: a service's current folder is anybody's guess.
fn absolute(reader: &mut Reader<'_>, text: &Text<'_>) -> Option<PathBuf> {
    if text.value.starts_with('/') && text.value.len() <= 4096 && !text.value.contains('\0') {
        return Some(PathBuf::from(text.value.as_ref()));
    }
    reader.error("relative-path", text.span, "it must be a whole path, from / on");
    None
}

fn forges(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Vec<ForgeConfig> {
    let span = top.span();
    let sections = reader.sections(top, "forge", "[[forge]]", &FORGE);
    if sections.is_empty() {
        reader.error("missing-key", span, "it has no [[forge]]");
    }
    let mut forges: Vec<ForgeConfig> = Vec::new();
    for mut section in sections.into_iter().take(MOST) {
        let span = section.span();
        let Some(forge) = forge(reader, &mut section) else {
            continue;
        };
        if forges.iter().any(|known| known.name == forge.name) {
            reader.error(
                "named-twice",
                span,
                format!("there are two forges named {}", quoted(&forge.name)),
            );
        }
        forges.push(forge);
    }
    forges
}

fn forge(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<ForgeConfig> {
    let what = "[[forge]]";
    let name = reader
        .required(section, "name", what)
        .and_then(|text| name(reader, &text));
    let kind = reader
        .required(section, "kind", what)
        .and_then(|text| kind(reader, &text));
    let api = reader
        .required(section, "api", what)
        .and_then(|text| api(reader, &text));
    let (app_id, _) = reader.integer(section, "app_id", 0..=i64::MAX, 0);
    let key_file = path(reader, section, "key_file", what);
    let span = section.span();
    let files = reader
        .texts(section, "webhook_secret_files")
        .map(|(texts, _)| texts)
        .unwrap_or_default();
    if files.is_empty() {
        reader.error(
            "missing-key",
            span,
            "[[forge]] has no webhook_secret_files: nobody could tell who sends",
        );
    }
    let files = files.iter().filter_map(|text| absolute(reader, text)).collect();
    Some(ForgeConfig {
        name: name?,
        kind: kind?,
        api: api?,
        app_id: u64::try_from(app_id).ok()?,
        key_file: key_file?,
        webhook_secret_files: files,
    })
}

fn name(reader: &mut Reader<'_>, text: &Text<'_>) -> Option<String> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !text.value.is_empty() && text.value.len() <= 40 && text.value.bytes().all(letters) {
        return Some(text.value.to_string());
    }
    reader.error(
        "invalid-name",
        text.span,
        "it must have 1 to 40 of a-z, 0-9 and -: it stands in the hook's URL",
    );
    None
}

fn kind(reader: &mut Reader<'_>, text: &Text<'_>) -> Option<ForgeKind> {
    match text.value.as_ref() {
        "github" => Some(ForgeKind::Github),
        "forgejo" => Some(ForgeKind::Forgejo),
        "gitlab" => Some(ForgeKind::Gitlab),
        other => {
            let why = format!("{} is none of github, forgejo (Gitea too) and gitlab", quoted(other));
            reader.error("unknown-kind", text.span, why);
            None
        }
    }
}

fn api(reader: &mut Reader<'_>, text: &Text<'_>) -> Option<String> {
    let rest = text
        .value
        .strip_prefix("https://")
        .or_else(|| text.value.strip_prefix("http://127.0.0.1:"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains('@') => Some(text.value.trim_end_matches('/').to_owned()),
        _ => {
            reader.error(
                "invalid-url",
                text.span,
                "it must be https://… without a user name or password",
            );
            None
        }
    }
}

fn repositories(reader: &mut Reader<'_>, top: &mut Section<'_>, forges: &[ForgeConfig]) -> Vec<RepositoryConfig> {
    let sections = reader.sections(top, "repository", "[[repository]]", &REPOSITORY);
    let each = |mut section| repository(reader, &mut section, forges);
    sections.into_iter().take(MOST).filter_map(each).collect()
}

fn repository(reader: &mut Reader<'_>, section: &mut Section<'_>, forges: &[ForgeConfig]) -> Option<RepositoryConfig> {
    let what = "[[repository]]";
    let forge = reader.required(section, "forge", what);
    if let Some(text) = &forge
        && !forges.iter().any(|forge| forge.name == text.value)
    {
        reader.error(
            "unknown-forge",
            text.span,
            format!("there is no [[forge]] named {}", quoted(&text.value)),
        );
    }
    let (id, _) = reader.integer(section, "id", 0..=i64::MAX, 0);
    let name = reader.text(section, "name").map(|text| text.value.to_string());
    if id == 0 && name.is_none() {
        reader.error("missing-key", section.span(), "[[repository]] has neither name nor id");
    }
    let resource = reader
        .required(section, "resource", what)
        .map(|text| text.value.to_string());
    let gate = reader.text(section, "gate").and_then(|text| absolute(reader, &text));
    let at_gate = gate.as_ref().map(|gate| gate.join("lychgate"));
    // What is recorded must be judged by what the ledger's own commands use.
    let (policy, keyring) = match at_gate {
        Some(home) => {
            for key in ["policy", "keyring"] {
                if section.has(key) {
                    let why = format!("{key} is that of the gate, {}: leave it out", home.display());
                    reader.error("two-policies", section.span(), why);
                    reader.text(section, key);
                }
            }
            (Some(home.join("policy.toml")), Some(home.join("keyring")))
        }
        None => (
            path(reader, section, "policy", what),
            path(reader, section, "keyring", what),
        ),
    };
    let (sarif, _) = reader.boolean(section, "sarif", false);
    let report_only = reader.text(section, "mode").is_some_and(|text| mode(reader, &text));
    Some(RepositoryConfig {
        forge: forge?.value.to_string(),
        name,
        id: u64::try_from(id).ok().filter(|id| *id != 0),
        resource: resource?,
        policy: policy?,
        keyring: keyring?,
        gate,
        report_only,
        sarif,
    })
}

/// Whether it only reports.
fn mode(reader: &mut Reader<'_>, text: &Text<'_>) -> bool {
    if !matches!(text.value.as_ref(), "enforce" | "report") {
        let why = format!("{} is none of enforce and report", quoted(&text.value));
        reader.error("unknown-mode", text.span, why);
    }
    text.value == "report"
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
version = 1
store = "/var/lib/lychgate/bot.db"
mirrors = "/var/lib/lychgate/mirrors"
fingerprint_key = "/etc/lychgate/fingerprint.key"
[[forge]]
name = "hub"
kind = "github"
api = "https://api.github.com"
app_id = 12
key_file = "/etc/lychgate/app.pem"
webhook_secret_files = ["/etc/lychgate/hook"]
[[repository]]
forge = "hub"
name = "*"
resource = "git+https://github.com/acme/other"
policy = "/etc/lychgate/policy.toml"
keyring = "/etc/lychgate/keyring"
[[repository]]
forge = "hub"
id = 7
resource = "git+https://github.com/acme/pay"
policy = "/etc/lychgate/pay.toml"
keyring = "/etc/lychgate/keyring"
"#;

    #[test]
    fn a_number_goes_before_a_name() {
        let config = BotConfig::parse("bot.toml", GOOD).unwrap();
        let mut repo = ForgeRepo {
            forge: "hub".into(),
            id: 7,
            full_name: "acme/renamed".into(),
            installation: None,
        };
        let policy = |repo: &ForgeRepo| config.repository(repo).map(|it| it.policy.display().to_string());
        assert_eq!(policy(&repo).as_deref(), Some("/etc/lychgate/pay.toml"));
        repo.id = 8;
        assert_eq!(policy(&repo).as_deref(), Some("/etc/lychgate/policy.toml"));
        repo.forge = "other".into();
        assert_eq!(policy(&repo), None);
    }

    #[test]
    fn a_gate_brings_its_own_policy_and_keyring() {
        let at_gate = GOOD.replace(
            "policy = \"/etc/lychgate/pay.toml\"\nkeyring = \"/etc/lychgate/keyring\"",
            "gate = \"/srv/git/pay.git\"",
        );
        let config = BotConfig::parse("bot.toml", &at_gate).unwrap();
        let pay = config.repositories.iter().find(|it| it.id == Some(7)).unwrap();
        assert_eq!(pay.policy, PathBuf::from("/srv/git/pay.git/lychgate/policy.toml"));
        assert_eq!(pay.keyring, PathBuf::from("/srv/git/pay.git/lychgate/keyring"));
        let both = GOOD.replace("id = 7", "id = 7\ngate = \"/srv/git/pay.git\"");
        let errors = BotConfig::parse("bot.toml", &both).unwrap_err();
        assert!(errors.iter().all(|error| error.code == "two-policies") && errors.len() == 2);
    }

    #[test]
    fn the_commented_sample_is_valid() {
        let sample = include_str!("../../deploy/bot.toml");
        assert!(BotConfig::parse("bot.toml", sample).is_ok());
    }

    #[test]
    fn every_error_is_told() {
        let bad = GOOD
            .replace("github\"\napi", "svn\"\napi")
            .replace("\"/var/lib/lychgate/mirrors\"", "\"mirrors\"");
        let bad = bad
            .replace("[\"/etc/lychgate/hook\"]", "[]")
            .replace("store =", "stor =");
        let errors = BotConfig::parse("bot.toml", &bad).unwrap_err();
        let mut codes: Vec<_> = errors.iter().map(|error| error.code).collect();
        codes.sort_unstable();
        let wanted = [
            "missing-key",
            "missing-key",
            "relative-path",
            "unknown-forge",
            "unknown-forge",
            "unknown-key",
            "unknown-kind",
        ];
        assert_eq!(codes, wanted);
    }
}
