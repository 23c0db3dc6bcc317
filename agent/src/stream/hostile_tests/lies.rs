//! Answers that are not what they say they are.

use super::*;
use crate::stream::FetchError;

fn mismatch(error: &StreamError) -> bool {
    matches!(error, StreamError::DigestMismatch { .. })
}

#[tokio::test]
async fn wrong_bytes_anywhere_are_noticed() {
    let image = image();
    let served = Served::new(image.clone());
    let random: usize = rand::random_range(0..IMAGE);
    for place in [0, 510, 512, MIB - 1, MIB, IMAGE / 2, IMAGE - 512, IMAGE - 1, random] {
        let served = served.clone();
        let (error, requests) =
            fails("flipped", &image, move |request| served.reply(request).flipped_at(place)).await;
        assert!(mismatch(&error), "at {place}: {error:?}");
        assert_eq!(requests.len(), 1, "a wrong image is not fetched again");
    }
}

#[tokio::test]
async fn wrong_bytes_in_the_part_after_a_break_are_noticed() {
    let image = image();
    let served = Served::new(image.clone());
    // The right range by its head, the bytes of another.
    let (error, _) = fails("shifted", &image, move |request| match request.number {
        0 => served.reply(request).cut_at(2 * MIB),
        _ => {
            let right = format!("bytes {}-{}/{IMAGE}", 2 * MIB, IMAGE - 1);
            served.part_saying(2 * MIB - 512, IMAGE - 512, &right)
        }
    })
    .await;
    assert!(mismatch(&error), "{error:?}");
}

#[tokio::test]
async fn more_or_less_than_the_image_is_noticed() {
    let image = image();
    let longer = [&image[..], b"garbage"].concat();
    let larger_disk = TestDisk::file(IMAGE + MIB);
    let server = Server::serve(move |_| Reply::ok(longer.clone()));
    let error = Fetch::from(&server, &image).to(&larger_disk).await.unwrap_err();
    assert!(mismatch(&error), "{error:?}");
    assert_boot_area_is_zero(&larger_disk.content());

    // Bytes behind the announced length are none of the body, so this image is right.
    let served = Served::new(image.clone());
    succeeds("behind the length", &image, move |request| {
        let reply = served.reply(request);
        let body = [&reply.body[..], b"garbage"].concat();
        Reply { body: body.into(), ..reply }
    })
    .await;

    let announced_short = image.clone();
    let (error, _) = fails("announced short", &image, move |_| {
        Reply::announcing(IMAGE as u64 - 512, announced_short.clone())
    })
    .await;
    assert!(mismatch(&error), "{error:?}");
    let announced_long = image.clone();
    let (error, _) =
        fails("announced long", &image, move |_| Reply::announcing(1 << 50, announced_long.clone())).await;
    assert!(matches!(error, StreamError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn pages_of_login_portals_are_no_images() {
    let image = image();
    let page = "<!DOCTYPE html><html><body>Please log in</body></html>";
    let (error, _) = fails("page", &image, move |_| Reply::ok(page).header("Content-Type: text/html")).await;
    assert!(mismatch(&error), "{error:?}");
    // In the middle: the page is shorter than the image, and it says so.
    let served = Served::new(image.clone());
    let (error, _) = fails("page in the middle", &image, move |request| match request.number {
        0 => served.reply(request).cut_at(2 * MIB),
        _ => Reply::ok(page),
    })
    .await;
    assert!(matches!(error, StreamError::Fetch(FetchError::Changed { .. })), "{error:?}");
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_refused() {
    let image = image();
    let half = IMAGE / 2;
    for wrong in [
        format!("bytes {}-{}/{IMAGE}", half - 1, IMAGE - 2),
        format!("bytes {}-{}/{IMAGE}", half + 1, IMAGE),
        format!("bytes 0-{}/{IMAGE}", half - 1),
        format!("bytes {half}-{}/{IMAGE}", IMAGE - 2),
        format!("bytes {half}-{}/{}", IMAGE - 1, half),
        format!("lines {half}-{}/{IMAGE}", IMAGE - 1),
        format!("bytes */{IMAGE}"),
        String::new(),
        "bytes 18446744073709551615-18446744073709551615/*".to_owned(),
    ] {
        let served = Served::new(image.clone());
        let said = wrong.clone();
        let (error, requests) = fails(&wrong, &image, move |request| match request.number {
            0 => served.reply(request).cut_at(half),
            _ => served.part_saying(half, IMAGE, &said),
        })
        .await;
        assert!(matches!(error, StreamError::Fetch(FetchError::WrongRange { .. })), "{wrong}: {error:?}");
        assert_eq!(requests.len(), 2, "{wrong}");
    }
}

#[tokio::test]
async fn a_range_refused_as_unsatisfiable_is_gone_without() {
    let image = image();
    for says_length in [false, true] {
        let served = Served::new(image.clone());
        let (written, requests) = succeeds("416", &image, move |request| match request.range() {
            None if request.number == 0 => served.reply(request).cut_at(2 * MIB),
            None => served.whole(),
            Some(_) if says_length => {
                Reply::status("416 Range Not Satisfiable").header(&format!("Content-Range: bytes */{IMAGE}"))
            }
            Some(_) => Reply::status("416 Range Not Satisfiable"),
        })
        .await;
        assert_eq!((written.work.retries, requests.len()), (1, 3));
    }
    // The length of a 416 is that of the object now.
    let served = Served::new(image.clone());
    let (error, _) = fails("416, shorter", &image, move |request| match request.number {
        0 => served.reply(request).cut_at(2 * MIB),
        _ => Reply::status("416 Range Not Satisfiable").header("Content-Range: bytes */1000"),
    })
    .await;
    assert!(matches!(error, StreamError::Fetch(FetchError::Changed { .. })), "{error:?}");
}

#[tokio::test]
async fn what_is_no_http_is_given_up() {
    let image = image();
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(2 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(100_000));
    for (name, head) in [
        ("garbage", "\0\u{1}garbage\r\n"),
        ("smtp", "220 mail.example ESMTP\r\n"),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n"),
        ("negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n"),
        ("a head without end", &endless),
        ("headers without end", &many),
    ] {
        let head = head.to_owned();
        let (error, requests) = fails(name, &image, move |_| Reply::raw(&head, "12345")).await;
        assert!(matches!(error, StreamError::Fetch(_)), "{name}: {error:?}");
        assert!(requests.len() <= ATTEMPTS as usize, "{name}");
    }
    for (name, coded) in [("chunk size", "zz\r\n"), ("huge chunk", "ffffffffffffffff\r\nabc")] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
        let (error, requests) = fails(name, &image, move |_| Reply::raw(head, coded)).await;
        assert!(matches!(error, StreamError::Fetch(_)), "{name}: {error:?}");
        assert!(requests.len() <= ATTEMPTS as usize, "{name}");
    }
}
