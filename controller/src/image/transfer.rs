//! How an image gets to a disk, as `instance_info` and `driver_info` say it: its format, its manifest, its server's
//! authorization, proxies, connections. No I/O.

use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    secret::Secret,
    step::{ImageFormat, MOST_CONNECTIONS, ManifestSource, ProxyArguments},
};
use serde_json::Value;
use url::Url;

use super::{
    ImageError,
    authorization::Authorization,
    check::{Source, driver_text, shorten, text, wrong},
    content::Content,
};
use crate::node::Node;

/// `image_disk_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskFormat {
    /// Not said: the content decides.
    Any,
    /// Raw, packed or not: Ironic makes no difference.
    Raw,
    Qcow2,
}

impl DiskFormat {
    pub(super) fn of(node: &Node) -> Result<Self, ImageError> {
        let Some(format) = text(node, "image_disk_format")? else { return Ok(Self::Any) };
        match format.to_ascii_lowercase().as_str() {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            _ => Err(wrong(format!(
                "image_disk_format {} is not supported: convert the image to qcow2 or raw (which may be packed) \
                 and say so in image_disk_format",
                shorten(&format)
            ))),
        }
    }

    /// The format to declare to the agent, and whether it may find qcow2 where the content decides. Never where
    /// raw was declared: who can write into a raw image could make it begin like qcow2 (CVE-2024-44082).
    pub(super) fn arguments(self) -> (ImageFormat, bool) {
        match self {
            Self::Any => (ImageFormat::Auto, true),
            Self::Raw => (ImageFormat::Auto, false),
            Self::Qcow2 => (ImageFormat::Qcow2, false),
        }
    }

    /// What the controller itself found.
    pub(super) fn agreeing_with(self, content: Content) -> Result<Self, ImageError> {
        match (self, content) {
            (Self::Any | Self::Qcow2, Content::Qcow2) => Ok(Self::Qcow2),
            (Self::Any | Self::Raw, Content::Raw | Content::Packed(_)) => Ok(Self::Raw),
            (Self::Raw, Content::Qcow2) => Err(wrong(
                "the image is qcow2, image_disk_format in instance_info is raw: correct it if the image is trusted"
                    .to_owned(),
            )),
            (Self::Qcow2, content) => Err(wrong(format!(
                "the image is {}, image_disk_format in instance_info is qcow2: correct image_disk_format or the \
                 image",
                content.name()
            ))),
        }
    }
}

/// `image_manifest` and `image_manifest_checksum`. `is_staged`: the controller serves the image itself.
pub(super) fn manifest(
    node: &Node,
    format: DiskFormat,
    is_staged: bool,
) -> Result<Option<ManifestSource>, ImageError> {
    let checksum = text(node, "image_manifest_checksum")?;
    let Some(url) = text(node, "image_manifest")? else {
        return match checksum {
            None => Ok(None),
            Some(_) => Err(wrong(
                "image_manifest_checksum is of no use without image_manifest: give the manifest's URL"
                    .to_owned(),
            )),
        };
    };
    if is_staged {
        return Err(wrong(
            "image_manifest is for images that agents fetch from their source: remove it, the controller makes \
             manifests of what it serves"
                .to_owned(),
        ));
    }
    if format == DiskFormat::Qcow2 {
        return Err(wrong(
            "image_manifest is of a raw image, image_disk_format is qcow2: remove one of them".to_owned(),
        ));
    }
    let url = Url::parse(&url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| wrong("image_manifest is not an http or https URL".to_owned()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("image_manifest holds a user name or password: use a URL without".to_owned()));
    }
    let digest = match checksum {
        None => None,
        Some(checksum) => Some(manifest_digest(&checksum)?),
    };
    Ok(Some(ManifestSource { url, digest }))
}

fn manifest_digest(text: &str) -> Result<Digest, ImageError> {
    let digest: Digest = text.parse().map_err(|error| wrong(format!("image_manifest_checksum: {error}")))?;
    if digest.algorithm() != DigestAlgorithm::Sha256 {
        return Err(wrong("image_manifest_checksum is not a sha256 digest: use `sha256sum`".to_owned()));
    }
    Ok(digest)
}

/// `image_request_authorization_secret`, as in Ironic: the whole value of the `Authorization` header. Its text is in no
/// message.
pub(super) fn authorization(node: &Node, source: &Source) -> Result<Option<Authorization>, ImageError> {
    const KEY: &str = "image_request_authorization_secret";
    let Some(secret) = text(node, KEY)? else { return Ok(None) };
    let Source::Remote { url, .. } = source else {
        return Err(wrong(format!("{KEY} is for http and https images: remove it")));
    };
    let authorization = Authorization::new(&secret, url).ok_or_else(|| {
        wrong(format!("{KEY} is not the value of an Authorization header, such as \"Bearer TOKEN\""))
    })?;
    Ok(Some(authorization))
}

/// `image_connections`: a number, or its text.
pub(super) fn connections(node: &Node) -> Result<Option<u8>, ImageError> {
    let key = "image_connections";
    let number = match node.instance_info.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_u64().and_then(|number| u8::try_from(number).ok()),
    };
    match number.filter(|number| (1..=MOST_CONNECTIONS).contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(wrong(format!("{key} is not a number from 1 to {MOST_CONNECTIONS}"))),
    }
}

/// `image_verify_readback`: a boolean, or its text.
pub(super) fn verify_readback(node: &Node) -> Result<bool, ImageError> {
    let key = "image_verify_readback";
    match node.instance_info.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(wanted)) => Ok(*wanted),
        Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(wrong(format!("{key} is neither true nor false"))),
    }
}

/// `image_http_proxy`, `image_https_proxy` and `image_no_proxy` of `driver_info`.
pub(super) fn proxy(node: &Node) -> Result<ProxyArguments, ImageError> {
    let no_proxy = driver_text(node, "image_no_proxy")?;
    if no_proxy.as_deref().is_some_and(|text| text.len() > 4096 || text.chars().any(char::is_control)) {
        return Err(wrong("image_no_proxy is not a list of hosts, separated by commas".to_owned()));
    }
    Ok(ProxyArguments {
        http: proxy_url(node, "image_http_proxy")?,
        https: proxy_url(node, "image_https_proxy")?,
        no_proxy,
    })
}

/// Its text may hold a password: it is in no message.
fn proxy_url(node: &Node, key: &'static str) -> Result<Option<Secret>, ImageError> {
    let Some(text) = driver_text(node, key)? else { return Ok(None) };
    let is_proxy = Url::parse(&text).is_ok_and(|url| url.scheme() == "http" && url.host_str().is_some());
    if !is_proxy {
        return Err(wrong(format!("{key} is not an http URL, such as http://proxy.example:3128")));
    }
    Ok(Some(Secret::new(text)))
}
