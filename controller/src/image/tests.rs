use std::{
    io::Write as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Body, extract::State, response::Response, routing::any};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;

mod transfer;

const CONTENT: &[u8] = b"not a disk, but long enough to be cut in half";

struct Bench {
    folder: TempDir,
    images: Images,
    base: String,
}

/// The controller's own server, as agents see it.
async fn bench(change: impl FnOnce(&mut Config)) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    let mut config =
        Config { file_url_allowed_paths: vec![folder.path().join("files")], ..Config::default() };
    change(&mut config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let images =
        Images::open(config, folder.path().join("images"), base.parse().unwrap(), Some("OUR CA".into()))
            .unwrap();
    let served = router(images.clone());
    tokio::spawn(async move { axum::serve(listener, served).await });
    Bench { folder, images, base }
}

#[derive(Clone, Default)]
struct Mirror {
    gets: Arc<AtomicUsize>,
}

/// An image server with a file for each kind of trouble.
async fn mirror() -> (String, Mirror) {
    async fn answer(State(mirror): State<Mirror>, method: Method, uri: http::Uri) -> Response {
        if method == Method::GET {
            mirror.gets.fetch_add(1, Ordering::SeqCst);
        }
        let reply = |status: StatusCode, body: Body| {
            let mut response = Response::new(body);
            *response.status_mut() = status;
            response
        };
        match (uri.path(), method) {
            ("/disk.raw", _) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                reply(StatusCode::OK, CONTENT.into())
            }
            ("/signed.raw", Method::HEAD) => reply(StatusCode::FORBIDDEN, Body::empty()),
            ("/signed.raw", _) => reply(StatusCode::PARTIAL_CONTENT, "n".into()),
            ("/short.raw", _) => {
                let mut response = reply(StatusCode::OK, Body::from_stream(short()));
                response.headers_mut().insert(header::CONTENT_LENGTH, CONTENT.len().into());
                response
            }
            ("/SHA256SUMS", _) => {
                let text = format!("{}  other.raw\n{}  disk.raw\n", "00".repeat(32), digest());
                reply(StatusCode::OK, text.into())
            }
            _ => reply(StatusCode::NOT_FOUND, Body::empty()),
        }
    }
    fn short() -> impl futures_util::Stream<Item = std::io::Result<&'static [u8]>> {
        futures_util::stream::iter([Ok(&CONTENT[..10]), Err(std::io::ErrorKind::ConnectionReset.into())])
    }
    let mirror = Mirror::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = Router::new().fallback(any(answer)).with_state(mirror.clone());
    tokio::spawn(async move { axum::serve(listener, served).await });
    (base, mirror)
}

fn digest() -> String {
    hex::encode(Sha256::digest(CONTENT))
}

fn node(instance_info: Value) -> Node {
    let mut node = Node::new("redfish");
    node.instance_info = instance_info.as_object().unwrap().clone();
    node
}

fn from(source: String, download: &str) -> Node {
    node(json!({
        "image_source": source,
        "image_os_hash_algo": "sha256",
        "image_os_hash_value": digest(),
        "image_download_source": download,
    }))
}

#[tokio::test]
async fn what_instance_info_lacks_or_gets_wrong_is_named() {
    let bench = bench(|_| {}).await;
    let sha = "ab".repeat(32);
    let url = "http://h/disk.raw";
    for (info, part) in [
        (json!({}), "Missing are: image_source; image_checksum"),
        (json!({"image_source": url}), "Missing are: image_checksum, or image_os_hash_algo"),
        (json!({"image_source": url, "image_os_hash_algo": "sha256"}), "Missing are: image_checksum"),
        (json!({"image_source": url, "image_checksum": "ab".repeat(16)}), "image_checksum is md5"),
        (
            json!({"image_source": url, "image_os_hash_algo": "md5", "image_os_hash_value": "x"}),
            "image_os_hash_algo is md5",
        ),
        (
            json!({"image_source": url, "image_os_hash_algo": "sha512", "image_os_hash_value": sha}),
            "image_os_hash_value: a sha512 digest has 128",
        ),
        (json!({"image_source": url, "image_checksum": "abc"}), "image_checksum: a digest of 3 characters"),
        (json!({"image_source": url, "image_checksum": "ftp://h/sums"}), "not an http or https URL"),
        (json!({"image_source": "oci://h/i", "image_checksum": sha}), "protocol oci is not supported"),
        (json!({"image_source": "disk.raw", "image_checksum": sha}), "disk.raw is not a URL"),
        (json!({"image_source": "http://u:p@h/i", "image_checksum": sha}), "holds a user name"),
        (
            json!({"image_source": url, "image_checksum": sha, "image_disk_format": "vmdk"}),
            "image_disk_format vmdk is not supported",
        ),
        (json!({"image_source": url, "image_checksum": sha, "kernel": "k"}), "partition images"),
        (json!({"image_source": 5, "image_checksum": sha}), "image_source in instance_info is not a text"),
        (json!({"image_source": url, "image_checksum": sha, "root_device": "big"}), "root_device is not"),
        (
            json!({"image_source": url, "image_checksum": sha, "image_download_source": "ftp"}),
            "image_download_source is not known",
        ),
    ] {
        let error = bench.images.check(&node(info.clone())).expect_err(&info.to_string()).to_string();
        assert!(error.contains(part), "{info}: {error}");
    }
    let fine = json!({"image_source": url, "image_checksum": sha, "image_disk_format": "raw"});
    bench.images.check(&node(fine)).unwrap();
}

