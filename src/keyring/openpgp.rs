//! Judges OpenPGP signatures with Sequoia's standard policy at the receive time.
//!
//! The key must be bound, alive, not revoked and able to sign when the push is
//! received. What time the signature claims opens no door: a key that has
//! expired since does not become good by dating the signature back. Format:
//! <https://www.rfc-editor.org/rfc/rfc9580>

use super::FolderKeyring;
use super::folder::{self, OpenpgpRecord, Stamp};
use super::verdict::{self, Verdict};
use crate::facts::{SignatureFact, SignatureState};
use crate::port::{Outage, Signed};
use crate::push::Timestamp;
use base64::Engine;
use sequoia_openpgp as pgp;

use pgp::cert::amalgamation::key::ErasedKeyAmalgamation;
use pgp::cert::amalgamation::{ValidAmalgamation, ValidateAmalgamation};
use pgp::packet::Signature;
use pgp::packet::key::PublicParts;
use pgp::parse::{Dearmor, PacketParserBuilder, PacketParserResult, Parse};
use pgp::policy::{HashAlgoSecurity, Policy, StandardPolicy};
use pgp::types::{HashAlgorithm, RevocationStatus, SignatureType};
use pgp::{Cert, KeyHandle, KeyID, Packet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Issuers of one signature that are looked up, and certificates with one key id: more is not honest.
const MAX_CANDIDATES: usize = 4;

type Key<'a> = ErasedKeyAmalgamation<'a, PublicParts>;

/// A certificate with its record, as read from the folder.
pub(super) struct Held {
    pub(super) cert: Cert,
    pub(super) record: OpenpgpRecord,
    stamps: [Option<Stamp>; 2],
}

/// Judges one signature at the receive time.
pub(super) fn verify(
    keyring: &FolderKeyring,
    signed: Signed<'_>,
    received_at: Timestamp,
    skew: i64,
) -> Result<SignatureFact, Outage> {
    let signature = match read_signature(signed.signature) {
        Ok(signature) => signature,
        Err(why) => return Ok(verdict::no_key(SignatureState::Malformed, why)),
    };
    let Some((held, key)) = issuer(keyring, &signature)? else {
        return Ok(unknown(&signature));
    };
    let Some(key) = find(&held.cert, &key) else {
        return Ok(unknown(&signature));
    };
    let verdict = judge(&held, &key, &signature, signed, received_at, skew);
    Ok(SignatureFact {
        key: Some(held.cert.fingerprint().to_hex()),
        ..verdict.fact(Some(held.record.account.clone()), held.record.emails.clone())
    })
}

/// The fingerprints (primary, signing key) of a signature that fits its bytes, whatever the time.
///
/// What the second verifier's answer is compared with.
pub(super) fn signer(keyring: &FolderKeyring, signed: Signed<'_>) -> Result<Option<String>, Outage> {
    let Ok(signature) = read_signature(signed.signature) else {
        return Ok(None);
    };
    let Some((held, handle)) = issuer(keyring, &signature)? else {
        return Ok(None);
    };
    let key = find(&held.cert, &handle);
    Ok(key
        .filter(|key| fits(&signature, key, signed.payload))
        .map(|key| key.key().fingerprint().to_hex()))
}

fn judge(
    held: &Held,
    key: &Key<'_>,
    signature: &Signature,
    signed: Signed<'_>,
    received_at: Timestamp,
    skew: i64,
) -> Verdict {
    let time = system_time(received_at);
    let policy = StandardPolicy::at(time);
    let created = signature.signature_creation_time();
    if signature.typ() != SignatureType::Binary {
        return Verdict::new(SignatureState::Malformed, "it is not a signature over a document");
    }
    let Some(created) = created else {
        return Verdict::new(SignatureState::Malformed, "the signature does not say when it was made");
    };
    if let Some(verdict) = weak_digest(signature, &policy) {
        return verdict;
    }
    if created < key.key().creation_time() {
        return Verdict::new(
            SignatureState::OutsideTime,
            "the signature is dated before its key was made",
        );
    }
    if !fits(signature, key, signed.payload) {
        return Verdict::new(SignatureState::Bad, "the signature does not fit the signed bytes");
    }
    if let Some(revocation) = held.record.revocation.filter(|r| r.applies(received_at)) {
        return verdict::revoked(revocation);
    }
    if let Err(verdict) = may_sign(key, &policy, time) {
        return verdict;
    }
    let tolerance = Duration::from_secs(u64::try_from(skew).unwrap_or(0));
    if let Err(error) = signature.signature_alive(time, tolerance) {
        let detail = format!("the signature's own time does not fit the receive time {received_at}: {error}");
        return Verdict::new(SignatureState::OutsideTime, detail);
    }
    let claimed = verdict::claimed_time(signed.claimed_at, received_at, skew);
    if !claimed.is_good() {
        return claimed;
    }
    let detail = format!("a good OpenPGP signature by {}", held.record.account);
    Verdict::new(SignatureState::Good, detail)
}

/// Whether the key may sign documents at that time, by its certificate alone.
fn may_sign(key: &Key<'_>, policy: &dyn Policy, time: SystemTime) -> Result<(), Verdict> {
    if key.key().creation_time() > time {
        let detail = "the key was made after the receive time";
        return Err(Verdict::new(SignatureState::OutsideTime, detail));
    }
    let valid = key.clone().with_policy(policy, time).map_err(|e| unbound(e.as_ref()))?;
    let whole = valid.valid_cert();
    for status in [whole.revocation_status(), valid.revocation_status()] {
        if !matches!(status, RevocationStatus::NotAsFarAsWeKnow) {
            return Err(Verdict::new(SignatureState::Revoked, "the certificate revokes the key"));
        }
    }
    whole
        .alive()
        .map_err(|_| expired("certificate", whole.primary_key().key_expiration_time()))?;
    valid.alive().map_err(|_| expired("key", valid.key_expiration_time()))?;
    if valid.for_signing() {
        Ok(())
    } else {
        Err(Verdict::new(
            SignatureState::WrongUsage,
            "the key has no flag that lets it sign documents",
        ))
    }
}

fn expired(what: &str, end: Option<SystemTime>) -> Verdict {
    let since = end.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
    let since = since
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .map(Timestamp::from_unix);
    let detail = match since {
        Some(since) => format!("the {what} expired at {since}"),
        None => format!("the {what} is not valid at the receive time"),
    };
    Verdict::new(SignatureState::Expired, detail)
}

/// Why a key is no valid part of its certificate.
fn unbound(error: &(dyn std::error::Error + 'static)) -> Verdict {
    let mut causes = std::iter::successors(Some(error), |e| e.source());
    if causes.any(|e| matches!(e.downcast_ref(), Some(pgp::Error::PolicyViolation(..)))) {
        return Verdict::new(SignatureState::WeakAlgorithm, format!("the key is too weak: {error}"));
    }
    let detail = format!("the key is not bound to its certificate: {error}");
    Verdict::new(SignatureState::Untrusted, detail)
}

fn weak_digest(signature: &Signature, policy: &StandardPolicy) -> Option<Verdict> {
    use HashAlgorithm::{SHA3_256, SHA3_512, SHA256, SHA384, SHA512};
    let digest = signature.hash_algo();
    let strong = [SHA256, SHA384, SHA512, SHA3_256, SHA3_512].contains(&digest);
    let allowed = policy.signature(signature, HashAlgoSecurity::CollisionResistance);
    match allowed {
        Ok(()) if strong => None,
        Ok(()) => Some(Verdict::new(
            SignatureState::WeakAlgorithm,
            format!("the digest {digest} is too weak"),
        )),
        Err(e) => Some(Verdict::new(
            SignatureState::WeakAlgorithm,
            format!("the policy refuses the signature (digest {digest}): {e}"),
        )),
    }
}

fn fits(signature: &Signature, key: &Key<'_>, payload: &[u8]) -> bool {
    signature.verify_message(key.key(), payload).is_ok()
}

fn find<'a>(cert: &'a Cert, handle: &KeyHandle) -> Option<Key<'a>> {
    cert.keys().find(|key| key.key().key_handle().aliases(handle))
}

