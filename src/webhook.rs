//! Webhooks' bytes: who sent them, and what they mean to us.
//!
//! In scope: the signature over the raw bytes, in constant time, under any of
//! several secrets; the delivery's id; the event, read by own small structs.
//! Out of scope: HTTP (`server`), and believing anything in a payload beyond
//! which change to look at: the change itself is read again from the forge.
//!
//! The kind of forge is the caller's, bound to the URL path: headers never choose it.

mod forgejo;
mod github;
mod gitlab;

use crate::forge::{ForgeEvent, ForgeKind, ForgeRepo};
use crate::push::{Oid, RefName, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Most bytes of a payload: GitHub's own cap. <https://docs.github.com/en/webhooks/webhook-events-and-payloads>
pub const MAX_BODY: usize = 25 << 20;
/// Most bytes of a delivery's id; every forge's is a UUID or shorter.
const MAX_DELIVERY: usize = 128;
/// Most characters of a chat command.
const MAX_COMMAND: usize = 4096;
/// Seconds by which a signed timestamp may differ from ours, as Standard Webhooks has it.
pub const MAX_SKEW: i64 = 300;

/// Why a delivery is not taken. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It carries no signature.
    #[error("it is not signed")]
    Unsigned,
    /// A signature that it carries is by none of the secrets.
    #[error("its signature does not fit")]
    BadSignature,
    /// Its signed time is too far from ours.
    #[error("its signed time is too far from this clock")]
    Stale,
    /// It has no usable delivery id.
    #[error("it has no usable delivery id")]
    NoDelivery,
    /// It is no JSON that we can read, or lacks what its event must have.
    #[error("its payload cannot be read")]
    Unreadable,
}

/// Looks up a header by its lower-case name.
pub type Headers<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A delivery as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The forge's id of it, at most 128 bytes.
    pub delivery: String,
    /// What it means.
    pub event: ForgeEvent,
}

/// Checks who sends a body while it comes in, so that it is hashed once and as it arrives.
///
/// What the headers alone show to be wrong is refused before a byte of the body is read.
pub struct Verifier {
    macs: Vec<Hmac<Sha256>>,
    tags: Vec<Vec<u8>>,
    needs: Needs,
}

/// Which of the tags must be by one of the secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Every,
    Any,
    /// The headers have shown it: there is nothing to hash.
    Nothing,
}

impl Verifier {
    /// Begins with the headers. Every signature that is there must fit one of the secrets, and one must be there.
    ///
    /// * `secrets`: all that are valid now; several while one takes another's place.
    /// * `now`: for forges that sign a time.
    ///
    /// # Errors
    /// [`Refused::Unsigned`], [`Refused::BadSignature`], [`Refused::Stale`].
    pub fn new(
        kind: ForgeKind,
        headers: Headers<'_>,
        secrets: &[SecretString],
        now: Timestamp,
    ) -> Result<Self, Refused> {
        match kind {
            ForgeKind::Github => hex_signatures(&["x-hub-signature-256"], headers, secrets),
            ForgeKind::Forgejo => hex_signatures(
                &["x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256"],
                headers,
                secrets,
            ),
            ForgeKind::Gitlab => gitlab::verifier(headers, secrets, now),
        }
    }

    /// A verifier whose tags must be MACs under one of the keys of all that follows.
    fn keyed<'a>(keys: impl Iterator<Item = &'a [u8]>, tags: Vec<Vec<u8>>, needs: Needs) -> Self {
        let macs = keys.filter_map(|key| Hmac::new_from_slice(key).ok()).collect();
        Self { macs, tags, needs }
    }

    /// Takes the next piece of the raw body.
    pub fn update(&mut self, piece: &[u8]) {
        self.macs.iter_mut().for_each(|mac| mac.update(piece));
    }

    /// Ends with the body. Tries every secret with every signature, each in constant time.
    ///
    /// # Errors
    /// [`Refused::BadSignature`].
    pub fn finish(self) -> Result<(), Refused> {
        let known: Vec<_> = self.macs.into_iter().map(|mac| mac.finalize().into_bytes()).collect();
        let fits = |tag: &Vec<u8>| {
            let each = known.iter().map(|mac| bool::from(mac.as_slice().ct_eq(tag)));
            each.fold(false, |found, fits| fits | found)
        };
        let fitting = self.tags.iter().filter(|tag| fits(tag)).count();
        let enough = match self.needs {
            Needs::Every => fitting == self.tags.len() && fitting > 0,
            Needs::Any => fitting > 0,
            Needs::Nothing => true,
        };
        enough.then_some(()).ok_or(Refused::BadSignature)
    }
}

