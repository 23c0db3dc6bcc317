//! Connections that end early, stall or drip, and servers that are busy.

use std::time::Instant;

use super::*;
use crate::{stream::FetchError, test_support::disks::gzip};

/// Where decoders, blocks, sectors and the boot area begin and end.
fn places(length: usize) -> Vec<usize> {
    let last = |bytes: usize| length.saturating_sub(bytes);
    let mut places = vec![
        0,
        1,
        31,
        32,
        511,
        512,
        4095,
        4096,
        4097,
        MIB - 1,
        MIB,
        MIB + 1,
        length / 2 + 7,
        last(MIB),
        last(33 * 512),
        last(512),
        last(1),
    ];
    places.retain(|place| *place < length);
    places
}

#[tokio::test]
async fn a_body_that_breaks_anywhere_goes_on_from_there() {
    let image = image();
    let served = Served::new(image.clone());
    for place in places(IMAGE) {
        for reset in [false, true] {
            let served = served.clone();
            let (written, requests) = succeeds(&format!("{place} {reset}"), &image, move |request| {
                let reply = served.reply(request);
                match request.number {
                    0 if reset => reply.cut_at(place).then_reset(),
                    0 => reply.cut_at(place),
                    _ => reply,
                }
            })
            .await;
            assert_eq!((written.work.retries, requests.len()), (1, 2), "at {place}");
            // A reset may take back what had arrived but was not read.
            if !reset {
                assert!(requests[1].contains(&format!("range: bytes={place}-\r\n")), "{}", requests[1]);
                assert_eq!(written.work.bytes_fetched, IMAGE as u64, "at {place}");
            }
            assert!(requests[1].contains("if-range: \"v1\"\r\n"), "{}", requests[1]);
        }
    }
}

#[tokio::test]
async fn a_body_that_always_breaks_at_the_same_place_is_given_up() {
    let image = image();
    let served = Served::new(image.clone());
    for place in places(IMAGE) {
        let served = served.clone();
        let (error, requests) =
            fails("always", &image, move |request| served.reply(request).cut_at(place)).await;
        let gave_up = matches!(
            &error,
            StreamError::Fetch(FetchError::GaveUp { attempts: ATTEMPTS, source })
                if matches!(**source, FetchError::Short { received, .. } if received == place as u64)
        );
        assert!(gave_up, "at {place}: {error:?}");
        assert_eq!(requests.len(), ATTEMPTS as usize, "at {place}");
    }
}

#[tokio::test]
async fn packed_images_and_loop_devices_survive_breaks_too() {
    let image = image();
    let zstd = zstd::stream::encode_all(&image[..], 1).unwrap();
    for packed in [gzip(&image), zstd] {
        for place in places(packed.len()) {
            let Some(disk) = TestDisk::loop_device(IMAGE, 512) else { return };
            let served = Served::new(packed.clone());
            let server = Server::serve(move |request| match request.number {
                0 => served.reply(request).cut_at(place).then_reset(),
                _ => served.reply(request),
            });
            Fetch::from(&server, &packed).to(&disk).await.unwrap();
            assert!(disk.content() == image, "at {place}");
        }
    }
}

#[tokio::test]
async fn a_server_that_resets_again_and_again_is_slow_and_not_gone() {
    let image = image();
    let served = Served::new(image.clone());
    let each = 400 << 10;
    let (written, requests) =
        succeeds("400 KiB each", &image, move |request| served.reply(request).cut_after(each).then_reset())
            .await;
    assert!(written.work.retries >= (IMAGE / each) as u64, "{}", written.work.retries);
    assert_eq!(requests.len() as u64, written.work.retries + 1);
}

#[tokio::test]
async fn one_that_resets_with_next_to_nothing_each_time_is_given_up() {
    let image = image();
    let served = Served::new(image.clone());
    let (error, requests) =
        fails("512 bytes each", &image, move |request| served.reply(request).cut_after(512).then_reset())
            .await;
    assert!(matches!(error, StreamError::Fetch(FetchError::GaveUp { .. })), "{error:?}");
    assert_eq!(requests.len(), ATTEMPTS as usize);
}

#[tokio::test]
async fn a_body_without_length_that_breaks_goes_on_and_ends_where_the_object_does() {
    let image = image();
    let served = Served::new(image.clone());
    for place in [1, MIB, IMAGE - 1, IMAGE] {
        let (served, first) = (served.clone(), image.clone());
        let (written, _) =
            succeeds(&format!("chunks, {place}"), &image, move |request| match request.number {
                0 => Reply::chunked(&first[..place], 50_000, false).header("ETag: \"v1\""),
                _ => served.reply(request),
            })
            .await;
        assert!(written.work.retries >= 1, "at {place}");
    }
}

