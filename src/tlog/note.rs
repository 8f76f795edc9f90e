//! Checkpoints as signed notes, and the offline proof text.
//!
//! In scope: writing and strictly reading <https://c2sp.org/tlog-checkpoint>
//! (signature lines of the ECDSA type, as Sigstore's logs have them) and
//! <https://c2sp.org/tlog-proof>. Out of scope: witnesses' cosignatures, which
//! are carried but not judged.

use super::tree::Hash;
use crate::attest::PublicKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The most bytes of a checkpoint or proof text that are read: 64 hashes and 16 signatures need fewer.
pub const LONGEST_NOTE: usize = 32 * 1024;

/// The first line of a proof text.
const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why a checkpoint or proof text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It has not the required form; says where.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// No signature line is by the key under the origin's name.
    #[error("no signature by the key under the log's origin")]
    Unsigned,
    /// The signature does not fit.
    #[error("the signature does not fit the checkpoint")]
    BadSignature,
}

/// What a checkpoint says: under this origin, the tree of this size has this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's unique name: no scheme, no space, no `+`.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// The root hash.
    pub root: Hash,
}

/// A checkpoint whose signature fits. Only [`Checkpoint::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint(Checkpoint);

impl std::ops::Deref for VerifiedCheckpoint {
    type Target = Checkpoint;

    fn deref(&self) -> &Checkpoint {
        &self.0
    }
}

impl Checkpoint {
    /// The text that is signed: `origin\nsize\nroot\n`.
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// The signed note.
    ///
    /// * `spki`: the signing key's SubjectPublicKeyInfo in DER.
    /// * `signature`: over [`Checkpoint::body`], ECDSA, DER.
    pub fn signed(&self, spki: &[u8], signature: &[u8]) -> String {
        let line = STANDARD.encode([&key_hash(spki)[..], signature].concat());
        format!("{}\n— {} {line}\n", self.body(), self.origin)
    }

    /// Reads a signed note and checks its signature.
    ///
    /// Every line under the origin's name with this key's hash must fit, and there must be one; others are not judged.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open(text: &str, key: &PublicKey) -> Result<VerifiedCheckpoint, NoteError> {
        if text.len() > LONGEST_NOTE {
            return Err(NoteError::Malformed("longer than 32 KiB"));
        }
        let split = text.find("\n\n").ok_or(NoteError::Malformed("no blank line"))?;
        let (body, signatures) = (&text[..=split], &text[split + 2..]);
        let checkpoint = Self::parse_body(body)?;
        let mut found = false;
        for signature in own_signatures(signatures, &checkpoint.origin, key)? {
            if !key.verifies(body.as_bytes(), &signature) {
                return Err(NoteError::BadSignature);
            }
            found = true;
        }
        if found {
            Ok(VerifiedCheckpoint(checkpoint))
        } else {
            Err(NoteError::Unsigned)
        }
    }

    fn parse_body(body: &str) -> Result<Self, NoteError> {
        let lines: Vec<&str> = body.strip_suffix('\n').unwrap_or(body).split('\n').collect();
        let [origin, size, root] = lines[..] else {
            return Err(NoteError::Malformed("not exactly origin, size and root"));
        };
        if !is_key_name(origin) {
            return Err(NoteError::Malformed(
                "origin is empty or has a space, a + or a control character",
            ));
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: parse_decimal(size).ok_or(NoteError::Malformed("size is no decimal number"))?,
            root: parse_hash(root).ok_or(NoteError::Malformed("root is not 32 bytes in base64"))?,
        })
    }
}

/// Whether a text can name a key or a log: not empty, no white space, no control character, no `+`.
pub fn is_key_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 1024 && !text.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control())
}

/// The offline proof that a leaf is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The leaf's index.
    pub index: u64,
    /// The audit path, lowest sibling first.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, unchecked: [`Checkpoint::open`] checks it.
    pub checkpoint: String,
}

