//! What an operator does with the keyring: add, list, revoke, remove.
//!
//! Each change holds the folder's lock. A file of keys is read strictly: one
//! public key, no secret, of a kind that we verify.

use super::folder::{self, OpenpgpRecord, Reason, Revocation, SshRecord};
use super::openpgp;
use super::{FolderKeyring, gnupg, ssh, sshsig};
use crate::port::Outage;
use crate::push::Timestamp;
use sequoia_openpgp as pgp;
use serde::Serialize;

use pgp::Cert;
use pgp::cert::CertParser;
use pgp::parse::Parse;
use pgp::serialize::MarshalInto;
use pgp::types::SignatureType;
use ssh_key::PublicKey;

/// To whom a key is bound, and within which limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// The account; required unless the key is an SSH certificate authority.
    pub account: Option<String>,
    /// E-mail addresses; empty for an OpenPGP key: those of its valid user ids.
    pub emails: Vec<String>,
    /// Principals that an SSH certificate authority may certify; not empty makes the key one.
    pub principals: Vec<String>,
    /// First receive time at which an SSH key may sign.
    pub valid_after: Option<Timestamp>,
    /// First receive time at which an SSH key may no longer sign.
    pub valid_before: Option<Timestamp>,
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Added {
    /// The key.
    #[serde(flatten)]
    pub key: KeyInfo,
    /// Whether the keyring held the key before: its binding is new, its revocation stays.
    pub replaced: bool,
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// An OpenPGP certificate.
    Openpgp,
    /// An SSH key.
    Ssh,
    /// An SSH certificate authority.
    SshAuthority,
    /// An SSH key that a known authority may certify, and that is only revoked here.
    SshRevoked,
}

/// A key as the keyring lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// OpenPGP primary fingerprint (upper-case hex) or `SHA256:…`.
    pub fingerprint: String,
    /// Its kind.
    pub kind: KeyKind,
    /// The account.
    pub account: Option<String>,
    /// E-mail addresses, lower-case.
    pub emails: Vec<String>,
    /// Principals of an authority.
    pub principals: Vec<String>,
    /// When it was added.
    pub added_at: Timestamp,
    /// Our revocation.
    pub revocation: Option<Revocation>,
    /// Why no signature by it is good now; `None` if one may be.
    pub unusable: Option<String>,
}

/// Why a change to the keyring is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// What the operator gave is not right.
    #[error("{why}")]
    Refused {
        /// Stable kebab-case code, such as `private-key`.
        code: &'static str,
        /// What is wrong; never quotes key material.
        why: String,
        /// What to do.
        next: String,
    },
    /// Ours.
    #[error(transparent)]
    Outage(#[from] Outage),
}

fn refused(code: &'static str, why: impl Into<String>, next: impl Into<String>) -> ChangeError {
    ChangeError::Refused {
        code,
        why: why.into(),
        next: next.into(),
    }
}

impl FolderKeyring {
    /// Adds a public key: OpenPGP (armored or binary), or an SSH public key line.
    ///
    /// A key that is there already gets the new binding; its revocation stays.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with `private-key`, `no-key`, `several-keys`, `weak-key`, `no-account`,
    /// `no-email`, `not-an-ssh-key`; [`ChangeError::Outage`].
    pub fn add(&self, file: &[u8], binding: &Binding, now: Timestamp) -> Result<Added, ChangeError> {
        check_file(file)?;
        let _lock = self.folder.lock()?;
        match ssh_line(file) {
            Some(line) => self.add_ssh(line, binding, now),
            None => self.add_openpgp(file, binding, now),
        }
    }

    /// All keys, OpenPGP first, each kind by fingerprint; and the outages of those that cannot be read.
    ///
    /// # Errors
    /// `keyring-unreadable` if the folders cannot be.
    pub fn list(&self, now: Timestamp) -> Result<(Vec<KeyInfo>, Vec<Outage>), Outage> {
        let (mut keys, mut unread) = (Vec::new(), Vec::new());
        let mut take = |read: Result<Option<KeyInfo>, Outage>| match read {
            Ok(key) => keys.extend(key),
            Err(outage) => unread.push(outage),
        };
        for fingerprint in folder::names(&self.folder.openpgp(), ".pgp")? {
            let held = self.certificate(&fingerprint);
            take(held.map(|held| Some(openpgp_info(&held.cert, &held.record, now))));
        }
        for hex in folder::names(&self.folder.ssh(), ".json")? {
            take(self.ssh_key(&hex, now));
        }
        Ok((keys, unread))
    }

    fn ssh_key(&self, hex: &str, now: Timestamp) -> Result<Option<KeyInfo>, Outage> {
        let path = self.folder.ssh_record(hex);
        let record: Option<SshRecord> = folder::read_json(&path)?;
        let fingerprint = fingerprint_of(hex).ok_or_else(|| folder::unreadable(&path, "its name is no SHA-256"))?;
        Ok(record.map(|record| ssh_info(fingerprint, &record, now)))
    }

