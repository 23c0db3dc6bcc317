use std::io::Write as _;

use axum::body::{Body, to_bytes};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use http::{Request, StatusCode};
use proptest::prelude::*;
use serde_json::json;
use tower::ServiceExt as _;

use super::*;
use crate::image;

pub(crate) fn iso() -> Vec<u8> {
    let mut iso = vec![0x5a; 40_000];
    iso[32768..32774].copy_from_slice(b"\x01CD001");
    iso
}

pub(crate) fn packed(image: &[u8]) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(image).unwrap();
    STANDARD.encode(gzip.finish().unwrap())
}

struct Bench {
    drives: ConfigDrives,
    _folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let base = "http://controller:6387/files/".parse().unwrap();
    let images = Images::open(image::Config::default(), folder.path().join("images"), base, None).unwrap();
    Bench { drives: ConfigDrives::new(images), _folder: folder }
}

fn node(config_drive: Value) -> Node {
    let mut node = Node::new("redfish");
    node.name = Some("web-7".into());
    node.instance_info.insert(KEY.into(), config_drive);
    node
}

async fn refusal(value: Value) -> String {
    bench().drives.check(value).await.unwrap_err().to_string()
}

#[tokio::test]
async fn each_form_is_taken_and_what_is_wrong_is_said() {
    let drives = bench().drives;
    let text = packed(&iso());
    let lines: Vec<_> = text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line) + "\n").collect();
    for fine in [
        json!(packed(&iso())),
        json!(lines.concat()),
        json!("https://u:p@h/drive.iso?sig=1"),
        json!({"meta_data": {"a": 1}, "user_data": ["x"], "network_data": {}, "vendor_data": null}),
    ] {
        drives.check(fine).await.unwrap();
    }
    let bomb = packed(&vec![0; MAX_BYTES + 1]);
    for (wrong, part) in [
        (json!("#cloud-config hunter2"), "neither a URL nor base64"),
        (json!("hunter2hunter2"), "not of whole gzip data"),
        (json!(packed(&iso())[..200]), "not of whole gzip data"),
        (json!(packed(b"hunter2")), "neither an ISO 9660 nor a FAT"),
        (json!(bomb), "larger than 64 MiB"),
        (json!({"user_data": "x".repeat(MAX_BYTES)}), "larger than 64 MiB"),
        (json!("ftp://hunter2/"), "of another kind than http"),
        (json!(["hunter2"]), "neither a text nor an object"),
        (json!({"userdata": "hunter2"}), "has no part \"userdata\""),
        (json!({"meta_data": "hunter2"}), "meta_data of configdrive is not an object"),
        (json!({"user_data": 5}), "user_data of configdrive is neither"),
    ] {
        let said = refusal(wrong).await;
        assert!(said.contains(part) && !said.contains("hunter2"), "{said}");
    }
    assert!(of(&node(json!(""))).is_none() && of(&node(json!({}))).is_none());
}

#[tokio::test]
async fn what_is_staged_is_served_to_whoever_knows_the_key_until_it_is_removed() {
    let drives = bench().drives;
    let node = node(json!(packed(&iso())));
    let offer = drives.stage(&node, None).await.unwrap().unwrap();
    let text = offer.url.reveal().to_owned();
    let (path, key) = text.strip_prefix("http://controller:6387/files").unwrap().split_once("?key=").unwrap();
    assert_eq!((path.to_owned(), key.len()), (format!("/config-drives/{}", node.uuid), 32));
    assert!(!format!("{offer:?} {drives:?}").contains(key));
    let ask = async |path: String| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(drives.clone()).oneshot(request).await.unwrap();
        let status = answer.status();
        (status, to_bytes(answer.into_body(), usize::MAX).await.unwrap())
    };
    let (status, body) = ask(format!("{path}?key={key}")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body == iso());
    assert_eq!(offer.digest.bytes(), &Sha256::digest(&body)[..]);
    for wrong in [
        path.to_owned(),
        format!("{path}?key="),
        format!("{path}?key={}", "0".repeat(32)),
        "/config-drives/x?key=1".into(),
    ] {
        assert_eq!(ask(wrong.clone()).await.0, StatusCode::NOT_FOUND, "{wrong}");
    }
    // After a restart the same URL has the same bytes.
    drives.remove(node.uuid);
    assert_eq!(ask(format!("{path}?key={key}")).await.0, StatusCode::NOT_FOUND);
    let again = drives.stage(&node, ConfigDrives::key_of(&offer.url)).await.unwrap().unwrap();
    assert_eq!(again, offer);
    assert_eq!(drives.stage(&self::node(Value::Null), None).await.unwrap(), None);
}

