//! Webhook deliveries that failed, asked for again: GitHub itself never repeats one.
//!
//! In scope: the App's own hook. Out of scope: what else was missed (the sweep
//! of open changes mends that).
//!
//! <https://docs.github.com/en/rest/apps/webhooks>

use super::session::AsApp;
use super::wire::HookDelivery;
use crate::forges::client::{Call, Session};
use crate::port::ForgeError;
use crate::push::Timestamp;
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;

/// A delivery that failed this often is left alone: the sweep has what it would tell.
const MOST_ATTEMPTS: usize = 5;

/// Asks for every delivery since then that never got through.
pub(super) async fn redeliver(app: &AsApp<'_>, since: Timestamp) -> Result<u32, ForgeError> {
    let mut recent = Vec::new();
    app.pages("/app/hook/deliveries?per_page=100", |page: Vec<HookDelivery>| {
        let listed = page.len();
        let before = recent.len();
        recent.extend(page.into_iter().filter(|delivery| is_recent(delivery, since)));
        // Newest first: the first that is too old is the last to look at.
        recent.len() == before + listed
    })
    .await?;
    let mut asked = 0;
    for id in lost(&recent) {
        let call = Call::write(Method::POST, format!("/app/hook/deliveries/{id}/attempts"), json!({}));
        app.send(&call).await?;
        asked += 1;
    }
    Ok(asked)
}

/// A time that cannot be read counts as recent.
fn is_recent(delivery: &HookDelivery, since: Timestamp) -> bool {
    delivery.delivered_at.parse().map_or(true, |at: Timestamp| at >= since)
}

/// The newest attempt of each delivery that never got a 2xx, oldest first.
fn lost(deliveries: &[HookDelivery]) -> Vec<u64> {
    let mut by_guid: BTreeMap<&str, Vec<&HookDelivery>> = BTreeMap::new();
    for delivery in deliveries {
        by_guid.entry(&delivery.guid).or_default().push(delivery);
    }
    let failed = |attempts: &Vec<&HookDelivery>| {
        attempts.len() < MOST_ATTEMPTS
            && attempts
                .iter()
                .all(|attempt| !(200..300).contains(&attempt.status_code))
    };
    let newest = |attempts: Vec<&HookDelivery>| attempts.iter().map(|attempt| attempt.id).max();
    let mut ids: Vec<u64> = by_guid.into_values().filter(failed).filter_map(newest).collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: u64, guid: &str, status_code: i64) -> HookDelivery {
        HookDelivery {
            id,
            guid: guid.to_owned(),
            delivered_at: "2026-11-24T07:30:46.123Z".to_owned(),
            status_code,
        }
    }

    #[test]
    fn only_what_never_got_through() {
        let mut all = vec![
            delivery(1, "never", 502),
            delivery(2, "later", 500),
            delivery(3, "later", 202),
            delivery(4, "never", 0),
            delivery(5, "fine", 200),
        ];
        assert_eq!(lost(&all), [4]);
        all.extend((6..9).map(|id| delivery(id, "never", 504)));
        assert_eq!(lost(&all), Vec::<u64>::new());
        assert!(is_recent(&all[0], "2026-11-24T07:30:46Z".parse().unwrap()));
        assert!(!is_recent(&all[0], "2026-11-24T07:30:47Z".parse().unwrap()));
    }
}
