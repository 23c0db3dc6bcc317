//! The HTTP side: `GET` and `HEAD` of `/images/<digest>` and its manifest, with ranges.

use std::{io::SeekFrom, ops::Range, os::unix::fs::MetadataExt as _};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bessemer_proto::digest::Digest;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use tokio_util::io::ReaderStream;

use super::{
    Images,
    cache::{manifest_name_of, name_of},
    ranges::Requested,
};

/// Bytes read and sent at once.
const CHUNK: usize = 256 * 1024;

/// Serves kept images below `/images/`.
pub fn router(images: Images) -> Router {
    Router::new().route("/images/{name}", get(serve)).with_state(images)
}

async fn serve(
    State(images): State<Images>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    // Parsed and written anew: no other path can be asked for.
    let Some(name) = canonical(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let path = images.inner.cache.path(&name);
    let opened = async {
        let file = File::open(&path).await?;
        let found = file.metadata().await?;
        std::io::Result::Ok((file, found.len(), found.ino()))
    };
    let Ok((file, length, inode)) = opened.await else {
        tracing::warn!(image = name, "an image was asked for that is not kept");
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(etag) = HeaderValue::from_str(&tag(&name, inode)) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let requested = Requested::of(&method, &headers, &etag, length);
    tracing::debug!(image = name, %method, ?requested, "image requested");
    let body = match method {
        Method::HEAD => Ok(Body::empty()),
        _ => part(file, requested.bytes(length)).await,
    };
    let Ok(body) = body else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    requested
        .head(&etag, length)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .body(body)
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The name of an image or a manifest in the cache.
fn canonical(name: &str) -> Option<String> {
    let image = name.strip_suffix(".manifest");
    let digest: Digest = image.unwrap_or(name).replacen('-', ":", 1).parse().ok()?;
    Some(if image.is_some() { manifest_name_of(&digest) } else { name_of(&digest) })
}

/// An image's name says its content. A manifest can be made anew, as another file.
fn tag(name: &str, inode: u64) -> String {
    if name.ends_with(".manifest") { format!("\"{name}-{inode:x}\"") } else { format!("\"{name}\"") }
}

async fn part(mut file: File, range: Range<u64>) -> std::io::Result<Body> {
    file.seek(SeekFrom::Start(range.start)).await?;
    Ok(Body::from_stream(ReaderStream::with_capacity(file.take(range.end - range.start), CHUNK)))
}
