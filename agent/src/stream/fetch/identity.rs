//! What tells one version of an object from another (RFC 9110, 8.8), and the ranges of one (14).

use std::ops::Range;

use http::{HeaderMap, HeaderName, header};

use super::FetchError;

/// What a server said of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) length: Option<u64>,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Identity {
    /// `length`: of the whole object.
    pub(super) fn of(headers: &HeaderMap, length: Option<u64>) -> Self {
        Self {
            length,
            etag: text(headers, &header::ETAG),
            last_modified: text(headers, &header::LAST_MODIFIED),
        }
    }

    /// The validator for `If-Range`: a weak entity tag may not be used there (RFC 9110, 13.1.5).
    pub(super) fn if_range(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }

    /// Refuses another version of the object. What one of both answers leaves out is not compared.
    pub(super) fn same(&self, later: &Self, url: &str) -> Result<(), FetchError> {
        let lengths = (self.length.map(|n| n.to_string()), later.length.map(|n| n.to_string()));
        for (what, before, now) in [
            ("its length", &lengths.0, &lengths.1),
            ("its ETag", &opaque(&self.etag), &opaque(&later.etag)),
            ("its Last-Modified", &self.last_modified, &later.last_modified),
        ] {
            if let (Some(before), Some(now)) = (before, now)
                && before != now
            {
                let shorten = |text: &str| text.chars().take(100).collect();
                let (before, now) = (shorten(before), shorten(now));
                return Err(FetchError::Changed { url: url.to_owned(), what, before, now });
            }
        }
        Ok(())
    }
}

/// The tag without its weakness, which proxies add and servers drop with time (weak comparison, RFC 9110, 8.8.3.2).
fn opaque(tag: &Option<String>) -> Option<String> {
    tag.as_ref().map(|tag| tag.strip_prefix("W/").unwrap_or(tag).to_owned())
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// `bytes first-last/total` of a 206; the total may be `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) range: Range<u64>,
    pub(super) total: Option<u64>,
}

impl ContentRange {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
        let (range, total) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let total = match total.trim() {
            "*" => None,
            total => Some(total.parse::<u64>().ok()?),
        };
        let good = first <= last && total.is_none_or(|total| last < total);
        good.then_some(Self { range: first..last.checked_add(1)?, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_strong_validators_are_sent_but_all_are_compared() {
        let of = |tag: &str, date: &str| {
            Identity::of(&headers(&[(header::ETAG, tag), (header::LAST_MODIFIED, date)]), Some(5))
        };
        assert_eq!(of("\"a\"", "d").if_range(), Some("\"a\""));
        assert_eq!(of("W/\"a\"", "d").if_range(), Some("d"));
        assert_eq!(Identity::default().if_range(), None);
        let first = of("\"a\"", "d");
        assert!(first.same(&of("\"a\"", "d"), "u").is_ok());
        assert!(first.same(&of("W/\"a\"", "d"), "u").is_ok());
        assert!(first.same(&Identity::default(), "u").is_ok());
        for other in [
            of("\"b\"", "d"),
            of("W/\"b\"", "d"),
            of("\"a\"", "e"),
            Identity { length: Some(6), ..first.clone() },
        ] {
            assert!(matches!(first.same(&other, "u"), Err(FetchError::Changed { .. })));
        }
    }

    #[test]
    fn content_ranges_are_read_strictly() {
        let of = |value: &str| ContentRange::of(&headers(&[(header::CONTENT_RANGE, value)]));
        assert_eq!(of("bytes 2-5/10"), Some(ContentRange { range: 2..6, total: Some(10) }));
        assert_eq!(of("bytes 0-0/*"), Some(ContentRange { range: 0..1, total: None }));
        for bad in [
            "bytes 5-2/10",
            "bytes 2-10/10",
            "bytes */10",
            "items 2-5/10",
            "bytes 2-5",
            "bytes 0-18446744073709551615/*",
            "bytes -1-5/10",
            "",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
