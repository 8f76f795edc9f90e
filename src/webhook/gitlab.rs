//! GitLab's events and its two ways to say who sent them.
//! <https://docs.gitlab.com/user/project/integrations/webhook_events/>

use super::{Headers, MAX_SKEW, Needs, Refused, Verifier, commanded, ignored, json, oid, pushed, same_secret};
use crate::forge::{ForgeEvent, ForgeRepo};
use crate::push::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// How Standard Webhooks marks a signing key. <https://www.standardwebhooks.com/>
const SIGNING: &str = "whsec_";
/// Most signatures of one request: one for each key of a rotation.
const MOST_SIGNATURES: usize = 16;

/// Everything that the request carries must fit: the signature, the token, or both.
pub(super) fn verifier(headers: Headers<'_>, secrets: &[SecretString], now: Timestamp) -> Result<Verifier, Refused> {
    let plain = || secrets.iter().map(ExposeSecret::expose_secret);
    let keys: Vec<&str> = plain().filter_map(|secret| secret.strip_prefix(SIGNING)).collect();
    let tokens: Vec<&str> = plain().filter(|secret| !secret.starts_with(SIGNING)).collect();
    let signature = headers("webhook-signature").filter(|_| !keys.is_empty());
    let token = headers("x-gitlab-token").filter(|_| !tokens.is_empty());
    if signature.is_none() && token.is_none() {
        return Err(Refused::Unsigned);
    }
    if let Some(token) = token {
        let fits = tokens
            .iter()
            .fold(false, |found, known| same_secret(known, &token) | found);
        fits.then_some(()).ok_or(Refused::BadSignature)?;
    }
    match signature {
        Some(signature) => signed(headers, &keys, &signature, now),
        None => Ok(Verifier::keyed(std::iter::empty(), Vec::new(), Needs::Nothing)),
    }
}

fn signed(headers: Headers<'_>, keys: &[&str], signature: &str, now: Timestamp) -> Result<Verifier, Refused> {
    let id = headers("webhook-id").ok_or(Refused::BadSignature)?;
    let time = headers("webhook-timestamp").ok_or(Refused::BadSignature)?;
    let seconds: i64 = time.parse().map_err(|_| Refused::Stale)?;
    let fresh = now.unix().abs_diff(seconds) <= MAX_SKEW.unsigned_abs();
    fresh.then_some(()).ok_or(Refused::Stale)?;
    let decode = |text: &str| STANDARD.decode(text).ok();
    let given = signature.split(' ').take(MOST_SIGNATURES);
    let tags = given.filter_map(|it| decode(it.strip_prefix("v1,")?)).collect();
    let keys: Vec<Vec<u8>> = keys.iter().filter_map(|key| decode(key)).collect();
    let mut verifier = Verifier::keyed(keys.iter().map(Vec::as_slice), tags, Needs::Any);
    verifier.update(format!("{id}.{time}.").as_bytes());
    Ok(verifier)
}

/// GitLab names a delivery since it signs; before, the bytes themselves do.
pub(super) fn delivery(headers: Headers<'_>, body: &[u8]) -> String {
    let named = headers("webhook-id").or_else(|| headers("idempotency-key"));
    named.unwrap_or_else(|| {
        let event = headers("x-gitlab-event-uuid").unwrap_or_default();
        let digest = Sha256::new().chain_update(event).chain_update(body).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payload {
    object_kind: Option<String>,
    event_name: Option<String>,
    project: Option<Project>,
    object_attributes: Option<Attributes>,
    merge_request: Option<MergeRequest>,
    user: Option<User>,
    #[serde(rename = "ref")]
    name: Option<String>,
    before: Option<String>,
    user_username: Option<String>,
    after: Option<String>,
}

#[derive(Deserialize)]
struct Project {
    id: u64,
    path_with_namespace: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Attributes {
    id: Option<u64>,
    iid: Option<u64>,
    action: Option<String>,
    note: Option<String>,
    merge_commit_sha: Option<String>,
    squash_commit_sha: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MergeRequest {
    iid: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct User {
    username: Option<String>,
}

pub(super) fn event(forge: &str, body: &[u8]) -> Result<ForgeEvent, Refused> {
    let payload: Payload = json(body)?;
    let kind = payload.object_kind.as_deref().or(payload.event_name.as_deref());
    match kind.unwrap_or_default() {
        "merge_request" => payload.change(forge),
        "note" => Ok(payload.note(forge).unwrap_or_else(|| ignored("note"))),
        "push" | "tag_push" => {
            let ids = (payload.before.as_deref(), payload.after.as_deref());
            let event = pushed(
                payload.repo(forge)?,
                payload.name.as_deref(),
                ids,
                payload.user_username.clone(),
            );
            Ok(event.unwrap_or_else(|| ignored("push")))
        }
        other => Ok(ignored(other)),
    }
}

impl Payload {
    fn repo(&self, forge: &str) -> Result<ForgeRepo, Refused> {
        let project = self.project.as_ref().ok_or(Refused::Unreadable)?;
        Ok(ForgeRepo {
            forge: forge.to_owned(),
            id: project.id,
            full_name: project.path_with_namespace.chars().take(512).collect(),
            installation: None,
        })
    }

    fn change(&self, forge: &str) -> Result<ForgeEvent, Refused> {
        let about = self.object_attributes.as_ref().ok_or(Refused::Unreadable)?;
        let (repo, number) = (self.repo(forge)?, about.iid.ok_or(Refused::Unreadable)?);
        let merged = || about.merge_commit_sha.as_deref().or(about.squash_commit_sha.as_deref());
        Ok(match about.action.as_deref().unwrap_or_default() {
            "close" => ForgeEvent::ChangeClosed {
                repo,
                number,
                merged_as: None,
            },
            "merge" => ForgeEvent::ChangeClosed {
                repo,
                number,
                merged_as: oid(merged()),
            },
            _ => ForgeEvent::ChangeTouched { repo, number },
        })
    }

    fn note(&self, forge: &str) -> Option<ForgeEvent> {
        let about = self.object_attributes.as_ref()?;
        if about.action.as_deref().is_some_and(|action| action != "create") {
            return None;
        }
        let by = self.user.as_ref()?.username.clone()?;
        let number = self.merge_request.as_ref()?.iid?;
        commanded(self.repo(forge).ok()?, number, by, about.id?, about.note.as_deref()?)
    }
}
