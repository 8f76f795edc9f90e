//! Stateful stand-ins for forges, on a free port of the loopback interface.
//!
//! In scope: the server, the record of what was asked, and trouble on order
//! (an error before the effect, an answer lost after it, slowness). Out of
//! scope: what a forge knows and answers (one module a forge).

pub(crate) mod forgejo;
pub(crate) mod github;
pub(crate) mod gitlab;
pub(crate) mod shelf;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request as it came in.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `path` and the decoded value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.replace("%2F", "/"))
    }

    /// Path parts, percent-decoded as far as our names need it.
    pub(crate) fn parts(&self) -> Vec<String> {
        self.path
            .trim_matches('/')
            .split('/')
            .map(|part| part.replace("%2F", "/").replace("%2A", "*"))
            .collect()
    }
}

/// What to answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Something other than JSON: its type and bytes.
    pub(crate) raw: Option<(&'static str, Vec<u8>)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            raw: None,
            headers: Vec::new(),
            body,
        }
    }

    pub(crate) fn refuse(status: u16, why: &str) -> Self {
        Self::new(
            status,
            json!({ "message": why, "documentation_url": "https://example.invalid", "status": status.to_string() }),
        )
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// What shall go wrong.
pub(crate) enum Trouble {
    /// Answers this and does nothing.
    Refuse(Reply),
    /// Does it, and answers this.
    LoseAnswer(u16),
    /// Waits, then does it.
    Slow(Duration),
}

/// Trouble for the next request of that method whose path contains `path`.
pub(crate) struct Order {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) trouble: Trouble,
}

/// What a forge knows and how it answers.
pub(crate) trait Brain: Send + 'static {
    fn answer(&mut self, seen: &Seen) -> Reply;
}

/// A running forge. Stops when dropped.
pub(crate) struct Fake<B> {
    pub(crate) url: String,
    pub(crate) brain: Arc<Mutex<B>>,
    log: Arc<Mutex<Vec<Seen>>>,
    orders: Arc<Mutex<VecDeque<Order>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl<B: Brain> Fake<B> {
    pub(crate) fn start(brain: B) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (brain, log) = (Arc::new(Mutex::new(brain)), Arc::new(Mutex::new(Vec::new())));
        let orders = Arc::new(Mutex::new(VecDeque::new()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shared = (Arc::clone(&brain), Arc::clone(&log), Arc::clone(&orders));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let app = axum::Router::new().fallback(move |request: Request| {
                    let (brain, log, orders) = shared.clone();
                    async move { serve(request, brain, log, orders).await }
                });
                tokio::select! {
                    served = std::future::IntoFuture::into_future(axum::serve(listener, app)) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self {
            url,
            brain,
            log,
            orders,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Lets the next such request go wrong.
    pub(crate) fn order(&self, method: Method, path: &'static str, trouble: Trouble) {
        self.orders.lock().unwrap().push_back(Order { method, path, trouble });
    }

    /// Lets nothing more go wrong.
    pub(crate) fn forget_orders(&self) {
        self.orders.lock().unwrap().clear();
    }

    /// All requests so far.
    pub(crate) fn log(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    /// How many requests of that method had a path that ends so.
    pub(crate) fn count(&self, method: Method, end: &str) -> usize {
        self.log()
            .iter()
            .filter(|seen| seen.method == method && seen.path.ends_with(end))
            .count()
    }

    /// Requests that change something, tokens aside.
    pub(crate) fn writes(&self) -> Vec<String> {
        let writes = |seen: &Seen| seen.method != Method::GET && !seen.path.ends_with("access_tokens");
        let named = |seen: &Seen| format!("{} {}", seen.method, seen.path);
        self.log().iter().filter(|seen| writes(seen)).map(named).collect()
    }
}

impl<B> Drop for Fake<B> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve<B: Brain>(
    request: Request,
    brain: Arc<Mutex<B>>,
    log: Arc<Mutex<Vec<Seen>>>,
    orders: Arc<Mutex<VecDeque<Order>>>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 32 << 20).await.unwrap();
    let seen = Seen {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    log.lock().unwrap().push(seen.clone());
    let trouble = {
        let mut orders = orders.lock().unwrap();
        let at = orders
            .iter()
            .position(|order| order.method == seen.method && seen.path.contains(order.path));
        at.and_then(|at| orders.remove(at))
    };
    let reply = match trouble.map(|order| order.trouble) {
        Some(Trouble::Refuse(reply)) => reply,
        Some(Trouble::LoseAnswer(status)) => {
            let _ = brain.lock().unwrap().answer(&seen);
            Reply::refuse(status, "lost")
        }
        Some(Trouble::Slow(time)) => {
            tokio::time::sleep(time).await;
            brain.lock().unwrap().answer(&seen)
        }
        None => brain.lock().unwrap().answer(&seen),
    };
    let mut response = Response::builder().status(StatusCode::from_u16(reply.status).unwrap());
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    if let Some((kind, bytes)) = reply.raw {
        return response.header("content-type", kind).body(Body::from(bytes)).unwrap();
    }
    let text = if reply.status == 204 {
        String::new()
    } else {
        reply.body.to_string()
    };
    response
        .header("content-type", "application/json")
        .body(Body::from(text))
        .unwrap()
}

/// What a Git server says of its refs over HTTP; the first branch is the default.
/// <https://git-scm.com/docs/http-protocol#_smart_server_response>
pub(crate) fn advertised(refs: &[(&str, String)]) -> Reply {
    let line = |text: String| format!("{:04x}{text}", text.len() + 4);
    let (first, tip) = &refs[0];
    let mut text = line("# service=git-upload-pack\n".to_owned()) + "0000";
    text += &line(format!("{tip} HEAD\0symref=HEAD:{first} agent=fake\n"));
    for (name, oid) in refs {
        text += &line(format!("{oid} {name}\n"));
    }
    text += "0000";
    let mut reply = Reply::new(200, Value::Null);
    reply.raw = Some(("application/x-git-upload-pack-advertisement", text.into_bytes()));
    reply
}

/// One page of a listing and the `Link` header to the next.
pub(crate) fn page(
    seen: &Seen,
    public: &str,
    all: &[Value],
    size_name: &str,
    most: usize,
) -> (Vec<Value>, Option<String>) {
    let number = |name: &str, or: usize| seen.parameter(name).and_then(|text| text.parse().ok()).unwrap_or(or);
    let (size, at) = (number(size_name, 30).min(most), number("page", 1));
    let items: Vec<Value> = all.iter().skip((at - 1) * size).take(size).cloned().collect();
    let rest: Vec<&str> = seen
        .query
        .split('&')
        .filter(|pair| !pair.starts_with("page=") && !pair.is_empty())
        .collect();
    let next = (at * size < all.len()).then(|| {
        let query = rest.join("&");
        format!(
            r#"<{public}{}?{query}&page={}>; rel="next", <{public}{}?{query}&page=99>; rel="last""#,
            seen.path,
            at + 1,
            seen.path
        )
    });
    (items, next)
}

/// `over` laid on `under`: objects are merged, all else is replaced.
pub(crate) fn laid_on(under: &Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            let mut merged = under.clone();
            for (key, value) in over {
                let value = laid_on(under.get(&key).unwrap_or(&Value::Null), value);
                merged.insert(key, value);
            }
            Value::Object(merged)
        }
        (_, over) => over,
    }
}
