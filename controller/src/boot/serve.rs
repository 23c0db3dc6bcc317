//! The HTTP side: `GET` and `HEAD` of `/boot/<key>/<file>`, with ranges.

use std::{
    io,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tracing::{debug, info, warn};

use super::{FLOPPY_NAME, ISO_NAME, Media, MediaShelf};
use crate::image::ranges::Requested;

/// Bytes read and sent at once.
const CHUNK: u64 = 256 * 1024;

/// Serves the media on the shelf below `/boot/`.
pub fn router(shelf: MediaShelf) -> Router {
    Router::new().route("/boot/{key}/{file}", get(serve)).with_state(shelf)
}

async fn serve(
    State(shelf): State<MediaShelf>,
    Path((key, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(media) = shelf.find(&key) else {
        debug!("request for a boot medium that is not there");
        return StatusCode::NOT_FOUND.into_response();
    };
    let length = match file.as_str() {
        ISO_NAME => media.iso.length(),
        FLOPPY_NAME if media.floppy.is_some() => media.floppy.as_ref().map_or(0, |image| image.len() as u64),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let etag = entity_tag(&key, &file);
    let requested = Requested::of(&method, &headers, &etag, length);
    if media.first_fetch() {
        info!(node = %media.node, file, "the BMC fetches boot media");
    }
    debug!(node = %media.node, file, %method, ?requested, "boot medium requested");
    if method != Method::HEAD {
        let asked = requested.bytes(length);
        media.read.fetch_add(asked.end.saturating_sub(asked.start), Ordering::Relaxed);
    }
    let body = match (&method, file.as_str()) {
        (&Method::HEAD, _) => Body::empty(),
        (_, ISO_NAME) => iso_body(media, requested.bytes(length)),
        _ => floppy_body(&media, requested.bytes(length)),
    };
    requested
        .head(&etag, length)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CACHE_CONTROL, "no-store")
        .body(body)
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// Differs for each boot, since the bytes do; does not give the key away.
fn entity_tag(key: &str, file: &str) -> HeaderValue {
    let digest = Sha256::digest(format!("{key}/{file}"));
    let tag = format!("\"{}\"", hex::encode(&digest[..16]));
    // Hexadecimal digits in quotes are a valid header value.
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

fn floppy_body(media: &Media, range: Range<u64>) -> Body {
    let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    let image = media.floppy.clone().unwrap_or_default();
    let part = bounds.filter(|(_, end)| *end <= image.len()).map(|(start, end)| image.slice(start..end));
    Body::from(part.unwrap_or_default())
}

fn iso_body(media: Arc<Media>, range: Range<u64>) -> Body {
    Body::from_stream(stream::try_unfold((media, range), |(media, range)| async move {
        if range.is_empty() {
            return Ok::<_, io::Error>(None);
        }
        let end = range.end.min(range.start + CHUNK);
        let chunk: Bytes = media.iso.read(range.start..end).await.inspect_err(|error| {
            warn!(node = %media.node, %error, "the deploy ISO could not be read while it was served");
        })?;
        Ok(Some((chunk, (media, end..range.end))))
    }))
}
