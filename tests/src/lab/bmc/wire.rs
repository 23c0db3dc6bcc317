//! The BMC's port: connections that can be cut, and a BMC that is gone for a while.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// Switches the port off for a while.
#[derive(Clone)]
pub(super) struct Wire {
    back_at: watch::Sender<Option<Instant>>,
    life: Arc<AtomicU64>,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self { back_at: watch::channel(None).0, life: Arc::default() }
    }

    /// Breaks all connections and refuses new ones for `down`.
    pub(super) fn restart(&self, down: Duration) {
        self.life.fetch_add(1, Ordering::Relaxed);
        self.back_at.send_replace(Some(Instant::now() + down));
    }

    /// Accepts connections, and shakes hands with each on its own, so a slow client holds up no other.
    pub(super) fn listen(
        &self,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        stop: CancellationToken,
    ) -> io::Result<Lines> {
        let address = listener.local_addr()?;
        let (ready, connections) = mpsc::channel(16);
        tokio::spawn(stop.run_until_cancelled_owned(self.clone().accept(listener, address, tls, ready)));
        Ok(Lines { connections, address })
    }

    async fn accept(
        self,
        listener: TcpListener,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        ready: mpsc::Sender<(Line, SocketAddr)>,
    ) {
        let mut restarts = self.back_at.subscribe();
        let mut listener = Some(listener);
        loop {
            let Some(open) = &listener else {
                let back_at = *restarts.borrow_and_update();
                if let Some(back_at) = back_at {
                    sleep_until(back_at).await;
                }
                listener = TcpListener::bind(address).await.ok();
                sleep(BIND_PAUSE).await;
                continue;
            };
            let accepted = tokio::select! {
                accepted = open.accept() => accepted,
                _ = restarts.changed() => {
                    listener = None;
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    drop(tokio::spawn(self.clone().greet(stream, peer, tls.clone(), ready.clone())))
                }
                Err(_) => sleep(BIND_PAUSE).await,
            }
        }
    }

    async fn greet(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        ready: mpsc::Sender<(Line, SocketAddr)>,
    ) {
        let born = self.life.load(Ordering::Relaxed);
        let io: Box<dyn Io> = match tls {
            None => Box::new(stream),
            Some(acceptor) => match timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Box::new(stream),
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
            },
        };
        let line = Line { io, cut: Cut::default(), born, life: self.life.clone() };
        // The lab may be stopping.
        let _ = ready.send((line, peer)).await;
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Breaks one connection.
#[derive(Clone, Default)]
pub(super) struct Cut(Arc<AtomicBool>);

impl Cut {
    /// Nothing more is read or written.
    pub(super) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One connection.
pub(super) struct Line {
    io: Box<dyn Io>,
    cut: Cut,
    born: u64,
    life: Arc<AtomicU64>,
}

impl Line {
    fn check(&self) -> io::Result<()> {
        if self.cut.0.load(Ordering::Relaxed) || self.life.load(Ordering::Relaxed) != self.born {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.check().is_err() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// The accepted connections.
pub(super) struct Lines {
    connections: mpsc::Receiver<(Line, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The lab is stopping; the server is about to be.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, Lines>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().cut.clone()
    }
}
