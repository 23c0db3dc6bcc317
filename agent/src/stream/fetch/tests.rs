use std::time::Duration;

use bessemer_proto::secret::Secret;
use http::StatusCode;

use super::*;
use crate::test_support::{
    Heard,
    server::{Reply, Server},
};

/// One attempt.
fn options(server: &Server) -> FetchOptions {
    FetchOptions {
        ca_pem: server.ca_pem.clone(),
        read_timeout: Duration::from_millis(300),
        attempts: 1,
        ..FetchOptions::default()
    }
}

fn fetcher(server: &Server) -> Fetcher {
    Fetcher::new(options(server)).unwrap()
}

async fn read(fetcher: Fetcher, url: &Url, limit: usize) -> Result<Vec<u8>, FetchError> {
    super::read(&Arc::new(fetcher), url, limit, Arc::new(Heard::default())).await
}

async fn get(server: &Server, path: &str) -> Result<Vec<u8>, FetchError> {
    read(fetcher(server), &server.url(path), 1000).await
}

#[tokio::test]
async fn whole_bodies_arrive_with_and_without_length_over_http_and_https() {
    let handler = |path: &str| match path {
        "/chunked" => Reply::chunked(b"abcdef", 2, true),
        "/until-close" => Reply::raw("HTTP/1.1 200 OK\r\n", "abcdef"),
        "/slow" => Reply { pace: Some((1, Duration::from_millis(20))), ..Reply::ok("abcdef") },
        _ => Reply::ok("abcdef"),
    };
    for server in [Server::start(handler), Server::start_tls(handler)] {
        for path in ["/plain", "/chunked", "/until-close", "/slow"] {
            assert_eq!(get(&server, path).await.unwrap(), b"abcdef", "{path}");
        }
        let request = server.requests().remove(0).to_lowercase();
        assert!(request.contains("accept-encoding: identity"), "{request}");
        assert!(!request.contains("authorization"), "{request}");
    }
}

