//! The same servers, asked by a manifest.

use bessemer_proto::manifest::{Manifest, Range};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::stream::FetchError;

/// More than one request fetches.
const LARGE: usize = 20 * MIB;

fn large() -> Vec<u8> {
    gpt_image(LARGE, 512)
}

/// Ranges of 256 KiB over all of the image.
fn manifest(image: &[u8]) -> Manifest {
    const EACH: usize = 256 << 10;
    let range = |(index, bytes): (usize, &[u8])| Range {
        offset: (index * EACH) as u64,
        length: bytes.len() as u64,
        sha256: Sha256::digest(bytes).into(),
    };
    Manifest {
        image_bytes: image.len() as u64,
        image_digest: Some(sha256(image)),
        ranges: image.chunks(EACH).enumerate().map(range).collect(),
    }
}

type Handler = dyn Fn(&Request, Reply) -> Reply + Send + Sync;

/// Writes an image by its manifest to a disk of zeros.
async fn write(
    served: Served,
    handler: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
) -> (Result<Written, StreamError>, Vec<String>) {
    let handler: Box<Handler> = Box::new(handler);
    let image = large();
    let json = manifest(&image).to_json();
    let digest = Some(sha256(json.as_bytes()));
    let server = Server::serve(move |request| match request.path.as_str() {
        "/manifest" => Reply::ok(json.clone()),
        _ => handler(request, served.reply(request)),
    });
    let disk = TestDisk::sparse(LARGE as u64);
    let mut fetch = Fetch::from(&server, &image);
    fetch.manifest = Some(ManifestSource { url: server.url("/manifest"), digest });
    let written = fetch.to(&disk).await;
    match &written {
        Ok(_) => assert!(disk.content() == image, "other bytes are on the disk"),
        Err(_) => assert_boot_area_is_zero(&disk.content()),
    }
    (written, server.requests())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_that_break_off_anywhere_are_asked_for_their_rest() {
    for bytes in [0, 1, 4095, 256 << 10, MIB - 1] {
        for reset in [false, true] {
            let (written, _) = write(Served::new(large()), move |request, reply| {
                let breaks = request.range().is_some() && request.number.is_multiple_of(2);
                let reply = if breaks { reply.cut_after(bytes) } else { reply };
                Reply { reset, ..reply }
            })
            .await;
            assert!(written.unwrap().work.retries > 0, "{bytes}");
        }
    }
    let (written, requests) = write(Served::new(large()), |request, reply| match request.range() {
        Some(_) => reply.cut_after(0),
        None => reply,
    })
    .await;
    let error = written.unwrap_err();
    assert!(matches!(error, StreamError::Fetch(FetchError::GaveUp { .. })), "{error:?}");
    assert!(requests.len() < 30, "{}", requests.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_changes_between_ranges_is_refused() {
    let new = Served { etag: Some("\"v2\""), ..Served::new(large()) };
    let (written, _) = write(Served::new(large()), move |request, reply| match request.number {
        0..5 => reply,
        _ => request.range().map_or(reply, |(start, end)| new.part(start, end.unwrap_or(LARGE))),
    })
    .await;
    let error = written.unwrap_err();
    assert!(matches!(error, StreamError::Fetch(FetchError::Changed { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_only_says_it_has_ranges_is_read_in_order() {
    let whole = Served::new(large());
    let (written, _) = write(whole.clone(), move |_, _| whole.whole()).await;
    assert!(written.unwrap().work.stages.iter().any(|stage| stage.name == "content digest"));
    let served = Served::new(large());
    let (written, _) = write(served.clone(), move |request, reply| match request.range() {
        Some(_) => served.part_saying(4096, 8192, "bytes 4096-8191/*"),
        None => reply,
    })
    .await;
    assert!(written.is_ok(), "{written:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_servers_are_asked_again() {
    let (written, _) = write(Served::new(large()), |request, reply| match request.number {
        3 | 5 => Reply::status("503 Service Unavailable"),
        _ => reply,
    })
    .await;
    assert!(written.unwrap().work.retries > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_another_place_are_never_kept() {
    // The head of each answer is right, its bytes are those of the place before.
    let served = Served::new(large());
    let (written, _) = write(served.clone(), move |request, reply| match request.range() {
        Some((start, end)) if start > MIB => {
            let end = end.unwrap_or(LARGE);
            served.part_saying(start - 512, end - 512, &format!("bytes {start}-{}/{LARGE}", end - 1))
        }
        _ => reply,
    })
    .await;
    let error = written.unwrap_err();
    assert!(matches!(error, StreamError::Range { attempts: 3, .. }), "{error:?}");
}
