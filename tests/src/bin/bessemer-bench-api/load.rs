//! A load of HTTP requests over kept connections, with as little work for each as there can be: the server shares the
//! processors with whom it serves.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

/// What a load measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) requests: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Bytes of the largest answer.
    pub(crate) bytes: usize,
}

/// A connection that is kept; opened anew, as clients do, when the server closes it between two requests.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self { address, stream: connect(address).await?, buffer: Vec::with_capacity(1 << 16) })
    }

    /// Sends a request that is all there, and reads the answer: its status and body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.buffer.clear();
        // A closed connection shows when it is used.
        let begun = self.stream.write_all(request).await.is_ok()
            && self.stream.read_buf(&mut self.buffer).await.is_ok_and(|bytes| bytes > 0);
        if !begun {
            self.stream = connect(self.address).await?;
            self.stream.write_all(request).await?;
        }
        let mut wanted = None;
        loop {
            if wanted.is_none() {
                wanted = head(&self.buffer)?;
            }
            if let Some((status, start, length)) = wanted
                && self.buffer.len() >= start + length
            {
                return Ok((status, self.buffer.get(start..start + length).unwrap_or_default()));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection within an answer");
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Status, start of the body, its length; `None`: the head is not all there.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text =
        std::str::from_utf8(bytes.get(..end).unwrap_or_default()).context("a head that is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).context("no status")?;
    let mut lengths = lines.filter_map(|line| line.split_once(':'));
    let length = lengths.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length =
        length.map_or(Some(0), |(_, value)| value.trim().parse().ok()).context("a length that is none")?;
    Ok(Some((status, end + 4, length)))
}

/// A request as bytes.
pub(crate) fn request(method: &str, path: &str, address: SocketAddr, body: &str) -> Vec<u8> {
    let content = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    };
    format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nX-OpenStack-Ironic-API-Version: 1.115\r\n{content}\r\n{body}")
        .into_bytes()
}

/// Sends the requests again and again over so many connections for so long; each must be answered with 2xx. A request of
/// a connection is sent when the one before is answered.
pub(crate) async fn load(
    address: SocketAddr,
    requests: &[Vec<u8>],
    connections: usize,
    duration: Duration,
) -> Result<Measured> {
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for number in 0..connections {
        // Each begins elsewhere.
        let skip = number * requests.len() / connections;
        let own: Vec<Vec<u8>> = requests.iter().cycle().skip(skip).take(requests.len()).cloned().collect();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let (mut micros, mut largest) = (Vec::<u32>::new(), 0);
            for request in own.iter().cycle() {
                let begun = Instant::now();
                if begun.duration_since(started) >= duration {
                    break;
                }
                let (status, body) = loop {
                    let (status, body) = connection.ask(request).await?;
                    // Ironic: somebody else has the node locked. Clients ask again.
                    if status != 409 {
                        break (status, body.to_vec());
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                };
                if !(200..300).contains(&status) {
                    bail!("answered {status}: {}", String::from_utf8_lossy(&body));
                }
                largest = largest.max(body.len());
                micros.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            anyhow::Ok((micros, largest))
        });
    }
    let (mut micros, mut bytes) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (more, largest) = done??;
        micros.extend(more);
        bytes = bytes.max(largest);
    }
    let seconds = started.elapsed().as_secs_f64();
    micros.sort_unstable();
    let at = |share: f64| {
        let index = (micros.len() as f64 * share) as usize;
        f64::from(micros.get(index.min(micros.len().saturating_sub(1))).copied().unwrap_or_default()) / 1000.0
    };
    let requests = micros.len();
    Ok(Measured { requests, per_second: requests as f64 / seconds, p50_ms: at(0.5), p99_ms: at(0.99), bytes })
}
