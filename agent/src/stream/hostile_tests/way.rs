//! What lies between: redirects, proxies, certificates, HTTP/2.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bessemer_proto::{secret::Secret, step::ProxyArguments};
use futures_util::StreamExt as _;
use http_body_util::{BodyExt, StreamBody};
use hyper::{Response, body::Frame, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;
use crate::{
    stream::FetchError,
    test_support::{
        proxy::{Manners, Proxy},
        server::{ServerIdentity, header},
    },
};

#[tokio::test]
async fn every_request_is_redirected_anew() {
    let image = image();
    let served = Served::new(image.clone());
    let times = AtomicUsize::new(0);
    let mirror = Arc::new(Server::serve(move |request| {
        let reply = served.reply(request);
        if times.fetch_add(1, Ordering::SeqCst) == 0 { reply.cut_at(2 * MIB) } else { reply }
    }));
    let there = mirror.clone();
    let (written, requests) = succeeds("redirected", &image, move |request| {
        Reply::redirect(there.url(&format!("/mirror?key={}", request.number)).as_str())
    })
    .await;
    assert_eq!((written.work.retries, requests.len()), (1, 2));
    let asked = mirror.requests();
    assert!(asked[0].starts_with("GET /mirror?key=0 ") && asked[1].starts_with("GET /mirror?key=1 "));
    assert_eq!(header(&asked[1], "range"), Some("bytes=2097152-"));
}

#[tokio::test]
async fn a_resumed_request_is_not_led_away_from_https() {
    let image = image();
    let plain = Arc::new(Server::start(|_| Reply::status("404 Not Found")));
    let served = Served::new(image.clone());
    let away = plain.url("/image").to_string();
    let server = Server::serve_tls(ServerIdentity::of_own_ca(), move |request| match request.number {
        0 => served.reply(request).cut_at(2 * MIB),
        _ => Reply::redirect(&away),
    });
    let disk = TestDisk::file(IMAGE);
    let error = Fetch::from(&server, &image).to(&disk).await.unwrap_err();
    assert!(matches!(error, StreamError::Fetch(FetchError::Redirect { .. })), "{error:?}");
    assert!(plain.requests().is_empty());
    assert_boot_area_is_zero(&disk.content());
}

fn through(proxy: &str, no_proxy: Option<&str>) -> ProxyArguments {
    let url = Some(Secret::new(proxy));
    ProxyArguments { http: url.clone(), https: url, no_proxy: no_proxy.map(str::to_owned) }
}

/// `user:pass word`
const AUTHORIZATION: &str = "Basic dXNlcjpwYXNzIHdvcmQ=";

#[tokio::test]
async fn a_proxy_carries_both_schemes_and_keeps_its_credentials() {
    let image = image();
    for tls in [false, true] {
        let served = Served::new(image.clone());
        let handler = move |request: &Request| served.reply(request);
        let server = if tls {
            Server::serve_tls(ServerIdentity::of_own_ca(), handler)
        } else {
            Server::serve(handler)
        };
        let manners =
            Manners { authorization: Some(AUTHORIZATION), breaks_first_after: Some(2 * MIB as u64) };
        let proxy = Proxy::start(manners);
        let mut fetch = Fetch::from(&server, &image);
        fetch.options.proxy = through(&proxy.url("user:pass%20word"), Some("localhost,10.0.0.0/8"));
        let disk = TestDisk::file(IMAGE);
        let written = fetch.to(&disk).await.unwrap();
        assert!(disk.content() == image);
        assert_eq!(written.work.retries, 1, "the proxy broke the first connection");
        let seen = proxy.requests();
        let way = if tls { "CONNECT 127.0.0.1:" } else { "GET http://127.0.0.1:" };
        assert!(seen.len() == 2 && seen.iter().all(|request| request.starts_with(way)), "{seen:?}");
        for request in server.requests() {
            assert!(!request.to_lowercase().contains("proxy-auth"), "{request}");
        }
    }
}

#[tokio::test]
async fn exceptions_from_the_proxy_are_asked_directly() {
    let image = image();
    let proxy = Proxy::start(Manners::default());
    for exception in ["127.0.0.1", "127.0.0.0/8", "example.org, 127.0.0.1", "*"] {
        let served = Served::new(image.clone());
        let server = Server::serve(move |request| served.reply(request));
        let mut fetch = Fetch::from(&server, &image);
        fetch.options.proxy = through(&proxy.url(""), Some(exception));
        fetch.to(&TestDisk::file(IMAGE)).await.unwrap();
        assert_eq!(server.requests().len(), 1, "{exception}");
        assert!(proxy.requests().is_empty(), "{exception}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_an_error_without_its_password() {
    let image = image();
    for tls in [false, true] {
        let handler = |_: &Request| Reply::status("404 Not Found");
        let server = if tls {
            Server::serve_tls(ServerIdentity::of_own_ca(), handler)
        } else {
            Server::serve(handler)
        };
        let proxy = Proxy::start(Manners { authorization: Some("Basic b3RoZXI="), ..Manners::default() });
        let mut fetch = Fetch::from(&server, &image);
        fetch.options.proxy = through(&proxy.url("user:pass%20word"), None);
        let disk = TestDisk::file(IMAGE);
        let before = disk.content();
        let message = chain(fetch.to(&disk).await.unwrap_err());
        assert!(!message.contains("pass") && !message.contains("dXNlcjpw"), "{message}");
        assert!(server.requests().is_empty());
        assert!(disk.content() == before, "the disk was touched");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_a_pin_of_its_name_and_its_time() {
    let image = image();
    for (name, years, refusal) in [
        ("127.0.0.1", (2020, 2090), None),
        ("192.0.2.1", (2020, 2090), Some("not valid for")),
        ("127.0.0.1", (2001, 2002), Some("expired")),
        ("127.0.0.1", (2089, 2090), Some("not valid yet")),
    ] {
        let served = Served::new(image.clone());
        let server =
            Server::serve_tls(ServerIdentity::self_signed(name, years), move |request| served.reply(request));
        let disk = TestDisk::file(IMAGE);
        let written = Fetch::from(&server, &image).to(&disk).await;
        match refusal {
            None => assert!(written.is_ok() && disk.content() == image, "{written:?}"),
            Some(reason) => {
                let message = chain(written.unwrap_err());
                assert!(message.contains("certificate") && message.contains(reason), "{name}: {message}");
                assert!(server.requests().is_empty(), "{name}: something was asked all the same");
            }
        }
    }
}

#[tokio::test]
async fn a_pin_is_for_that_certificate_alone() {
    let image = image();
    let other = ServerIdentity::self_signed("127.0.0.1", (2020, 2090));
    let server = Server::serve_tls(ServerIdentity::self_signed("127.0.0.1", (2020, 2090)), |_| {
        Reply::status("404 Not Found")
    });
    let mut fetch = Fetch::from(&server, &image);
    fetch.options.ca_pem = Some(other.ca_pem);
    let error = fetch.to(&TestDisk::file(IMAGE)).await.unwrap_err();
    assert!(matches!(error, StreamError::Fetch(FetchError::Untrusted { .. })), "{error:?}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_pinned_certificate_vouches_for_no_other() {
    let image = image();
    let (honest, forgery) = ServerIdentity::leaf_and_forgery();
    for (identity, good) in [(honest, true), (forgery, false)] {
        let (ca_pem, served) = (identity.ca_pem.clone(), Served::new(image.clone()));
        let server = Server::serve_tls(identity, move |request| served.reply(request));
        let mut fetch = Fetch::from(&server, &image);
        fetch.options.ca_pem = Some(ca_pem);
        let result = fetch.to(&TestDisk::file(IMAGE)).await;
        let refused = matches!(result, Err(StreamError::Fetch(FetchError::Untrusted { .. })));
        assert_eq!((result.is_ok(), refused), (good, !good), "{:?}", result.err());
    }
}

/// A server that speaks HTTP/2 and nothing else; breaks its first body off in the middle.
async fn serve_http2(served: Served) -> (Url, String, Arc<Mutex<Vec<String>>>) {
    let identity = ServerIdentity::of_own_ca().speaking(b"h2");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(identity.config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/image", listener.local_addr().unwrap())).unwrap();
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let asked = ranges.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let (served, asked) = (served.clone(), asked.clone());
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let range = request.headers().get("range").map(|range| range.to_str().unwrap().to_owned());
                let mut asked = asked.lock().unwrap();
                asked.push(range.clone().unwrap_or_default());
                let broken = asked.len() == 1;
                let start = range.map_or(0, |range| range[6..range.len() - 1].parse().unwrap());
                let reply = http2_reply(&served, start, broken);
                async move { Ok::<_, std::io::Error>(reply) }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, identity.ca_pem, ranges)
}

type Http2Body = http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error>;

fn http2_reply(served: &Served, start: usize, broken: bool) -> Response<Http2Body> {
    let total = served.bytes.len();
    let bytes = served.bytes.slice(start..if broken { total / 2 } else { total });
    let data = futures_util::stream::iter([Ok(Frame::data(bytes))]);
    let breaks = futures_util::stream::once(async {
        // What came before must be on its way, else the break swallows it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Err(std::io::ErrorKind::ConnectionReset.into())
    });
    let mut reply = Response::builder().header("etag", "\"v1\"").header("content-length", total - start);
    if start > 0 {
        let range = format!("bytes {start}-{}/{total}", total - 1);
        reply = reply.status(206).header("content-range", range);
    }
    let body = match broken {
        true => BodyExt::boxed(StreamBody::new(data.chain(breaks))),
        false => BodyExt::boxed(StreamBody::new(data)),
    };
    reply.body(body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_delivers_images_and_resumes_them() {
    let image = image();
    let (url, ca_pem, asked) = serve_http2(Served::new(image.clone())).await;
    let mut fetch = Fetch::of(url, &image);
    fetch.options.ca_pem = Some(ca_pem);
    let disk = TestDisk::file(IMAGE);
    let written = fetch.to(&disk).await.unwrap();
    assert!(disk.content() == image);
    assert_eq!(written.work.retries, 1);
    let asked = asked.lock().unwrap().clone();
    assert!(asked.len() == 2 && asked[0].is_empty() && asked[1].starts_with("bytes="), "{asked:?}");
}
