//! Images that change between two requests.

use super::*;
use crate::stream::FetchError;

/// The first request brings half of `before`; the others are answered by `later`.
fn then(
    before: Served,
    later: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    move |request| match request.number {
        0 => before.reply(request).cut_at(IMAGE / 2),
        _ => later(request),
    }
}

fn other_bytes(image: &[u8]) -> Vec<u8> {
    let mut other = image.to_vec();
    other[IMAGE / 2..].iter_mut().for_each(|byte| *byte ^= 0x55);
    other
}

fn changed(what: &'static str) -> impl Fn(&StreamError) -> bool {
    move |error| matches!(error, StreamError::Fetch(FetchError::Changed { what: found, .. }) if *found == what)
}

#[tokio::test]
async fn a_new_version_is_never_joined_to_the_old_one() {
    let image = image();
    let old = Served::new(image.clone());
    let new = Served { etag: Some("\"v2\""), ..Served::new(other_bytes(&image)) };
    let tag = changed("its ETag");
    let honest = new.clone();
    let (error, requests) =
        fails("honest", &image, then(old.clone(), move |request| honest.reply(request))).await;
    assert!(tag(&error), "{error:?}");
    assert_eq!(requests.len(), 2, "no retry helps");
    let deaf = new.clone();
    let (error, _) =
        fails("deaf to If-Range", &image, then(old.clone(), move |_| deaf.part(IMAGE / 2, IMAGE))).await;
    assert!(tag(&error), "{error:?}");
    // The same bytes: only the tag says that it is another version.
    let same = Served { etag: Some("\"v2\""), ..old.clone() };
    let (error, _) = fails("tag only", &image, then(old, move |_| same.whole())).await;
    assert!(tag(&error), "{error:?}");
}

#[tokio::test]
async fn a_date_or_a_length_tells_versions_apart_too() {
    let image = image();
    let dated = |bytes: Vec<u8>, date| Served { etag: None, last_modified: Some(date), ..Served::new(bytes) };
    let old = dated(image.clone(), "Sat, 01 Nov 2025 10:00:00 GMT");
    let new = dated(other_bytes(&image), "Sat, 01 Nov 2025 10:00:01 GMT");
    for deaf in [false, true] {
        let new = new.clone();
        let (error, requests) = fails(
            "date",
            &image,
            then(
                old.clone(),
                move |request| if deaf { new.part(IMAGE / 2, IMAGE) } else { new.reply(request) },
            ),
        )
        .await;
        assert!(changed("its Last-Modified")(&error), "{error:?}");
        assert!(requests[1].contains("if-range: Sat, 01 Nov 2025 10:00:00 GMT\r\n"), "{}", requests[1]);
    }
    let bare = |bytes: Vec<u8>| Served { etag: None, ..Served::new(bytes) };
    for longer in [gpt_image(IMAGE + 512, 512), gpt_image(IMAGE - 512, 512)] {
        let new = bare(longer);
        let (error, requests) =
            fails("length", &image, then(bare(image.clone()), move |request| new.reply(request))).await;
        assert!(changed("its length")(&error), "{error:?}");
        assert!(!requests[1].contains("if-range"), "nothing was there to send");
    }
}

#[tokio::test]
async fn what_no_validator_tells_the_digest_does() {
    let image = image();
    let mismatch = |error: &StreamError| matches!(error, StreamError::DigestMismatch { .. });
    for etag in [None, Some("\"v1\"")] {
        let old = Served { etag, ..Served::new(image.clone()) };
        let new = Served { etag, ..Served::new(other_bytes(&image)) };
        for whole in [false, true] {
            let new = new.clone();
            let later = move |request: &Request| if whole { new.whole() } else { new.reply(request) };
            let (error, _) = fails("silent change", &image, then(old.clone(), later)).await;
            assert!(mismatch(&error), "{etag:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn an_unchanged_version_may_be_told_by_less() {
    let image = image();
    let old = Served { last_modified: Some("Sat, 01 Nov 2025 10:00:00 GMT"), ..Served::new(image.clone()) };
    let bare = Served { etag: None, ..Served::new(image.clone()) };
    succeeds("without validators later", &image, then(old, move |_| bare.part(IMAGE / 2, IMAGE))).await;
    // Its total is not known to some servers.
    let served = Served::new(image.clone());
    let later = move |_: &Request| {
        served.part_saying(IMAGE / 2, IMAGE, &format!("bytes {}-{}/*", IMAGE / 2, IMAGE - 1))
    };
    succeeds("without total", &image, then(Served::new(image.clone()), later)).await;
}

#[tokio::test]
async fn a_weak_tag_is_compared_but_not_sent() {
    let image = image();
    let date = Some("Sat, 01 Nov 2025 10:00:00 GMT");
    for last_modified in [None, date] {
        let weak = Served { etag: Some("W/\"v1\""), last_modified, ..Served::new(image.clone()) };
        let same = weak.clone();
        let (_, requests) =
            succeeds("weak", &image, then(weak.clone(), move |request| same.reply(request))).await;
        assert!(!requests[1].contains("W/"), "{}", requests[1]);
        assert_eq!(requests[1].contains("if-range: Sat"), last_modified.is_some(), "{}", requests[1]);
        let other = Served { etag: Some("W/\"v2\""), ..weak.clone() };
        let (error, _) =
            fails("weak, other", &image, then(weak, move |_| other.part(IMAGE / 2, IMAGE))).await;
        assert!(changed("its ETag")(&error), "{error:?}");
    }
}