#[tokio::test]
async fn part_of_the_rest_is_not_taken_for_all_of_it() {
    let image = image();
    let served = Served::new(image.clone());
    let first = image.clone();
    // Without a length at first, and then a range that ends earlier than the object, as it may (RFC 9110, 15.3.7).
    succeeds("short ranges", &image, move |request| match (request.number, request.range()) {
        (0, _) => Reply::chunked(&first[..MIB], 50_000, false).header("ETag: \"v1\""),
        (_, Some((start, _))) => served.part(start, IMAGE.min(start + MIB)),
        (_, None) => served.whole(),
    })
    .await;
}

#[tokio::test]
async fn stalls_and_drips_are_left_for_another_connection() {
    let image = image();
    let served = Served::new(image.clone());
    for drips in [false, true] {
        let served = served.clone();
        let (written, _) = succeeds("stalls once", &image, move |request| match request.number {
            0 if drips => served.reply(request).dripping_from(2 * MIB, Duration::from_millis(50)),
            0 => served.reply(request).cut_at(2 * MIB).then_stall(),
            _ => served.reply(request),
        })
        .await;
        assert_eq!(written.work.retries, 1, "drips: {drips}");
    }
    let begun = Instant::now();
    let (error, requests) =
        fails("always", &image, move |request| served.reply(request).paced(1, Duration::from_millis(50)))
            .await;
    assert!(chain(error).contains("given up after 4 attempts: the server of"));
    assert_eq!(requests.len(), ATTEMPTS as usize);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn busy_servers_are_asked_again_when_they_want_it() {
    let image = image();
    for (status, wait) in [
        ("503 Service Unavailable", "Retry-After: 1"),
        ("429 Too Many Requests", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT"),
        ("500 Internal Server Error", "Retry-After: soon"),
        ("502 Bad Gateway", "X: y"),
        ("504 Gateway Timeout", "X: y"),
        ("408 Request Timeout", "X: y"),
        ("425 Too Early", "X: y"),
    ] {
        let served = Served::new(image.clone());
        let begun = Instant::now();
        // At first, and again when the body broke.
        let (written, requests) = succeeds(status, &image, move |request| match request.number {
            0 | 2 => Reply::status(status).header(wait),
            1 => served.reply(request).cut_at(MIB),
            _ => served.reply(request),
        })
        .await;
        assert_eq!((written.work.retries, requests.len()), (3, 4), "{status}");
        let asked = if wait == "Retry-After: 1" { 2 } else { 0 };
        assert!(begun.elapsed() >= Duration::from_secs(asked), "{status}: {:?}", begun.elapsed());
    }
    let (error, requests) = fails("always busy", &image, |_| Reply::status("503 Service Unavailable")).await;
    assert!(chain(error).contains("503"));
    assert_eq!(requests.len(), ATTEMPTS as usize);
}

#[tokio::test]
async fn answers_that_will_not_change_are_not_asked_for_again() {
    let image = image();
    for status in ["404 Not Found", "403 Forbidden", "401 Unauthorized", "410 Gone", "501 Not Implemented"] {
        let (error, requests) = fails(status, &image, move |_| Reply::status(status)).await;
        assert!(chain(error).contains(status));
        assert_eq!(requests.len(), 1, "{status}");
        let served = Served::new(image.clone());
        let (_, requests) = fails(status, &image, move |request| match request.number {
            0 => served.reply(request).cut_at(2 * MIB),
            _ => Reply::status(status),
        })
        .await;
        assert_eq!(requests.len(), 2, "{status} in the middle");
    }
}

#[tokio::test]
async fn a_server_without_ranges_is_gone_through_again() {
    let image = gpt_image(3 * MIB, 512);
    let served = Served { ranges: false, ..Served::new(image.clone()) };
    for place in [1, MIB + 1, 3 * MIB - 1] {
        let served = served.clone();
        let (written, requests) = succeeds("no ranges", &image, move |request| match request.number {
            0 => served.reply(request).cut_at(place),
            1 => served.reply(request).cut_at(place + 1),
            _ => served.reply(request),
        })
        .await;
        let retries = if place + 1 == image.len() { 1 } else { 2 };
        assert_eq!(written.work.retries, retries, "at {place}");
        assert!(written.work.bytes_fetched >= (image.len() + place) as u64);
        // It said 200 to a range request, so it gets no other.
        assert!(requests.iter().skip(2).all(|request| !request.contains("range:")), "{requests:?}");
    }
}