    /// Revokes a key in our record; says whether the keyring holds the key itself.
    ///
    /// A later revocation replaces an earlier one, but `compromised` stays.
    ///
    /// * `fingerprint`: as listed. An SSH key that the keyring does not hold can be revoked too:
    ///   an authority may have certified it.
    /// * `from`: from which receive time on; a compromised key is refused at any.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with `unknown-key`, `already-compromised`; [`ChangeError::Outage`].
    pub fn revoke(
        &self,
        fingerprint: &str,
        reason: Reason,
        from: Timestamp,
        now: Timestamp,
    ) -> Result<bool, ChangeError> {
        let _lock = self.folder.lock()?;
        let revocation = Revocation { reason, at: now, from };
        if let Some(hex) = hex_of(fingerprint) {
            let path = self.folder.ssh_record(&hex);
            let mut record: SshRecord = folder::read_json(&path)?.unwrap_or_else(|| only_revoked(now));
            replace(&mut record.revocation, revocation)?;
            folder::write_json(&path, &record)?;
            return Ok(record.key.is_some());
        }
        let path = self.folder.record(&self.known(fingerprint)?);
        let record: Option<OpenpgpRecord> = folder::read_json(&path)?;
        let mut record = record.ok_or_else(|| folder::unreadable(&path, "it does not exist"))?;
        replace(&mut record.revocation, revocation)?;
        folder::write_json(&path, &record)?;
        Ok(true)
    }

    /// Revokes one certificate of an SSH authority by its serial number.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with `unknown-key` if the keyring holds no such authority; [`ChangeError::Outage`].
    pub fn revoke_serial(&self, authority: &str, serial: u64) -> Result<(), ChangeError> {
        let _lock = self.folder.lock()?;
        let path = hex_of(authority).map(|hex| self.folder.ssh_record(&hex));
        let path = path.ok_or_else(|| unknown_key(authority))?;
        let record: Option<SshRecord> = folder::read_json(&path)?;
        let mut record = record
            .filter(|r| r.cert_authority)
            .ok_or_else(|| unknown_key(authority))?;
        record.revoked_serials.push(serial);
        record.revoked_serials.sort_unstable();
        record.revoked_serials.dedup();
        Ok(folder::write_json(&path, &record)?)
    }

    /// Removes a key from the keyring and from GnuPG's.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with `unknown-key`; [`ChangeError::Outage`].
    pub fn remove(&self, fingerprint: &str) -> Result<(), ChangeError> {
        let _lock = self.folder.lock()?;
        if let Some(hex) = hex_of(fingerprint) {
            let path = self.folder.ssh_record(&hex);
            folder::stamp(&path)?.ok_or_else(|| unknown_key(fingerprint))?;
            return Ok(folder::remove(&path)?);
        }
        let fingerprint = self.known(fingerprint)?;
        let held = self.certificate(&fingerprint)?;
        for keyid in keyids(&held.cert) {
            self.index(&keyid, |lines| lines.retain(|line| *line != fingerprint))?;
        }
        folder::remove(&self.folder.certificate(&fingerprint))?;
        folder::remove(&self.folder.record(&fingerprint))?;
        self.held().remove(&fingerprint);
        Ok(gnupg::remove(&self.folder.gnupg(), &fingerprint)?)
    }

    fn add_openpgp(&self, file: &[u8], binding: &Binding, now: Timestamp) -> Result<Added, ChangeError> {
        if !binding.principals.is_empty() || binding.valid_after.or(binding.valid_before).is_some() {
            let next = "leave out --cert-authority, --principal, --valid-after and --valid-before";
            return Err(refused(
                "not-an-ssh-key",
                "an OpenPGP certificate has its own limits",
                next,
            ));
        }
        let given = one_certificate(file)?;
        let fingerprint = given.fingerprint().to_hex();
        let binary = given.to_vec().map_err(|e| refused("no-key", e.to_string(), EXPORT))?;
        let merged = gnupg::import(&self.folder.gnupg(), &binary, &fingerprint)?;
        let cert = without_others(one_certificate(&merged)?)?;
        let kept = cert.to_vec().map_err(|e| refused("no-key", e.to_string(), EXPORT))?;
        let old: Option<OpenpgpRecord> = folder::read_json(&self.folder.record(&fingerprint))?;
        let emails = if binding.emails.is_empty() {
            openpgp::emails(&cert, now)
        } else {
            lower(&binding.emails)
        };
        if emails.is_empty() {
            let next = "give the addresses that it may sign for: --email ADDRESS";
            return Err(refused(
                "no-email",
                "the certificate has no valid user id with an e-mail address",
                next,
            ));
        }
        let record = OpenpgpRecord {
            account: account(binding)?,
            emails,
            added_at: now,
            revocation: old.as_ref().and_then(|r| r.revocation),
        };
        folder::write(&self.folder.certificate(&fingerprint), &kept)?;
        folder::write_json(&self.folder.record(&fingerprint), &record)?;
        // The index last: what it names is then complete.
        for keyid in keyids(&cert) {
            self.index(&keyid, |lines| lines.push(fingerprint.clone()))?;
        }
        Ok(Added {
            key: openpgp_info(&cert, &record, now),
            replaced: old.is_some(),
        })
    }

