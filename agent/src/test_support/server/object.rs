//! An image as an honest server has it: ranges, validators. Tests spoil its answers.

use bytes::Bytes;

use super::{Reply, Request};

/// One version of an object.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) bytes: Bytes,
    pub(crate) etag: Option<&'static str>,
    pub(crate) last_modified: Option<&'static str>,
    /// Whether it takes range requests.
    pub(crate) ranges: bool,
}

impl Served {
    /// With ranges and a strong entity tag.
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), etag: Some("\"v1\""), last_modified: None, ranges: true }
    }

    /// 206 for a range of this version, 416 for one outside, else 200 (RFC 9110, 13.1.5 and 14.2).
    pub(crate) fn reply(&self, request: &Request) -> Reply {
        let same_version = request.header("if-range").is_none_or(|validator| {
            let strong = self.etag.filter(|tag| !tag.starts_with("W/"));
            [strong, self.last_modified].contains(&Some(validator))
        });
        match request.range().filter(|_| self.ranges && same_version) {
            Some((start, _)) if start >= self.bytes.len() => self
                .with_validators(Reply::status("416 Range Not Satisfiable"))
                .header(&format!("Content-Range: bytes */{}", self.bytes.len())),
            Some((start, end)) => self.part(start, end.unwrap_or(usize::MAX).min(self.bytes.len())),
            None => self.whole(),
        }
    }

    /// 200, whatever was asked for.
    pub(crate) fn whole(&self) -> Reply {
        self.with_validators(Reply::ok(self.bytes.clone()))
    }

    /// 206 for this range, whatever was asked for.
    pub(crate) fn part(&self, start: usize, end: usize) -> Reply {
        let total = self.bytes.len();
        let said = format!("bytes {start}-{}/{total}", end.saturating_sub(1));
        self.part_saying(start, end, &said)
    }

    /// 206 with these bytes that says this of them.
    pub(crate) fn part_saying(&self, start: usize, end: usize, content_range: &str) -> Reply {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: {content_range}\r\n",
            end - start
        );
        Reply { start, ..self.with_validators(Reply::raw(&head, self.bytes.slice(start..end))) }
    }

    fn with_validators(&self, mut reply: Reply) -> Reply {
        for (name, value) in [
            ("ETag", self.etag),
            ("Last-Modified", self.last_modified),
            ("Accept-Ranges", self.ranges.then_some("bytes")),
        ] {
            if let Some(value) = value {
                reply = reply.header(&format!("{name}: {value}"));
            }
        }
        reply
    }
}
