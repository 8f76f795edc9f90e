//! What GitHub's secret scanning says of a secret.
//!
//! In scope: whether it is in use, and which blobs hold it. Out of scope: the secret itself, which is never asked
//! for; places other than commits (issues, wikis), where nothing has entered.
//!
//! <https://docs.github.com/en/rest/secret-scanning/secret-scanning>

use crate::forge::{ForgeRepo, Leak};
use crate::forges::client::Session;
use crate::forges::path;
use crate::port::ForgeError;
use crate::push::Oid;
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Alert {
    state: String,
    /// As whoever issued the secret said at the last look.
    #[serde(default)]
    validity: Option<String>,
}

#[derive(Deserialize)]
struct Location {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    blob_sha: Option<Oid>,
}

pub(super) async fn leak(session: &impl Session, repo: &ForgeRepo, alert: u64) -> Result<Option<Leak>, ForgeError> {
    let at = format!("/repos/{}/secret-scanning/alerts/{alert}", path::repo(repo)?);
    let found: Option<Alert> = session.find(&format!("{at}?hide_secret=true")).await?;
    let Some(found) = found else { return Ok(None) };
    if found.state != "open" || found.validity.as_deref() != Some("active") {
        return Ok(Some(Leak::default()));
    }
    let places: Vec<Location> = session.list(&format!("{at}/locations?per_page=100")).await?;
    let commits = places.into_iter().filter(|place| place.kind == "commit");
    let blobs: BTreeSet<Oid> = commits.filter_map(|place| place.details.blob_sha).collect();
    Ok(Some(Leak {
        in_use: true,
        blobs: blobs.into_iter().collect(),
    }))
}
