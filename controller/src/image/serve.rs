//! The HTTP side: `GET` and `HEAD` of `/images/<digest>`, with ranges.

use std::{io::SeekFrom, ops::Range};

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

use super::{Images, cache::name_of, ranges::Requested};

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
    let Ok(digest) = name.replacen('-', ":", 1).parse::<Digest>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let path = images.inner.cache.path(&name_of(&digest));
    let opened = async {
        let file = File::open(&path).await?;
        let length = file.metadata().await?.len();
        std::io::Result::Ok((file, length))
    };
    let Ok((file, length)) = opened.await else {
        tracing::warn!(image = %digest, "an image was asked for that is not kept");
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", name_of(&digest))) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let requested = Requested::of(&method, &headers, &etag, length);
    tracing::debug!(image = %digest, %method, ?requested, "image requested");
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

async fn part(mut file: File, range: Range<u64>) -> std::io::Result<Body> {
    file.seek(SeekFrom::Start(range.start)).await?;
    Ok(Body::from_stream(ReaderStream::with_capacity(file.take(range.end - range.start), CHUNK)))
}
