//! Formats, manifests, proxies, authorization, connections.

use std::sync::Mutex;

use bessemer_proto::{manifest::Manifest, secret::Secret, step::ImageFormat};

use super::*;

fn remote(more: Value) -> Node {
    let mut node = from("http://127.0.0.1:1/disk.raw".into(), "http");
    node.instance_info.extend(more.as_object().unwrap().clone());
    node
}

fn refused(bench: &Bench, node: &Node) -> String {
    bench.images.check(node).expect_err(&format!("{:?}", node.instance_info)).to_string()
}

/// A node that wants a file of these bytes.
fn file(bench: &Bench, bytes: &[u8]) -> Node {
    let path = bench.folder.path().join("files/disk");
    std::fs::write(&path, bytes).unwrap();
    node(json!({"image_source": format!("file://{}", path.display())}))
}

#[tokio::test]
async fn the_format_is_passed_on_and_qcow2_only_where_it_may_be() {
    let bench = bench(|config| config.check_http_sources = false).await;
    for (declared, format, allow) in [
        (json!({}), ImageFormat::Auto, true),
        (json!({"image_disk_format": "RAW"}), ImageFormat::Auto, false),
        (json!({"image_disk_format": "qcow2"}), ImageFormat::Qcow2, false),
    ] {
        let arguments = bench.images.stage(&remote(declared.clone())).await.unwrap();
        assert_eq!((arguments.format, arguments.allow_qcow2), (format, allow), "{declared}");
    }
}

