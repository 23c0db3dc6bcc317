//! The HTTP(S) server that BMCs and agents fetch boot media and images from. Knows neither: it is given a router.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, serve::Listener};
use rustls::ServerConfig;
use serde::Deserialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use url::Url;

use crate::agents::authority::{Authority, AuthorityError};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(15);
const HANDSHAKES: usize = 256;

/// `[files]`: what BMCs and agents fetch files from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port that files are served on. Default `[::]:6387`.
    pub listen: SocketAddr,
    /// Whether files are served by HTTPS, with a certificate of the controller's own authority. BMCs must accept
    /// it. Default false.
    pub tls: bool,
    /// URL that BMCs reach this server by. Default: `advertise_address` with the port of `listen`.
    pub url_for_bmcs: Option<Url>,
    /// URL that agents reach this server by. Default: `advertise_address` with the port of `listen`.
    pub url_for_agents: Option<Url>,
}

/// Why files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// No certificate for this server.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The TLS library refuses the configuration.
    #[error("TLS for files could not be set up")]
    Tls(#[source] rustls::Error),
    /// The server stopped.
    #[error("the file server stopped")]
    Serve(#[source] io::Error),
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 6387),
            tls: false,
            url_for_bmcs: None,
            url_for_agents: None,
        }
    }
}

/// Serves `router` until `stop`; then requests that run are finished.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<(), FilesError> {
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    served.await.map_err(FilesError::Serve)
}

/// The same by HTTPS, with a fresh certificate for `hosts`.
pub async fn serve_tls(
    listener: TcpListener,
    router: Router,
    authority: &Authority,
    hosts: &[String],
    stop: CancellationToken,
) -> Result<(), FilesError> {
    let identity = authority.issue_server(hosts)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(identity.chain, identity.key))
        .map_err(FilesError::Tls)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = TlsListener::start(listener, TlsAcceptor::from(Arc::new(tls)), stop.clone());
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    served.await.map_err(FilesError::Serve)
}

/// Connections whose handshake is done. Handshakes run beside each other, so that a slow client keeps nobody waiting.
struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    local: io::Result<SocketAddr>,
}

// === impl TlsListener ===

impl TlsListener {
    fn start(mut listener: TcpListener, acceptor: TlsAcceptor, stop: CancellationToken) -> Self {
        let (sender, ready) = mpsc::channel(HANDSHAKES);
        let local = listener.local_addr();
        let slots = Arc::new(Semaphore::new(HANDSHAKES));
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
                let (tcp, peer) = Listener::accept(&mut listener).await;
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(tcp)).await {
                        Ok(Ok(tls)) => drop(sender.send((tls, peer)).await),
                        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => debug!(%peer, "TLS handshake took too long"),
                    }
                    drop(slot);
                });
            }
        }));
        Self { ready, local }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The listener was told to stop: the server is, too.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        match &self.local {
            Ok(address) => Ok(*address),
            Err(error) => Err(error.kind().into()),
        }
    }
}