#[tokio::test]
async fn a_short_body_is_an_error_however_it_is_cut() {
    let server = Server::start(|path| match path {
        "/length" => Reply::announcing(10, "abcdef"),
        "/empty" => Reply::announcing(10, ""),
        _ => Reply::chunked(b"abcdef", 4, false),
    });
    for (path, announced) in [("/length", Some(10)), ("/empty", Some(10)), ("/chunked", None)] {
        match get(&server, path).await {
            Err(FetchError::Short { expected, .. }) => assert_eq!(expected, announced, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let server = Server::start(|path| match path {
        "/head" => Reply { stall: true, ..Reply::raw("HTTP/1.1 200 OK\r\nX: ", "") },
        _ => Reply { stall: true, ..Reply::announcing(10, "abc") },
    });
    assert!(matches!(get(&server, "/body").await, Err(FetchError::Stalled { received: 3, .. })));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    let error = read(fetcher(&server), &url, 10).await.unwrap_err();
    assert!(matches!(error, FetchError::Stalled { received: 0, .. }), "{error:?}");
}

#[tokio::test]
async fn only_200_counts() {
    let server = Server::start(|path| match path {
        "/partial" => Reply::raw("HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n", "abc"),
        "/packed" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n", "abc"),
        _ => Reply::status("404 Not Found"),
    });
    let error = get(&server, "/missing").await.unwrap_err();
    assert!(error.to_string().contains("404 Not Found"), "{error}");
    let error = get(&server, "/partial").await.unwrap_err();
    assert!(matches!(error, FetchError::Status { status: StatusCode::PARTIAL_CONTENT, .. }), "{error:?}");
    assert!(matches!(get(&server, "/packed").await, Err(FetchError::Encoding { .. })));
    let ftp = Url::parse("ftp://127.0.0.1/x").unwrap();
    assert!(matches!(read(fetcher(&server), &ftp, 10).await, Err(FetchError::Scheme { .. })));
    assert!(matches!(read(fetcher(&server), &server.url("/x"), 1).await, Err(FetchError::Status { .. })));
}

#[tokio::test]
async fn redirects_are_followed_but_bounded_and_never_away_from_https() {
    let plain = Server::start(|path| match path {
        "/loop" => Reply::redirect("/loop"),
        "/nowhere" => Reply::raw("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n", ""),
        "/start" => Reply::redirect("/a/../target"),
        "/target" => Reply::ok("found"),
        _ => Reply::status("404 Not Found"),
    });
    assert_eq!(get(&plain, "/start").await.unwrap(), b"found");
    assert!(matches!(get(&plain, "/loop").await, Err(FetchError::Redirect { reason: "too often", .. })));
    assert!(matches!(get(&plain, "/nowhere").await, Err(FetchError::Redirect { .. })));

    let away = plain.url("/target").to_string();
    let secure = Server::start_tls(move |_| Reply::redirect(&away));
    let before = plain.requests().len();
    let error = get(&secure, "/").await.unwrap_err();
    assert!(error.to_string().contains("from https"), "{error}");
    assert_eq!(plain.requests().len(), before, "nothing may be sent there");
}

#[tokio::test]
async fn credentials_stay_with_their_host_and_out_of_messages() {
    let other = Server::start(|_| Reply::ok("other"));
    let to = other.url("/file?sig=secret").to_string();
    let server = Server::start(move |path| match path {
        "/same" => Reply::redirect("/here"),
        "/away" => Reply::redirect(&to),
        _ => Reply::ok("here"),
    });
    let secret = Secret::new("Bearer top-secret");
    let trusted = || fetcher(&server).with_authorization(&server.url("/"), &secret).unwrap();
    assert_eq!(read(trusted(), &server.url("/same"), 100).await.unwrap(), b"here");
    assert_eq!(read(trusted(), &server.url("/away"), 100).await.unwrap(), b"other");
    for request in server.requests() {
        assert!(request.to_lowercase().contains("authorization: bearer top-secret"), "{request}");
    }
    for request in other.requests() {
        assert!(!request.to_lowercase().contains("authorization"), "{request}");
        assert!(!request.to_lowercase().contains("referer"), "{request}");
    }
    let url = Url::parse("http://user:pass@127.0.0.1:1/x?temp_url_sig=key").unwrap();
    let error = format!("{:#}", anyhow::Error::from(read(trusted(), &url, 10).await.unwrap_err()));
    assert!(!error.contains("pass") && !error.contains("key") && error.contains("127.0.0.1:1/x"), "{error}");
    let bad = Secret::new("Bearer a\nb");
    let result = Fetcher::new(FetchOptions::default()).unwrap().with_authorization(&url, &bad);
    assert!(matches!(result, Err(FetchError::Authorization)));
}

#[tokio::test]
async fn a_request_has_one_authorization() {
    let server = Server::start(|_| Reply::ok("x"));
    let mut url = server.url("/image");
    url.set_username("user").unwrap();
    url.set_password(Some("pass")).unwrap();
    let given = fetcher(&server).with_authorization(&url, &Secret::new("Bearer given")).unwrap();
    read(given, &url, 10).await.unwrap();
    read(fetcher(&server), &url, 10).await.unwrap();
    let sent = |request: &String| {
        let lines = request.lines().filter(|line| line.to_lowercase().starts_with("authorization:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let sent: Vec<_> = server.requests().iter().map(sent).collect();
    assert_eq!(sent, [["authorization: Bearer given"], ["authorization: Basic dXNlcjpwYXNz"]]);
}

#[tokio::test]
async fn only_the_given_ca_is_trusted() {
    let server = Server::start_tls(|_| Reply::ok("x"));
    let stranger = Server::start_tls(|_| Reply::ok("x"));
    for ca_pem in [None, stranger.ca_pem.clone()] {
        let fetcher = Fetcher::new(FetchOptions { ca_pem, ..FetchOptions::default() }).unwrap();
        let error = read(fetcher, &server.url("/"), 10).await.unwrap_err();
        assert!(matches!(error, FetchError::Untrusted { .. }), "{error:?}");
        let chain = format!("{:#}", anyhow::Error::from(error));
        assert!(chain.contains("certificate"), "{chain}");
    }
    for pem in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(Fetcher::new(FetchOptions { ca_pem: Some(pem.into()), ..FetchOptions::default() }).is_err());
    }
}

#[tokio::test]
async fn a_small_file_that_is_not_small_is_refused() {
    let server = Server::start(|_| Reply::chunked(&[b'x'; 5000], 500, true));
    assert!(matches!(get(&server, "/").await, Err(FetchError::TooLong { limit: 1000, .. })));
}