impl Proof {
    /// The proof text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{PROOF_HEADER}\nindex {}\n", self.index);
        for hash in &self.hashes {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a proof text. An `extra` line is skipped: nothing vouches for it.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        if text.len() > LONGEST_NOTE {
            return Err(NoteError::Malformed("longer than 32 KiB"));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(NoteError::Malformed("no blank line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(PROOF_HEADER) {
            return Err(NoteError::Malformed("first line is not c2sp.org/tlog-proof@v1"));
        }
        lines.next_if(|line| line.starts_with("extra "));
        let index = lines
            .next()
            .and_then(|line| parse_decimal(line.strip_prefix("index ")?))
            .ok_or(NoteError::Malformed("no index line"))?;
        let hashes = lines
            .map(parse_hash)
            .collect::<Option<Vec<_>>>()
            .filter(|hashes| hashes.len() <= 64)
            .ok_or(NoteError::Malformed(
                "a hash is not 32 bytes in base64, or there are more than 64",
            ))?;
        Ok(Self {
            index,
            hashes,
            checkpoint: checkpoint.to_owned(),
        })
    }
}

/// The first four bytes of SHA-256 of the key, by which Sigstore's logs name ECDSA keys.
fn key_hash(spki: &[u8]) -> [u8; 4] {
    let digest = Sha256::digest(spki);
    [digest[0], digest[1], digest[2], digest[3]]
}

/// The signatures that claim to be by `key` under `name`.
fn own_signatures(block: &str, name: &str, key: &PublicKey) -> Result<Vec<Vec<u8>>, NoteError> {
    let block = block
        .strip_suffix('\n')
        .ok_or(NoteError::Malformed("does not end with a signature line"))?;
    let (mut own, wanted) = (Vec::new(), key_hash(key.spki()));
    for line in block.split('\n') {
        let (signer, encoded) = line
            .strip_prefix("— ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or(NoteError::Malformed("a signature line is not `— name base64`"))?;
        let bytes = STANDARD.decode(encoded).ok().filter(|b| b.len() > 4);
        let bytes = bytes.ok_or(NoteError::Malformed("a signature is not base64 of more than 4 bytes"))?;
        if signer == name && bytes[..4] == wanted {
            own.push(bytes[4..].to_vec());
        }
    }
    Ok(own)
}

fn parse_decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| plain && shortest)
}

fn parse_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{DerSignature, SigningKey};
    use p256::pkcs8::EncodePublicKey;

    fn key() -> (SigningKey, PublicKey) {
        let signing = SigningKey::from_slice(&[7; 32]).unwrap();
        let spki = signing.verifying_key().to_public_key_der().unwrap();
        (signing, PublicKey::from_der(spki.as_bytes()).unwrap())
    }

    fn signed() -> (Checkpoint, String, PublicKey) {
        let (signing, public) = key();
        let checkpoint = Checkpoint {
            origin: "git.example.com/acme/pay".into(),
            size: 42,
            root: [9; 32],
        };
        let signature: DerSignature = signing.sign(checkpoint.body().as_bytes());
        let text = checkpoint.signed(public.spki(), signature.as_bytes());
        (checkpoint, text, public)
    }

    #[test]
    fn a_signed_checkpoint_opens() {
        let (checkpoint, text, public) = signed();
        assert_eq!(*Checkpoint::open(&text, &public).unwrap(), checkpoint);
        let witnessed = format!("{text}— witness.example AAAAAAAA\n");
        assert_eq!(*Checkpoint::open(&witnessed, &public).unwrap(), checkpoint);
    }

    #[test]
    fn a_changed_checkpoint_does_not() {
        let (_, text, public) = signed();
        let other = SigningKey::from_slice(&[8; 32]).unwrap();
        let other = other.verifying_key().to_public_key_der().unwrap();
        let other = PublicKey::from_der(other.as_bytes()).unwrap();
        assert_eq!(Checkpoint::open(&text, &other), Err(NoteError::Unsigned));
        assert_eq!(
            Checkpoint::open(&text.replace("\n42\n", "\n43\n"), &public),
            Err(NoteError::BadSignature)
        );
        for (from, to) in [
            ("\n42\n", "\n042\n"),
            ("\n42\n", "\n+42\n"),
            ("\n\n", "\nextension\n\n"),
            ("\n\n", "\n"),
            ("— ", "- "),
            ("CQk=", "CQkJ"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from:?}");
            let answer = Checkpoint::open(&changed, &public);
            assert!(matches!(answer, Err(NoteError::Malformed(_))), "{from:?}: {answer:?}");
        }
    }

    #[test]
    fn a_proof_reads_back() {
        let proof = Proof {
            index: 5,
            hashes: vec![[1; 32], [2; 32]],
            checkpoint: signed().1,
        };
        let text = proof.to_text();
        assert_eq!(Proof::parse(&text).unwrap(), proof);
        assert_eq!(
            Proof::parse(&text.replace("\nindex", "\nextra eA==\nindex")).unwrap(),
            proof
        );
        for (from, to) in [
            ("@v1", "@v2"),
            ("index 5", "index 05"),
            ("AQE=", "AQ=="),
            ("\n\n", "\n"),
        ] {
            assert!(Proof::parse(&text.replace(from, to)).is_err(), "{from}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_refused_or_read(text: String) {
            let _ = Checkpoint::open(&text, &key().1);
            let _ = Proof::parse(&text);
            let _ = Proof::parse(&format!("{PROOF_HEADER}\nindex 0\n{text}"));
        }
    }
}
