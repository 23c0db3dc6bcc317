//! A static file server for images, with ranges and strong ETags, that can be told to serve a file badly, or only to who
//! may have it.

use std::{
    collections::HashMap,
    fs::Metadata,
    future::IntoFuture,
    io::SeekFrom,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path as UrlPath, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{Stream, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::LabError;

const CHUNK: u64 = 64 * 1024;

/// How one file is served badly. Positions count from the file's start, also in answers to range requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImageFault {
    /// The connection breaks here, before the promised length.
    pub truncate_at: Option<u64>,
    /// This byte arrives with all its bits flipped.
    pub flip_byte_at: Option<u64>,
    /// No faster than this.
    pub bytes_per_second: Option<u64>,
    /// Only so many answers are bad; `None`: all.
    pub times: Option<u32>,
}

struct Served {
    folder: PathBuf,
    faults: Mutex<HashMap<String, ImageFault>>,
    /// The `Authorization` headers that files ask for.
    locked: Mutex<HashMap<String, String>>,
}

impl Served {
    /// Whether a request with these headers may have the file.
    fn may_have(&self, file: &str, headers: &HeaderMap) -> bool {
        let locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        locked.get(file).is_none_or(|wanted| given == Some(wanted.as_bytes()))
    }

    /// The fault for the next answer with a body.
    fn take(&self, file: &str) -> ImageFault {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match faults.get_mut(file) {
            None => ImageFault::default(),
            Some(ImageFault { times: Some(0), .. }) => ImageFault::default(),
            Some(fault) => {
                fault.times = fault.times.map(|times| times - 1);
                *fault
            }
        }
    }
}

/// A running server. Dropping it stops it.
pub struct ImageServer {
    address: SocketAddr,
    served: Arc<Served>,
    _stop: DropGuard,
}

impl ImageServer {
    /// Serves the files in `folder`.
    pub async fn start(folder: &Path, listen: SocketAddr) -> Result<Self, LabError> {
        let wrong = |source| LabError::Listen { address: listen.to_string(), source };
        let folder = folder.canonicalize().map_err(LabError::file("find", folder))?;
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let served = Arc::new(Served { folder, faults: Mutex::default(), locked: Mutex::default() });
        let router = Router::new().route("/{*file}", get(serve)).with_state(served.clone());
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(axum::serve(listener, router).into_future()));
        Ok(Self { address, served, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a file, for someone on this host. A lab machine says 10.0.2.2 for 127.0.0.1.
    #[must_use]
    pub fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.address)
    }

    /// Serves `file` badly from now on.
    pub fn fault(&self, file: &str, fault: ImageFault) {
        self.served.faults.lock().unwrap_or_else(PoisonError::into_inner).insert(file.into(), fault);
    }

    /// Serves `file` only to requests with this `Authorization` header from now on.
    pub fn lock(&self, file: &str, authorization: &str) {
        let mut locked = self.served.locked.lock().unwrap_or_else(PoisonError::into_inner);
        locked.insert(file.into(), authorization.into());
    }
}

async fn serve(
    State(served): State<Arc<Served>>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    if !served.may_have(&name, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Some((mut file, metadata)) = open(&served.folder, &name).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let size = metadata.len();
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let etag = format!("\"{size:x}-{:x}\"", changed.unwrap_or_default().as_nanos());
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let fresh = text(header::IF_RANGE).is_none_or(|tag| tag == etag);
    let range = text(header::RANGE).filter(|_| fresh).and_then(|range| parse_range(range, size));
    let (status, from, to) = match range {
        None => (StatusCode::OK, 0, size),
        Some(Some((from, to))) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(None) => {
            let whole = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, whole).into_response();
        }
    };
    if file.seek(SeekFrom::Start(from)).await.is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, etag)
        .header(header::CONTENT_LENGTH, to - from);
    if status == StatusCode::PARTIAL_CONTENT {
        response = response.header(header::CONTENT_RANGE, format!("bytes {from}-{}/{size}", to - 1));
    }
    let body = Body::from_stream(read(Reading { file, at: from, to, served, name, fault: None }));
    response.body(body).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// A file inside the folder.
async fn open(folder: &Path, name: &str) -> Option<(File, Metadata)> {
    if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let file = File::open(folder.join(name)).await.ok()?;
    let metadata = file.metadata().await.ok()?;
    metadata.is_file().then_some((file, metadata))
}

/// One range of a Range header: `None`: serve all; `Some(None)`: outside the file.
fn parse_range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (first.trim(), last.trim()) {
        ("", suffix) => (size.saturating_sub(suffix.parse().ok()?), size),
        (first, "") => (first.parse().ok()?, size),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.saturating_add(1).min(size)),
    };
    Some((from < to).then_some((from, to)))
}

