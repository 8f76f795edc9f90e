//! One HTTP client for all forges: bounded, timed, and silent about what it carries.
//!
//! In scope: one call and its repetition if it has no effect, redirects within
//! the forge (renamed repositories), pagination. Out of scope: who calls
//! ([`Session`] implementors in each forge's module), what a refusal means
//! ([`super::fault`]).

use super::fault::{later, refused};
use super::lane::Lane;
use super::{fault, link};
use crate::port::ForgeError;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use octocrab::Octocrab;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Most bytes of one answer: a page of 100 pull requests has about 3 MB.
const MOST_BODY: usize = 16 << 20;
/// Most pages of one listing: 10,000 items.
const MOST_PAGES: usize = 100;
/// Seconds that a forge which stumbled is left alone; what asks for more is not called again from here.
const STUMBLE: u64 = 5;
/// Redirects that one call follows.
const MOST_REDIRECTS: usize = 3;

/// How a forge is called: the waiting times.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Longest time for one call, connection and body included.
    pub patience: Duration,
    /// Between two calls with an effect under one installation or account; GitHub asks for one second.
    pub mutation_gap: Duration,
    /// Calls with an effect that may follow each other at once after a rest; with one each second more, 20 are the
    /// 80 a minute that GitHub allows.
    /// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>
    pub mutation_burst: u32,
    /// Before a call without effect is made again after 5xx or a broken connection; doubled the second time.
    pub retry_after: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            mutation_gap: Duration::from_secs(1),
            mutation_burst: 20,
            retry_after: Duration::from_millis(300),
        }
    }
}

/// One call. `path` is below the base and has its query.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<serde_json::Value>,
}

impl Call {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
        }
    }

    pub(super) fn write(method: Method, path: impl Into<String>, body: serde_json::Value) -> Self {
        let body = Some(body);
        Self {
            method,
            path: path.into(),
            body,
        }
    }

    /// A write without a body.
    pub(super) fn bare(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
        }
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::bare(Method::DELETE, path)
    }

    /// Method and path for people: without the query.
    pub(super) fn name(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{} {}", self.method, path)
    }

    /// The whole call for people: method, path and body. Only for calls that carry no secret.
    pub(super) fn told(&self) -> String {
        let body = self.body.as_ref().map_or(String::new(), |body| format!(" {body}"));
        format!("{} {}{body}", self.method, self.path)
    }

    fn has_no_effect(&self) -> bool {
        self.method == Method::GET
    }
}

/// What came back. No `Debug`: a body may hold a token.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
    call: String,
}

