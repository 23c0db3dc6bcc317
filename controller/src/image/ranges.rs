//! Range requests (RFC 9110 section 14), for everything that is served as a file: one range a request, strong
//! entity tags, `If-Range`.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header, response};

/// Which part of a file a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// All of it, with status 200.
    Whole,
    /// A part that exists and is not empty, with status 206.
    Part(Range<u64>),
    /// A part beyond the end: status 416.
    Unsatisfiable,
}

impl Requested {
    /// Reads `Range` and `If-Range`. What RFC 9110 says to ignore is ignored: other methods than GET, other
    /// units, bad syntax, several ranges, an `If-Range` that names another entity.
    #[must_use]
    pub fn of(method: &Method, headers: &HeaderMap, etag: &HeaderValue, length: u64) -> Self {
        let applies = method == Method::GET && headers.get(header::IF_RANGE).is_none_or(|tag| tag == etag);
        let mut ranges = headers.get_all(header::RANGE).iter();
        match (ranges.next(), ranges.next()) {
            (Some(range), None) if applies => {
                range.to_str().ok().and_then(|text| parse(text, length)).unwrap_or(Self::Whole)
            }
            _ => Self::Whole,
        }
    }

    /// The bytes to send; empty when there is nothing to send.
    #[must_use]
    pub fn bytes(&self, length: u64) -> Range<u64> {
        match self {
            Self::Whole => 0..length,
            Self::Part(range) => range.clone(),
            Self::Unsatisfiable => 0..0,
        }
    }

    /// Status and headers of the answer. For HEAD send them without a body.
    #[must_use]
    pub fn head(&self, etag: &HeaderValue, length: u64) -> response::Builder {
        let bytes = self.bytes(length);
        let builder = http::Response::builder()
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::ETAG, etag)
            .header(header::CONTENT_LENGTH, bytes.end - bytes.start);
        match self {
            Self::Whole => builder.status(StatusCode::OK),
            Self::Part(range) => builder
                .status(StatusCode::PARTIAL_CONTENT)
                .header(header::CONTENT_RANGE, format!("bytes {}-{}/{length}", range.start, range.end - 1)),
            Self::Unsatisfiable => builder
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{length}")),
        }
    }
}

/// `None` when the header is to be ignored.
fn parse(text: &str, length: u64) -> Option<Requested> {
    let (unit, set) = text.split_once('=')?;
    let set = set.trim();
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.split_once('-')?;
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => length.saturating_sub(number(suffix)?)..length,
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some(if range.start < range.end { Requested::Part(range) } else { Requested::Unsatisfiable })
}

/// Digits only: `str::parse` would take a sign. What does not fit into 64 bits is beyond any end.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: HeaderValue = HeaderValue::from_static("\"abc\"");

    fn wanted(range: &str, length: u64) -> Requested {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(range).unwrap());
        Requested::of(&Method::GET, &headers, &TAG, length)
    }

    #[test]
    fn the_three_forms_of_a_range_are_cut_to_the_file() {
        assert_eq!(wanted("bytes=0-0", 10), Requested::Part(0..1));
        assert_eq!(wanted("bytes=2-5", 10), Requested::Part(2..6));
        assert_eq!(wanted("bytes=7-", 10), Requested::Part(7..10));
        assert_eq!(wanted("bytes=-3", 10), Requested::Part(7..10));
        assert_eq!(wanted("bytes=-30", 10), Requested::Part(0..10));
        assert_eq!(wanted("bytes=5-99999999999999999999999", 10), Requested::Part(5..10));
        assert_eq!(wanted("Bytes = 2 - 5", 10), Requested::Part(2..6));
    }

    #[test]
    fn a_range_beyond_the_end_cannot_be_satisfied() {
        for range in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(wanted(range, 10), Requested::Unsatisfiable, "{range}");
        }
        assert_eq!(wanted("bytes=0-", 0), Requested::Unsatisfiable);
        let answer = Requested::Unsatisfiable.head(&TAG, 10).body(()).unwrap();
        assert_eq!(answer.status(), 416);
        assert_eq!(answer.headers()[header::CONTENT_RANGE], "bytes */10");
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_ignored() {
        let odd = ["bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=+1-2", "items=0-1"];
        for range in odd.into_iter().chain(["bytes=0-1,3-4", "bytes=1--2", "bytes=0x1-2"]) {
            assert_eq!(wanted(range, 10), Requested::Whole, "{range}");
        }
    }

    #[test]
    fn if_range_of_another_entity_gets_the_whole_file() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=1-2"));
        headers.insert(header::IF_RANGE, TAG);
        assert_eq!(Requested::of(&Method::GET, &headers, &TAG, 10), Requested::Part(1..3));
        assert_eq!(Requested::of(&Method::HEAD, &headers, &TAG, 10), Requested::Whole);
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"old\""));
        assert_eq!(Requested::of(&Method::GET, &headers, &TAG, 10), Requested::Whole);
        headers.insert(header::IF_RANGE, HeaderValue::from_static("W/\"abc\""));
        assert_eq!(Requested::of(&Method::GET, &headers, &TAG, 10), Requested::Whole);
    }

    #[test]
    fn the_head_says_which_part_follows() {
        let answer = wanted("bytes=2-5", 10).head(&TAG, 10).body(()).unwrap();
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.headers()[header::CONTENT_RANGE], "bytes 2-5/10");
        assert_eq!(answer.headers()[header::CONTENT_LENGTH], "4");
        assert_eq!(answer.headers()[header::ETAG], "\"abc\"");
    }

    proptest::proptest! {
        #[test]
        fn a_part_always_lies_inside_the_file(text in "bytes=[ 0-9,-]{0,24}", length in 0u64..1000) {
            if let Some(Requested::Part(range)) = parse(&text, length) {
                proptest::prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
