//! Judges SSH signatures by our own records: bare keys, and certificates of known authorities.
//!
//! Every time limit is compared with the receive time. The committer's date,
//! which the pusher writes, never makes a key valid.

use super::FolderKeyring;
use super::folder::{self, SshRecord};
use super::sshsig::{self, Certificate, Refused, SshSignature};
use super::verdict::{self, Verdict};
use crate::facts::{SignatureFact, SignatureState};
use crate::port::{Outage, Signed};
use crate::push::Timestamp;
use ssh_key::{HashAlg, PublicKey};

/// The namespace that Git signs in.
const NAMESPACE: &str = "git";

/// Lower-case hex of a key's SHA-256: the name of its file.
pub(super) fn hex(key: &PublicKey) -> String {
    let fingerprint = key.fingerprint(HashAlg::Sha256);
    fingerprint.as_bytes().iter().map(|b| format!("{b:02x}")).collect()
}

/// `SHA256:…`, as OpenSSH prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Judges one signature at the receive time.
pub(super) fn verify(
    keyring: &FolderKeyring,
    signed: Signed<'_>,
    received_at: Timestamp,
    skew: i64,
) -> Result<SignatureFact, Outage> {
    let signature = match sshsig::parse(signed.signature) {
        Ok(signature) => signature,
        Err(Refused::Malformed(why)) => return Ok(verdict::no_key(SignatureState::Malformed, why)),
        Err(Refused::Weak(why)) => return Ok(verdict::no_key(SignatureState::WeakAlgorithm, why)),
    };
    let mut fact = match &signature.certificate {
        None => bare(keyring, &signature, received_at)?,
        Some(certificate) => certified(keyring, &signature, certificate, received_at)?,
    };
    fact.key = Some(fingerprint(&signature.key));
    let state = if signature.namespace != NAMESPACE {
        Verdict::new(
            SignatureState::WrongUsage,
            format!("the signature is for namespace {:?}, not git", signature.namespace),
        )
    } else if !signature.fits(signed.payload) {
        Verdict::new(SignatureState::Bad, "the signature does not fit the signed bytes")
    } else if !signature.touched() {
        Verdict::new(SignatureState::WrongUsage, "the hardware key signed without a touch")
    } else {
        verdict::claimed_time(signed.claimed_at, received_at, skew)
    };
    // An unknown key's signature says nothing, whatever else is wrong with it.
    if fact.state != SignatureState::UnknownKey && !state.is_good() {
        fact.state = state.state;
        fact.detail = state.detail;
    }
    Ok(fact)
}

fn bare(keyring: &FolderKeyring, signature: &SshSignature, received_at: Timestamp) -> Result<SignatureFact, Outage> {
    let Some(record) = record(keyring, &signature.key)? else {
        return Ok(verdict::no_key(
            SignatureState::UnknownKey,
            "the keyring does not hold this SSH key",
        ));
    };
    let state = standing(&record, received_at).unwrap_or_else(|| match &record.account {
        _ if record.cert_authority => Verdict::new(
            SignatureState::Untrusted,
            "the key is a certificate authority's, which may certify but not sign",
        ),
        None => Verdict::new(SignatureState::Untrusted, "the key is bound to no account"),
        Some(account) => Verdict::new(SignatureState::Good, format!("a good SSH signature by {account}")),
    });
    Ok(state.fact(record.account, record.emails))
}

fn certified(
    keyring: &FolderKeyring,
    signature: &SshSignature,
    certificate: &Certificate,
    received_at: Timestamp,
) -> Result<SignatureFact, Outage> {
    let untrusted = |why: &str| Verdict::new(SignatureState::Untrusted, why);
    let authority = record(keyring, &certificate.authority)?.filter(|r| r.cert_authority);
    let Some(authority) = authority else {
        return Ok(untrusted("the keyring does not hold the authority that certified the key").fact(None, Vec::new()));
    };
    if !certificate.fits() {
        return Ok(untrusted("the authority's signature does not fit the certificate").fact(None, Vec::new()));
    }
    let own = record(keyring, &signature.key)?.and_then(|r| r.revocation);
    let revoked = own.is_some_and(|r| r.applies(received_at));
    let mut named = certificate
        .principals
        .iter()
        .filter(|p| authority.principals.iter().any(|w| matches(w, p)));
    let principal = named.next().cloned();
    let state = match standing(&authority, received_at) {
        Some(state) => state,
        None if revoked || authority.revoked_serials.contains(&certificate.serial) => Verdict::new(
            SignatureState::Revoked,
            "the keyring records the certified key as revoked",
        ),
        None if !certificate.user => Verdict::new(SignatureState::WrongUsage, "the certificate is a host's"),
        None if certificate.has_critical_options => untrusted("the certificate has critical options"),
        None if named.next().is_some() => untrusted("the certificate names several accounts of this authority"),
        None => match (&principal, during(certificate, received_at)) {
            (None, _) => untrusted("the authority may not certify any principal of the certificate"),
            (_, false) => Verdict::new(
                SignatureState::Expired,
                "the certificate is not valid at the receive time",
            ),
            (Some(account), true) => Verdict::new(
                SignatureState::Good,
                format!("a good SSH signature by {account}, certified"),
            ),
        },
    };
    let emails = principal
        .iter()
        .filter(|p| p.contains('@'))
        .map(|p| p.to_lowercase())
        .collect();
    Ok(state.fact(principal, emails))
}

/// What our record says against a key or authority at the receive time.
pub(super) fn standing(record: &SshRecord, received_at: Timestamp) -> Option<Verdict> {
    if let Some(revocation) = record.revocation.filter(|r| r.applies(received_at)) {
        return Some(verdict::revoked(revocation));
    }
    if record.valid_after.is_some_and(|t| received_at < t) {
        return Some(Verdict::new(
            SignatureState::OutsideTime,
            "the key is not yet valid at the receive time",
        ));
    }
    if let Some(end) = record.valid_before.filter(|&t| received_at >= t) {
        return Some(Verdict::new(
            SignatureState::Expired,
            format!("the key was valid before {end}"),
        ));
    }
    if !record.namespaces.iter().any(|n| n == NAMESPACE) {
        return Some(Verdict::new(
            SignatureState::WrongUsage,
            "the keyring does not let the key sign in namespace git",
        ));
    }
    None
}

fn during(certificate: &Certificate, received_at: Timestamp) -> bool {
    let now = u64::try_from(received_at.unix()).unwrap_or(0);
    certificate.valid_after <= now && now < certificate.valid_before
}

fn record(keyring: &FolderKeyring, key: &PublicKey) -> Result<Option<SshRecord>, Outage> {
    let path = keyring.folder.ssh_record(&hex(key));
    let Some(record) = folder::read_json::<SshRecord>(&path)? else {
        return Ok(None);
    };
    let same = |line: &String| PublicKey::from_openssh(line).is_ok_and(|held| held.key_data() == key.key_data());
    if record.key.as_ref().is_none_or(same) {
        Ok(Some(record))
    } else {
        Err(folder::unreadable(&path, "it holds another key than its name says"))
    }
}

/// Whether a text matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_principals() {
        assert!(matches("alice", "alice"));
        assert!(!matches("alice", "alice2"));
        assert!(matches("*@example.com", "a@example.com"));
        assert!(!matches("*@example.com", "a@example.com.evil"));
        assert!(matches("a*b*c", "a1b2b3c"));
        assert!(!matches("ab*b", "ab"));
        assert!(matches("*", ""));
    }
}
