//! The status of attestations after they were issued: IETF Token Status List.
//!
//! In scope: packing, writing and strictly reading the signed list (JWT,
//! `typ: statuslist+jwt`, ES256, two bits an entry) with our `log` claim, by
//! which anyone can recompute the list from the log. Out of scope: which entry
//! has which status (`worker`), and judging (`verify`).
//! <https://datatracker.ietf.org/doc/draft-ietf-oauth-status-list/>

use crate::attest::PublicKey;
use crate::push::Timestamp;
use crate::tlog::Hash;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// The most bytes of a signed list that are read: a million entries with one in a thousand flagged need 3 KB.
pub const LONGEST_LIST: usize = 4 << 20;

/// The most bytes that a list may inflate to: 64 million entries. Stops a decompression bomb.
const LONGEST_INFLATED: u64 = 16 << 20;

/// Seconds by which a list may claim to be from the future: clocks differ.
const SKEW: i64 = 60;

/// The one header that is written and accepted, but for `kid`.
const TYP: &str = "statuslist+jwt";

/// The status of one attestation. Ordered by gravity: `Valid < Inherited < Reopened < Revoked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// What it says may be relied on.
    Valid,
    /// An ancestor of its revision was re-opened.
    Inherited,
    /// It is suspended.
    Reopened,
    /// It is void for good.
    Revoked,
}

impl Status {
    /// Its two bits.
    pub fn bits(self) -> u8 {
        match self {
            Status::Valid => 0,
            Status::Revoked => 1,
            Status::Reopened => 2,
            Status::Inherited => 3,
        }
    }

    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Status::Valid,
            1 => Status::Revoked,
            2 => Status::Reopened,
            _ => Status::Inherited,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Valid => "valid",
            Status::Inherited => "inherited",
            Status::Reopened => "re-opened",
            Status::Revoked => "revoked",
        })
    }
}

/// The claims of a status list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The list's URI, to which attestations point.
    pub sub: String,
    /// When it was made, seconds since 1970.
    pub iat: i64,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// For how many seconds a copy may be kept before asking again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// The list.
    pub status_list: Packed,
    /// The log's head from which it was made.
    pub log: LogClaim,
}

/// A packed list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Bits an entry: 2.
    pub bits: u8,
    /// base64url(zlib(bytes)), least significant bits first.
    pub lst: String,
}

/// The log's head from which a list was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogClaim {
    /// The log's name.
    pub origin: String,
    /// Its number of leaves.
    pub size: u64,
    /// Its root hash, base64.
    pub root: String,
}

impl LogClaim {
    /// The claim for a log's head.
    pub fn new(origin: &str, size: u64, root: &Hash) -> Self {
        Self {
            origin: origin.to_owned(),
            size,
            root: STANDARD.encode(root),
        }
    }
}

/// Packs statuses, the one of index 0 first.
///
/// Rounded up to whole bytes with `Reopened`, so that an index just beyond the end is not read as valid.
pub fn pack(statuses: &[Status]) -> Packed {
    let place = |four: &[Status], at: usize| four.get(at).map_or(Status::Reopened, |s| *s).bits() << (2 * at);
    let bytes: Vec<u8> = statuses
        .chunks(4)
        .map(|four| (0..4).fold(0, |byte, at| byte | place(four, at)))
        .collect();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    // Writing to a Vec cannot fail; were it to, the empty list rejects every index.
    let deflated = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    Packed {
        bits: 2,
        lst: URL_SAFE_NO_PAD.encode(deflated.unwrap_or_default()),
    }
}

impl Claims {
    /// What is signed: `base64url(header).base64url(claims)`.
    pub fn signing_input(&self, key_id: &str) -> String {
        let header = serde_json::json!({ "alg": "ES256", "kid": key_id, "typ": TYP });
        let claims = serde_json::to_vec(self).unwrap_or_default();
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims)
        )
    }
}

