//! The page, the metrics and the status of a run, over HTTP: for people and for what watches.
//!
//! | path | what it says |
//! |---|---|
//! | `/` | the page |
//! | `/metrics` | every metric, for Prometheus |
//! | `/api/status` | the run as JSON, which `tidemark why` reads |
//! | `/healthz` | 200 while the workers turn: who restarts it asks this |
//! | `/readyz` | 200 once all is restored and every destination is there |
//!
//! It has a thread of its own and only reads: a slow reader holds nothing up. Nobody is asked for
//! a password, so it listens on this machine unless it is told otherwise.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use crate::dataflow::outcome::{Failure, Shared};
use crate::engine::{measure, spawn_named, status};
use crate::metrics::Metrics;
use crate::plan::Pipeline;
use crate::types::Clock;

/// The page: one file without anything from elsewhere.
const PAGE: &str = include_str!("page.html");

/// How Prometheus knows what it gets.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What there is to see.
#[derive(Clone)]
struct View {
    pipeline: Arc<Pipeline>,
    shared: Arc<Shared>,
}

/// Answers until it is ended.
pub struct Server {
    address: SocketAddr,
    end: oneshot::Sender<Infallible>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Begins to answer at `bind`; port 0 picks a free one.
    pub fn start(
        (bind, port): (IpAddr, u16),
        pipeline: &Arc<Pipeline>,
        shared: &Arc<Shared>,
    ) -> Result<Self, Failure> {
        shared.board.watch();
        let view = View {
            pipeline: Arc::clone(pipeline),
            shared: Arc::clone(shared),
        };
        Self::listen((bind, port), routes(view))
    }

    /// Begins to answer with metrics alone, of something that is no run of a pipeline.
    pub fn of_metrics(at: (IpAddr, u16), metrics: Metrics, clock: Clock) -> Result<Self, Failure> {
        let text = move || async move {
            metrics.refresh(clock.elapsed());
            ([(header::CONTENT_TYPE, METRICS)], metrics.text())
        };
        let routes = Router::new()
            .route("/metrics", get(text))
            .route("/healthz", get(|| async { "healthy\n" }));
        Self::listen(at, routes)
    }

    fn listen((bind, port): (IpAddr, u16), routes: Router) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new(format!("cannot serve metrics at {bind}:{port}"))
                .because(error)
                .hint("choose another --metrics-port; 0 picks a free one")
        };
        let listener = TcpListener::bind((bind, port)).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let (end, ended) = oneshot::channel();
        let thread = spawn_named("web", move || {
            if let Err(error) = serve(listener, routes, ended) {
                tracing::warn!(%error, "the metrics are not served any more");
            }
        });
        Ok(Self {
            address,
            end,
            thread,
        })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers no more; whoever is being answered is cut off.
    pub fn end(self) {
        drop(self.end);
        if self.thread.join().is_err() {
            tracing::warn!("the thread that serves metrics panicked");
        }
    }
}

fn serve(
    listener: TcpListener,
    routes: Router,
    ended: oneshot::Receiver<Infallible>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::select! {
            served = axum::serve(listener, routes).into_future() => served,
            // Nothing is ever sent: the other end is dropped.
            _ = ended => Ok(()),
        }
    })
}

fn routes(view: View) -> Router {
    Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/metrics", get(metrics))
        .route("/api/status", get(api_status))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(view)
}

async fn metrics(State(view): State<View>) -> Response {
    let text = measure(&view.pipeline, &view.shared);
    ([(header::CONTENT_TYPE, METRICS)], text).into_response()
}

async fn api_status(State(view): State<View>) -> Response {
    Json(status(&view.pipeline, &view.shared)).into_response()
}

async fn healthz(State(view): State<View>) -> Response {
    let status = status(&view.pipeline, &view.shared);
    if status.healthy {
        return (StatusCode::OK, "healthy\n").into_response();
    }
    let stuck = "a worker has not turned for half a minute\n";
    (StatusCode::SERVICE_UNAVAILABLE, stuck).into_response()
}

async fn readyz(State(view): State<View>) -> Response {
    let status = status(&view.pipeline, &view.shared);
    if status.ready {
        return (StatusCode::OK, "ready\n").into_response();
    }
    let away = status.destinations.iter();
    let away: Vec<String> = away
        .filter_map(|known| {
            Some(format!(
                "`{}` is away: {}",
                known.name,
                known.away.as_ref()?
            ))
        })
        .collect();
    let why = if away.is_empty() {
        status.says
    } else {
        away.join("; ")
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}
