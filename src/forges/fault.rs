//! What a forge's refusal means: wait, or it will not work.
//!
//! In scope: status, limit headers, the wording of GitHub's secondary limit.
//! Out of scope: waiting. No word of an answer's body goes into an error.

use super::client::Answer;
use crate::port::ForgeError;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// There is nothing at that path, or nothing that we may see.
pub(super) const NOT_FOUND: &str = "not-found";
/// It is not there any more, and does not come back.
pub(super) const GONE: &str = "gone";
/// The credential was refused.
pub(super) const UNAUTHORIZED: &str = "credentials-refused";
/// The call collides with what is there, or with another's call at the same time.
pub(super) const CONFLICT: &str = "conflict";
/// The call is well-formed, and refused for what it asks.
pub(super) const UNPROCESSABLE: &str = "unprocessable";
/// Seconds to wait when a limit does not say how long.
const UNSAID: u64 = 60;
/// No limit makes us wait longer than this at a time.
const LONGEST: u64 = 3_600;

/// An error to try again after.
pub(super) fn later(after_seconds: u64, why: impl Into<String>) -> ForgeError {
    ForgeError::Later {
        after_seconds,
        why: why.into(),
    }
}

/// An error that repetition does not mend.
pub(super) fn refused(code: &'static str, why: impl Into<String>) -> ForgeError {
    ForgeError::Refused { code, why: why.into() }
}

/// What an answer other than 2xx means.
pub(super) struct Verdict {
    pub(super) error: ForgeError,
    /// Seconds for which nobody in the same lane may call.
    pub(super) limit: Option<u64>,
}

/// Judges an answer other than 2xx to `call`.
pub(super) fn judge(call: &str, answer: &Answer) -> Verdict {
    let status = answer.status.as_u16();
    if let Some(seconds) = limited(answer) {
        return Verdict {
            error: later(seconds, format!("{call}: rate limit ({status})")),
            limit: Some(seconds),
        };
    }
    let (code, meaning) = match status {
        401 => (UNAUTHORIZED, "the credential was refused".to_owned()),
        403 => ("permission-missing", needs(answer)),
        404 => (NOT_FOUND, "not there, or not visible to us".to_owned()),
        409 => (CONFLICT, "it collides with the present state".to_owned()),
        410 => (GONE, "it is gone".to_owned()),
        400 | 422 => (UNPROCESSABLE, "refused for what it asks".to_owned()),
        408 | 425 | 500..=599 => {
            let error = later(
                said(answer).unwrap_or(5),
                format!("{call}: the forge answered {status}"),
            );
            return Verdict { error, limit: None };
        }
        _ => ("unexpected-answer", "an answer that we do not know".to_owned()),
    };
    Verdict {
        error: refused(code, format!("{call}: {meaning} ({status})")),
        limit: None,
    }
}

/// Seconds of a rate limit, primary or secondary; `None`: it is none.
///
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>
fn limited(answer: &Answer) -> Option<u64> {
    let status = answer.status.as_u16();
    if status != 429 && status != 403 {
        return None;
    }
    if let Some(seconds) = said(answer) {
        return Some(seconds);
    }
    if ["x-ratelimit-remaining", "ratelimit-remaining"]
        .iter()
        .any(|name| answer.header(name) == Some("0"))
    {
        return Some(until_reset(answer).unwrap_or(UNSAID).clamp(1, LONGEST));
    }
    let secondary = || answer.says("secondary rate limit") || answer.says("abuse detection");
    (status == 429 || secondary()).then_some(UNSAID)
}

fn said(answer: &Answer) -> Option<u64> {
    let seconds: u64 = answer.header("retry-after")?.trim().parse().ok()?;
    Some(seconds.clamp(1, LONGEST))
}

/// From the forge's own clock to the forge's own reset: ours has no part in it.
fn until_reset(answer: &Answer) -> Option<u64> {
    let reset = ["x-ratelimit-reset", "ratelimit-reset"]
        .iter()
        .find_map(|name| answer.header(name))?;
    let reset: i64 = reset.trim().parse().ok()?;
    u64::try_from(reset - date(answer)?).ok()
}

/// The forge's clock, seconds since 1970.
pub(super) fn date(answer: &Answer) -> Option<i64> {
    let text = answer.header("date")?.replace("GMT", "+0000");
    OffsetDateTime::parse(&text, &Rfc2822)
        .ok()
        .map(OffsetDateTime::unix_timestamp)
}

/// The permission that GitHub says is needed, such as `checks=write`.
fn needs(answer: &Answer) -> String {
    let named = answer.header("x-accepted-github-permissions").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-=,; ".contains(c);
    match !named.is_empty() && named.len() <= 200 && named.chars().all(plain) {
        true => format!("it needs the permission {named}"),
        false => "a permission is missing".to_owned(),
    }
}