fn unknown(signature: &Signature) -> SignatureFact {
    let issuer = signature
        .get_issuers()
        .into_iter()
        .next()
        .map(|handle| format!("{handle:X}"));
    let detail = match issuer {
        Some(_) => "the keyring does not hold the key that the signature names",
        None => "the signature names no key",
    };
    SignatureFact {
        key: issuer,
        ..verdict::no_key(SignatureState::UnknownKey, detail)
    }
}

/// The certificate in the keyring that holds the key that the signature names.
///
/// The names stand in the signature and may lie; they only say where to look.
fn issuer(keyring: &FolderKeyring, signature: &Signature) -> Result<Option<(Arc<Held>, KeyHandle)>, Outage> {
    for handle in signature.get_issuers().into_iter().take(MAX_CANDIDATES) {
        let index = keyring.folder.index(&KeyID::from(&handle).to_hex());
        for primary in folder::read_index(&index)?.iter().take(MAX_CANDIDATES) {
            let held = keyring.certificate(primary)?;
            if find(&held.cert, &handle).is_some() {
                return Ok(Some((held, handle)));
            }
        }
    }
    Ok(None)
}

impl Held {
    /// Reads a certificate and its record.
    pub(super) fn read(keyring: &FolderKeyring, fingerprint: &str) -> Result<Self, Outage> {
        let stamps = Self::stamps(keyring, fingerprint)?;
        let path = keyring.folder.certificate(fingerprint);
        let bytes = folder::read(&path)?.ok_or_else(|| folder::unreadable(&path, "it does not exist"))?;
        let cert = Cert::from_bytes(&bytes).map_err(|e| folder::unreadable(&path, e))?;
        if cert.fingerprint().to_hex() != fingerprint {
            return Err(folder::unreadable(
                &path,
                "it holds another certificate than its name says",
            ));
        }
        let path = keyring.folder.record(fingerprint);
        let record = folder::read_json(&path)?.ok_or_else(|| folder::unreadable(&path, "it does not exist"))?;
        Ok(Self { cert, record, stamps })
    }