    fn add_ssh(&self, line: &str, binding: &Binding, now: Timestamp) -> Result<Added, ChangeError> {
        let key = PublicKey::from_openssh(line).map_err(|_| {
            refused(
                "no-key",
                "the SSH public key line is not well-formed",
                "give the .pub file of ssh-keygen",
            )
        })?;
        if let Some(why) = sshsig::weakness(key.key_data()) {
            return Err(refused("weak-key", why, "make a new key: ssh-keygen -t ed25519"));
        }
        let cert_authority = !binding.principals.is_empty();
        let path = self.folder.ssh_record(&ssh::hex(&key));
        let old: Option<SshRecord> = folder::read_json(&path)?;
        let record = SshRecord {
            key: Some(line.trim().to_owned()),
            account: if cert_authority { None } else { Some(account(binding)?) },
            emails: lower(&binding.emails),
            namespaces: vec!["git".to_owned()],
            cert_authority,
            principals: binding.principals.clone(),
            valid_after: binding.valid_after,
            valid_before: binding.valid_before,
            revoked_serials: old.as_ref().map(|r| r.revoked_serials.clone()).unwrap_or_default(),
            added_at: now,
            revocation: old.as_ref().and_then(|r| r.revocation),
        };
        folder::write_json(&path, &record)?;
        Ok(Added {
            key: ssh_info(ssh::fingerprint(&key), &record, now),
            replaced: old.is_some(),
        })
    }

    /// The fingerprint in its written form, if the keyring holds such a certificate.
    fn known(&self, fingerprint: &str) -> Result<String, ChangeError> {
        let plain: String = fingerprint.chars().filter(|c| *c != ' ').collect();
        let plain = plain.trim_start_matches("0x").to_uppercase();
        if plain.len() < 40 || !plain.bytes().all(|b| b.is_ascii_hexdigit()) {
            let next = "give the whole fingerprint, as lychgate keys list prints it";
            return Err(refused("unknown-key", "that is no fingerprint", next));
        }
        match folder::stamp(&self.folder.certificate(&plain))? {
            Some(_) => Ok(plain),
            None => Err(unknown_key(&plain)),
        }
    }

    fn index(&self, keyid: &str, change: impl FnOnce(&mut Vec<String>)) -> Result<(), Outage> {
        let path = self.folder.index(keyid);
        let mut lines = folder::read_index(&path)?;
        change(&mut lines);
        lines.sort();
        lines.dedup();
        if lines.is_empty() {
            return folder::remove(&path);
        }
        folder::write(&path, (lines.join("\n") + "\n").as_bytes())
    }
}

const EXPORT: &str = "export one public key: gpg --export --armor FINGERPRINT > key.asc";

/// Refuses what cannot be one public key, above all a private one.
fn check_file(file: &[u8]) -> Result<(), ChangeError> {
    if file.iter().all(u8::is_ascii_whitespace) {
        return Err(refused("no-key", "the file is empty", EXPORT));
    }
    if file.len() as u64 > folder::MAX_KEY_BYTES {
        return Err(refused("no-key", "the file is larger than 1 MiB", EXPORT));
    }
    let private = file
        .split(|&b| b == b'\n')
        .any(|line| line.starts_with(b"-----BEGIN ") && memchr::memmem::find(line, b"PRIVATE KEY").is_some());
    if private {
        return Err(private_key());
    }
    Ok(())
}

fn private_key() -> ChangeError {
    refused(
        "private-key",
        "the file holds a private key; nothing of it was stored",
        "keep it with its owner and give the public key: gpg --export --armor FINGERPRINT, or the .pub file",
    )
}

/// The only line of a file in the form of an SSH public key, comments and empty lines left out.
fn ssh_line(file: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(file).ok()?;
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let line = lines.next()?;
    let like_ssh = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| line.starts_with(start));
    (like_ssh && lines.next().is_none()).then_some(line)
}

fn one_certificate(file: &[u8]) -> Result<Cert, ChangeError> {
    let no_key = || {
        refused(
            "no-key",
            "the file holds neither an OpenPGP certificate nor one SSH public key",
            EXPORT,
        )
    };
    let mut certs = CertParser::from_bytes(file).map_err(|_| no_key())?;
    let cert = certs.next().and_then(Result::ok).ok_or_else(no_key)?;
    if cert.is_tsk() {
        return Err(private_key());
    }
    if certs.next().is_some() {
        return Err(refused("several-keys", "the file holds more than one key", EXPORT));
    }
    Ok(cert)
}

