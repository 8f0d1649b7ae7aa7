//! Connections: how many there may be at once, and how long their clients may keep the server waiting.
//!
//! A connection is idle until a request's headers have arrived, and again once its answer is written. Where a new one finds
//! no place, the one that has been idle for longest is closed, or else the one that has been sending a body for longest. Where
//! all are being answered, a few more are taken that get [`ALWAYS_ANSWERED`] alone, so that a busy server can still be asked
//! whether it lives.

mod answering;
mod files;
mod receiving;
mod stream;
mod table;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::error::ApiError;
use answering::Answering;
pub(super) use files::possible;
use receiving::ReceivedBody;
use stream::TimedStream;
use table::{Beyond, Order, Place, Table};

/// The paths that are answered however many connections there are.
const ALWAYS_ANSWERED: [&str; 2] = ["/health", "/metrics"];

/// How long a connection that is closed on shutdown may take to send what it still has.
const CLOSING: Duration = Duration::from_secs(1);

/// How long accepting pauses where the system has no more connections.
const PAUSE: Duration = Duration::from_millis(100);

/// How often refusals are logged.
const REPORTS: Duration = Duration::from_secs(1);

/// What clients may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once.
    pub(super) connections: usize,
    /// The time for sending a request's headers, for reading more of an answer, and between two requests.
    pub(super) waiting: Duration,
}

/// The address of a request's client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Answers requests until `shutdown`, and those that have begun by then.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let table = Arc::new(Table::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut reports = interval(REPORTS);
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            _ = reports.tick() => {
                report(&table.take_beyond());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        while table.is_closing() && connections.join_next().await.is_some() {}
        match accepted {
            Ok((stream, address)) => {
                if let Some(place) = table.place() {
                    let _ = stream.set_nodelay(true);
                    let connection = connection(
                        stream,
                        Peer(address.ip()),
                        place,
                        router.clone(),
                        limits.waiting,
                    );
                    connections.spawn(connection);
                }
            }
            Err(error) if concerns_one(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted now");
                table.close_one();
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    table.finish_all();
    while connections.join_next().await.is_some() {}
}

/// Logs what became of connections beyond the limit: not line by line, since they come in floods.
fn report(Beyond { closed, refused }: &Beyond) {
    if closed + refused > 0 {
        tracing::warn!(
            closed,
            refused,
            "too many connections: idle ones were closed, others refused (--max-connections)"
        );
    }
}

/// Whether accepting failed for one connection alone.
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Serves a connection to its end.
async fn connection(
    stream: TcpStream,
    peer: Peer,
    mut place: Place,
    router: Router,
    waiting: Duration,
) {
    let router = TowerToHyperService::new(router);
    let busy = place.busy();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let answering = Answering::new(busy.clone());
        let request = request.map(|body| ReceivedBody::new(body, busy.clone()));
        let refused = busy.is_spare() && !ALWAYS_ANSWERED.contains(&request.uri().path());
        let answer = (!refused).then(|| router.call(request));
        async move {
            let response = match answer {
                Some(answer) => answer.await?,
                None => {
                    answering.refuse();
                    refusal()
                }
            };
            Ok::<_, std::convert::Infallible>(response.map(|body| answering.with(body)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(waiting);
    let stream = TokioIo::new(TimedStream::new(stream, waiting));
    let served = http.serve_connection(stream, service);
    tokio::pin!(served);
    let ended = loop {
        tokio::select! {
            ended = served.as_mut() => break ended,
            order = place.order() => match order {
                Order::Close => return,
                Order::Finish => {
                    let idle = place.is_idle();
                    served.as_mut().graceful_shutdown();
                    if idle {
                        let _ = timeout(CLOSING, served).await;
                        return;
                    }
                }
            },
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection closed");
    }
}

/// The answer where all connections are busy.
fn refusal() -> Response {
    let mut response = ApiError::too_many_connections().into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