/// Joins what was signed and its signature (`r || s`, 64 bytes) to a compact JWT.
pub fn token(signing_input: &str, signature: &[u8]) -> String {
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Why a status list is refused, or does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// It has not the required form.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The signature does not fit the key.
    #[error("its signature does not fit the trusted key")]
    BadSignature,
    /// It is another list than the attestation points at.
    #[error("it is the list {found}, the attestation points at {wanted}")]
    OtherList {
        /// The list's `sub`.
        found: String,
        /// The attestation's pointer.
        wanted: String,
    },
    /// Its time is over.
    #[error("it is out of date since {0}")]
    Expired(Timestamp),
    /// It is older than the caller accepts.
    #[error("it is {age} seconds old, more than the {most} accepted")]
    Stale {
        /// Its age in seconds.
        age: i64,
        /// The most accepted.
        most: i64,
    },
    /// It claims to be from the future.
    #[error("it claims to be made at {0}, which is in the future")]
    Future(Timestamp),
    /// An older list than one that was seen before.
    #[error("it is of log size {found}, a list or checkpoint of size {seen} was seen before")]
    Rollback {
        /// Its log size.
        found: u64,
        /// The largest size seen.
        seen: u64,
    },
    /// The index is beyond the list's end.
    #[error("index {index} is beyond its end ({length})")]
    OutOfRange {
        /// The index asked for.
        index: u64,
        /// The number of places.
        length: u64,
    },
}

/// What a list must satisfy.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The URI that the attestation points at.
    pub uri: &'a str,
    /// The present time.
    pub now: Timestamp,
    /// The largest log size seen before, in a list or a checkpoint; 0 if none.
    pub largest_log_size: u64,
    /// The most seconds that the list may be old, if the environment demands more than the list's own end.
    pub max_age: Option<i64>,
}

/// A list whose signature, name, time and log size were checked. Only [`VerifiedList::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedList {
    bytes: Vec<u8>,
    claims: Claims,
}

impl VerifiedList {
    /// Checks a signed list.
    ///
    /// Without `exp` the list ends `ttl` seconds after `iat`; without both it is refused.
    ///
    /// # Errors
    /// [`StatusError`], all but `OutOfRange`.
    pub fn open(jwt: &str, key: &PublicKey, demand: Demand<'_>) -> Result<Self, StatusError> {
        let claims = read_signed(jwt.trim_end(), key)?;
        demand.check(&claims)?;
        let bytes = unpack(&claims.status_list)?;
        Ok(Self { bytes, claims })
    }

    /// The status at an index.
    ///
    /// # Errors
    /// [`StatusError::OutOfRange`]: an index that the list does not have is never valid.
    pub fn status(&self, index: u64) -> Result<Status, StatusError> {
        let length = self.bytes.len() as u64 * 4;
        let byte = usize::try_from(index / 4).ok().and_then(|at| self.bytes.get(at));
        let byte = byte.ok_or(StatusError::OutOfRange { index, length })?;
        Ok(Status::from_bits(byte >> (index % 4 * 2)))
    }

