//! What a node's `instance_info` asks for. No I/O.

use std::path::{Path, PathBuf};

use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    step::{DigestSource, ManifestSource, ProxyArguments},
};
use serde_json::{Map, Value};
use url::Url;

use super::{
    Config, DownloadSource, ImageError,
    authorization::Authorization,
    transfer::{self, DiskFormat},
};
use crate::node::Node;

/// An image that `instance_info` describes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) source: Source,
    /// `None` only for files of our own.
    pub(super) digest: Option<DigestSource>,
    pub(super) root_device: Map<String, Value>,
    pub(super) format: DiskFormat,
    pub(super) manifest: Option<ManifestSource>,
    /// For images that agents fetch from their source.
    pub(super) proxy: ProxyArguments,
    /// For the source, whoever fetches from it.
    pub(super) authorization: Option<Authorization>,
    /// Most range connections of the agent.
    pub(super) connections: Option<u8>,
    /// Whether the agent reads the disk back.
    pub(super) verify_readback: bool,
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `http://`, `https://`.
    Remote {
        url: Url,
        /// Fetched and served by the controller.
        staged: bool,
    },
    /// `file://`.
    File(PathBuf),
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn of(node: &Node, config: &Config) -> Result<Self, ImageError> {
        refuse_unsupported(node)?;
        let source = text(node, "image_source")?;
        let digest = digest(node)?;
        let is_file = source.as_deref().is_some_and(|source| source.starts_with("file:"));
        let missing: Vec<_> = [
            (source.is_none(), "image_source"),
            (digest.is_none() && !is_file, "image_checksum, or image_os_hash_algo and image_os_hash_value"),
        ]
        .into_iter()
        .filter_map(|(is_missing, key)| is_missing.then_some(key))
        .collect();
        let Some(source) = source.filter(|_| missing.is_empty()) else {
            return Err(wrong(format!(
                "Cannot validate image information for node {} because one or more parameters are missing from \
                 its instance_info. Missing are: {}",
                node.uuid,
                missing.join("; ")
            )));
        };
        let source = location(&source, node, config)?;
        let is_staged = !matches!(source, Source::Remote { staged: false, .. });
        let format = DiskFormat::of(node)?;
        Ok(Self {
            authorization: transfer::authorization(node, &source)?,
            connections: transfer::connections(node)?,
            verify_readback: transfer::verify_readback(node)?,
            source,
            digest,
            root_device: root_device(node)?,
            format,
            manifest: transfer::manifest(node, format, is_staged)?,
            proxy: transfer::proxy(node)?,
        })
    }
}

fn location(source: &str, node: &Node, config: &Config) -> Result<Source, ImageError> {
    let url = Url::parse(source).map_err(|_| {
        wrong(format!("image_source {} is not a URL: use http, https or file", shorten(source)))
    })?;
    match url.scheme() {
        "http" | "https" => {
            if !url.username().is_empty() || url.password().is_some() {
                return Err(wrong(
                    "image_source holds a user name or password: give them as \
                     image_request_authorization_secret, which is not shown"
                        .to_owned(),
                ));
            }
            Ok(Source::Remote { url, staged: download_source(node, config)? == DownloadSource::Local })
        }
        "file" => url.to_file_path().map(Source::File).map_err(|()| {
            wrong(format!("image_source {} is not an absolute file:/// path", shorten(source)))
        }),
        scheme => Err(wrong(format!(
            "Image download protocol {} is not supported: use http, https or file",
            shorten(scheme)
        ))),
    }
}

fn download_source(node: &Node, config: &Config) -> Result<DownloadSource, ImageError> {
    let key = "image_download_source";
    let value = node.instance_info.get(key).or_else(|| node.driver_info.get(key));
    match value.map(Value::as_str) {
        None => Ok(config.image_download_source),
        // What has a URL is not in Swift: Ironic takes it for http.
        Some(Some("http" | "swift")) => Ok(DownloadSource::Http),
        Some(Some("local")) => Ok(DownloadSource::Local),
        Some(_) => Err(wrong(format!("{key} is not known: use http or local"))),
    }
}

fn digest(node: &Node) -> Result<Option<DigestSource>, ImageError> {
    let (algorithm, value) = (text(node, "image_os_hash_algo")?, text(node, "image_os_hash_value")?);
    if let (Some(algorithm), Some(value)) = (algorithm, value) {
        if algorithm.eq_ignore_ascii_case("md5") {
            return Err(md5("image_os_hash_algo"));
        }
        let algorithm: DigestAlgorithm =
            algorithm.parse().map_err(|error| wrong(format!("image_os_hash_algo: {error}")))?;
        let digest = Digest::from_hex(algorithm, &value)
            .map_err(|error| wrong(format!("image_os_hash_value: {error}")))?;
        return Ok(Some(DigestSource::Value(digest)));
    }
    let Some(checksum) = text(node, "image_checksum")? else { return Ok(None) };
    if checksum.contains("://") {
        let url = Url::parse(&checksum).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| wrong("image_checksum is not an http or https URL".to_owned()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("image_checksum holds a user name or password: use a URL without".to_owned()));
        }
        return Ok(Some(DigestSource::Url { url, algorithm: None }));
    }
    if checksum.trim().len() == 32 {
        return Err(md5("image_checksum"));
    }
    let digest = checksum.parse().map_err(|error| wrong(format!("image_checksum: {error}")))?;
    Ok(Some(DigestSource::Value(digest)))
}

/// What would be ignored is refused.
fn refuse_unsupported(node: &Node) -> Result<(), ImageError> {
    let is_partition = text(node, "image_type")?.is_some_and(|kind| kind != "whole-disk")
        || ["kernel", "ramdisk"].iter().any(|key| node.instance_info.contains_key(*key));
    if is_partition {
        return Err(wrong(
            "partition images are not supported yet: use a whole-disk image, without kernel and ramdisk in \
             instance_info"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Those of the instance go before those of the node.
fn root_device(node: &Node) -> Result<Map<String, Value>, ImageError> {
    let hints = [&node.instance_info, &node.properties].into_iter().find_map(|info| info.get("root_device"));
    let parsed = match hints {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        Some(value) => Some(value.clone()),
    };
    match parsed {
        Some(Value::Object(map)) => Ok(map),
        _ => Err(wrong("root_device is not a dictionary of hints, such as {\"serial\": \"S1\"}".to_owned())),
    }
}

pub(super) fn text(node: &Node, key: &'static str) -> Result<Option<String>, ImageError> {
    text_in(&node.instance_info, "instance_info", key)
}

pub(super) fn driver_text(node: &Node, key: &'static str) -> Result<Option<String>, ImageError> {
    text_in(&node.driver_info, "driver_info", key)
}

fn text_in(info: &Map<String, Value>, name: &str, key: &str) -> Result<Option<String>, ImageError> {
    match info.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(wrong(format!("{key} in {name} is not a text"))),
    }
}

fn md5(key: &str) -> ImageError {
    wrong(format!(
        "{key} is md5, which proves nothing: declare image_os_hash_algo sha256 or sha512 with its \
         image_os_hash_value"
    ))
}

pub(super) fn wrong(sentence: String) -> ImageError {
    ImageError::InstanceInfo(sentence)
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Whether a file may be read: below an allowed folder, and never in one of the system's. Both paths are free of
/// links.
pub(super) fn is_allowed(file: &Path, allowed: &[PathBuf]) -> bool {
    const NEVER: [&str; 6] = ["/dev", "/proc", "/sys", "/etc", "/boot", "/run"];
    !NEVER.iter().any(|folder| file.starts_with(folder))
        && allowed.iter().any(|folder| file.starts_with(folder))
}
