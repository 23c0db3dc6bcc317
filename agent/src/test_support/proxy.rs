//! A forward proxy of two threads a connection: CONNECT and requests with an absolute URL.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use url::Url;

use super::server::{header, read_head};

/// Serves until the test's process ends.
pub(crate) struct Proxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

/// How it treats clients.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manners {
    /// The value of `Proxy-Authorization` that it wants.
    pub(crate) authorization: Option<&'static str>,
    /// It breaks the first connection after so many bytes of the answer.
    pub(crate) breaks_first_after: Option<u64>,
}

impl Proxy {
    pub(crate) fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let log = log.clone();
                // A client that goes away is part of many tests.
                std::thread::spawn(move || carry(client, manners, &log).ok());
            }
        });
        Self { address, requests }
    }

    /// `http://…`, with `user:password@` when there are any.
    pub(crate) fn url(&self, credentials: &str) -> String {
        let at = if credentials.is_empty() { "" } else { "@" };
        format!("http://{credentials}{at}{}", self.address)
    }

    /// Heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn carry(mut client: TcpStream, manners: Manners, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let head = read_head(&mut client)?;
    let first = {
        let mut log = log.lock().unwrap();
        log.push(head.clone());
        log.len() == 1
    };
    if manners.authorization.is_some_and(|wanted| header(&head, "proxy-authorization") != Some(wanted)) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refusal.as_bytes());
    }
    let mut words = head.split(' ');
    let (method, to) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut server = if method == "CONNECT" {
        let server = TcpStream::connect(to)?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        server
    } else {
        let url = Url::parse(to).map_err(std::io::Error::other)?;
        let mut server = TcpStream::connect((url.host_str().unwrap(), url.port_or_known_default().unwrap()))?;
        server.write_all(forwarded(&head, to, &url).as_bytes())?;
        server
    };
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let limit = manners.breaks_first_after.filter(|_| first).unwrap_or(u64::MAX);
    std::io::copy(&mut Read::by_ref(&mut server).take(limit), &mut client)?;
    client.shutdown(Shutdown::Both)?;
    server.shutdown(Shutdown::Both)
}

/// The request as the server gets it.
fn forwarded(head: &str, absolute: &str, url: &Url) -> String {
    let head = head.replacen(absolute, &url[url::Position::BeforePath..], 1);
    let lines = head.split_inclusive("\r\n");
    lines.filter(|line| !line.to_ascii_lowercase().starts_with("proxy-")).collect()
}