    /// The list's claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

impl Demand<'_> {
    fn check(&self, claims: &Claims) -> Result<(), StatusError> {
        if claims.sub != self.uri {
            return Err(StatusError::OtherList {
                found: printable(&claims.sub),
                wanted: printable(self.uri),
            });
        }
        let now = self.now.unix();
        if claims.iat > now.saturating_add(SKEW) {
            return Err(StatusError::Future(Timestamp::from_unix(claims.iat)));
        }
        let end = claims.exp.or(claims.ttl.map(|ttl| claims.iat.saturating_add(ttl)));
        let end = end.ok_or(StatusError::Malformed("it has neither exp nor ttl"))?;
        if now >= end {
            return Err(StatusError::Expired(Timestamp::from_unix(end)));
        }
        let age = now.saturating_sub(claims.iat);
        if let Some(most) = self.max_age.filter(|most| age > *most) {
            return Err(StatusError::Stale { age, most });
        }
        if claims.log.size < self.largest_log_size {
            return Err(StatusError::Rollback {
                found: claims.log.size,
                seen: self.largest_log_size,
            });
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

/// Checks the header and the signature before the claims are read.
fn read_signed(jwt: &str, key: &PublicKey) -> Result<Claims, StatusError> {
    if jwt.len() > LONGEST_LIST {
        return Err(StatusError::Malformed("longer than 4 MiB"));
    }
    let parts: Vec<&str> = jwt.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        return Err(StatusError::Malformed("not three parts"));
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part);
    let not_base64 = |_| StatusError::Malformed("a part is not base64url");
    let parsed: Header = serde_json::from_slice(&decode(header).map_err(not_base64)?)
        .map_err(|_| StatusError::Malformed("its header is not that of a status list"))?;
    if parsed.alg != "ES256" || parsed.typ != TYP || parsed.crit.is_some() {
        return Err(StatusError::Malformed("its header is not ES256 and statuslist+jwt"));
    }
    let signed = &jwt[..header.len() + 1 + claims.len()];
    if !key.verifies_fixed(signed.as_bytes(), &decode(signature).map_err(not_base64)?) {
        return Err(StatusError::BadSignature);
    }
    serde_json::from_slice(&decode(claims).map_err(not_base64)?)
        .map_err(|_| StatusError::Malformed("its claims lack sub, iat, status_list or log"))
}

fn unpack(packed: &Packed) -> Result<Vec<u8>, StatusError> {
    if packed.bits != 2 {
        return Err(StatusError::Malformed("it has not two bits an entry"));
    }
    let deflated = URL_SAFE_NO_PAD
        .decode(&packed.lst)
        .map_err(|_| StatusError::Malformed("lst is not base64url"))?;
    let mut bytes = Vec::new();
    ZlibDecoder::new(deflated.as_slice())
        .take(LONGEST_INFLATED + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| StatusError::Malformed("lst is not zlib"))?;
    if bytes.len() as u64 > LONGEST_INFLATED {
        return Err(StatusError::Malformed("lst inflates to more than 16 MiB"));
    }
    Ok(bytes)
}

/// A foreign text for a message: at most 120 characters, none of them a control character.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{Signature, SigningKey};
    use p256::pkcs8::EncodePublicKey;

    const URI: &str = "https://entry.example.com/gate/v1/status/1";

    fn key(seed: u8) -> (SigningKey, PublicKey) {
        let signing = SigningKey::from_slice(&[seed; 32]).unwrap();
        let spki = signing.verifying_key().to_public_key_der().unwrap();
        (signing, PublicKey::from_der(spki.as_bytes()).unwrap())
    }

    fn sign(claims: &Claims) -> String {
        let input = claims.signing_input("id");
        let signature: Signature = key(7).0.sign(input.as_bytes());
        token(&input, &signature.to_bytes())
    }

    fn claims(statuses: &[Status]) -> Claims {
        Claims {
            sub: URI.into(),
            iat: 1000,
            exp: Some(2000),
            ttl: Some(300),
            status_list: pack(statuses),
            log: LogClaim::new("example.com/log", 9, &[1; 32]),
        }
    }

    fn demand(now: i64) -> Demand<'static> {
        Demand {
            uri: URI,
            now: Timestamp::from_unix(now),
            largest_log_size: 9,
            max_age: None,
        }
    }

    fn open(claims: &Claims, demand: Demand<'_>) -> Result<VerifiedList, StatusError> {
        VerifiedList::open(&sign(claims), &key(7).1, demand)
    }

    #[test]
    fn the_drafts_own_example_packs_the_same() {
        // Section 4.1 of the draft, bits=2: 1,2,0,3,0,1,0,1,1,2,3,3 are the bytes C9 44 F9.
        let bits = [1u8, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3];
        let packed = pack(&bits.map(Status::from_bits));
        assert_eq!(unpack(&packed).unwrap(), [0xc9, 0x44, 0xf9]);
    }

