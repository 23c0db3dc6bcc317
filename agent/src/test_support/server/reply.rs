//! One answer, byte for byte, and the ways to spoil it.

use std::time::Duration;

use bytes::Bytes;

/// An answer, byte for byte.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: Bytes,
    /// Where in the object the body begins.
    pub(crate) start: usize,
    /// How often the body is sent.
    pub(crate) times: usize,
    /// After the body the connection stays open and silent.
    pub(crate) stall: bool,
    /// After the body the connection is reset instead of closed.
    pub(crate) reset: bool,
    /// Bytes sent at once, and the pause between.
    pub(crate) pace: Option<(usize, Duration)>,
    /// From this place of the object on, a byte at a time with this pause.
    pub(crate) drip: Option<(usize, Duration)>,
}

impl Reply {
    pub(crate) fn raw(head: &str, body: impl Into<Bytes>) -> Self {
        let (head, body) = (head.to_owned(), body.into());
        Self { head, body, start: 0, times: 1, stall: false, reset: false, pace: None, drip: None }
    }

    /// 200 with the right length.
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self::raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len()), body)
    }

    /// 200 that announces `length` whatever the body has.
    pub(crate) fn announcing(length: u64, body: impl Into<Bytes>) -> Self {
        Self::raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n"), body)
    }

    /// 200 in chunks of `size`; `complete` sends the last chunk.
    pub(crate) fn chunked(body: &[u8], size: usize, complete: bool) -> Self {
        let mut coded = Vec::new();
        for chunk in body.chunks(size) {
            coded.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            coded.extend_from_slice(chunk);
            coded.extend_from_slice(b"\r\n");
        }
        if complete {
            coded.extend_from_slice(b"0\r\n\r\n");
        }
        Self::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", coded)
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::raw(&format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {to}\r\n"), Bytes::new())
    }

    pub(crate) fn status(line: &str) -> Self {
        Self::raw(&format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n"), Bytes::new())
    }

    /// With one more header.
    pub(crate) fn header(mut self, line: &str) -> Self {
        self.head.push_str(line);
        self.head.push_str("\r\n");
        self
    }

    /// The connection ends at this place of the object; the head promises more.
    pub(crate) fn cut_at(mut self, place: usize) -> Self {
        self.body.truncate(place.saturating_sub(self.start));
        self
    }

    /// The connection ends after so many bytes of this body.
    pub(crate) fn cut_after(self, bytes: usize) -> Self {
        let place = self.start + bytes;
        self.cut_at(place)
    }

    /// This place of the object, if the body has it, arrives with all its bits flipped.
    pub(crate) fn flipped_at(mut self, place: usize) -> Self {
        let mut bytes = self.body.to_vec();
        if let Some(byte) = place.checked_sub(self.start).and_then(|at| bytes.get_mut(at)) {
            *byte = !*byte;
        }
        self.body = bytes.into();
        self
    }

    pub(crate) fn then_reset(self) -> Self {
        Self { reset: true, ..self }
    }

    pub(crate) fn then_stall(self) -> Self {
        Self { stall: true, ..self }
    }

    pub(crate) fn paced(self, bytes: usize, pause: Duration) -> Self {
        Self { pace: Some((bytes, pause)), ..self }
    }

    pub(crate) fn dripping_from(self, place: usize, pause: Duration) -> Self {
        Self { drip: Some((place, pause)), ..self }
    }
}
