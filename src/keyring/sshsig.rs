//! Reads armored SSH signatures and the OpenSSH certificates inside them.
//!
//! Strict: every length is checked, nothing may follow the last field, and the
//! certified bytes are taken as they are, never encoded again. Reads only;
//! whether a key counts is `ssh`'s question. Formats:
//! <https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig>,
//! <https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.certkeys>

use base64::Engine;
use signature::Verifier;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, Signature, SshSig};

/// Why a text is no signature that we verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not well-formed; one sentence, safe to print.
    #[error("{0}")]
    Malformed(&'static str),
    /// It uses an algorithm that is too weak or that we cannot verify.
    #[error("{0}")]
    Weak(&'static str),
}

use Refused::{Malformed, Weak};

/// A signature, read but not verified.
#[derive(Debug, Clone)]
pub struct SshSignature {
    /// The key that it says made it.
    pub key: PublicKey,
    /// The certificate that came instead of a bare key.
    pub certificate: Option<Certificate>,
    /// The namespace that it was made for.
    pub namespace: String,
    hash: HashAlg,
    signature: Signature,
}

/// An OpenSSH user or host certificate, read but not verified.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Its number, given by the authority; 0 if none.
    pub serial: u64,
    /// Whether it is for a user, not for a host.
    pub user: bool,
    /// For whom it is valid.
    pub principals: Vec<String>,
    /// First second at which it is valid, since 1970.
    pub valid_after: u64,
    /// First second at which it is no longer valid; the greatest number says never.
    pub valid_before: u64,
    /// Whether it has critical options, none of which we know.
    pub has_critical_options: bool,
    /// The authority's key.
    pub authority: PublicKey,
    signed: Vec<u8>,
    signature: Signature,
}

impl SshSignature {
    /// Whether the signature by [`Self::key`] fits the message.
    pub fn fits(&self, message: &[u8]) -> bool {
        SshSig::signed_data(&self.namespace, self.hash, message)
            .is_ok_and(|data| self.key.key_data().verify(&data, &self.signature).is_ok())
    }

    /// For a key on hardware: whether someone touched it. `true` for all other keys.
    pub fn touched(&self) -> bool {
        let bytes = self.signature.as_bytes();
        let flags = bytes.len().checked_sub(5).and_then(|at| bytes.get(at));
        !hardware(self.key.key_data()) || flags.is_some_and(|flags| flags & 1 == 1)
    }
}

impl Certificate {
    /// Whether the authority's signature fits the certificate.
    pub fn fits(&self) -> bool {
        self.authority.key_data().verify(&self.signed, &self.signature).is_ok()
    }
}

/// Reads an armored signature of at most 16 KiB that `object` has found well-framed.
///
/// # Errors
/// [`Refused::Malformed`], or [`Refused::Weak`] for DSA, SHA-1 and key types that are unknown here.
pub fn parse(armored: &[u8]) -> Result<SshSignature, Refused> {
    let blob = unarmor(armored)?;
    let body = blob
        .strip_prefix(b"SSHSIG")
        .ok_or(Malformed("it does not start with SSHSIG"))?;
    let mut fields = Fields(body);
    if fields.u32()? != 1 {
        return Err(Malformed("its version is not 1"));
    }
    let (key, certificate) = signer(fields.string()?)?;
    let namespace = fields.text()?;
    if !fields.string()?.is_empty() {
        return Err(Malformed("its reserved field is not empty"));
    }
    let hash = match fields.string()? {
        b"sha256" => HashAlg::Sha256,
        b"sha512" => HashAlg::Sha512,
        _ => return Err(Weak("its digest is neither sha256 nor sha512")),
    };
    let signature = raw_signature(fields.string()?)?;
    fields.end()?;
    Ok(SshSignature {
        key,
        certificate,
        namespace,
        hash,
        signature,
    })
}

fn unarmor(armored: &[u8]) -> Result<Vec<u8>, Refused> {
    let lines = armored
        .split(|&b| b == b'\n')
        .filter(|line| !line.starts_with(b"-----"));
    base64::engine::general_purpose::STANDARD
        .decode(lines.collect::<Vec<_>>().concat())
        .map_err(|_| Malformed("its Base64 is not well-formed"))
}

fn signer(blob: &[u8]) -> Result<(PublicKey, Option<Certificate>), Refused> {
    let mut fields = Fields(blob);
    let algorithm = fields.string()?;
    match algorithm.strip_suffix(b"-cert-v01@openssh.com") {
        None => Ok((public_key(blob)?, None)),
        Some(plain) => {
            let (key, certificate) = certificate(plain, &mut fields, blob)?;
            Ok((key, Some(certificate)))
        }
    }
}