    /// Whether the files are still those that were read.
    pub(super) fn is_current(&self, keyring: &FolderKeyring, fingerprint: &str) -> Result<bool, Outage> {
        Ok(self.stamps == Self::stamps(keyring, fingerprint)?)
    }

    fn stamps(keyring: &FolderKeyring, fingerprint: &str) -> Result<[Option<Stamp>; 2], Outage> {
        let folder = &keyring.folder;
        Ok([
            folder::stamp(&folder.certificate(fingerprint))?,
            folder::stamp(&folder.record(fingerprint))?,
        ])
    }
}

/// Why the certificate has no key that may sign at that time; `None` if it has one.
pub(super) fn unusable(cert: &Cert, now: Timestamp) -> Option<String> {
    let time = system_time(now);
    let policy = StandardPolicy::at(time);
    let mut why = "it has no key".to_owned();
    for key in cert.keys() {
        match may_sign(&key, &policy, time) {
            Ok(()) => return None,
            // A key that is not meant to sign explains nothing if another one is.
            Err(verdict) if verdict.state == SignatureState::WrongUsage => {}
            Err(verdict) => why = verdict.detail,
        }
    }
    Some(why)
}

/// The e-mail addresses of the certificate's valid user ids, lower-case.
pub(super) fn emails(cert: &Cert, now: Timestamp) -> Vec<String> {
    let time = system_time(now);
    let policy = StandardPolicy::at(time);
    let Ok(valid) = cert.with_policy(&policy, time) else {
        return Vec::new();
    };
    let live = valid
        .userids()
        .filter(|u| matches!(u.revocation_status(), RevocationStatus::NotAsFarAsWeKnow));
    let mut emails: Vec<String> = live
        .filter_map(|u| u.userid().email().ok().flatten().map(str::to_lowercase))
        .collect();
    emails.sort();
    emails.dedup();
    emails
}

/// Reads exactly one signature packet of an armored block that `object` has found well-framed.
///
/// # Errors
/// One sentence if the Base64, its checksum or the packets are not well-formed,
/// or if there is anything but one signature packet.
pub fn read_signature(armored: &[u8]) -> Result<Signature, &'static str> {
    let bytes = dearmor(armored)?;
    let parser = PacketParserBuilder::from_bytes(&bytes)
        .and_then(|builder| builder.dearmor(Dearmor::Disabled).max_recursion_depth(0).build());
    let Ok(PacketParserResult::Some(parser)) = parser else {
        return Err("there is no OpenPGP packet in the armor");
    };
    match parser.next() {
        Ok((Packet::Signature(signature), PacketParserResult::EOF(_))) => match signature.version() {
            4 | 6 => Ok(signature),
            _ => Err("the signature is of an obsolete version"),
        },
        Ok((Packet::Signature(_), _)) => Err("more than one packet is in the armor"),
        Ok(_) => Err("the packet in the armor is no signature"),
        Err(_) => Err("the packet in the armor is not well-formed"),
    }
}

fn dearmor(armored: &[u8]) -> Result<Vec<u8>, &'static str> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let body = memchr::memmem::find(armored, b"\n\n").ok_or("no empty line begins the armor's data")?;
    let mut data = Vec::new();
    let mut checksum = None;
    let lines = armored[body + 2..].split(|&b| b == b'\n');
    for line in lines.take_while(|line| !line.starts_with(b"-----")) {
        match line.strip_prefix(b"=") {
            _ if checksum.is_some() => return Err("lines follow the armor's checksum"),
            Some(sum) => checksum = Some(sum),
            None => data.extend_from_slice(line),
        }
    }
    let bytes = base64
        .decode(data)
        .map_err(|_| "the armor's Base64 is not well-formed")?;
    let expected = crc24(&bytes).to_be_bytes();
    match checksum.map(|sum| base64.decode(sum)) {
        None => Ok(bytes),
        Some(Ok(sum)) if sum == expected[1..] => Ok(bytes),
        Some(_) => Err("the armor's checksum does not fit"),
    }
}

/// <https://www.rfc-editor.org/rfc/rfc9580#section-6.1.1>
fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x00b7_04ce, |sum, &byte| {
        (0..8).fold(sum ^ (u32::from(byte) << 16), |sum, _| {
            let shifted = sum << 1;
            if shifted & 0x0100_0000 == 0 {
                shifted
            } else {
                (shifted ^ 0x0186_4cfb) & 0x00ff_ffff
            }
        })
    })
}

/// Sequoia's clock type; times before 1970 become 1970.
pub(super) fn system_time(moment: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(moment.unix()).unwrap_or(0))
}
