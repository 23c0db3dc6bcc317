//! Formats, manifests and proxies.

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
        (json!({"image_http_proxy": "secret@proxy"}), "image_http_proxy is not an http or https URL"),
        (json!({"image_https_proxy": "socks5://secret"}), "image_https_proxy is not an http"),
        (json!({"image_https_proxy": "https://proxy:3129"}), "image_https_proxy is not an http"),
        (json!({"image_no_proxy": 1}), "image_no_proxy in driver_info is not a text"),
        (json!({"image_no_proxy": "a\nb"}), "image_no_proxy is not a list of hosts"),
    ] {
        let error = refused(&bench, &with(remote(json!({})), info.clone()));
        assert!(error.contains(part) && !error.contains("secret"), "{info}: {error}");
    }
}