#[tokio::test]
async fn an_http_source_is_asked_for_and_passed_on() {
    let (base, mirror) = mirror().await;
    let bench = bench(|_| {}).await;
    let mut wanted = from(format!("{base}/disk.raw"), "http");
    wanted.properties.insert("root_device".into(), json!({"serial": "S1"}));
    let arguments = bench.images.stage(&wanted).await.unwrap();
    assert_eq!(arguments.url.as_str(), format!("{base}/disk.raw"));
    assert_eq!(arguments.root_device["serial"], "S1");
    assert_eq!(arguments.ca_pem, None);
    assert_eq!(mirror.gets.load(Ordering::SeqCst), 0);
    bench.images.stage(&from(format!("{base}/signed.raw"), "http")).await.unwrap();
}

#[tokio::test]
async fn a_missing_image_is_a_sentence_without_the_secret_query() {
    let (base, _) = mirror().await;
    let bench = bench(|_| {}).await;
    let gone = bench.images.stage(&from(format!("{base}/gone.raw?sig=secret"), "http")).await;
    let text = gone.unwrap_err().to_string();
    assert!(text.contains("gone.raw is not to be had: the source answered 404"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let dead = bench.images.stage(&from("http://127.0.0.1:1/x?sig=secret".into(), "http")).await;
    let text = dead.unwrap_err().to_string();
    assert!(text.contains("no connection to the source"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_local_image_is_fetched_once_checked_and_served_with_ranges() {
    let (base, mirror) = mirror().await;
    let bench = bench(|_| {}).await;
    let wanted = from(format!("{base}/disk.raw"), "local");
    let (first, second) = tokio::join!(bench.images.stage(&wanted), bench.images.stage(&wanted));
    let arguments = first.unwrap();
    assert_eq!(arguments, second.unwrap());
    assert_eq!(mirror.gets.load(Ordering::SeqCst), 1, "two at once are one download");
    assert_eq!(arguments.url.as_str(), format!("{}/images/sha256-{}", bench.base, digest()));
    assert_eq!(arguments.ca_pem.as_deref(), Some("OUR CA"));

    let client = reqwest_client();
    let whole = client.get(arguments.url.clone()).send().await.unwrap();
    let etag = whole.headers()[header::ETAG].clone();
    assert_eq!(whole.bytes().await.unwrap(), CONTENT);
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, "bytes=4-8".parse().unwrap());
    headers.insert(header::IF_RANGE, etag);
    let part = client.get(arguments.url.clone()).headers(headers).send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), &CONTENT[4..9]);
    let head = client.head(arguments.url).send().await.unwrap();
    assert_eq!(head.headers()[header::CONTENT_LENGTH], CONTENT.len().to_string());
}

#[tokio::test]
async fn only_digests_can_be_asked_for() {
    let bench = bench(|_| {}).await;
    std::fs::write(bench.folder.path().join("secret"), "x").unwrap();
    for path in ["..%2Fsecret", "tmp", "sha256-..", "md5-abc", &format!("sha256-{}", "0".repeat(64))] {
        let answer = reqwest_client().get(format!("{}/images/{path}", bench.base)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_digest_and_a_short_body_keep_nothing() {
    let (base, _) = mirror().await;
    let bench = bench(|_| {}).await;
    let mut wrong = from(format!("{base}/disk.raw"), "local");
    wrong.instance_info.insert("image_os_hash_value".into(), json!("00".repeat(32)));
    let error = bench.images.stage(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("has digest sha256:") && error.contains("instance_info declares"), "{error}");
    let error = bench.images.stage(&from(format!("{base}/short.raw"), "local")).await.unwrap_err();
    assert!(matches!(error, ImageError::Source { .. }), "{error}");
    let folder = bench.folder.path().join("images");
    assert_eq!(std::fs::read_dir(folder.join("tmp")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}

#[tokio::test]
async fn a_checksum_file_gives_the_digest() {
    let (base, _) = mirror().await;
    let bench = bench(|_| {}).await;
    let info = |checksum| {
        node(json!({
            "image_source": format!("{base}/disk.raw"),
            "image_checksum": format!("{base}/{checksum}"),
            "image_download_source": "local",
        }))
    };
    let arguments = bench.images.stage(&info("SHA256SUMS")).await.unwrap();
    assert_eq!(arguments.digest, DigestSource::Value(digest().parse().unwrap()));
    let passed_on = Node { instance_info: info("SHA256SUMS").instance_info, ..Node::new("redfish") };
    let mut passed_on = passed_on;
    passed_on.instance_info.insert("image_download_source".into(), json!("http"));
    let arguments = bench.images.stage(&passed_on).await.unwrap();
    assert!(matches!(arguments.digest, DigestSource::Url { .. }));
    let error = bench.images.stage(&info("nothing")).await.unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
}

#[tokio::test]
async fn files_come_only_from_allowed_folders() {
    let bench = bench(|_| {}).await;
    let (inside, outside) =
        (bench.folder.path().join("files/disk.raw"), bench.folder.path().join("other.raw"));
    for path in [&inside, &outside] {
        std::fs::File::create(path).unwrap().write_all(CONTENT).unwrap();
    }
    let link = bench.folder.path().join("files/link.raw");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let stage =
        async |path: &str| bench.images.stage(&node(json!({"image_source": format!("file://{path}")}))).await;
    let arguments = stage(inside.to_str().unwrap()).await.unwrap();
    assert_eq!(arguments.digest, DigestSource::Value(digest().parse().unwrap()));
    for path in [outside.to_str().unwrap(), link.to_str().unwrap(), "/etc/shadow", "/nowhere/x"] {
        let error = stage(path).await.unwrap_err().to_string();
        assert!(error.contains("may not be read"), "{path}: {error}");
    }
    let missing = bench.folder.path().join("files/missing.raw");
    let error = stage(missing.to_str().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[tokio::test]
async fn the_system_folders_are_refused_even_when_allowed() {
    let bench = bench(|config| config.file_url_allowed_paths = vec!["/".into()]).await;
    let error = bench.images.stage(&node(json!({"image_source": "file:///etc/passwd"}))).await.unwrap_err();
    assert!(error.to_string().contains("may not be read"), "{error}");
}

#[tokio::test]
async fn a_full_cache_loses_the_longest_unused_image() {
    let (base, _) = mirror().await;
    let bench = bench(|config| config.cache_size_gib = 0).await;
    let old = bench.folder.path().join(format!("images/sha256-{}", "11".repeat(32)));
    let recent = bench.folder.path().join(format!("images/sha256-{}", "22".repeat(32)));
    for (path, hours) in [(&old, 5), (&recent, 1)] {
        let file = std::fs::File::create(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
        file.set_len(1).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
    bench.images.stage(&from(format!("{base}/disk.raw"), "local")).await.unwrap();
    assert!(!old.exists());
    assert!(recent.exists(), "an agent may still read it");
}

#[test]
fn a_ca_file_without_certificates_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "nothing").unwrap();
    let config = Config { ca_file: Some(path), ..Config::default() };
    let opened =
        Images::open(config, folder.path().join("images"), "http://h".parse().unwrap(), None).map(drop);
    assert!(opened.unwrap_err().to_string().contains("ca.pem"));
}

fn reqwest_client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder()
        .tls_backend_preconfigured(
            rustls::ClientConfig::builder()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth(),
        )
        .build()
        .unwrap()
}