#[tokio::test]
async fn a_staged_image_that_is_not_what_was_declared_is_refused() {
    let bench = bench(|_| {}).await;
    let qcow2 = b"QFI\xfb\0\0\0\x03".as_slice();
    for (content, declared, expected) in [
        (qcow2, None, Ok((ImageFormat::Qcow2, false))),
        (qcow2, Some("qcow2"), Ok((ImageFormat::Qcow2, false))),
        (qcow2, Some("raw"), Err("the image is qcow2, image_disk_format in instance_info is raw")),
        (CONTENT, None, Ok((ImageFormat::Auto, false))),
        (CONTENT, Some("qcow2"), Err("the image is raw, image_disk_format in instance_info is qcow2")),
        (&[0x1f, 0x8b, 8, 0], Some("raw"), Ok((ImageFormat::Auto, false))),
    ] {
        let mut wanted = file(&bench, content);
        if let Some(declared) = declared {
            wanted.instance_info.insert("image_disk_format".into(), json!(declared));
        }
        match (bench.images.stage(&wanted).await, expected) {
            (Ok(arguments), Ok(expected)) => {
                assert_eq!((arguments.format, arguments.allow_qcow2), expected);
                assert_eq!(arguments.manifest.is_some(), content == CONTENT);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_staged_raw_image_is_served_with_its_manifest() {
    let bench = bench(|_| {}).await;
    let mut content = vec![0; 3 << 20];
    content[1 << 20..][..100].fill(7);
    let mut wanted = file(&bench, &content);
    // Declared: later stages use what the cache has.
    wanted.instance_info.insert("image_checksum".into(), hex::encode(Sha256::digest(&content)).into());
    let (first, second) = tokio::join!(bench.images.stage(&wanted), bench.images.stage(&wanted));
    let arguments = first.unwrap();
    assert_eq!(arguments, second.unwrap());
    let DigestSource::Value(image) = arguments.digest.clone() else { panic!("no digest") };
    let source = arguments.manifest.clone().unwrap();
    assert_eq!(source.url.as_str(), format!("{}.manifest", arguments.url));
    let answer = reqwest_client().get(source.url.clone()).send().await.unwrap();
    let etag = answer.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert!(etag.contains(".manifest-"), "{etag}");
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(source.digest.unwrap().bytes(), Sha256::digest(&bytes).as_slice());
    let manifest = Manifest::parse(&bytes).unwrap();
    assert_eq!(manifest.image_digest, Some(image));
    assert_eq!((manifest.image_bytes, manifest.ranges.len()), (3 << 20, 1));

    // Made once, and anew when it was damaged.
    let kept =
        bench.folder.path().join("images").join(arguments.url.path_segments().unwrap().next_back().unwrap());
    let path = kept.with_extension("manifest");
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    bench.images.stage(&wanted).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written);
    std::fs::write(&path, "{").unwrap();
    assert_eq!(bench.images.stage(&wanted).await.unwrap(), arguments);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);

    // Not of an image that changed in the cache: the agent's own check would be lost.
    std::fs::remove_file(&path).unwrap();
    content[0] = 1;
    std::fs::write(&kept, &content).unwrap();
    let arguments = bench.images.stage(&wanted).await.unwrap();
    assert_eq!(arguments.manifest, None);
    assert!(!path.exists());
    let tmp = bench.folder.path().join("images/tmp");
    assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0);
}

#[tokio::test]
async fn a_manifest_goes_with_its_image() {
    let bench = bench(|config| config.cache_size_gib = 0).await;
    bench.images.stage(&file(&bench, b"old")).await.unwrap();
    let folder = bench.folder.path().join("images");
    let names = || {
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    let old = names();
    assert_eq!(old.len(), 2);
    for path in &old {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(5 * 3600)).unwrap();
    }
    let orphan = folder.join(format!("sha256-{}.manifest", "00".repeat(32)));
    std::fs::write(&orphan, "{}").unwrap();
    bench.images.stage(&file(&bench, b"new")).await.unwrap();
    assert_eq!(names().len(), 2);
    assert!(old.iter().chain([&orphan]).all(|path| !path.exists()), "{:?}", names());
}

#[tokio::test]
async fn a_manifest_of_the_operator_is_passed_on() {
    let bench = bench(|config| config.check_http_sources = false).await;
    let sha = "ab".repeat(32);
    let info = json!({"image_manifest": "https://h/disk.json", "image_manifest_checksum": sha});
    let manifest = bench.images.stage(&remote(info)).await.unwrap().manifest.unwrap();
    assert_eq!(manifest.url.as_str(), "https://h/disk.json");
    assert_eq!(manifest.digest, Some(sha.parse().unwrap()));
    let unproved =
        bench.images.stage(&remote(json!({"image_manifest": "http://h/disk.bmap"}))).await.unwrap();
    assert_eq!(unproved.manifest.unwrap().digest, None);
    for (info, part) in [
        (json!({"image_manifest": "file:///x"}), "image_manifest is not an http or https URL"),
        (json!({"image_manifest": "http://u:p@h/x"}), "image_manifest holds a user name"),
        (json!({"image_manifest": 1}), "image_manifest in instance_info is not a text"),
        (json!({"image_manifest_checksum": sha}), "without image_manifest"),
        (
            json!({"image_manifest": "http://h/x", "image_manifest_checksum": "ab"}),
            "a digest of 2 characters",
        ),
        (
            json!({"image_manifest": "http://h/x", "image_manifest_checksum": "ab".repeat(64)}),
            "image_manifest_checksum is not a sha256 digest",
        ),
        (json!({"image_manifest": "http://h/x", "image_disk_format": "qcow2"}), "remove one of them"),
        (
            json!({"image_manifest": "http://h/x", "image_download_source": "local"}),
            "image_manifest is for images that agents fetch",
        ),
    ] {
        let error = refused(&bench, &remote(info.clone()));
        assert!(error.contains(part), "{info}: {error}");
    }
}

#[tokio::test]
async fn proxies_are_for_images_from_elsewhere() {
    let bench = bench(|config| config.check_http_sources = false).await;
    let with = |mut node: Node, info: Value| {
        node.driver_info.extend(info.as_object().unwrap().clone());
        node
    };
    let proxies = json!({
        "image_http_proxy": "http://u:p@proxy:3128",
        "image_https_proxy": "http://proxy:3129",
        "image_no_proxy": "localhost, .example.org",
    });
    let got = bench.images.stage(&with(remote(json!({})), proxies.clone())).await.unwrap().proxy;
    assert_eq!(got.http, Some(Secret::new("http://u:p@proxy:3128")));
    assert_eq!(got.https, Some(Secret::new("http://proxy:3129")));
    assert_eq!(got.no_proxy.as_deref(), Some("localhost, .example.org"));
    let staged = bench.images.stage(&with(file(&bench, CONTENT), proxies)).await.unwrap();
    assert_eq!(staged.proxy, ProxyArguments::default());
    for (info, part) in [
        (json!({"image_http_proxy": "secret@proxy"}), "image_http_proxy is not an http URL"),
        (json!({"image_https_proxy": "socks5://secret"}), "image_https_proxy is not an http"),
        (json!({"image_https_proxy": "https://proxy:3129"}), "image_https_proxy is not an http"),
        (json!({"image_no_proxy": 1}), "image_no_proxy in driver_info is not a text"),
        (json!({"image_no_proxy": "a\nb"}), "image_no_proxy is not a list of hosts"),
    ] {
        let error = refused(&bench, &with(remote(json!({})), info.clone()));
        assert!(error.contains(part) && !error.contains("secret"), "{info}: {error}");
    }
}

/// Serves the image to who has the key; says what was asked, and with which key. `/away` leads to `elsewhere`.
async fn locked_mirror(elsewhere: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&asked);
    let answer = move |method: Method, uri: http::Uri, headers: HeaderMap| async move {
        let key = headers.get(header::AUTHORIZATION).map_or("-", |value| value.to_str().unwrap());
        seen.lock().unwrap().push(format!("{method} {} {key}", uri.path()));
        let response = Response::builder();
        match uri.path() {
            "/away" => response.status(302).header(header::LOCATION, &elsewhere).body(Body::empty()),
            "/SHA256SUMS" => response.body(format!("{}  disk.raw\n", digest()).into()),
            _ if key == "Bearer k3y" => response.body(CONTENT.into()),
            _ => response.status(401).body(Body::empty()),
        }
        .unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = Router::new().fallback(any(answer));
    tokio::spawn(async move { axum::serve(listener, served).await });
    (base, asked)
}

#[tokio::test]
async fn an_authorization_opens_its_server_and_no_other() {
    let (open, asked_elsewhere) = locked_mirror(String::new()).await;
    let (base, asked) = locked_mirror(format!("{open}/SHA256SUMS")).await;
    let bench = bench(|_| {}).await;
    let with = |path: &str, download: &str, more: Value| {
        let mut node = from(format!("{base}{path}"), download);
        node.instance_info.insert("image_request_authorization_secret".into(), json!("Bearer k3y"));
        node.instance_info.extend(more.as_object().unwrap().clone());
        node
    };
    let mut keyless = from(format!("{base}/disk.raw"), "http");
    let error = bench.images.stage(&keyless).await.unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("image_request_authorization_secret"), "{error}");
    let passed_on = bench.images.stage(&with("/disk.raw", "http", json!({}))).await.unwrap();
    assert_eq!(passed_on.authorization, Some(Secret::new("Bearer k3y")));
    assert!(!format!("{passed_on:?}").contains("k3y"));

    // The controller's own requests, for the checksum file too; agents of a staged image need no key.
    let sums =
        |server: &str| json!({"image_os_hash_algo": null, "image_checksum": format!("{server}/SHA256SUMS")});
    asked.lock().unwrap().clear();
    let staged = bench.images.stage(&with("/disk.raw", "local", sums(&base))).await.unwrap();
    assert_eq!(staged.authorization, None);
    assert_eq!(*asked.lock().unwrap(), ["GET /SHA256SUMS Bearer k3y", "GET /disk.raw Bearer k3y"]);
    bench.images.stage(&with("/disk.raw", "local", sums(&open))).await.unwrap();
    bench.images.stage(&with("/away", "http", json!({}))).await.unwrap();
    assert_eq!(*asked_elsewhere.lock().unwrap(), ["GET /SHA256SUMS -", "HEAD /SHA256SUMS -"]);

    keyless.instance_info.insert("image_request_authorization_secret".into(), json!("Bearer k3y\nX: y"));
    let in_file = json!({"image_source": "file:///x", "image_request_authorization_secret": "Bearer k3y"});
    for (node, part) in [
        (keyless, "is not the value of an Authorization header"),
        (node(in_file), "is for http and https images"),
        (with("/disk.raw", "http", json!({"image_request_authorization_secret": ["k3y"]})), "is not a text"),
    ] {
        let error = bench.images.check(&node).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("k3y"), "{error}");
    }
}

