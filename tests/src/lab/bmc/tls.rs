//! HTTPS with a self-signed certificate, as BMCs have it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::Listener;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::lab::LabError;

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// A certificate and what serves with it.
pub(super) struct Tls {
    /// In PEM.
    pub(super) certificate: String,
    acceptor: TlsAcceptor,
}

/// Makes a new key and certificate for the loopback addresses.
pub(super) fn self_signed() -> Result<Tls, LabError> {
    let wrong = |error: &dyn std::fmt::Display| LabError::Tls(error.to_string());
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
        })
        .map_err(|error| wrong(&error))?;
    Ok(Tls { certificate: made.cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
}

impl Tls {
    /// Accepts connections and shakes hands with each on its own, so a slow client holds up no other.
    pub(super) fn listen(self, listener: TcpListener, stop: CancellationToken) -> TlsListener {
        let address = listener.local_addr();
        let (ready, connections) = mpsc::channel(16);
        tokio::spawn(stop.run_until_cancelled_owned(accept(listener, self.acceptor, ready)));
        TlsListener { connections, address }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(ready.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            }
        });
    }
}

/// Connections whose handshake is done.
pub(super) struct TlsListener {
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: std::io::Result<SocketAddr>,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The lab is stopping; the server is about to be.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.address.as_ref().copied().map_err(|error| error.kind().into())
    }
}
