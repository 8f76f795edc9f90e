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
//! | `GET /readyz` | 200 if the store answers, 503 if not or while draining; and a line for each repository that cannot be judged as configured, which holds the others up in nothing |
//! | `GET /metrics` | Prometheus text |

mod body;
mod inbox;

use crate::forge::ForgeKind;
use crate::pipeline::lane::Journal;
use crate::pipeline::metrics::{Count, Metrics, depth_text};
use crate::port::{Delivery, Queue};
use crate::push::Timestamp;
use crate::webhook::{self, MAX_BODY, Refused, Verifier};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::routing::{get, post};
use body::Memory;
use inbox::Inbox;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

/// Status and text.
type Answer = (StatusCode, &'static str);

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
    inbox: Inbox,
    memory: Memory,
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
        inbox: Inbox::new(Arc::clone(&door.queue)),
        door,
        memory: Memory::default(),
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

async fn ready<Q: Queue>(State(shared): State<Arc<Shared<Q>>>) -> (StatusCode, String) {
    let (status, word) = match *shared.stop.borrow() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        false => (StatusCode::OK, "ready"),
    };
    let (status, word) = match shared.door.queue.ping().await {
        Err(_) if status.is_success() => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer"),
        _ => (status, word),
    };
    let faults = shared.door.metrics.faults();
    let told: String = faults.iter().map(|fault| format!("unusable: {fault}\n")).collect();
    (status, format!("{word}\n{told}"))
}

async fn metrics<Q: Queue>(State(shared): State<Arc<Shared<Q>>>) -> ([(header::HeaderName, &'static str); 1], String) {
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    let mut text = shared.door.metrics.text();
    // While the store is away its gauges are absent, never zero.
    if let Ok(depth) = shared.door.queue.depth().await {
        text.push_str(&depth_text(&depth, (shared.door.clock)()));
    }
    ([kind], text)
}

async fn hook<Q: Queue>(
    State(shared): State<Arc<Shared<Q>>>,
    Path(forge): Path<String>,
    request: Request<Body>,
) -> Answer {
    let begun = Instant::now();
    let answer = shared
        .receive(&forge, request, begun)
        .await
        .unwrap_or_else(|answer| answer);
    if answer.0.is_success() {
        shared.door.metrics.accepted_in(begun.elapsed());
    }
    answer
}

const TOO_LARGE: Answer = (StatusCode::PAYLOAD_TOO_LARGE, "more than 25 MiB\n");

/// What the body announces as its length.
fn announced(headers: &HeaderMap) -> Result<Option<usize>, Answer> {
    let value = headers.get(header::CONTENT_LENGTH);
    let length: Option<usize> = value.and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        Some(bytes) if bytes > MAX_BODY => Err(TOO_LARGE),
        length => Ok(length),
    }
}

impl<Q: Queue> Shared<Q> {
    async fn receive(&self, forge: &str, request: Request<Body>, begun: Instant) -> Result<Answer, Answer> {
        let door = &self.door;
        let hook = door
            .hooks
            .get(forge)
            .ok_or((StatusCode::NOT_FOUND, "no such forge\n"))?;
        let (parts, body) = request.into_parts();
        let unwelcome = |refused| door.unwelcome(forge, hook.kind, refused);
        let counted = |answer: Answer| match answer {
            TOO_LARGE => door.refuse(Count::RefusedTooLarge, forge, TOO_LARGE),
            other => other,
        };
        let now = (door.clock)();
        let header = |name: &str| -> Option<String> { parts.headers.get(name)?.to_str().ok().map(str::to_owned) };
        let length = announced(&parts.headers).map_err(counted)?;
        let mut verifier = Verifier::new(hook.kind, &header, &hook.secrets, now).map_err(unwelcome)?;
        let arrived = self.memory.read(body, length, &mut verifier).await.map_err(counted)?;
        verifier.finish().map_err(unwelcome)?;
        let incoming = webhook::read(hook.kind, forge, &header, &arrived.bytes).map_err(unwelcome)?;
        drop(arrived);
        let delivery = Delivery {
            forge: forge.to_owned(),
            delivery: incoming.delivery,
            received_at: now,
            event: incoming.event,
        };
        let seed = delivery.seed();
        let answer = self.store(delivery).await;
        let traces = &door.metrics.traces;
        traces.end("accept", &seed, begun, answer.0.is_success(), &[("forge", forge)]);
        Ok(answer)
    }

    async fn store(&self, delivery: Delivery) -> Answer {
        let door = &self.door;
        let is_work = !delivery.event.asks_for_nothing();
        match self.inbox.put(delivery).await {
            Ok(true) => {
                door.metrics.count(Count::Accepted);
                if is_work {
                    door.bell.notify_one();
                }
                (StatusCode::ACCEPTED, "stored\n")
            }
            Ok(false) => {
                door.metrics.count(Count::Duplicate);
                (StatusCode::OK, "was stored before\n")
            }
            Err(outage) => {
                door.metrics.count(Count::StoreDown);
                (door.journal)(
                    "store-down",
                    &[("code", outage.code.to_owned()), ("why", outage.to_string())],
                );
                (StatusCode::SERVICE_UNAVAILABLE, "not stored: deliver it again\n")
            }
        }
    }
}

impl<Q: Queue> Door<Q> {
    fn refuse(&self, count: Count, forge: &str, answer: Answer) -> Answer {
        self.metrics.count(count);
        let why = answer.1.trim_end().to_owned();
        (self.journal)("delivery-refused", &[("forge", forge.to_owned()), ("why", why)]);
        answer
    }

    fn unwelcome(&self, forge: &str, kind: ForgeKind, refused: Refused) -> Answer {
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
                (
                    StatusCode::BAD_REQUEST,
                    "cannot be read: is the webhook's content type application/json?\n",
                ),
            ),
        }
    }
}