/// As [`Verifier`], for a body that is at hand.
///
/// # Errors
/// [`Refused::Unsigned`], [`Refused::BadSignature`], [`Refused::Stale`].
pub fn verify(
    kind: ForgeKind,
    headers: Headers<'_>,
    body: &[u8],
    secrets: &[SecretString],
    now: Timestamp,
) -> Result<(), Refused> {
    let mut verifier = Verifier::new(kind, headers, secrets, now)?;
    verifier.update(body);
    verifier.finish()
}

/// Reads a verified delivery.
///
/// * `forge`: the forge's name in our configuration.
///
/// # Errors
/// [`Refused::NoDelivery`], [`Refused::Unreadable`].
pub fn read(kind: ForgeKind, forge: &str, headers: Headers<'_>, body: &[u8]) -> Result<Incoming, Refused> {
    let (delivery, event) = match kind {
        ForgeKind::Github => (headers("x-github-delivery"), github::event(forge, headers, body)?),
        ForgeKind::Forgejo => (
            headers("x-forgejo-delivery").or_else(|| headers("x-gitea-delivery")),
            forgejo::event(forge, headers, body)?,
        ),
        ForgeKind::Gitlab => (Some(gitlab::delivery(headers, body)), gitlab::event(forge, body)?),
    };
    let usable = |id: &String| !id.is_empty() && id.len() <= MAX_DELIVERY && id.bytes().all(|b| b.is_ascii_graphic());
    let delivery = delivery.filter(usable).ok_or(Refused::NoDelivery)?;
    Ok(Incoming { delivery, event })
}

fn hex_signatures(names: &[&str], headers: Headers<'_>, secrets: &[SecretString]) -> Result<Verifier, Refused> {
    let given: Vec<String> = names.iter().filter_map(|name| headers(name)).collect();
    if given.is_empty() {
        return Err(Refused::Unsigned);
    }
    let tag = |text: &String| unhex(text.strip_prefix("sha256=").unwrap_or(text));
    let tags: Option<Vec<_>> = given.iter().map(tag).collect();
    let keys = secrets.iter().map(|secret| secret.expose_secret().as_bytes());
    Ok(Verifier::keyed(keys, tags.ok_or(Refused::BadSignature)?, Needs::Every))
}

/// Compares digests, so that not even the length of a secret shows in the time.
fn same_secret(a: &str, b: &str) -> bool {
    Sha256::digest(a.as_bytes()).ct_eq(&Sha256::digest(b.as_bytes())).into()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if text.len() != 64 {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn json<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|_| Refused::Unreadable)
}

fn oid(text: Option<&str>) -> Option<Oid> {
    text?.parse().ok()
}

/// The text after `/lychgate ` at the start of a comment, bounded; `None` if it is no command.
fn command(text: &str) -> Option<String> {
    let rest = text.trim_start().strip_prefix("/lychgate")?;
    let first = rest.chars().next();
    if first.is_some_and(|c| !c.is_whitespace()) {
        return None;
    }
    Some(rest.trim().chars().take(MAX_COMMAND).collect())
}

/// A command's event.
fn commanded(repo: ForgeRepo, number: u64, by: String, comment: u64, text: &str) -> Option<ForgeEvent> {
    let text = command(text)?;
    Some(ForgeEvent::Command {
        repo,
        number,
        by,
        comment,
        text,
    })
}

/// A push's event; a name that Git itself would refuse, or that is not in `refs/`, is not ours.
fn pushed(
    repo: ForgeRepo,
    name: Option<&str>,
    ids: (Option<&str>, Option<&str>),
    by: Option<String>,
) -> Option<ForgeEvent> {
    let name: RefName = name?.parse().ok()?;
    Some(ForgeEvent::Pushed {
        repo,
        name,
        old: oid(ids.0)?,
        new: oid(ids.1)?,
        by,
    })
}

fn ignored(event: &str) -> ForgeEvent {
    let event = event
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(64)
        .collect();
    ForgeEvent::Ignored { event }
}

#[cfg(test)]
mod tests;