/// Reads a certificate after its algorithm's name; `blob` is the whole of it.
fn certificate(plain: &[u8], fields: &mut Fields<'_>, blob: &[u8]) -> Result<(PublicKey, Certificate), Refused> {
    // Keys on hardware have their at-sign name in the certificate's: sk-…-cert-v01@openssh.com.
    let (name, key_fields): (&[u8], _) = match plain {
        b"ssh-ed25519" => (plain, 1),
        b"ssh-rsa" | b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" | b"ecdsa-sha2-nistp521" => (plain, 2),
        b"sk-ssh-ed25519" => (b"sk-ssh-ed25519@openssh.com", 2),
        b"sk-ecdsa-sha2-nistp256" => (b"sk-ecdsa-sha2-nistp256@openssh.com", 3),
        _ => return Err(Weak("its certificate is for a key of a kind that is not accepted")),
    };
    fields.string()?; // nonce
    let mut key = framed(name);
    for _ in 0..key_fields {
        key.extend(framed(fields.string()?));
    }
    let serial = fields.u64()?;
    let user = fields.u32()? == 1;
    fields.string()?; // key id: free text
    let principals = Fields(fields.string()?).all_texts()?;
    let (valid_after, valid_before) = (fields.u64()?, fields.u64()?);
    let has_critical_options = !fields.string()?.is_empty();
    fields.string()?; // extensions: leave to do something, none about signing
    fields.string()?; // reserved
    let authority = public_key(fields.string()?)?;
    let signed = blob[..blob.len() - fields.0.len()].to_vec();
    let signature = raw_signature(fields.string()?)?;
    fields.end()?;
    let certificate = Certificate {
        serial,
        user,
        principals,
        valid_after,
        valid_before,
        has_critical_options,
        authority,
        signed,
        signature,
    };
    Ok((public_key(&key)?, certificate))
}

/// Reads a bare key and refuses weak kinds: DSA, RSA below 2,048 bits, and what is unknown here.
fn public_key(blob: &[u8]) -> Result<PublicKey, Refused> {
    let key = PublicKey::from_bytes(blob).map_err(|_| Malformed("its public key is not well-formed"))?;
    match weakness(key.key_data()) {
        None => Ok(key),
        Some(why) => Err(Weak(why)),
    }
}

/// Why a key may not sign, if it may not.
pub(super) fn weakness(key: &KeyData) -> Option<&'static str> {
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => None,
        KeyData::Rsa(rsa) => match rsa.n.as_positive_bytes().map_or(0, bits) {
            ..2048 => Some("the RSA key has fewer than 2,048 bits"),
            2048..=4096 => None,
            _ => Some("the RSA key has more than 4,096 bits, which Lychgate does not verify"),
        },
        _ => Some("the key is neither Ed25519, ECDSA nor RSA"),
    }
}

fn bits(number: &[u8]) -> usize {
    let zeros = number.first().map_or(0, |byte| byte.leading_zeros() as usize);
    (number.len() * 8).saturating_sub(zeros)
}

fn hardware(key: &KeyData) -> bool {
    matches!(key, KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_))
}

fn raw_signature(blob: &[u8]) -> Result<Signature, Refused> {
    let mut fields = Fields(blob);
    let algorithm = fields.string()?;
    fields.string()?;
    if algorithm.starts_with(b"sk-") {
        fields.take(5)?; // flags and counter
    }
    fields.end()?;
    if algorithm == b"ssh-rsa" || algorithm == b"ssh-dss" {
        return Err(Weak("the signature is made with SHA-1"));
    }
    Signature::try_from(blob).map_err(|_| Malformed("the raw signature is not well-formed"))
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

/// What is left to read of an SSH structure: big-endian numbers, and strings after their length.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Refused> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("a field ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let mut number = [0; N];
        number.copy_from_slice(self.take(N)?);
        Ok(number)
    }

    fn u32(&mut self) -> Result<u32, Refused> {
        self.number().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Refused> {
        self.number().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], Refused> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn text(&mut self) -> Result<String, Refused> {
        let text = std::str::from_utf8(self.string()?).map_err(|_| Malformed("a name in it is not UTF-8"))?;
        if text.chars().any(char::is_control) {
            return Err(Malformed("a name in it has a control character"));
        }
        Ok(text.to_owned())
    }

    fn all_texts(&mut self) -> Result<Vec<String>, Refused> {
        let mut texts = Vec::new();
        while !self.0.is_empty() {
            texts.push(self.text()?);
        }
        Ok(texts)
    }

    fn end(&self) -> Result<(), Refused> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes follow its last field"))
        }
    }
}
