//! `--config-drive`: a file, a folder or a URL, in the form that the API takes.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bessemer_proto::config_drive::{FileSystem, MAX_BYTES};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value};

/// Base64 of what gzip could not shrink.
const MAX_FILE_BYTES: u64 = 96 << 20;
/// The files of a folder, with the part of the config drive that each becomes.
const PARTS: &[(&str, &str)] = &[
    ("meta_data.json", "meta_data"),
    ("network_data.json", "network_data"),
    ("vendor_data2.json", "vendor_data"),
    ("vendor_data.json", "vendor_data"),
    ("user_data", "user_data"),
];

/// What `configdrive` is to be.
pub(super) fn read(given: &str) -> anyhow::Result<Value> {
    if given.contains("://") {
        return Ok(given.into());
    }
    let path = Path::new(given);
    if path.is_dir() { of_folder(path) } else { of_file(path) }
}

/// An ISO 9660 or FAT image, a JSON object of parts, or base64 of gzip.
fn of_file(path: &Path) -> anyhow::Result<Value> {
    let bytes = bytes_of(path)?;
    if FileSystem::of(&bytes).is_some() {
        ensure!(bytes.len() <= MAX_BYTES, "{} is larger than {} MiB", path.display(), MAX_BYTES >> 20);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&bytes)?;
        return Ok(STANDARD.encode(gzip.finish()?).into());
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not valid JSON", path.display()));
    }
    let text = String::from_utf8(bytes).ok().map(|text| text.trim().to_owned());
    text.map(Value::String).with_context(|| {
        format!("{} is neither an ISO 9660 or FAT image, nor JSON, nor base64", path.display())
    })
}

/// A folder of parts, or one laid out as a config drive.
fn of_folder(folder: &Path) -> anyhow::Result<Value> {
    let latest = folder.join("openstack/latest");
    let folder = if latest.is_dir() { &latest } else { folder };
    let mut parts = Map::new();
    for (name, part) in PARTS {
        let path = folder.join(name);
        if parts.contains_key(*part) || !path.exists() {
            continue;
        }
        let bytes = bytes_of(&path)?;
        let value = match *part {
            "user_data" => String::from_utf8(bytes)
                .with_context(|| {
                    format!("{} is not text: give an image instead of a folder", path.display())
                })?
                .into(),
            _ => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not valid JSON", path.display()))?,
        };
        parts.insert((*part).to_owned(), value);
    }
    if parts.is_empty() {
        bail!(
            "{} has none of meta_data.json, network_data.json, vendor_data.json and user_data",
            folder.display()
        );
    }
    Ok(parts.into())
}

fn bytes_of(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE_BYTES,
        "{} is larger than {} MiB",
        path.display(),
        MAX_FILE_BYTES >> 20
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_source_becomes_what_the_api_takes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let write = |name: &str, content: &[u8]| fs::write(path(name), content).unwrap();
        assert_eq!(read("https://h/d.iso").unwrap(), json!("https://h/d.iso"));
        write("parts.json", b"\n {\"user_data\": \"x\"}");
        assert_eq!(read(&path("parts.json")).unwrap(), json!({"user_data": "x"}));
        write("packed", b"H4sI\n");
        assert_eq!(read(&path("packed")).unwrap(), json!("H4sI"));
        write("iso", &crate::config_drive::tests::iso());
        let packed = read(&path("iso")).unwrap();
        assert!(packed.as_str().unwrap().starts_with("H4sI"));
        fs::create_dir_all(path("drive/openstack/latest")).unwrap();
        assert!(read(&path("drive")).unwrap_err().to_string().contains("has none of"));
        write("drive/openstack/latest/meta_data.json", b"{\"a\": 1}");
        write("drive/openstack/latest/user_data", b"#!");
        assert_eq!(read(&path("drive")).unwrap(), json!({"meta_data": {"a": 1}, "user_data": "#!"}));
        write("broken", b"{");
        for wrong in ["broken", "missing"] {
            assert!(read(&path(wrong)).unwrap_err().to_string().contains(wrong));
        }
    }
}
