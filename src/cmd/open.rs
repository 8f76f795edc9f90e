//! Opens an installation: the one place that turns its files into adapters.

use super::error::CommandError;
use super::home::Home;
use crate::attest::PublicKey;
use crate::config::{Policy, PolicyError, Settings, render_errors};
use crate::decision::POLICY_FILE;
use crate::finding::Confidence;
use crate::git::Gate;
use crate::keyring::FolderKeyring;
use crate::port::{EntryRecord, Outage};
use crate::scan::{FingerprintKey, RuleSet, Scanner};
use crate::signer::FileSigner;
use crate::store::SqliteStore;
use crate::verdicts::Verdicts;
use crate::waiver::Order;
use secrecy::SecretBox;
use std::path::{Path, PathBuf};

/// A runtime for one command: current thread, nothing spawned until used.
///
/// # Errors
/// `runtime-unavailable`.
pub fn runtime() -> Result<tokio::runtime::Runtime, Outage> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| no_runtime(&error))
}

/// A runtime for one command that talks to a server.
///
/// # Errors
/// `runtime-unavailable`.
#[cfg(feature = "bot")]
pub fn service_runtime() -> Result<tokio::runtime::Runtime, Outage> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| no_runtime(&error))
}

fn no_runtime(error: &std::io::Error) -> Outage {
    Outage {
        code: "runtime-unavailable",
        what: "cannot start the runtime".into(),
        why: error.to_string(),
        next: "check the limits of this account (ulimit -a)".into(),
    }
}

/// Reads a small file of the installation (at most 4 MiB: no policy or key is larger).
///
/// # Errors
/// `<what>-unreadable`, where `what` is one of the codes below.
pub fn read(path: &Path, code: &'static str) -> Result<String, Outage> {
    let fail = |why: String| Outage {
        code,
        what: format!("cannot read {}", path.display()),
        why,
        next: "put it back as it was, from a backup, then run: lychgate init --check".into(),
    };
    let size = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if size > 4 << 20 {
        return Err(fail(format!("it has {size} bytes, more than 4 MiB")));
    }
    std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))
}

/// The policy and its text.
///
/// # Errors
/// `policy-unreadable`, or `policy-invalid` with every error of the text.
pub fn policy(path: &Path) -> Result<(Policy, String), CommandError> {
    let text = read(path, "policy-unreadable")?;
    match Policy::parse(POLICY_FILE, &text) {
        Ok(policy) => Ok((policy, text)),
        Err(errors) => Err(CommandError::Outage(Outage {
            code: "policy-invalid",
            what: format!("the policy {} is not valid", path.display()),
            why: invalid(POLICY_FILE, &errors),
            next: "correct it, then run: lychgate init --check".into(),
        })),
    }
}

/// Every error of a text, on the lines after the first.
fn invalid(file: &str, errors: &[PolicyError]) -> String {
    let many = if errors.len() == 1 { "" } else { "s" };
    let all = render_errors(file, errors);
    format!("{} error{many}\n{}", errors.len(), all.trim_end())
}

/// The settings.
///
/// # Errors
/// `settings-unreadable`, `settings-invalid`.
pub fn settings(home: &Home) -> Result<Settings, Outage> {
    let text = read(&home.settings(), "settings-unreadable")?;
    Settings::parse("gate.toml", &text).map_err(|errors| Outage {
        code: "settings-invalid",
        what: format!("{} is not valid", home.settings().display()),
        why: invalid("gate.toml", &errors),
        next: "correct it, then run: lychgate init --check".into(),
    })
}

