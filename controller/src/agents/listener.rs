//! The listening socket: TLS 1.3, client certificates of our authority, everything bounded, every refusal logged.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bessemer_proto::{
    identity,
    ids::{BootId, NodeId},
};
use rustls::{
    CertificateError, RootCertStore, ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::Sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{Authority, ServeError, authority::ServerIdentity};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
const MAX_HANDSHAKES: usize = 256;
const MAX_AGENTS: usize = 8192;
/// Connections without a certificate can only enrol, which takes a moment.
const MAX_ANONYMOUS: usize = 512;
const ANONYMOUS_WITHIN: Duration = Duration::from_secs(30);

/// Whom a client certificate names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) boot: BootId,
}

/// What is known of a connection, given to each request on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerInfo {
    pub(super) address: SocketAddr,
    /// `None`: no client certificate.
    pub(super) peer: Option<Peer>,
}

/// An accepted connection.
pub(super) struct AgentStream {
    tls: TlsStream<TcpStream>,
    info: PeerInfo,
    /// When a connection without certificate ends.
    ends: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

/// Why a connection is refused before any request.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no TLS handshake within {} s", HANDSHAKE_WITHIN.as_secs())]
    Slow,
    #[error("the client does not speak TLS")]
    NotTls,
    #[error("no TLS version or cipher in common: TLS 1.3 is required")]
    Incompatible,
    #[error("the client certificate has expired")]
    Expired,
    #[error("the client certificate is not valid yet")]
    NotYetValid,
    #[error("the client certificate was issued by another authority")]
    ForeignAuthority,
    #[error("the certificate is not one for clients")]
    WrongUsage,
    #[error("the client certificate names no boot of a node")]
    NoIdentity,
    #[error("the client refuses this controller's certificate")]
    RefusedByClient(#[source] rustls::Error),
    #[error("too many connections")]
    Full,
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
}

/// TLS 1.3 with optional client certificates of `authority`. No session resumption: it would outlive certificates.
pub(super) fn tls_config(
    authority: &Authority,
    identity: ServerIdentity,
) -> Result<Arc<ServerConfig>, ServeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).map_err(ServeError::Tls)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(ServeError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ServeError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .map_err(ServeError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Accepted connections, until `shutdown`.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    shutdown: CancellationToken,
) -> ReceiverStream<io::Result<AgentStream>> {
    let (accepted, stream) = mpsc::channel(64);
    let door = Arc::new(Door {
        acceptor: TlsAcceptor::from(tls),
        agents: Arc::new(Semaphore::new(MAX_AGENTS)),
        anonymous: Arc::new(Semaphore::new(MAX_ANONYMOUS)),
    });
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = accept_all(listener, door, accepted) => {}
        }
    });
    ReceiverStream::new(stream)
}

async fn accept_all(listener: TcpListener, door: Arc<Door>, accepted: mpsc::Sender<io::Result<AgentStream>>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let Ok(turn) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let (tcp, address) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                // Out of file descriptors, or the peer is gone already: neither ends the service.
                warn!(%error, "a connection for agents could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (door, accepted) = (Arc::clone(&door), accepted.clone());
        running.spawn(async move {
            match door.admit(tcp, address).await {
                Ok(stream) => {
                    accepted.send(Ok(stream)).await.ok();
                }
                Err(refusal) => log_refusal(address, &refusal),
            }
            drop(turn);
        });
    }
}

fn log_refusal(peer: SocketAddr, refusal: &Refusal) {
    let cause = std::error::Error::source(refusal).map(ToString::to_string).unwrap_or_default();
    warn!(%peer, reason = %refusal, cause, "connection of an agent refused");
}

// === impl Door ===

/// What decides who comes in.
struct Door {
    acceptor: TlsAcceptor,
    agents: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
}

impl Door {
    async fn admit(&self, tcp: TcpStream, address: SocketAddr) -> Result<AgentStream, Refusal> {
        tcp.set_nodelay(true).ok();
        let tls = tokio::time::timeout(HANDSHAKE_WITHIN, self.acceptor.accept(tcp))
            .await
            .map_err(|_| Refusal::Slow)?
            .map_err(Refusal::from)?;
        let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = certificate.map(Peer::from_certificate).transpose()?;
        let places = if peer.is_some() { &self.agents } else { &self.anonymous };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| Refusal::Full)?;
        let ends = peer.is_none().then(|| Box::pin(tokio::time::sleep(ANONYMOUS_WITHIN)));
        debug!(peer = %address, node = ?peer.map(|p| p.node), "connection of an agent accepted");
        Ok(AgentStream { tls, info: PeerInfo { address, peer }, ends, _place: place })
    }
}

impl Peer {
    fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, Refusal> {
        let node = identity::node_of_certificate(certificate).map_err(|_| Refusal::NoIdentity)?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| Refusal::NoIdentity)?;
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let boot = name.and_then(|name| name.parse().ok()).ok_or(Refusal::NoIdentity)?;
        Ok(Self { node, boot })
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        use rustls::Error as Tls;
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
            return Self::Handshake(error);
        };
        match tls {
            Tls::InvalidMessage(_) | Tls::InappropriateMessage { .. } => Self::NotTls,
            Tls::PeerIncompatible(_) | Tls::NoApplicationProtocol => Self::Incompatible,
            Tls::AlertReceived(_) => Self::RefusedByClient(tls.clone()),
            Tls::InvalidCertificate(problem) => match problem {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::ForeignAuthority,
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                    Self::WrongUsage
                }
                _ => Self::Handshake(error),
            },
            _ => Self::Handshake(error),
        }
    }
}

// === impl AgentStream ===

impl Connected for AgentStream {
    type ConnectInfo = PeerInfo;
    fn connect_info(&self) -> PeerInfo {
        self.info
    }
}

impl AsyncRead for AgentStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for AgentStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