/// What mtools, which nobody here wrote, reads from the image.
fn read(image: &std::path::Path, file: &str) -> Option<String> {
    let output = std::process::Command::new("mtype")
        .arg("-i")
        .arg(image)
        .arg(format!("::openstack/latest/{file}"))
        .output()
        .expect("mtools is installed");
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn parts_become_a_file_system_that_other_tools_read() {
    let bench = bench();
    // Images of 1, 16 (as many clusters as FAT12 has, or one more), 17 and 64 MiB.
    let sizes = [(15 << 20) + 9000, (16 << 20) + 9000, (63 << 20) + 9000];
    let large = sizes.map(|size| "x".repeat(size));
    for user_data in
        ["#cloud-config\npassword: hunter2\n"].into_iter().chain(large.iter().map(String::as_str))
    {
        let node = node(json!({
            "meta_data": {"hostname": "web", "name": "given"}, "user_data": user_data,
            "network_data": {"links": []}, "vendor_data": {"v": 1},
        }));
        let offer = bench.drives.stage(&node, None).await.unwrap().unwrap();
        let image = bench.drives.find(node.uuid, &ConfigDrives::key_of(&offer.url).unwrap()).unwrap();
        let path = bench._folder.path().join("drive");
        std::fs::write(&path, &image).unwrap();
        assert_eq!(read(&path, "user_data").as_deref(), Some(user_data));
        let meta_data: Value = serde_json::from_str(&read(&path, "meta_data.json").unwrap()).unwrap();
        assert_eq!(meta_data, json!({"hostname": "web", "name": "given", "uuid": node.uuid.to_string()}));
        assert_eq!(read(&path, "network_data.json").as_deref(), Some("{\"links\":[]}"));
        assert_eq!(read(&path, "vendor_data2.json").as_deref(), Some("{\"v\":1}"));
        let blkid = std::process::Command::new("blkid").arg("-p").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&blkid.stdout);
        assert!(said.contains("LABEL=\"config-2\"") && said.contains("TYPE=\"vfat\""), "{said}");
        let fsck = std::process::Command::new("fsck.vfat").arg("-n").arg(&path).output().unwrap();
        assert!(fsck.status.success(), "{fsck:?}");
    }
}

#[tokio::test]
async fn a_url_is_fetched_packed_or_not_and_its_query_is_not_shown() {
    let (plain, text) = (iso(), packed(&iso()));
    let app = axum::Router::new()
        .route("/plain", axum::routing::get(move || async { plain }))
        .route("/text", axum::routing::get(move || async { text }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let drives = bench().drives;
    for path in ["/plain?sig=hush", "/text"] {
        let offer = drives.stage(&node(json!(format!("{base}{path}"))), None).await.unwrap().unwrap();
        assert_eq!(offer.digest.bytes(), &Sha256::digest(iso())[..]);
    }
    let error =
        drives.stage(&node(json!(format!("{base}/gone?sig=hush"))), None).await.unwrap_err().to_string();
    assert!(
        error.contains("/gone is not to be had: the source answered 404") && !error.contains("hush"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn blanks_anywhere_change_nothing(places in proptest::collection::vec(0_usize..500, 0..40)) {
        let mut text = packed(&iso());
        for place in places {
            text.insert(place.min(text.len()), '\n');
        }
        prop_assert!(unpack::text(&text).unwrap() == iso());
    }
}
