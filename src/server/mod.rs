//! An HTTP server that speaks OpenAI's API (<https://platform.openai.com/docs/api-reference>).

mod access;
mod answer;
mod body;
mod clients;
mod connections;
mod error;
mod log;
mod metrics;
mod openai;
mod openapi;
mod options;
mod request_id;
mod router;
mod routes;
mod state;
mod table_updates;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, lookup_host};
use tokio::sync::watch;

#[cfg(feature = "cli")]
pub(crate) use access::parse_origin;
use clients::Decoders;
pub use options::ServerOptions;
use state::{AppState, Pool};
use table_updates::TableUpdates;

use crate::decoder::SpeculativeDecoder;
use crate::engine::Service;
use crate::error::{Error, Result};

/// A server that listens, and answers requests once it runs.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    listener: TcpListener,
    address: SocketAddr,
    router: axum::Router,
    state: Arc<AppState>,
}

/// Threads for connections; the target computes on others.
const THREADS: usize = 2;

impl Server {
    /// Binds the address. Fails if that isn't possible, or if other machines could use it without a key, unless that is allowed.
    pub fn bind(decoder: SpeculativeDecoder, options: ServerOptions) -> Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(THREADS).thread_name("specdec-http");
        let runtime = runtime.enable_all().build();
        let runtime = runtime
            .map_err(|error| Error::Compute(format!("no threads for the server: {error}")))?;
        let (host, port) = (&options.host, options.port);
        let invalid = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                let expected =
                    "a free port: another program listens on this one; 0 takes any free port";
                Error::invalid("port", port, expected)
            }
            std::io::ErrorKind::PermissionDenied => {
                let expected = "a port of 1024 or above, or permission to listen on this one";
                Error::invalid("port", port, expected)
            }
            _ => {
                let expected = format!("an address of this machine to listen on: {error}");
                Error::invalid("host", host, expected)
            }
        };
        let listener = runtime.block_on(async {
            let addresses = lookup_host((host.as_str(), port)).await.map_err(invalid)?;
            let addresses: Vec<SocketAddr> = addresses.collect();
            check_addresses(&addresses, &options)?;
            TcpListener::bind(&addresses[..]).await.map_err(invalid)
        })?;
        let address = listener.local_addr().map_err(invalid)?;
        let cache = decoder.kv_cache().clone();
        cache.dedicate(options.cache_tokens);
        let table = options.learn.as_deref();
        let table_updates = table.map(|file| TableUpdates::new(&decoder, file).map(Arc::new));
        let state = Arc::new(AppState {
            table_updates: table_updates.transpose()?,
            service: Service::start(options.slots, options.queue, cache)?,
            decoders: Decoders::new(&decoder, table.is_some()),
            decoder,
            metrics: metrics::Metrics::new(),
            texts: Pool::new(state::TEXTS),
            formats: Pool::new(state::FORMATS),
            bodies: Arc::new(body::room(options.max_body)),
            started: state::now(),
            options,
        });
        Ok(Self {
            runtime,
            listener,
            address,
            router: router::router(&state)?,
            state,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The maximum number of tokens in all caches together; `None`: unbounded.
    pub fn cache_tokens(&self) -> Option<usize> {
        self.state.service.cache_capacity()
    }

    /// Answers requests until a signal (SIGTERM, Ctrl-C) asks the process to end; then finishes the running ones, unless there is a
    /// second signal.
    pub fn run(self) -> Result<ServerEnd> {
        let router = self.router;
        let (signals, mut seen) = watch::channel(0);
        let drain = self.state.options.drain;
        let table_updates = self.state.table_updates.clone();
        if let Some(updates) = table_updates.clone() {
            self.runtime.spawn(updates.save_periodically());
        }
        let updates = table_updates.clone();
        let served = self.runtime.block_on(async move {
            tokio::spawn(async move {
                end_signal().await;
                tracing::warn!(
                    "shutting down: running requests are answered first; a second signal ends them"
                );
                let _ = signals.send(1);
                if let Some(updates) = updates {
                    let _ = tokio::task::spawn_blocking(move || updates.save()).await;
                }
                end_signal().await;
                let _ = signals.send(2);
            });
            let (mut graceful, mut again) = (seen.clone(), seen.clone());
            let limits = connections::Limits {
                connections: connections::possible(self.state.options.max_connections),
                waiting: self.state.options.client_timeout,
            };
            let serve = connections::serve(self.listener, router, limits, async move {
                let _ = graceful.wait_for(|signals| *signals > 0).await;
            });
            let late = async move {
                let _ = seen.wait_for(|signals| *signals > 0).await;
                tokio::time::sleep(drain).await;
            };
            let interrupted = async move {
                let _ = again.wait_for(|signals| *signals > 1).await;
            };
            tokio::select! {
                () = serve => Ok(ServerEnd::Drained),
                () = late => {
                    tracing::warn!("requests that were still running are aborted");
                    Ok(ServerEnd::Drained)
                }
                () = interrupted => Ok(ServerEnd::Interrupted),
            }
        });
        // Does not wait for work on other threads: what requests still need of it was awaited, or is aborted.
        self.runtime.shutdown_background();
        if let Some(updates) = table_updates.filter(|_| matches!(served, Ok(ServerEnd::Drained))) {
            updates.save();
        }
        served
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEnd {
    /// After a signal, when the running requests were answered, or aborted at the end of the drain time.
    Drained,
    /// Immediately, after a second signal.
    Interrupted,
}

/// Waits for SIGTERM or Ctrl-C.
async fn end_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Rejects an address that other machines can use without a key, unless that is allowed.
fn check_addresses(addresses: &[SocketAddr], options: &ServerOptions) -> Result<()> {
    let public = addresses.iter().find(|address| !is_loopback(address.ip()));
    match public {
        Some(_) if options.api_keys.is_empty() && !options.allow_unauthenticated => {
            let expected = "127.0.0.1, or an API key (--api-key-file, SPECDEC_API_KEY) for an address that other machines \
            can reach, or --allow-unauthenticated";
            Err(Error::invalid("host", &options.host, expected))
        }
        _ => Ok(()),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            let mapped = address.to_ipv4_mapped();
            address.is_loopback() || mapped.is_some_and(|address| address.is_loopback())
        }
    }
}
