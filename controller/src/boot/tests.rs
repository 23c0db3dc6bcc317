use std::{collections::BTreeMap, fs, io::Read as _};

use axum::{body::Body, response::Response};
use bessemer_proto::{
    boot_parameters::{
        FILE_NAME, MEDIUM_LABEL,
        region::{self, DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, REGION_BYTES, Region},
    },
    ids::BootId,
    secret::Secret,
};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tower::ServiceExt as _;

use super::*;

const REGION: Region = Region { offset: 300_001, length: REGION_BYTES as u64 };
const LENGTH: usize = 700_123;

/// A file with a descriptor and a region where an ISO has them; the rest is noise.
fn iso_bytes() -> Vec<u8> {
    let mut iso: Vec<u8> = (0..LENGTH).map(|i| (i * 31 + i / 251) as u8).collect();
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    descriptor[0] = 1;
    descriptor[1..6].copy_from_slice(b"CD001");
    REGION.write_pointer(&mut descriptor);
    let at = DESCRIPTOR_OFFSET as usize;
    iso[at..at + DESCRIPTOR_BYTES].copy_from_slice(&descriptor);
    put_region(&mut iso, "");
    iso
}

fn put_region(iso: &mut [u8], text: &str) {
    let at = REGION.offset as usize;
    iso[at..at + REGION_BYTES].copy_from_slice(&region::fill(text).unwrap());
}

fn parameters() -> BootParameters {
    BootParameters {
        controllers: vec!["[fd00::1]:6386".into()],
        node: NodeId::random(),
        boot: BootId::random(),
        token: Secret::new("token"),
        ca_certificates: vec![vec![1, 2, 3]],
        time_floor: Some(1),
        ntp_servers: Vec::new(),
        network: Vec::new(),
        debug: false,
        vendor: BTreeMap::new(),
    }
}

fn shelf(content: &[u8]) -> (tempfile::TempDir, MediaShelf) {
    let dir = tempfile::tempdir().unwrap();
    let deploy_iso = dir.path().join("deploy.iso");
    fs::write(&deploy_iso, content).unwrap();
    let base = "http://192.0.2.1:6387/files/".parse().unwrap();
    (dir, MediaShelf::new(Config { deploy_iso }, base))
}