impl Answer {
    /// Reads the body as JSON. The parser's own words are dropped: they quote the body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ForgeError> {
        serde_json::from_slice(&self.body)
            .map_err(|_| later(60, format!("{}: the answer is not what the API describes", self.call)))
    }

    /// The `message` of an error, to tell limits from refusals; never shown.
    pub(super) fn says(&self, what: &str) -> bool {
        let start = &self.body[..self.body.len().min(4096)];
        String::from_utf8_lossy(start).to_ascii_lowercase().contains(what)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The header by which a caller shows who it is.
pub(super) struct Credential {
    pub(super) name: HeaderName,
    pub(super) value: SecretString,
}

impl Credential {
    pub(super) fn bearer(token: &SecretString) -> Self {
        Self::with_scheme("Bearer", token)
    }

    pub(super) fn with_scheme(scheme: &str, token: &SecretString) -> Self {
        Self {
            name: header::AUTHORIZATION,
            value: format!("{scheme} {}", token.expose_secret()).into(),
        }
    }

    fn header(&self) -> Result<HeaderValue, ForgeError> {
        let mut value = HeaderValue::from_str(self.value.expose_secret()).map_err(|_| {
            refused(
                "credentials-unreadable",
                "the token has a character that no header may have",
            )
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// A caller with an identity and a pace of its own.
pub(super) trait Session: Sync {
    /// Makes one call; an answer other than 2xx is an error.
    fn send(&self, call: &Call) -> impl Future<Output = Result<Answer, ForgeError>> + Send;

    /// The base of the API, by which `next` links are made relative.
    fn client(&self) -> &Client;

    fn get<T: DeserializeOwned>(&self, path: &str) -> impl Future<Output = Result<T, ForgeError>> + Send {
        async move { self.send(&Call::get(path)).await?.json() }
    }

    /// As [`Session::get`], with `None` where there is nothing (404).
    fn find<T: DeserializeOwned>(&self, path: &str) -> impl Future<Output = Result<Option<T>, ForgeError>> + Send {
        async move {
            match self.send(&Call::get(path)).await {
                Ok(answer) => answer.json().map(Some),
                Err(ForgeError::Refused {
                    code: fault::NOT_FOUND, ..
                }) => Ok(None),
                Err(why) => Err(why),
            }
        }
    }

    /// All pages of a listing, each asked for by this same session.
    ///
    /// `items` takes a page apart, and gives `false` to stop after it.
    fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        mut items: impl FnMut(T) -> bool + Send,
    ) -> impl Future<Output = Result<(), ForgeError>> + Send {
        async move {
            let mut next = Some(path.to_owned());
            for _ in 0..MOST_PAGES {
                let Some(path) = next.take() else { return Ok(()) };
                let answer = self.send(&Call::get(path)).await?;
                if !items(answer.json()?) {
                    return Ok(());
                }
                next = answer
                    .header("link")
                    .and_then(|header| link::next_below(header, &self.client().base));
            }
            Err(refused(
                "listing-too-long",
                format!(
                    "GET {}: more than {MOST_PAGES} pages",
                    path.split('?').next().unwrap_or_default()
                ),
            ))
        }
    }

    /// All items of a listing that is a plain array.
    fn list<T: DeserializeOwned + Send>(&self, path: &str) -> impl Future<Output = Result<Vec<T>, ForgeError>> + Send {
        async move {
            let mut all = Vec::new();
            self.pages(path, |page: Vec<T>| {
                all.extend(page);
                true
            })
            .await?;
            Ok(all)
        }
    }
}

/// The transport to one forge.
pub(super) struct Client {
    http: Octocrab,
    /// `https://host[/api/v3]`, without a slash at the end.
    pub(super) base: String,
    pub(super) manner: Manner,
    accept: &'static str,
}

impl Client {
    /// Makes a client of the base URL of an API. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// `base-url-wrong`, `client-unavailable` as [`ForgeError::Refused`].
    pub(super) fn new(base: &str, accept: &'static str, manner: Manner) -> Result<Self, ForgeError> {
        let wrong = |why: &str| refused("base-url-wrong", format!("the forge's base URL {why}"));
        let uri: http::Uri = base.parse().map_err(|_| wrong("is no URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a credential: put it where the settings ask for it"));
        }
        if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.query().is_some() {
            return Err(wrong("is not https://host/path"));
        }
        let http = Octocrab::builder()
            .set_connect_timeout(Some(manner.patience.min(Duration::from_secs(10))))
            .build()
            .map_err(|_| {
                refused(
                    "client-unavailable",
                    "no HTTP client: are the system's root certificates there?",
                )
            })?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            manner,
            accept,
        })
    }

    /// Makes one call in its lane's turn; repeats it if it has no effect and the forge stumbled.
    ///
    /// # Errors
    /// What [`fault::judge`] makes of an answer other than 2xx.
    pub(super) async fn call(&self, lane: &Lane, who: &Credential, call: &Call) -> Result<Answer, ForgeError> {
        lane.open(&call.name())?;
        let _turn = match call.has_no_effect() {
            true => None,
            false => Some(lane.turn().await),
        };
        let may_repeat = || call.has_no_effect() && lane.open(&call.name()).is_ok();
        let mut wait = self.manner.retry_after;
        for _ in 0..2 {
            match self.judged(lane, who, call).await {
                Err(ForgeError::Later { after_seconds, .. }) if after_seconds <= STUMBLE && may_repeat() => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                done => return done,
            }
        }
        self.judged(lane, who, call).await
    }

    async fn judged(&self, lane: &Lane, who: &Credential, call: &Call) -> Result<Answer, ForgeError> {
        let answer = self.follow(who, call).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let verdict = fault::judge(&call.name(), &answer);
        if let Some(seconds) = verdict.limit {
            lane.close_for(Duration::from_secs(seconds));
        }
        Err(verdict.error)
    }

    /// Follows redirects that stay below the base: a renamed or transferred repository.
    async fn follow(&self, who: &Credential, call: &Call) -> Result<Answer, ForgeError> {
        let mut call = call.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.timed(who, &call).await?;
            let keeps_method = matches!(answer.status.as_u16(), 307 | 308);
            let moved = keeps_method || (call.has_no_effect() && matches!(answer.status.as_u16(), 301 | 302));
            if !moved {
                return Ok(answer);
            }
            let to = answer.header("location").and_then(|to| link::below(to, &self.base));
            call.path = to.ok_or_else(|| {
                refused(
                    "redirected-away",
                    format!("{}: redirected to another place than the forge's API", call.name()),
                )
            })?;
        }
        Err(refused(
            "redirected-away",
            format!("{}: redirected in a circle", call.name()),
        ))
    }

    async fn timed(&self, who: &Credential, call: &Call) -> Result<Answer, ForgeError> {
        let limit = self.manner.patience;
        tokio::time::timeout(limit, self.once(who, call))
            .await
            .unwrap_or_else(|_| {
                Err(later(
                    10,
                    format!("{}: no answer in {} s", call.name(), limit.as_secs()),
                ))
            })
    }

    async fn once(&self, who: &Credential, call: &Call) -> Result<Answer, ForgeError> {
        let name = call.name();
        let mut request = http::Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.base, call.path))
            .header(header::USER_AGENT, "lychgate")
            .header(header::ACCEPT, self.accept)
            .header(&who.name, who.header()?);
        let body = match &call.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                body.to_string()
            }
            None => String::new(),
        };
        let request = request.body(body).map_err(|_| {
            refused(
                "request-unwritable",
                format!("{name}: the path cannot be written as a URL"),
            )
        })?;
        // The client's errors may quote what was sent: only the kind is kept.
        let response = self.http.execute(request).await;
        let response = response.map_err(|_| later(STUMBLE, format!("{name}: the forge cannot be reached")))?;
        let (head, body) = response.into_parts();
        let body = http_body_util::Limited::new(body, MOST_BODY).collect().await;
        let body = body.map_err(|_| {
            later(
                STUMBLE,
                format!("{name}: the answer broke off or is over {MOST_BODY} bytes"),
            )
        })?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes().to_vec(),
            call: name,
        })
    }
}
