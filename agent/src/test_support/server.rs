//! A server that sends exactly what a test tells it, right or wrong.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use url::Url;

/// An answer, byte for byte.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: Bytes,
    /// How often the body is sent.
    pub(crate) times: usize,
    /// After the body the connection stays open and silent.
    pub(crate) stall: bool,
    /// Bytes sent at once, and the pause between.
    pub(crate) pace: Option<(usize, Duration)>,
}

impl Reply {
    pub(crate) fn raw(head: &str, body: impl Into<Bytes>) -> Self {
        Self { head: head.to_owned(), body: body.into(), times: 1, stall: false, pace: None }
    }

    /// 200 with the right length.
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self::raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len()), body)
    }

    /// 200 that announces `length` whatever the body has.
    pub(crate) fn announcing(length: u64, body: impl Into<Bytes>) -> Self {
        Self::raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n"), body)
    }

    /// 200 in chunks of `size`; `complete` sends the last chunk.
    pub(crate) fn chunked(body: &[u8], size: usize, complete: bool) -> Self {
        let mut coded = Vec::new();
        for chunk in body.chunks(size) {
            coded.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            coded.extend_from_slice(chunk);
            coded.extend_from_slice(b"\r\n");
        }
        if complete {
            coded.extend_from_slice(b"0\r\n\r\n");
        }
        Self::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", coded)
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::raw(&format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {to}\r\n"), Bytes::new())
    }

    pub(crate) fn status(line: &str) -> Self {
        Self::raw(&format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n"), Bytes::new())
    }
}

type Handler = dyn Fn(&str) -> Reply + Send + Sync;

/// Serves until the test's process ends.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<String>>>,
    /// The CA of an https server.
    pub(crate) ca_pem: Option<String>,
}

impl Server {
    /// Plain HTTP; `handler` gets the path.
    pub(crate) fn start(handler: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("http", None, Arc::new(handler))
    }

    /// HTTPS with a certificate of its own CA for 127.0.0.1.
    pub(crate) fn start_tls(handler: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let mut server = Self::listen("https", Some(Arc::new(config)), Arc::new(handler));
        server.ca_pem = Some(ca_certificate.pem());
        server
    }

    fn listen(scheme: &'static str, tls: Option<Arc<ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, log, tls) = (handler.clone(), log.clone(), tls.clone());
                std::thread::spawn(move || {
                    // A client that goes away is part of many tests.
                    let _ = match tls {
                        None => answer(stream, &*handler, &log),
                        Some(config) => ServerConnection::new(config)
                            .map_err(std::io::Error::other)
                            .and_then(|tls| answer(StreamOwned::new(tls, stream), &*handler, &log)),
                    };
                });
            }
        });
        Self { address, scheme, requests, ca_pem: None }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}://{}{path}", self.scheme, self.address)).unwrap()
    }

    /// Heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

trait Connection: Read + Write {
    fn hang_up(&mut self) {}
}

impl Connection for TcpStream {}

impl Connection for StreamOwned<ServerConnection, TcpStream> {
    fn hang_up(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}

fn answer(mut stream: impl Connection, handler: &Handler, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().unwrap().push(request);
    let reply = handler(&path);
    stream.write_all(format!("{}Connection: close\r\n\r\n", reply.head).as_bytes())?;
    let (piece, pause) = reply.pace.unwrap_or((usize::MAX, Duration::ZERO));
    for piece in (0..reply.times).flat_map(|_| reply.body.chunks(piece)) {
        stream.write_all(piece)?;
        stream.flush()?;
        std::thread::sleep(pause);
    }
    stream.flush()?;
    if reply.stall {
        // Ends when the client gives up.
        let _ = stream.read(&mut byte);
    } else {
        stream.hang_up();
    }
    Ok(())
}