#[tokio::test]
async fn connections_and_reading_back_reach_the_agent() {
    let bench = bench(|config| config.check_http_sources = false).await;
    for (info, connections, verify) in [
        (json!({}), None, false),
        (json!({"image_connections": 8, "image_verify_readback": true}), Some(8), true),
        (json!({"image_connections": "1", "image_verify_readback": "True"}), Some(1), true),
        (json!({"image_connections": null, "image_verify_readback": "false"}), None, false),
    ] {
        for download in ["http", "local"] {
            let mut node = match download {
                "http" => remote(json!({})),
                _ => file(&bench, CONTENT),
            };
            node.instance_info.extend(info.as_object().unwrap().clone());
            let arguments = bench.images.stage(&node).await.unwrap();
            assert_eq!((arguments.connections, arguments.verify_readback), (connections, verify), "{info}");
        }
    }
    for value in [json!(0), json!(9), json!("many"), json!(-1), json!(2.5), json!(true), json!("")] {
        let error = refused(&bench, &remote(json!({"image_connections": value})));
        assert!(error.contains("image_connections is not a number from 1 to 8"), "{value}: {error}");
    }
    for value in [json!(1), json!("yes"), json!([])] {
        let error = refused(&bench, &remote(json!({"image_verify_readback": value})));
        assert!(error.contains("image_verify_readback is neither true nor false"), "{value}: {error}");
    }
}
