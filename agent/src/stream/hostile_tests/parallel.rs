//! Several range requests at once, from servers that mean it and from servers that do not.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Enough for the climb to eight connections.
const LARGE: usize = 160 * MIB;
/// What one connection brings: 24 MiB/s.
const PIECE: (usize, Duration) = (256 << 10, Duration::from_millis(10));

/// Writes [`LARGE`] bytes; every answer is limited in rate.
async fn write(
    handler: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
) -> (Result<Written, StreamError>, Vec<String>) {
    let image = gpt_image(LARGE, 512);
    let disk = TestDisk::sparse(LARGE as u64);
    let served = Served::new(image.clone());
    let server =
        Server::serve(move |request| handler(request, served.reply(request)).paced(PIECE.0, PIECE.1));
    let mut fetch = Fetch::from(&server, &image);
    fetch.write.connections = 8;
    fetch.options.first_pause = Duration::from_millis(50);
    let written = fetch.to(&disk).await;
    if written.is_ok() {
        assert!(disk.content() == image, "other bytes are on the disk");
    } else {
        assert_boot_area_is_zero(&disk.content());
    }
    (written, server.requests())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_limits_each_connection_gets_more_of_them() {
    let (written, requests) = write(|_, reply| reply).await;
    let work = written.unwrap().work;
    assert!(work.connections > 1, "{work:?}");
    assert_eq!(work.retries, 0);
    let bounded = |request: &&String| request.contains("range: bytes=") && !request.contains("-\r\n");
    assert!(requests.iter().filter(bounded).count() > 4);
    assert!(requests.iter().skip(1).all(|request| request.contains("if-range: \"v1\"\r\n")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_breaks_ranges_off_is_asked_for_their_rest() {
    let (written, _) = write(|request, reply| match request.number % 3 {
        2 => reply.cut_after(300_000),
        _ => reply,
    })
    .await;
    let work = written.unwrap().work;
    assert!(work.connections > 1 && work.retries > 0, "{work:?}");
}

/// Every range request but the first is refused so; the write goes on by one connection.
async fn falls_back(refusal: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Vec<String> {
    let ranges = AtomicUsize::new(0);
    let (written, requests) = write(move |request, reply| {
        // Ranges of one connection have no end.
        let bounded = request.range().is_some_and(|(_, end)| end.is_some());
        if bounded && ranges.fetch_add(1, Ordering::SeqCst) > 0 { refusal(request) } else { reply }
    })
    .await;
    let work = written.unwrap().work;
    assert!(work.connections > 1, "it was never tried: {work:?}");
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_everything_to_the_second_gets_one_connection() {
    let whole = Served::new(gpt_image(LARGE, 512));
    falls_back(move |_| whole.whole()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_finds_the_second_range_outside_gets_one_connection() {
    falls_back(|_| Reply::status("416 Range Not Satisfiable")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_the_second_a_wrong_range_gets_one_connection() {
    let served = Served::new(gpt_image(LARGE, 512));
    falls_back(move |_| served.part(0, MIB)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_too_busy_for_a_second_gets_one_connection() {
    let begun = std::time::Instant::now();
    let requests = falls_back(|_| Reply::status("503 Service Unavailable").header("Retry-After: 1")).await;
    let refused = requests.iter().filter(|request| !request.contains("-\r\n")).count();
    assert!(refused < 12, "{refused} requests before it gave up");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_changes_between_ranges_is_noticed() {
    let new = Served { etag: Some("\"v2\""), ..Served::new(gpt_image(LARGE, 512)) };
    let (written, _) =
        write(move |request, reply| if request.number < 5 { reply } else { new.reply(request) }).await;
    let error = written.unwrap_err();
    assert!(chain(error).contains("changed on the server"));
    let (written, _) = write(|request, reply| match request.number {
        4 => reply.flipped_at(request.range().map_or(0, |(start, _)| start + 1000)),
        _ => reply,
    })
    .await;
    assert!(matches!(written, Err(StreamError::DigestMismatch { .. })), "{written:?}");
}