/// The key of fingerprints.
///
/// # Errors
/// `fingerprint-key-unreadable`, also when it is not 64 hex digits.
pub fn fingerprint_key(path: &Path) -> Result<FingerprintKey, Outage> {
    const CODE: &str = "fingerprint-key-unreadable";
    let text = secrecy::SecretString::from(read(path, CODE)?);
    let mut key = Box::new([0u8; 32]);
    let digits = secrecy::ExposeSecret::expose_secret(&text).trim();
    let valid = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let pairs = valid.then(|| digits.as_bytes().chunks(2));
    for (byte, pair) in key.iter_mut().zip(pairs.into_iter().flatten()) {
        *byte = std::str::from_utf8(pair)
            .ok()
            .and_then(|p| u8::from_str_radix(p, 16).ok())
            .unwrap_or(0);
    }
    if !valid {
        return Err(Outage {
            code: CODE,
            what: format!("cannot use {}", path.display()),
            why: "it is not 64 hex digits".into(),
            next: "restore it from a backup; a new one forgets every allowed fingerprint".into(),
        });
    }
    Ok(SecretBox::new(key))
}

/// What the installation knows of objects under the shipped rules.
pub fn verdicts(home: &Home, key: &FingerprintKey) -> Verdicts {
    Verdicts::new(&home.verdicts(), key, RuleSet::builtin().digest())
}

/// The store.
///
/// # Errors
/// As for [`SqliteStore::open`].
pub async fn store(home: &Home) -> Result<SqliteStore, Outage> {
    SqliteStore::open(&home.ledger()).await
}

/// A ledger that is being opened on another thread.
pub struct Opening(std::thread::JoinHandle<Result<(SqliteStore, Vec<EntryRecord>), Outage>>);

/// Begins to open the ledger, as [`SqliteStore::open_pending`] does, while the caller reads the rest of the
/// installation.
pub fn opening(home: &Home) -> Opening {
    let path = home.ledger();
    Opening(std::thread::spawn(move || {
        runtime()?.block_on(SqliteStore::open_pending(&path))
    }))
}

impl Opening {
    /// The ledger and its pending entries.
    ///
    /// # Errors
    /// As for [`SqliteStore::open_pending`]; `runtime-unavailable`.
    pub fn join(self) -> Result<(SqliteStore, Vec<EntryRecord>), Outage> {
        self.0.join().unwrap_or_else(|_| {
            Err(Outage {
                code: "runtime-unavailable",
                what: "cannot open the ledger".into(),
                why: "the thread that opens it ended early".into(),
                next: "this is a fault of lychgate: report it with this message".into(),
            })
        })
    }
}

/// The repository, with its quarantine during a push.
///
/// # Errors
/// As for [`Gate::open`].
pub fn repository(home: &Home, quarantine: Option<&PathBuf>) -> Result<Gate, Outage> {
    Gate::open(&home.git_dir, quarantine.map(PathBuf::as_path))
}

/// The keyring; its files are opened when a signature names their key.
pub fn keyring(home: &Home) -> FolderKeyring {
    FolderKeyring::open(&home.keyring())
}

/// The attestation key.
///
/// # Errors
/// `signer-unavailable`.
pub fn signer(home: &Home) -> Result<FileSigner, Outage> {
    FileSigner::open(&home.attestation_key())
}

/// The public half of the attestation key.
///
/// # Errors
/// `attestation-key-unreadable`.
pub fn public_key(home: &Home) -> Result<PublicKey, Outage> {
    let path = home.attestation_public_key();
    let pem = read(&path, "attestation-key-unreadable")?;
    PublicKey::from_pem(&pem).map_err(|e| Outage {
        code: "attestation-key-unreadable",
        what: format!("cannot use {}", path.display()),
        why: e.to_string(),
        next: "run: lychgate init --check".to_owned(),
    })
}

/// Whether the reasons of an order hold what looks like a secret: they would stand in comments and in the log.
///
/// # Errors
/// `fingerprint-key-unreadable`.
pub fn has_secret(order: &Order, home: &Home) -> Result<bool, Outage> {
    let reasons = order.reasons().concat();
    if reasons.is_empty() {
        return Ok(false);
    }
    let key = fingerprint_key(&home.fingerprint_key())?;
    let found = Scanner::new(RuleSet::builtin(), &key).scan(reasons.as_bytes());
    Ok(found.iter().any(|each| each.confidence >= Confidence::Medium))
}
