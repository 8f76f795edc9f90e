//! DSSE envelopes and keyed Sigstore bundles.
//!
//! In scope: the bytes that are signed, the JSON forms, and the one way to a
//! payload: a signature that fits. Out of scope: what the payload means.
//! <https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md>

use super::{Malformed, PublicKey};
use base64::Engine;
use base64::alphabet::{STANDARD as STANDARD_ALPHABET, URL_SAFE as URL_SAFE_ALPHABET};
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

/// The payload type of every statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The media type of a Sigstore bundle.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The most bytes of an envelope or bundle that are read: an entry's is about 4 KiB.
pub const LONGEST_ENVELOPE: usize = 1 << 20;

/// The bytes that a signature covers: DSSE's pre-authentication encoding.
///
/// ```
/// let text = lychgate::attest::pae("http://example.com/HelloWorld", b"hello world");
/// assert_eq!(text, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
/// ```
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// A signed payload. The payload is out of reach until a signature fits: [`Envelope::open`].
///
/// Its JSON form ([`Envelope::to_json`]) is a leaf of the log, so it is the same for equal envelopes:
/// compact, members in this order, the standard base64 alphabet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload: Vec<u8>,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EnvelopeSignature {
    keyid: String,
    sig: Vec<u8>,
}

/// A payload whose signature fits one of the keys that the caller trusts. Only [`Envelope::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPayload {
    bytes: Vec<u8>,
    key: usize,
}

impl VerifiedPayload {
    /// The very bytes that were signed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which of the keys given to [`Envelope::open`] fits, from 0.
    pub fn key(&self) -> usize {
        self.key
    }
}

impl Envelope {
    /// Puts a payload and its one signature (DER) into an envelope.
    pub fn new(payload: Vec<u8>, keyid: String, sig: Vec<u8>) -> Self {
        Self {
            payload,
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![EnvelopeSignature { keyid, sig }],
        }
    }

    /// Reads an envelope's JSON. Either base64 alphabet is accepted, with or without padding.
    ///
    /// # Errors
    /// [`Malformed`] if it is longer than [`LONGEST_ENVELOPE`], is no envelope, has a payload type other
    /// than [`PAYLOAD_TYPE`], or has no signature or more than 16.
    pub fn parse(json: &[u8]) -> Result<Self, Malformed> {
        let raw: RawEnvelope = parse_json("DSSE envelope", json)?;
        raw.try_into()
    }

    /// The compact JSON form.
    pub fn to_json(&self) -> String {
        let raw = RawEnvelope::from(self);
        // A struct of strings always serialises.
        serde_json::to_string(&raw).unwrap_or_default()
    }

    /// Gives the payload out if a signature of one of the keys fits it.
    ///
    /// The key id is a hint that the attacker writes, so it is not looked at.
    pub fn open(&self, keys: &[&PublicKey]) -> Option<VerifiedPayload> {
        let message = pae(&self.payload_type, &self.payload);
        let fits = |key: &&PublicKey| self.signatures.iter().any(|s| key.verifies(&message, &s.sig));
        let key = keys.iter().position(fits)?;
        Some(VerifiedPayload {
            bytes: self.payload.clone(),
            key,
        })
    }

    /// SHA-256 of the payload, hex: by which other statements name this one.
    pub fn payload_digest(&self) -> String {
        super::sha256_hex(&self.payload)
    }

    /// The key id of the first signature; a hint, not to be trusted.
    pub fn key_hint(&self) -> &str {
        self.signatures.first().map_or("", |s| s.keyid.as_str())
    }
}

/// A keyed Sigstore bundle v0.3: an envelope with one signature, and the name of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The envelope.
    pub envelope: Envelope,
}

impl Bundle {
    /// Reads a bundle, or a bare envelope, from JSON.
    ///
    /// # Errors
    /// [`Malformed`] as for [`Envelope::parse`]; for a bundle also if its media type is not
    /// [`BUNDLE_TYPE`], its key hint is not its envelope's key id, or it has two signatures.
    pub fn parse(json: &[u8]) -> Result<Self, Malformed> {
        let raw: RawAny = parse_json("Sigstore bundle", json)?;
        match raw {
            RawAny::Bundle(bundle) => Self::of_raw(bundle),
            RawAny::Envelope(envelope) => Ok(Self {
                envelope: envelope.try_into()?,
            }),
        }
    }

    fn of_raw(raw: RawBundle) -> Result<Self, Malformed> {
        let bad = |why: &str| Err(Malformed::new("Sigstore bundle", why));
        if raw.media_type != BUNDLE_TYPE {
            return bad("its media type is not that of a v0.3 bundle");
        }
        let envelope = Envelope::try_from(raw.dsse_envelope)?;
        if envelope.signatures.len() != 1 {
            return bad("its envelope has not exactly one signature");
        }
        if raw.verification_material.public_key.hint != envelope.key_hint() {
            return bad("its key hint is not its envelope's key id");
        }
        Ok(Self { envelope })
    }