    #[test]
    fn a_million_entries_stay_small_and_read_back() {
        let mut list = vec![Status::Valid; 1_000_000];
        (0..1000).for_each(|i| list[(i * 7919) % 1_000_000] = Status::Reopened);
        let jwt = sign(&claims(&list));
        assert!(jwt.len() < 8000, "{}", jwt.len());
        let read = VerifiedList::open(&jwt, &key(7).1, demand(1500)).unwrap();
        assert_eq!(read.status(7919).unwrap(), Status::Reopened);
        assert_eq!(read.status(1).unwrap(), Status::Valid);
        let beyond = read.status(1_000_000).unwrap_err();
        assert!(matches!(beyond, StatusError::OutOfRange { .. }));
        assert!(read.status(u64::MAX).is_err());
    }

    #[test]
    fn time_name_and_rollback_are_judged() {
        let good = claims(&[Status::Valid]);
        assert!(open(&good, demand(1000)).is_ok());
        assert_eq!(
            open(&good, demand(2000)),
            Err(StatusError::Expired(Timestamp::from_unix(2000)))
        );
        assert_eq!(
            open(&good, demand(900)),
            Err(StatusError::Future(Timestamp::from_unix(1000)))
        );
        let strict = Demand {
            max_age: Some(300),
            ..demand(1301)
        };
        assert_eq!(open(&good, strict), Err(StatusError::Stale { age: 301, most: 300 }));
        let seen = Demand {
            largest_log_size: 10,
            ..demand(1500)
        };
        assert_eq!(open(&good, seen), Err(StatusError::Rollback { found: 9, seen: 10 }));
        let other = Demand {
            uri: "https://other",
            ..demand(1500)
        };
        assert!(matches!(open(&good, other), Err(StatusError::OtherList { .. })));
        let short = Claims {
            exp: None,
            ..good.clone()
        };
        assert!(open(&short, demand(1299)).is_ok());
        assert!(matches!(open(&short, demand(1300)), Err(StatusError::Expired(_))));
        let endless = Claims {
            exp: None,
            ttl: None,
            ..good
        };
        assert!(matches!(open(&endless, demand(1001)), Err(StatusError::Malformed(_))));
    }

    #[test]
    fn forgeries_and_bombs_are_refused() {
        let jwt = sign(&claims(&[Status::Revoked]));
        let refused = |jwt: &str| VerifiedList::open(jwt, &key(7).1, demand(1500)).unwrap_err();
        let other = VerifiedList::open(&jwt, &key(8).1, demand(1500));
        assert_eq!(other, Err(StatusError::BadSignature));
        let parts: Vec<&str> = jwt.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"statuslist+jwt"}"#);
        assert!(matches!(
            refused(&format!("{none}.{}.", parts[1])),
            StatusError::Malformed(_)
        ));
        let valid = sign(&claims(&[Status::Valid]));
        let mixed = format!("{}.{}.{}", parts[0], valid.split('.').nth(1).unwrap(), parts[2]);
        assert_eq!(refused(&mixed), StatusError::BadSignature);
        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; 17 << 20]).unwrap();
        let mut bombed = claims(&[]);
        bombed.status_list.lst = URL_SAFE_NO_PAD.encode(bomb.finish().unwrap());
        assert!(matches!(refused(&sign(&bombed)), StatusError::Malformed(_)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_refused(text: String) {
            proptest::prop_assert!(VerifiedList::open(&text, &key(7).1, demand(1500)).is_err());
        }

        #[test]
        fn any_list_reads_back(bits in proptest::collection::vec(0u8..4, 1..200)) {
            let list: Vec<Status> = bits.iter().map(|b| Status::from_bits(*b)).collect();
            let read = open(&claims(&list), demand(1500)).unwrap();
            for (index, status) in list.iter().enumerate() {
                proptest::prop_assert_eq!(read.status(index as u64).unwrap(), *status);
            }
        }
    }
}