struct Reading {
    file: File,
    at: u64,
    to: u64,
    served: Arc<Served>,
    name: String,
    /// Taken when the first byte is read, so that HEAD takes none.
    fault: Option<ImageFault>,
}

fn read(reading: Reading) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(reading, |mut reading| async move {
        if reading.at >= reading.to {
            return Ok(None);
        }
        let fault = *reading.fault.get_or_insert_with(|| reading.served.take(&reading.name));
        let mut length = CHUNK.min(reading.to - reading.at);
        if let Some(end) = fault.truncate_at {
            length = length.min(end.saturating_sub(reading.at));
            if length == 0 {
                // What came before must be on its way, else the break swallows it.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
        }
        let mut chunk = vec![0; usize::try_from(length).unwrap_or_default()];
        reading.file.read_exact(&mut chunk).await?;
        let flipped = fault.flip_byte_at.and_then(|position| position.checked_sub(reading.at));
        if let Some(byte) = flipped.and_then(|at| chunk.get_mut(usize::try_from(at).ok()?)) {
            *byte = !*byte;
        }
        if let Some(rate) = fault.bytes_per_second {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / rate.max(1) as f64)).await;
        }
        reading.at += length;
        Ok(Some((Bytes::from(chunk), reading)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "a.img";

    async fn start(size: usize) -> (tempfile::TempDir, ImageServer, Vec<u8>, reqwest::Client) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        std::fs::write(folder.path().join(FILE), &content).unwrap();
        let server = ImageServer::start(folder.path(), ([127, 0, 0, 1], 0).into()).await.unwrap();
        (folder, server, content, reqwest::Client::new())
    }

    #[tokio::test]
    async fn whole_files_and_ranges() {
        let (_folder, server, content, client) = start(200_000).await;
        let url = server.url(FILE);
        let whole = client.get(&url).send().await.unwrap();
        let etag = whole.headers()["etag"].clone();
        assert_eq!(whole.bytes().await.unwrap(), content);
        let part = client.get(&url).header("range", "bytes=100000-").header("if-range", etag);
        let part = part.send().await.unwrap();
        assert_eq!(part.status(), 206);
        assert_eq!(part.headers()["content-range"], "bytes 100000-199999/200000");
        assert_eq!(part.bytes().await.unwrap(), content[100_000..]);
        let changed = client.get(&url).header("range", "bytes=5-9").header("if-range", "\"x\"");
        assert_eq!(changed.send().await.unwrap().status(), 200);
        let tail = client.get(&url).header("range", "bytes=-3").send().await.unwrap();
        assert_eq!(tail.bytes().await.unwrap(), content[199_997..]);
        assert_eq!(client.get(&url).header("range", "bytes=200000-").send().await.unwrap().status(), 416);
        let head = client.head(&url).send().await.unwrap();
        assert_eq!(head.headers()["content-length"], "200000");
        assert_eq!(client.get(server.url("no")).send().await.unwrap().status(), 404);
    }

    #[tokio::test]
    async fn nothing_outside_the_folder_is_served() {
        let (folder, server, ..) = start(1).await;
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let inner = ImageServer::start(&inner, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let client = reqwest::Client::new();
        for path in ["%2e%2e/a.img", "..%2fa.img", "%2fetc%2fpasswd"] {
            assert_eq!(client.get(inner.url(path)).send().await.unwrap().status(), 404, "{path}");
        }
        assert_eq!(client.get(server.url(FILE)).send().await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn a_locked_file_is_served_to_who_has_the_key() {
        let (_folder, server, _, client) = start(1).await;
        server.lock(FILE, "Bearer key");
        let url = server.url(FILE);
        assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
        assert_eq!(client.get(&url).bearer_auth("wrong").send().await.unwrap().status(), 401);
        assert_eq!(client.get(&url).bearer_auth("key").send().await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn faults_hit_the_bytes_they_name_as_often_as_they_say() {
        let (_folder, server, content, client) = start(200_000).await;
        let url = server.url(FILE);
        let fault = ImageFault { flip_byte_at: Some(150_000), times: Some(1), ..ImageFault::default() };
        server.fault(FILE, fault);
        client.head(&url).send().await.unwrap();
        let bad = client.get(&url).header("range", "bytes=140000-").send().await.unwrap();
        let bad = bad.bytes().await.unwrap();
        let wrong: Vec<_> = (0..bad.len()).filter(|&at| bad[at] != content[140_000 + at]).collect();
        assert_eq!(wrong, [10_000]);
        assert_eq!(client.get(&url).send().await.unwrap().bytes().await.unwrap(), content, "once only");
        server.fault(FILE, ImageFault { truncate_at: Some(70_000), ..ImageFault::default() });
        let short = client.get(&url).send().await.unwrap();
        assert_eq!(short.headers()["content-length"], "200000");
        assert!(short.bytes().await.is_err(), "a broken body must not look complete");
    }
}