    /// The compact JSON form, on one line.
    pub fn to_json(&self) -> String {
        let raw = RawBundle {
            media_type: BUNDLE_TYPE.to_owned(),
            verification_material: RawMaterial {
                public_key: RawHint {
                    hint: self.envelope.key_hint().to_owned(),
                },
                tlog_entries: Vec::new(),
            },
            dsse_envelope: RawEnvelope::from(&self.envelope),
        };
        serde_json::to_string(&raw).unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
struct RawEnvelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
struct RawSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawAny {
    Bundle(RawBundle),
    Envelope(RawEnvelope),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBundle {
    media_type: String,
    verification_material: RawMaterial,
    dsse_envelope: RawEnvelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMaterial {
    public_key: RawHint,
    #[serde(default)]
    tlog_entries: Vec<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct RawHint {
    hint: String,
}

impl From<&Envelope> for RawEnvelope {
    fn from(envelope: &Envelope) -> Self {
        let signature = |s: &EnvelopeSignature| RawSignature {
            keyid: s.keyid.clone(),
            sig: STANDARD.encode(&s.sig),
        };
        Self {
            payload: STANDARD.encode(&envelope.payload),
            payload_type: envelope.payload_type.clone(),
            signatures: envelope.signatures.iter().map(signature).collect(),
        }
    }
}

impl TryFrom<RawEnvelope> for Envelope {
    type Error = Malformed;

    fn try_from(raw: RawEnvelope) -> Result<Self, Malformed> {
        let bad = |why: &str| Err(Malformed::new("DSSE envelope", why));
        if raw.payload_type != PAYLOAD_TYPE {
            return bad("its payload type is not application/vnd.in-toto+json");
        }
        if raw.signatures.is_empty() || raw.signatures.len() > 16 {
            return bad("it has no signature, or more than 16");
        }
        let signature = |s: RawSignature| {
            Ok(EnvelopeSignature {
                sig: decode_base64(&s.sig)?,
                keyid: s.keyid,
            })
        };
        Ok(Self {
            payload: decode_base64(&raw.payload)?,
            payload_type: raw.payload_type,
            signatures: raw.signatures.into_iter().map(signature).collect::<Result<_, _>>()?,
        })
    }
}

fn parse_json<'a, T: Deserialize<'a>>(what: &'static str, json: &'a [u8]) -> Result<T, Malformed> {
    if json.len() > LONGEST_ENVELOPE {
        return Err(Malformed::new(what, "it is longer than 1 MiB"));
    }
    serde_json::from_slice(json).map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        Malformed::new(what, format!("its JSON has not the required form at {place}"))
    })
}

/// Decodes either alphabet, padded or not, as DSSE requires of readers.
fn decode_base64(text: &str) -> Result<Vec<u8>, Malformed> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) {
        &URL_SAFE_ALPHABET
    } else {
        &STANDARD_ALPHABET
    };
    GeneralPurpose::new(alphabet, config)
        .decode(text)
        .map_err(|_| Malformed::new("DSSE envelope", "a member is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Envelope {
        Envelope::new(
            b"{\"a\":\"\xc3\xbf\xc3\xbe?>\"}".to_vec(),
            "id".into(),
            vec![0xfb, 0xef, 0xff, 1],
        )
    }

    #[test]
    fn reads_both_alphabets() {
        let json = sample().to_json();
        let payload = STANDARD.encode(&sample().payload);
        let other = |text: &str| text.replace('+', "-").replace('/', "_").replace('=', "");
        let url = json
            .replace(&payload, &other(&payload))
            .replace("++//AQ==", &other("++//AQ=="));
        assert_ne!(url, json);
        assert_eq!(Envelope::parse(json.as_bytes()).unwrap(), sample());
        assert_eq!(Envelope::parse(url.as_bytes()).unwrap(), sample());
        assert_eq!(Envelope::parse(url.as_bytes()).unwrap().to_json(), json);
    }

    #[test]
    fn a_bundle_reads_back() {
        let bundle = Bundle { envelope: sample() };
        assert_eq!(Bundle::parse(bundle.to_json().as_bytes()).unwrap(), bundle);
        assert!(!bundle.to_json().contains('\n'));
    }

    #[test]
    fn refuses_other_types_hints_and_counts() {
        let json = Bundle { envelope: sample() }.to_json();
        for (from, to) in [
            ("v0.3", "v0.2"),
            ("in-toto", "other"),
            ("{\"hint\":\"id\"}", "{\"hint\":\"di\"}"),
            ("\"signatures\":[", "\"signatures\":[{\"sig\":\"\"},"),
            ("\"sig\":\"", "\"sig\":\"!"),
        ] {
            let text = json.replace(from, to);
            assert_ne!(text, json, "{from}");
            assert!(Bundle::parse(text.as_bytes()).is_err(), "{from} → {to}");
        }
        assert!(Bundle::parse(&vec![b' '; LONGEST_ENVELOPE + 1]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(data: Vec<u8>) {
            let _ = Bundle::parse(&data);
        }

        #[test]
        fn any_envelope_reads_back(payload: Vec<u8>, keyid: String, sig: Vec<u8>) {
            let envelope = Envelope::new(payload, keyid, sig);
            proptest::prop_assert_eq!(Envelope::parse(envelope.to_json().as_bytes()).unwrap(), envelope);
        }
    }
}
