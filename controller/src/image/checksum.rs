//! Checksum files: `SHA256SUMS` style, BSD style, or one bare digest.

use bessemer_proto::digest::{Digest, DigestAlgorithm};

/// The digest of `file_name` in a checksum file.
pub(super) fn find(text: &str, file_name: &str) -> Option<Digest> {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !is_decoration(line)).collect();
    lines.iter().find_map(|line| named(line, file_name)).or_else(|| match lines.as_slice() {
        [only] => only.parse().ok(),
        _ => None,
    })
}

fn is_decoration(line: &str) -> bool {
    line.is_empty() || line.starts_with('#') || line.starts_with("-----")
}

fn named(line: &str, file_name: &str) -> Option<Digest> {
    let base = |name: &str| name.trim_start_matches("./").rsplit('/').next() == Some(file_name);
    if let Some((head, digest)) = line.rsplit_once(" = ") {
        let (algorithm, name) = head.split_once(" (")?;
        let algorithm: DigestAlgorithm = algorithm.parse().ok()?;
        return base(name.strip_suffix(')')?).then(|| Digest::from_hex(algorithm, digest).ok())?;
    }
    let (digest, name) = line.split_once(char::is_whitespace)?;
    base(name.trim_start().trim_start_matches('*')).then(|| digest.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_image_is_found_in_each_style() {
        let (right, wrong) = ("ab".repeat(32), "cd".repeat(32));
        let expected: Option<Digest> = right.parse().ok();
        for text in [
            format!("{wrong}  other.raw\n{right}  disk.raw\n"),
            format!("{wrong} *other.raw\r\n{right} *./images/disk.raw\r\n"),
            format!("# made today\nSHA256 (other.raw) = {wrong}\nSHA256 (disk.raw) = {right}\n"),
            format!("{right}\n"),
        ] {
            assert_eq!(find(&text, "disk.raw"), expected, "{text}");
        }
    }

    #[test]
    fn a_file_that_does_not_name_the_image_has_no_digest_for_it() {
        let digest = "ab".repeat(32);
        for text in [
            format!("{digest}  other.raw"),
            format!("{digest}  a-disk.raw"),
            format!("{digest}\n{digest}\n"),
            format!("MD5 (disk.raw) = {}", "ab".repeat(16)),
            "<html>not found</html>".to_owned(),
            String::new(),
        ] {
            assert_eq!(find(&text, "disk.raw"), None, "{text}");
        }
    }
}
