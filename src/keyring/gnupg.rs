//! GnuPG through gpgme: the import of certificates, and the second opinion.
//!
//! Nothing here runs, and gpgme is not initialised, before one of these
//! functions is called: a context costs some 10 ms.

use crate::port::{Outage, Signed};
use gpgme::{Context, ExportMode, Protocol, SignatureSummary};
use std::fs;
use std::path::Path;

/// GnuPG's settings in our home: it asks no one, fetches nothing, and trusts what the operator added.
const SETTINGS: &str = "# Written by lychgate keys.\n\
    trust-model always\nno-auto-check-trustdb\nno-auto-key-retrieve\nno-auto-key-import\nweak-digest SHA1\n";

/// Imports one certificate and gives it back in binary form, merged with what GnuPG held of it.
///
/// # Errors
/// `keyring-unwritable` if GnuPG cannot be run or does not take the key.
pub(super) fn import(home: &Path, certificate: &[u8], fingerprint: &str) -> Result<Vec<u8>, Outage> {
    let fail = |why: String| Outage {
        code: "keyring-unwritable",
        what: format!("GnuPG cannot import {fingerprint} into {}", home.display()),
        why,
        next: "check that gpg is installed and supports the key's algorithm".to_owned(),
    };
    let settings = home.join("gpg.conf");
    super::folder::write(&settings, SETTINGS.as_bytes())?;
    let mut context = context(home).map_err(|e| fail(e.to_string()))?;
    let result = context.import(certificate).map_err(|e| fail(e.to_string()))?;
    if let Some(error) = result.imports().find_map(|import| import.result().err()) {
        return Err(fail(error.to_string()));
    }
    if result.imported() + result.unchanged() == 0 && result.considered() == result.not_imported() {
        return Err(fail("it took no key".to_owned()));
    }
    let mut exported = Vec::new();
    context
        .export(Some(fingerprint), ExportMode::empty(), &mut exported)
        .map_err(|e| fail(e.to_string()))?;
    Ok(exported)
}

/// Removes a certificate from GnuPG's keyring; one that is not there is no error.
///
/// # Errors
/// `keyring-unwritable`.
pub(super) fn remove(home: &Path, fingerprint: &str) -> Result<(), Outage> {
    let fail = |e: gpgme::Error| Outage {
        code: "keyring-unwritable",
        what: format!("GnuPG cannot remove {fingerprint} from {}", home.display()),
        why: e.to_string(),
        next: "check that gpg is installed and the folder is writable".to_owned(),
    };
    let mut context = context(home).map_err(fail)?;
    match context.get_key(fingerprint) {
        Ok(key) => context.delete_key(&key).map_err(fail),
        Err(e) if e.code() == gpgme::Error::EOF.code() => Ok(()),
        Err(e) => Err(fail(e)),
    }
}

/// Whether GnuPG finds the signature good, by the key with this fingerprint, at the present time.
///
/// # Errors
/// `second-opinion-unavailable` if GnuPG cannot be run; `keyring-unreadable` if its home is missing.
pub(super) fn agrees(home: &Path, signed: Signed<'_>, fingerprint: &str) -> Result<bool, Outage> {
    fs::metadata(home).map_err(|e| super::folder::unreadable(home, e))?;
    let fail = |e: gpgme::Error| Outage {
        code: "second-opinion-unavailable",
        what: format!("GnuPG cannot verify with its home {}", home.display()),
        why: e.to_string(),
        next: "check that gpg is installed and that this account may read the folder".to_owned(),
    };
    let mut context = context(home).map_err(fail)?;
    let result = match context.verify_detached(signed.signature, signed.payload) {
        Ok(result) => result,
        Err(e) if e.code() == gpgme::Error::NO_DATA.code() || e.code() == gpgme::Error::BAD_DATA.code() => {
            return Ok(false);
        }
        Err(e) => return Err(fail(e)),
    };
    let mut signatures = result.signatures();
    let (Some(only), None) = (signatures.next(), signatures.next()) else {
        return Ok(false);
    };
    let bad = SignatureSummary::all() - SignatureSummary::VALID - SignatureSummary::GREEN;
    Ok(only.status().is_ok() && !only.summary().intersects(bad) && only.fingerprint() == Ok(fingerprint))
}

fn context(home: &Path) -> gpgme::Result<Context> {
    let mut context = Context::from_protocol(Protocol::OpenPgp)?;
    let absolute = fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
    context.set_engine_home_dir(absolute.to_string_lossy().into_owned())?;
    context.set_offline(true);
    Ok(context)
}
