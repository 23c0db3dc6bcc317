//! Finds an image's digest in a checksum file: `SHA256SUMS` lines, BSD lines, or one bare digest.

use bessemer_proto::digest::{Digest, DigestAlgorithm};
use url::Url;

/// Checksum files are small; a distribution's largest has a few hundred lines.
pub const MAX_BYTES: usize = 1 << 20;

/// Why a checksum file gives no digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChecksumError {
    /// It is not text.
    #[error("the checksum file {file} is not text")]
    NotText {
        /// Its URL.
        file: String,
    },
    /// The image is not in it.
    #[error("the checksum file {file} has no {} digest of \"{name}\"", algorithm.map_or("sha256 or sha512".to_owned(), |algorithm| algorithm.to_string()))]
    NotListed {
        /// Its URL.
        file: String,
        /// Name of the image.
        name: String,
        /// The algorithm asked for.
        algorithm: Option<DigestAlgorithm>,
    },
    /// It contradicts itself.
    #[error("the checksum file {file} has different digests of \"{name}\"")]
    Ambiguous {
        /// Its URL.
        file: String,
        /// Name of the image.
        name: String,
    },
}

/// The digest of the image at `image` in the checksum file `content`, which came from `file` (as to be shown).
/// When both algorithms are there and none is asked for, the longer wins.
pub fn find(
    content: &[u8],
    file: &str,
    image: &Url,
    algorithm: Option<DigestAlgorithm>,
) -> Result<Digest, ChecksumError> {
    let text = std::str::from_utf8(content).map_err(|_| ChecksumError::NotText { file: file.to_owned() })?;
    let name = image_name(image);
    let wanted = |digest: &Digest| algorithm.is_none_or(|algorithm| algorithm == digest.algorithm());
    let mut found: Option<Digest> = bare(text).filter(wanted);
    for (digest, listed) in text.lines().filter_map(entry) {
        if listed.rsplit('/').next() != Some(name.as_str()) || !wanted(&digest) {
            continue;
        }
        match &found {
            Some(known) if known.algorithm() == digest.algorithm() && *known != digest => {
                return Err(ChecksumError::Ambiguous { file: file.to_owned(), name });
            }
            Some(known) if known.algorithm().len_bytes() >= digest.algorithm().len_bytes() => {}
            _ => found = Some(digest),
        }
    }
    found.ok_or_else(|| ChecksumError::NotListed { file: file.to_owned(), name, algorithm })
}

/// The last part of the URL's path, decoded.
fn image_name(image: &Url) -> String {
    let encoded = image.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    percent_decode(encoded)
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| first == b'%').and_then(|pair| hex::decode(pair).ok());
        bytes.push(escaped.as_ref().and_then(|byte| byte.first().copied()).unwrap_or(first));
        rest = tail.get(if escaped.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A file that is one digest and nothing else.
fn bare(text: &str) -> Option<Digest> {
    let text = text.trim();
    (!text.contains(char::is_whitespace)).then(|| text.parse().ok()).flatten()
}

/// `<hex>  name`, `<hex> *name` or `SHA256 (name) = <hex>`.
fn entry(line: &str) -> Option<(Digest, &str)> {
    let line = line.trim_end();
    if let Some((algorithm, rest)) = line.split_once(" (")
        && let Some((name, hex)) = rest.rsplit_once(") = ")
    {
        let algorithm: DigestAlgorithm = algorithm.parse().ok()?;
        return Some((Digest::from_hex(algorithm, hex).ok()?, name));
    }
    let (hex, name) = line.split_once([' ', '\t'])?;
    let name = name.trim_start();
    let algorithm = DigestAlgorithm::of_hex_length(hex.len())?;
    Some((Digest::from_hex(algorithm, hex).ok()?, name.strip_prefix('*').unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(content: &str, algorithm: Option<DigestAlgorithm>) -> Result<Digest, ChecksumError> {
        let image = Url::parse("https://images.example/pub/disk%20one.raw?key=1").unwrap();
        find(content.as_bytes(), "https://images.example/SUMS", &image, algorithm)
    }

    #[test]
    fn every_style_is_understood() {
        let (a, b) = ("ab".repeat(32), "cd".repeat(64));
        for content in [
            format!("{a}  disk one.raw\n"),
            format!("{a} *disk one.raw\r\n"),
            format!("{}\tpub/disk one.raw", a.to_uppercase()),
            format!("SHA256 (disk one.raw) = {a}\n"),
            format!("{a}\n"),
            format!("sha256:{a}"),
            format!("# comment\n{}  other.raw\n{a}  ./disk one.raw\n", "00".repeat(32)),
        ] {
            assert_eq!(find_in(&content, None).unwrap().hex(), a, "{content}");
        }
        let both = format!("{a}  disk one.raw\n{b}  disk one.raw\n");
        assert_eq!(find_in(&both, None).unwrap().hex(), b);
        assert_eq!(find_in(&both, Some(DigestAlgorithm::Sha256)).unwrap().hex(), a);
    }

    #[test]
    fn what_is_not_there_or_contradicts_itself_is_refused() {
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        let missing = |content: &str| matches!(find_in(content, None), Err(ChecksumError::NotListed { .. }));
        assert!(missing(""));
        assert!(missing("<html><body>404 not found</body></html>"));
        assert!(missing(&format!("{a}  another disk one.raw.xz\n")));
        assert!(missing(&format!("{a}\n{b}\n")));
        assert!(matches!(
            find_in(&format!("{a}  disk one.raw\n{b}  disk one.raw\n"), None),
            Err(ChecksumError::Ambiguous { .. })
        ));
        assert!(matches!(
            find_in(&format!("{a}  disk one.raw\n"), Some(DigestAlgorithm::Sha512)),
            Err(ChecksumError::NotListed { .. })
        ));
        let not_text = find(&[0xff, 0xfe, 0], "f", &Url::parse("http://h/i").unwrap(), None);
        assert!(matches!(not_text, Err(ChecksumError::NotText { .. })));
    }
}
