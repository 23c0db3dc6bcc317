//! The listening socket of the API: TLS, what it refuses, what it notes.

use std::{fs, path::Path, sync::Arc, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::Controller;
use crate::api::{self, Certificate, access::Gate, access::keystone};

struct Served {
    url: String,
    address: String,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
    dir: TempDir,
    _controller: Controller,
}

fn write_certificate(dir: &Path) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.join("tls.pem"), cert.pem()).unwrap();
    fs::write(dir.join("tls.key"), signing_key.serialize_pem()).unwrap();
}

impl Served {
    async fn start(tls: bool, config: api::Config) -> Self {
        let controller = Controller::start().await;
        let dir = tempfile::tempdir().unwrap();
        let certificate = tls.then(|| {
            write_certificate(dir.path());
            Certificate::open(dir.path().join("tls.pem"), dir.path().join("tls.key")).unwrap()
        });
        let mut state = controller.state.clone();
        state.gate = Gate::open(&config, &keystone::Config::default(), dir.path()).unwrap();
        let most = config.max_connections;
        state.config = config;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let task = tokio::spawn(api::serve(listener, api::router(state), certificate, most, stop.clone()));
        let url = format!("{}://localhost:{port}", if tls { "https" } else { "http" });
        Self { url, address: format!("127.0.0.1:{port}"), stop, task, dir, _controller: controller }
    }

    /// A client that trusts the certificate that lies there now.
    fn client(&self) -> reqwest::Client {
        let mut roots = RootCertStore::empty();
        if let Ok(certificate) = CertificateDer::from_pem_file(self.dir.path().join("tls.pem")) {
            roots.add(certificate).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
    }

    async fn status(&self, path: &str) -> Result<u16, reqwest::Error> {
        Ok(self.client().get(format!("{}{path}", self.url)).send().await?.status().as_u16())
    }
}

#[tokio::test]
async fn https_with_a_certificate_that_may_change() {
    let certificates = tempfile::tempdir().unwrap();
    write_certificate(certificates.path());
    let paths = ["tls.pem", "tls.key"].map(|name| certificates.path().join(name));
    let certificate = Certificate::open(paths[0].clone(), paths[1].clone()).unwrap();
    let first = certificate.current();
    write_certificate(certificates.path());
    certificate.look_now();
    let second = certificate.current();
    assert!(!Arc::ptr_eq(&first, &second));
    // A key that does not fit leaves the old pair in use.
    fs::write(&paths[1], "nothing").unwrap();
    certificate.look_now();
    assert!(Arc::ptr_eq(&second, &certificate.current()));
    assert!(Certificate::open(paths[0].clone(), paths[1].clone()).is_err());

    let served = Served::start(true, api::Config::default()).await;
    let answer = served.client().get(format!("{}/v1", served.url)).send().await.unwrap();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(body["id"], "v1");
    // Who speaks no TLS is cut off, and holds up nobody.
    let mut silent = TcpStream::connect(&served.address).await.unwrap();
    let mut plain = TcpStream::connect(&served.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    plain.read_to_end(&mut rest).await.ok();
    assert!(!rest.starts_with(b"HTTP"));
    assert_eq!(served.status("/v1").await.unwrap(), 200);
    served.stop.cancel();
    served.task.await.unwrap().unwrap();
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn heads_are_bounded_and_connections_are_counted() {
    let served = Served::start(false, api::Config { max_connections: 2, ..api::Config::default() }).await;
    let mut large = TcpStream::connect(&served.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-A: {}\r\n\r\n", "a".repeat(200_000));
    large.write_all(head.as_bytes()).await.ok();
    let mut answer = vec![0; 64];
    let read = large.read(&mut answer).await.unwrap_or(0);
    assert!(read == 0 || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    drop(large);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&served.address).await.unwrap();
        // The first may still count that of above.
        while stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.is_err()
            || stream.read(&mut [0; 64]).await.unwrap_or(0) == 0
        {
            stream = TcpStream::connect(&served.address).await.unwrap();
        }
        kept.push(stream);
    }
    let mut refused = TcpStream::connect(&served.address).await.unwrap();
    refused.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.ok();
    assert_eq!(refused.read(&mut [0; 64]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn one_client_does_not_get_more_than_its_rate() {
    let served = Served::start(false, api::Config { rate_limit: 2, ..api::Config::default() }).await;
    let client = served.client();
    let mut refused = None;
    for _ in 0..50 {
        let answer = client.get(&served.url).send().await.unwrap();
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(refused.headers().contains_key("openstack-request-id"));
}

#[tokio::test]
async fn who_changes_what_is_noted_without_secrets() {
    let served = Served::start(false, api::Config::default()).await;
    let client = served.client();
    let post = |id: &str| {
        let body = r#"{"driver": "redfish", "name": "n", "driver_info": {"redfish_password": "hunter2"}}"#;
        let url = format!("{}/v1/nodes?secret=hunter2", served.url);
        client.post(url).header("X-OpenStack-Request-ID", id.to_owned()).body(body).send()
    };
    let global = "req-7c7b6d0e-0f5e-4d6a-8a58-5b4a6cf3a001";
    let id = post(global).await.unwrap().headers()["openstack-request-id"].to_str().unwrap().to_owned();
    assert_eq!(served.status("/v1/nodes").await.unwrap(), 200);
    let path = served.dir.path().join("audit.log");
    // logrotate renames it; the next line begins a new file.
    let line = next_line(&path).await;
    fs::rename(&path, served.dir.path().join("audit.log.1")).unwrap();
    assert_eq!(line["request_id"], id.as_str());
    assert_eq!(line["global_request_id"], global);
    assert_eq!(
        (&line["method"], &line["path"], &line["address"]),
        (&"POST".into(), &"/v1/nodes".into(), &"127.0.0.1".into())
    );
    assert!(!line.to_string().contains("hunter2"));
    let url = format!("{}/v1/nodes/n/maintenance", served.url);
    assert_eq!(client.put(url).body("{}").send().await.unwrap().status(), 404);
    let line = next_line(&path).await;
    assert_eq!((&line["node"], &line["status"]), (&"n".into(), &404.into()));
}

#[tokio::test]
async fn refusals_without_end_are_not_written_without_end() {
    let served = Served::start(false, api::Config::default()).await;
    let client = served.client();
    for _ in 0..200 {
        let url = format!("{}/v1/nodes", served.url);
        let answer = client.get(url).header("Origin", "http://evil.example").send().await.unwrap();
        assert_eq!(answer.status(), 403);
    }
    // What changes something is still written.
    let url = format!("{}/v1/nodes/n/maintenance", served.url);
    assert_eq!(client.put(url).body("{}").send().await.unwrap().status(), 404);
    let path = served.dir.path().join("audit.log");
    let read = async {
        loop {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if text.contains("maintenance") {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
    let refused = text.matches("\"status\":403").count();
    assert!((60..70).contains(&refused), "{refused}");
}

async fn next_line(path: &Path) -> Value {
    let read = async {
        loop {
            let text = fs::read_to_string(path).unwrap_or_default();
            if let Some((line, _)) = text.split_once('\n') {
                return serde_json::from_str(line).unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap()
}
