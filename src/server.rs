//! The bot's door: HTTP in, the inbox behind it.
//!
//! In scope: bounds, who may enter, durable acceptance before the 2xx, health and
//! metrics. Out of scope: any work on a delivery (`pipeline::lane`), TLS (a
//! reverse proxy's). Answers say nothing that the sender does not know.
//!
//! | path | answer |
//! | --- | --- |
//! | `POST /hooks/FORGE` | 202 stored, 200 was stored before, 400 cannot be read, 401 not signed by a secret of ours, 404 no such forge, 408 too slow, 413 too large, 503 not stored: deliver it again |
//! | `GET /healthz` | 200 while the process runs |
//! | `GET /readyz` | 200 if the store answers, 503 if not or while draining |
//! | `GET /metrics` | Prometheus text |

use crate::forge::ForgeKind;
use crate::pipeline::lane::Journal;
use crate::pipeline::metrics::{Count, Metrics};
use crate::port::{Delivery, Queue};
use crate::push::Timestamp;
use crate::webhook::{self, MAX_BODY, Refused};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::routing::{get, post};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

/// Longest that a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Bytes that one permit stands for, and permits: together the memory that bodies may take, 256 MiB.
const PERMIT: usize = 64 << 10;
const PERMITS: usize = 4096;
/// Longest that a delivery may wait for memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// How one forge knocks.
pub struct Hook {
    /// Its kind; the request's headers never choose it.
    pub kind: ForgeKind,
    /// The secrets that are valid now; at least one.
    pub secrets: Vec<SecretString>,
}

/// What the door needs.
pub struct Door<Q> {
    /// The durable inbox.
    pub queue: Arc<Q>,
    /// The forges by their names in the URL path.
    pub hooks: BTreeMap<String, Hook>,
    /// The clock.
    pub clock: fn() -> Timestamp,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Rung when a delivery was stored.
    pub bell: Arc<Notify>,
    /// The log.
    pub journal: Journal,
}

struct Shared<Q> {
    door: Door<Q>,
    memory: Semaphore,
    stop: watch::Receiver<bool>,
}

/// Serves until told to stop; requests under way are answered first.
///
/// # Errors
/// The listener's.
pub async fn serve<Q: Queue + 'static>(
    door: Door<Q>,
    listener: TcpListener,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut told = stop.clone();
    let shared = Arc::new(Shared {
        door,
        memory: Semaphore::new(PERMITS),
        stop,
    });
    let router = Router::new()
        .route("/hooks/{forge}", post(hook::<Q>))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<Q>))
        .route("/metrics", get(metrics::<Q>))
        .with_state(shared);
    let stopped = async move {
        // An error means that the sender is gone, which ends us as well.
        let _ = told.wait_for(|stop| *stop).await;
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

async fn ready<Q: Queue>(State(shared): State<Arc<Shared<Q>>>) -> (StatusCode, &'static str) {
    if *shared.stop.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match shared.door.queue.ping().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
    }
}

async fn metrics<Q: Queue>(State(shared): State<Arc<Shared<Q>>>) -> ([(header::HeaderName, &'static str); 1], String) {
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    ([kind], shared.door.metrics.text())
}

async fn hook<Q: Queue>(
    State(shared): State<Arc<Shared<Q>>>,
    Path(forge): Path<String>,
    request: Request<Body>,
) -> (StatusCode, &'static str) {
    let begun = Instant::now();
    let door = &shared.door;
    let Some(hook) = door.hooks.get(&forge) else {
        return (StatusCode::NOT_FOUND, "no such forge\n");
    };
    let (parts, body) = request.into_parts();
    let expected = match length(&parts.headers) {
        Ok(expected) => expected,
        Err(answer) => return door.refuse(Count::RefusedTooLarge, &forge, answer),
    };
    let permits = u32::try_from(expected.div_ceil(PERMIT)).unwrap_or(u32::MAX);
    let Ok(Ok(_memory)) = tokio::time::timeout(PATIENCE, shared.memory.acquire_many(permits)).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy: deliver it again\n");
    };
    let body = match tokio::time::timeout(ARRIVAL, axum::body::to_bytes(body, expected)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return door.refuse(Count::RefusedTooLarge, &forge, TOO_LARGE),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "too slow\n"),
    };
    let answer = door.receive(&forge, hook, &parts.headers, body).await;
    if answer.0.is_success() {
        door.metrics.accepted_in(begun.elapsed());
    }
    answer
}

const TOO_LARGE: (StatusCode, &str) = (StatusCode::PAYLOAD_TOO_LARGE, "more than 25 MiB\n");

/// Bytes that the body may have: what it announces, or the most that is allowed.
fn length(headers: &HeaderMap) -> Result<usize, (StatusCode, &'static str)> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    match announced {
        Some(bytes) if bytes > MAX_BODY => Err(TOO_LARGE),
        other => Ok(other.unwrap_or(MAX_BODY).max(1)),
    }
}

impl<Q: Queue> Door<Q> {
    fn refuse(&self, count: Count, forge: &str, answer: (StatusCode, &'static str)) -> (StatusCode, &'static str) {
        self.metrics.count(count);
        let why = answer.1.trim_end().to_owned();
        (self.journal)("delivery-refused", &[("forge", forge.to_owned()), ("why", why)]);
        answer
    }

    async fn receive(&self, forge: &str, hook: &Hook, headers: &HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
        let now = (self.clock)();
        let header = |name: &str| -> Option<String> { headers.get(name)?.to_str().ok().map(str::to_owned) };
        let incoming = webhook::verify(hook.kind, &header, &body, &hook.secrets, now)
            .and_then(|()| webhook::read(hook.kind, forge, &header, &body));
        let incoming = match incoming {
            Ok(incoming) => incoming,
            Err(refused) => return self.unwelcome(forge, hook.kind, refused),
        };
        let delivery = Delivery {
            forge: forge.to_owned(),
            delivery: incoming.delivery,
            received_at: now,
            event: incoming.event,
        };
        match self.queue.accept(&delivery).await {
            Ok(true) => {
                self.metrics.count(Count::Accepted);
                self.bell.notify_one();
                (StatusCode::ACCEPTED, "stored\n")
            }
            Ok(false) => {
                self.metrics.count(Count::Duplicate);
                (StatusCode::OK, "was stored before\n")
            }
            Err(outage) => {
                self.metrics.count(Count::StoreDown);
                (self.journal)(
                    "store-down",
                    &[("code", outage.code.to_owned()), ("why", outage.to_string())],
                );
                (StatusCode::SERVICE_UNAVAILABLE, "not stored: deliver it again\n")
            }
        }
    }

    fn unwelcome(&self, forge: &str, kind: ForgeKind, refused: Refused) -> (StatusCode, &'static str) {
        match refused {
            Refused::Unsigned => self.refuse(
                Count::RefusedUnsigned,
                forge,
                (StatusCode::UNAUTHORIZED, "not signed\n"),
            ),
            Refused::BadSignature | Refused::Stale => self.refuse(
                Count::RefusedSignature,
                forge,
                (StatusCode::UNAUTHORIZED, "the signature does not fit\n"),
            ),
            // GitLab switches a hook off after four failures in a row, and what is signed but of no use to us is none.
            Refused::NoDelivery | Refused::Unreadable if kind == ForgeKind::Gitlab => {
                self.refuse(Count::RefusedUnreadable, forge, (StatusCode::OK, "of no use here\n"))
            }
            Refused::NoDelivery | Refused::Unreadable => self.refuse(
                Count::RefusedUnreadable,
                forge,
                (StatusCode::BAD_REQUEST, "cannot be read\n"),
            ),
        }
    }
}