async fn ask(shelf: &MediaShelf, method: Method, url: &Url, headers: &[(&str, &str)]) -> Response {
    let path = url.path().strip_prefix("/files").expect("the prefix of the base URL is lost");
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router(shelf.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn bytes(response: Response) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

#[tokio::test]
async fn the_iso_is_served_with_the_parameters_in_its_region() {
    let original = iso_bytes();
    let (_dir, shelf) = shelf(&original);
    let parameters = parameters();
    let media = shelf.put(parameters.node, &parameters, ParametersBy::IsoRegion).await.unwrap();
    assert!(media.floppy.is_none());
    let response = ask(&shelf, Method::GET, &media.iso, &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_LENGTH], LENGTH.to_string());
    assert_eq!(response.headers()[header::ACCEPT_RANGES], "bytes");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let mut expected = original;
    put_region(&mut expected, &parameters.to_text());
    assert!(bytes(response).await == expected);
}

#[tokio::test]
async fn head_has_the_length_and_no_body_and_a_range_beyond_the_end_is_416() {
    let (_dir, shelf) = shelf(&iso_bytes());
    let media = shelf.put(NodeId::random(), &parameters(), ParametersBy::IsoRegion).await.unwrap();
    let response = ask(&shelf, Method::HEAD, &media.iso, &[]).await;
    assert_eq!(response.headers()[header::CONTENT_LENGTH], LENGTH.to_string());
    assert!(bytes(response).await.is_empty());
    let response = ask(&shelf, Method::GET, &media.iso, &[("range", "bytes=700123-")]).await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let response = ask(&shelf, Method::POST, &media.iso, &[]).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_floppy_holds_the_parameters_and_leaves_the_iso_alone() {
    let original = iso_bytes();
    let (_dir, shelf) = shelf(&original);
    let parameters = parameters();
    let media = shelf.put(parameters.node, &parameters, ParametersBy::Floppy).await.unwrap();
    assert!(bytes(ask(&shelf, Method::GET, &media.iso, &[]).await).await == original);
    let url = media.floppy.unwrap();
    let image = bytes(ask(&shelf, Method::GET, &url, &[]).await).await;
    assert_eq!(image.len(), 1_474_560);
    let part = ask(&shelf, Method::GET, &url, &[("range", "bytes=510-511")]).await;
    assert_eq!(bytes(part).await, [0x55, 0xaa]);

    let medium = fatfs::FileSystem::new(std::io::Cursor::new(image), fatfs::FsOptions::new()).unwrap();
    assert_eq!(medium.fat_type(), fatfs::FatType::Fat12);
    assert_eq!(medium.volume_label().trim(), MEDIUM_LABEL);
    assert_eq!(medium.read_volume_label_from_root_dir().unwrap().as_deref(), Some(MEDIUM_LABEL));
    let mut text = Vec::new();
    medium.root_dir().open_file(FILE_NAME).unwrap().read_to_end(&mut text).unwrap();
    assert_eq!(BootParameters::parse(&text).unwrap().parameters, parameters);
}

#[tokio::test]
async fn each_boot_has_its_own_address_and_the_older_one_is_gone() {
    let (_dir, shelf) = shelf(&iso_bytes());
    let node = NodeId::random();
    let first = shelf.put(node, &parameters(), ParametersBy::IsoRegion).await.unwrap();
    let tag = ask(&shelf, Method::HEAD, &first.iso, &[]).await.headers()[header::ETAG].clone();
    let second = shelf.put(node, &parameters(), ParametersBy::IsoRegion).await.unwrap();
    assert_eq!(ask(&shelf, Method::GET, &first.iso, &[]).await.status(), StatusCode::NOT_FOUND);
    let answer = ask(&shelf, Method::HEAD, &second.iso, &[]).await;
    assert_ne!(answer.headers()[header::ETAG], tag);
    // A part of the older boot must not be completed with bytes of the newer one.
    let stale = [("range", "bytes=0-9"), ("if-range", tag.to_str().unwrap())];
    assert_eq!(ask(&shelf, Method::GET, &second.iso, &stale).await.status(), StatusCode::OK);
    let other = second.iso.join("parameters.img").unwrap();
    assert_eq!(ask(&shelf, Method::GET, &other, &[]).await.status(), StatusCode::NOT_FOUND);
    shelf.remove(node);
    assert_eq!(ask(&shelf, Method::GET, &second.iso, &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_new_iso_may_take_the_place_of_one_that_is_being_served() {
    let (dir, shelf) = shelf(&iso_bytes());
    let media = shelf.put(NodeId::random(), &parameters(), ParametersBy::Floppy).await.unwrap();
    fs::write(dir.path().join("new"), b"short").unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("deploy.iso")).unwrap();
    assert!(bytes(ask(&shelf, Method::GET, &media.iso, &[]).await).await == iso_bytes());
}

#[tokio::test]
async fn what_is_no_deploy_iso_is_named() {
    let good = iso_bytes();
    let mut no_pointer = good.clone();
    no_pointer[DESCRIPTOR_OFFSET as usize + 883] = 0;
    let mut no_magic = good.clone();
    no_magic[REGION.offset as usize] = 0;
    let cut = good[..REGION.offset as usize + 1000].to_vec();
    for bad in [Vec::new(), b"not an iso".to_vec(), no_pointer, no_magic, cut] {
        let (_dir, shelf) = shelf(&bad);
        let error = shelf.put(NodeId::random(), &parameters(), ParametersBy::IsoRegion).await.unwrap_err();
        assert!(matches!(error, BootError::Region { .. }), "{error}");
        assert!(error.to_string().contains("bessemer-ramdisk"), "{error}");
    }
    let (dir, shelf) = shelf(&good);
    fs::remove_file(dir.path().join("deploy.iso")).unwrap();
    let error = shelf.put(NodeId::random(), &parameters(), ParametersBy::Floppy).await.unwrap_err();
    assert!(
        matches!(error, BootError::Iso { .. }) && error.to_string().contains("bessemer-ramdisk"),
        "{error}"
    );
}

/// Positions around the borders of the region, of chunks and of the file, and anywhere.
fn position() -> impl Strategy<Value = u64> {
    let borders = [0, 262_144, 300_001, 300_001 + REGION_BYTES as u64, 524_288, LENGTH as u64 - 1];
    prop_oneof![
        (proptest::sample::select(borders.to_vec()), -3_i64..=3)
            .prop_map(|(border, delta)| border.saturating_add_signed(delta).min(LENGTH as u64 - 1)),
        0..LENGTH as u64,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_range_equals_that_of_a_patched_copy(a in position(), b in position()) {
        let (first, last) = (a.min(b), a.max(b));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut expected = iso_bytes();
            let (_dir, shelf) = shelf(&expected);
            let parameters = parameters();
            put_region(&mut expected, &parameters.to_text());
            let media = shelf.put(parameters.node, &parameters, ParametersBy::IsoRegion).await.unwrap();
            let range = format!("bytes={first}-{last}");
            let response = ask(&shelf, Method::GET, &media.iso, &[("range", &range)]).await;
            assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
            let part = bytes(response).await;
            assert!(part == expected[first as usize..=last as usize], "range {range}");
        });
    }
}
