//! Sends spans to a collector by OTLP over HTTP, as JSON.
//!
//! In scope: batches, the encoding, one POST each. Out of scope: TLS and
//! credentials: the collector is an agent beside the service, which forwards. What
//! cannot be sent is dropped: work never waits for its own observation.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use crate::pipeline::lane::Journal;
use crate::pipeline::trace::{Span, Traces};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// Spans that wait for the next batch; more are dropped.
const MOST: usize = 2048;
/// How long a batch gathers.
const GATHER: Duration = Duration::from_secs(2);
/// Longest that one POST may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A span with the time at which it ended, nanoseconds since 1970.
struct Ended {
    span: Span,
    at: u128,
}

/// Takes all spans and sends them until told to stop; the last batch is sent then.
///
/// * `endpoint`: `host:port` of the collector.
/// * `owner`: names this process.
pub(super) fn start(
    traces: &Traces,
    endpoint: String,
    owner: String,
    journal: Journal,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + use<> {
    let (send, receive) = mpsc::channel(MOST);
    traces.take(move |span| {
        // A full channel drops it.
        let _ = send.try_send(Ended {
            span,
            at: nanoseconds(),
        });
    });
    export(endpoint, owner, journal, receive, stop)
}

#[expect(clippy::disallowed_methods, reason = "commands read the clock")]
fn nanoseconds() -> u128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

async fn export(
    endpoint: String,
    owner: String,
    journal: Journal,
    mut receive: mpsc::Receiver<Ended>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut batch, mut sent) = (Vec::new(), 0);
    loop {
        let stopped = tokio::select! {
            () = tokio::time::sleep(GATHER) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        while let Ok(ended) = receive.try_recv() {
            batch.push(ended);
        }
        if !batch.is_empty() {
            let body = encoded(&batch, &owner, sent).to_string();
            sent += batch.len();
            batch.clear();
            let posted = tokio::time::timeout(PATIENCE, post(&endpoint, &body)).await;
            if let Err(why) = posted.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                journal("traces-dropped", &[("collector", endpoint.clone()), ("why", why)]);
            }
        }
        if stopped {
            return;
        }
    }
}

async fn post(endpoint: &str, body: &str) -> Result<(), String> {
    let say = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(endpoint).await.map_err(say)?;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.map_err(say)?;
    stream.write_all(body.as_bytes()).await.map_err(say)?;
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).await.map_err(say)?;
    match answer.starts_with(b"HTTP/1.1 2") {
        true => Ok(()),
        false => Err("the collector refuses it".to_owned()),
    }
}

/// An `ExportTraceServiceRequest`.
fn encoded(batch: &[Ended], owner: &str, sent: usize) -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let span = |(position, ended): (usize, &Ended)| {
        let span = &ended.span;
        let number = Sha256::digest(format!("{owner} {}", sent + position).as_bytes());
        let code = if span.ok { 1 } else { 2 };
        json!({
            "traceId": crate::decision::hex(&span.trace),
            "spanId": crate::decision::hex(&number[..8]),
            "name": span.name,
            "kind": 1,
            "startTimeUnixNano": (ended.at - span.took.as_nanos().min(ended.at)).to_string(),
            "endTimeUnixNano": ended.at.to_string(),
            "attributes": span.fields.iter().map(|(key, value)| text(key, value)).collect::<Vec<_>>(),
            "status": { "code": code },
        })
    };
    let resource = [text("service.name", "lychgate"), text("service.instance.id", owner)];
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": "lychgate", "version": env!("CARGO_PKG_VERSION") },
            "spans": batch.iter().enumerate().map(span).collect::<Vec<_>>(),
        }],
    }] })
}
