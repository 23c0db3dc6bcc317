//! The listening socket of the API: plain or TLS, everything bounded.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::{
    connections::{Full, Held, Impatient, Places},
    tls::Certificate,
};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// For the first request of a connection.
const FIRST_HEAD_WITHIN: Duration = Duration::from_secs(10);
/// For each next one, from the end of the one before.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// For the client to take some of an answer.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// How often it is said that connections are refused or lost.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Who is at the other end of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
}

/// Serves the API until `stop`; then requests that run are finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    certificate: Option<Certificate>,
    max_connections: usize,
    stop: CancellationToken,
) -> io::Result<()> {
    let door = Arc::new(Door { router, certificate, stop: stop.clone() });
    let places = Places::new(max_connections);
    let graceful = GracefulShutdown::new();
    let mut said = Said::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (tcp, address) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                // Out of file descriptors, or the peer is gone already: neither ends the service.
                if said.is_due() {
                    warn!(%error, "a connection to the API could not be accepted");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match places.take(address.ip()) {
            Ok(place) => {
                let (door, watcher) = (Arc::clone(&door), graceful.watcher());
                tokio::spawn(async move {
                    door.receive(tcp, address, Arc::new(place), watcher).await;
                });
            }
            Err(full) if said.is_due() => match full {
                Full::All => {
                    warn!(max_connections, %address, "too many connections to the API: some are refused");
                }
                Full::Client => {
                    warn!(max_connections, %address, "a client has too many connections to the API: more are refused");
                }
            },
            Err(_) => {}
        }
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

/// When something was said last, so that clients cannot fill the log.
#[derive(Default)]
struct Said(Option<Instant>);

impl Said {
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|at| at.elapsed() > SAY_EVERY);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

/// What a connection leads to.
struct Door {
    router: Router,
    certificate: Option<Certificate>,
    stop: CancellationToken,
}

// === impl Door ===

impl Door {
    async fn receive(&self, tcp: TcpStream, address: SocketAddr, place: Held, watcher: Watcher) {
        tcp.set_nodelay(true).ok();
        let Some(certificate) = &self.certificate else {
            return self.talk(tcp, address, place, watcher).await;
        };
        let handshake = TlsAcceptor::from(certificate.current()).accept(tcp);
        let within = tokio::time::timeout(HANDSHAKE_WITHIN, handshake);
        match self.stop.run_until_cancelled(within).await {
            Some(Ok(Ok(tls))) => self.talk(tls, address, place, watcher).await,
            Some(Ok(Err(error))) => debug!(%address, %error, "TLS handshake failed"),
            Some(Err(_)) => debug!(%address, "TLS handshake took too long"),
            None => {}
        }
    }

    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
        place: Held,
        watcher: Watcher,
    ) {
        let asked = Arc::new(AtomicBool::new(false));
        let stream = Impatient::new(stream, Arc::clone(&asked), FIRST_HEAD_WITHIN, TAKEN_WITHIN);
        let service = service_fn(|mut request: http::Request<Incoming>| {
            asked.store(true, Relaxed);
            request.extensions_mut().insert(Peer { address });
            request.extensions_mut().insert(Arc::clone(&place));
            self.router.clone().oneshot(request.map(Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            // For consoles.
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        // Until here the shutdown of the listener waits.
        drop(watcher);
        if let Err(error) = ended {
            debug!(%address, %error, "a connection to the API ended early");
        }
    }
}
