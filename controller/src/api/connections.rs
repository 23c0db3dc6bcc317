//! What one client may hold of the API's listening socket: connections, and time.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

use super::access::network;

/// Every client may hold so many, however few there are in all.
const ALWAYS: usize = 8;

/// All connections, counted by client.
pub(super) struct Places {
    all: Arc<Semaphore>,
    most: usize,
    by_client: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection; gives its place back when it ends.
pub(super) struct Place {
    places: Arc<Places>,
    client: IpAddr,
    _of_all: OwnedSemaphorePermit,
}

/// A place as requests of its connection have it: whoever goes on with the connection keeps it.
pub(super) type Held = Arc<Place>;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken.
    All,
    /// The client has its share.
    Client,
}

// === impl Places ===

impl Places {
    /// At most `most` connections.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { all: Arc::new(Semaphore::new(most)), most, by_client: Mutex::default() })
    }

    /// How many one client may hold: a quarter, and three quarters where a proxy on this machine may stand for all.
    fn share(&self, client: IpAddr) -> usize {
        let share = if client.is_loopback() { self.most / 4 * 3 } else { self.most / 4 };
        share.max(ALWAYS)
    }

    /// A place for a connection from that address.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let client = network(address);
        let mut by_client = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        let held = by_client.get(&client).copied().unwrap_or(0);
        if held >= self.share(client) {
            return Err(Full::Client);
        }
        let of_all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Full::All)?;
        by_client.insert(client, held + 1);
        Ok(Place { places: Arc::clone(self), client, _of_all: of_all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_client = self.places.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        match by_client.get_mut(&self.client) {
            Some(held) if *held > 1 => *held -= 1,
            _ => {
                by_client.remove(&self.client);
            }
        }
    }
}

/// A stream that fails when the other end takes nothing for a while, or has not asked anything after a while.
pub(super) struct Impatient<S> {
    stream: S,
    /// Set by the first request.
    asked: Arc<AtomicBool>,
    first: Pin<Box<Sleep>>,
    write_within: Duration,
    /// Runs while a write waits.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(super) fn new(
        stream: S,
        asked: Arc<AtomicBool>,
        first_within: Duration,
        write_within: Duration,
    ) -> Self {
        let first = Box::pin(tokio::time::sleep(first_within));
        Self { stream, asked, first, write_within, stuck: None }
    }

    /// Bounds how long a write may wait.
    fn hurry<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let deadline = Instant::now() + self.write_within;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(stuck.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Also while bytes come: a head that trickles in is none.
        if !this.asked.load(Relaxed) && this.first.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.hurry(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.hurry(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.hurry(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.hurry(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_client_gets_its_share_and_leaves_the_rest() {
        let places = Places::new(100);
        let mut held: Vec<_> = (0..25).map(|_| places.take(ip("2001:db8::1")).unwrap()).collect();
        // The same network.
        assert_eq!(places.take(ip("2001:db8::2")).err(), Some(Full::Client));
        let local: Vec<_> = (0..75).map(|_| places.take(ip("127.0.0.1")).unwrap()).collect();
        assert_eq!(places.take(ip("10.0.0.1")).err(), Some(Full::All));
        held.pop();
        assert!(places.take(ip("10.0.0.1")).is_ok());
        assert!(places.take(ip("2001:db8::3")).is_ok());
        drop((held, local));
        assert!(places.by_client.lock().unwrap().is_empty());
    }

    fn impatient(stream: tokio::io::DuplexStream, asked: bool) -> Impatient<tokio::io::DuplexStream> {
        let asked = Arc::new(AtomicBool::new(asked));
        Impatient::new(stream, asked, Duration::from_secs(10), Duration::from_secs(30))
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_or_slowly_is_cut_off() {
        let (far, near) = tokio::io::duplex(64);
        assert_eq!(
            impatient(near, false).read(&mut [0; 8]).await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        drop(far);
        let (mut far, near) = tokio::io::duplex(64);
        let slow = tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let mut all = Vec::new();
        let start = Instant::now();
        let error = impatient(near, false).read_to_end(&mut all).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
        slow.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_cut_off_and_who_reads_slowly_is_not() {
        let (far, near) = tokio::io::duplex(64);
        let error = impatient(near, true).write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
        let (mut far, near) = tokio::io::duplex(64);
        let slow = tokio::spawn(async move {
            let mut chunk = [0; 64];
            while far.read(&mut chunk).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        });
        impatient(near, true).write_all(&[0; 1000]).await.unwrap();
        slow.await.unwrap();
    }
}
