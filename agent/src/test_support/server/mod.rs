//! A server that sends exactly what a test tells it, right or wrong.

mod object;
mod reply;
mod tls;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use url::Url;

pub(crate) use object::Served;
pub(crate) use reply::Reply;
pub(crate) use tls::ServerIdentity;

/// What a client asked.
pub(crate) struct Request {
    /// Counts from 0.
    pub(crate) number: usize,
    pub(crate) path: String,
    pub(crate) head: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// First byte, and the byte after the last unless to the end.
    pub(crate) fn range(&self) -> Option<(usize, Option<usize>)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let last: Option<usize> = last.parse().ok();
        Some((first.parse().ok()?, last.map(|last| last + 1)))
    }
}

/// A header of a request.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// Serves until the test's process ends.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    /// The CA of an https server.
    pub(crate) ca_pem: Option<String>,
}

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<String>>,
}

impl Server {
    /// Plain HTTP; `handler` gets the path.
    pub(crate) fn start(handler: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(move |request| handler(&request.path))
    }

    /// HTTPS with a certificate of its own CA for 127.0.0.1.
    pub(crate) fn start_tls(handler: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve_tls(ServerIdentity::of_own_ca(), move |request| handler(&request.path))
    }

    /// Plain HTTP; `handler` gets the request.
    pub(crate) fn serve(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("http", None, Box::new(handler))
    }

    /// HTTPS; `handler` gets the request.
    pub(crate) fn serve_tls(
        identity: ServerIdentity,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let server = Self::listen("https", Some(Arc::new(identity.config)), Box::new(handler));
        Self { ca_pem: Some(identity.ca_pem), ..server }
    }

    fn listen(scheme: &'static str, tls: Option<Arc<ServerConfig>>, handler: Box<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { handler, requests: Mutex::default() });
        let answering = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (answering.clone(), tls.clone());
                std::thread::spawn(move || {
                    // A client that goes away is part of many tests.
                    let _ = match tls {
                        None => shared.answer(stream),
                        Some(config) => ServerConnection::new(config)
                            .map_err(std::io::Error::other)
                            .and_then(|tls| shared.answer(StreamOwned::new(tls, stream))),
                    };
                });
            }
        });
        Self { address, scheme, shared, ca_pem: None }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}://{}{path}", self.scheme, self.address)).unwrap()
    }

    /// Heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Shared {
    fn answer(&self, mut stream: impl Connection) -> std::io::Result<()> {
        let head = read_head(&mut stream)?;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(head.clone());
            requests.len() - 1
        };
        let reply = (self.handler)(&Request { number, path, head });
        send(&mut stream, &reply)
    }
}

/// Everything up to the empty line.
pub(crate) fn read_head(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn send(stream: &mut impl Connection, reply: &Reply) -> std::io::Result<()> {
    stream.write_all(format!("{}Connection: close\r\n\r\n", reply.head).as_bytes())?;
    for _ in 0..reply.times {
        let drips = reply.drip.map_or(reply.body.len(), |(place, _)| place.saturating_sub(reply.start));
        let (fast, slow) = reply.body.split_at(drips.min(reply.body.len()));
        pour(stream, fast, reply.pace)?;
        pour(stream, slow, reply.drip.map(|(_, pause)| (1, pause)))?;
    }
    stream.flush()?;
    if reply.stall {
        // Ends when the client gives up.
        let _ = stream.read(&mut [0]);
    } else if reply.reset {
        // What came before must be on its way, else the reset swallows it.
        std::thread::sleep(Duration::from_millis(20));
        let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(stream.socket(), sockopt::Linger, &now)?;
    } else {
        stream.hang_up();
    }
    Ok(())
}

fn pour(stream: &mut impl Write, bytes: &[u8], pace: Option<(usize, Duration)>) -> std::io::Result<()> {
    let (piece, pause) = pace.unwrap_or((usize::MAX, Duration::ZERO));
    for piece in bytes.chunks(piece) {
        stream.write_all(piece)?;
        stream.flush()?;
        std::thread::sleep(pause);
    }
    Ok(())
}

trait Connection: Read + Write {
    fn socket(&self) -> &TcpStream;
    fn hang_up(&mut self) {}
}

impl Connection for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Connection for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }

    fn hang_up(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}