/// Drops what other people certified: it proves nothing here, and key servers collect it without bound.
///
/// Revocations of keys stay, whoever made them. GnuPG's own minimal export
/// would also drop expired subkeys, so that their signatures became an unknown key's.
fn without_others(cert: Cert) -> Result<Cert, ChangeError> {
    let own = cert.key_handle();
    let kept = cert.into_packets().filter(|packet| match packet {
        pgp::Packet::Signature(signature) => {
            let issuers = signature.get_issuers();
            issuers.is_empty()
                || issuers.iter().any(|issuer| issuer.aliases(&own))
                || matches!(
                    signature.typ(),
                    SignatureType::KeyRevocation | SignatureType::SubkeyRevocation
                )
        }
        _ => true,
    });
    Cert::from_packets(kept).map_err(|e| refused("no-key", e.to_string(), EXPORT))
}

fn account(binding: &Binding) -> Result<String, ChangeError> {
    let good = |name: &&String| !name.is_empty() && !name.chars().any(char::is_control);
    binding.account.as_ref().filter(good).cloned().ok_or_else(|| {
        refused(
            "no-account",
            "the key is to be bound to no account",
            "name the account: --account NAME",
        )
    })
}

fn unknown_key(fingerprint: &str) -> ChangeError {
    let shown: String = fingerprint.chars().filter(|c| !c.is_control()).take(80).collect();
    refused(
        "unknown-key",
        format!("the keyring does not hold {shown}"),
        "list its keys: lychgate keys list",
    )
}

fn replace(old: &mut Option<Revocation>, new: Revocation) -> Result<(), ChangeError> {
    if old.is_some_and(|r| r.reason == Reason::Compromised) && new.reason != Reason::Compromised {
        let next = "nothing is to be done: it is refused at any time";
        return Err(refused(
            "already-compromised",
            "the key is revoked as compromised",
            next,
        ));
    }
    *old = Some(new);
    Ok(())
}

/// The record of a key that we only know as revoked.
fn only_revoked(now: Timestamp) -> SshRecord {
    SshRecord {
        key: None,
        account: None,
        emails: Vec::new(),
        namespaces: Vec::new(),
        cert_authority: false,
        principals: Vec::new(),
        valid_after: None,
        valid_before: None,
        revoked_serials: Vec::new(),
        added_at: now,
        revocation: None,
    }
}

fn openpgp_info(cert: &Cert, record: &OpenpgpRecord, now: Timestamp) -> KeyInfo {
    let revoked = record
        .revocation
        .filter(|r| r.applies(now))
        .map(|_| "revoked".to_owned());
    KeyInfo {
        fingerprint: cert.fingerprint().to_hex(),
        kind: KeyKind::Openpgp,
        account: Some(record.account.clone()),
        emails: record.emails.clone(),
        principals: Vec::new(),
        added_at: record.added_at,
        revocation: record.revocation,
        unusable: revoked.or_else(|| openpgp::unusable(cert, now)),
    }
}

fn ssh_info(fingerprint: String, record: &SshRecord, now: Timestamp) -> KeyInfo {
    KeyInfo {
        fingerprint,
        kind: match &record.key {
            None => KeyKind::SshRevoked,
            Some(_) if record.cert_authority => KeyKind::SshAuthority,
            Some(_) => KeyKind::Ssh,
        },
        account: record.account.clone(),
        emails: record.emails.clone(),
        principals: record.principals.clone(),
        added_at: record.added_at,
        revocation: record.revocation,
        unusable: ssh::standing(record, now).map(|verdict| verdict.detail),
    }
}

fn keyids(cert: &Cert) -> Vec<String> {
    cert.keys().map(|key| key.key().keyid().to_hex()).collect()
}

fn lower(emails: &[String]) -> Vec<String> {
    let mut emails: Vec<String> = emails.iter().map(|e| e.to_lowercase()).collect();
    emails.sort();
    emails.dedup();
    emails
}

/// The file name's hex of `SHA256:…`.
fn hex_of(fingerprint: &str) -> Option<String> {
    let parsed: ssh_key::Fingerprint = fingerprint.parse().ok()?;
    parsed
        .is_sha256()
        .then(|| parsed.as_bytes().iter().map(|b| format!("{b:02x}")).collect())
}

/// `SHA256:…` of a file name's hex.
fn fingerprint_of(hex: &str) -> Option<String> {
    let digit = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(digit).collect();
    let bytes: [u8; 32] = bytes?.try_into().ok()?;
    Some(ssh_key::Fingerprint::Sha256(bytes).to_string())
}
