//! `bessemer deploy`: from an image to a running machine in one command.

mod watch;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use bessemer_proto::step::MOST_CONNECTIONS;
use clap::Args;
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    arguments::hints,
    client::Client,
    config_drive,
    node::{add, member},
    output::Output,
    wait,
};
use crate::node::ProvisionState;
use watch::Watch;

/// Keys of `instance_info` that describe an image: those of an earlier deploy must not mix with this one's.
const IMAGE_KEYS: &[&str] = &[
    "image_source",
    "image_checksum",
    "image_os_hash_algo",
    "image_os_hash_value",
    "image_disk_format",
    "image_manifest",
    "image_manifest_checksum",
    "image_request_authorization_secret",
    "image_connections",
    "image_verify_readback",
    "image_url",
    "root_device",
];

/// `bessemer deploy …`
#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// UUID or name of the node.
    node: String,
    /// The disk image: raw, raw packed by gzip, xz, zstd, bzip2 or lz4, or qcow2.
    #[arg(long, value_name = "URL")]
    image: Url,
    #[command(flatten)]
    digest: Digest,
    /// The manifest of a raw image, made by `bessemer image manifest` or bmaptool: only what the disk lacks is fetched.
    /// The whole disk is read back, unless the manifest is known to be right and names the image's digest.
    #[arg(long, value_name = "URL")]
    manifest: Option<Url>,
    /// SHA-256 of the manifest. If it also names the image's digest, its ranges prove the image.
    #[arg(long, value_name = "HEX", value_parser = hexadecimal::<64>, requires = "manifest")]
    manifest_sha256: Option<String>,
    /// File with the value of the Authorization header for the image's server, such as "Bearer …".
    #[arg(long, value_name = "FILE")]
    authorization_file: Option<PathBuf>,
    /// Most range connections to the image's server, 1 to 8. Default: the agent chooses.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_CONNECTIONS)))]
    connections: Option<u8>,
    /// Reads the disk back, past every cache of the machine, and compares.
    #[arg(long)]
    verify_readback: bool,
    /// Which disk to write: a JSON object, or KEY=VALUE several times (serial, wwn, size, name, …). Default: the
    /// smallest disk of at least 4 GiB.
    #[arg(long, value_name = "HINT")]
    root_device: Vec<String>,
    /// What the machine finds as its config drive: an ISO 9660 or FAT image, a JSON file with user_data, meta_data,
    /// network_data and vendor_data, a folder of such files, or a URL.
    #[arg(long, value_name = "FILE|DIR|URL")]
    config_drive: Option<String>,
    /// Deploys anew a node that is active.
    #[arg(long)]
    rebuild: bool,
    /// Shows the progress until the machine runs; the exit code tells whether it does.
    #[arg(long)]
    watch: bool,
    /// Seconds to watch at most.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    timeout: u64,
}

/// How the image is known to be right.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Digest {
    /// SHA-256 of the file at the URL.
    #[arg(long, value_name = "HEX", value_parser = hexadecimal::<64>)]
    sha256: Option<String>,
    /// SHA-512 of the file at the URL.
    #[arg(long, value_name = "HEX", value_parser = hexadecimal::<128>)]
    sha512: Option<String>,
    /// A checksum file, such as SHA256SUMS.
    #[arg(long, value_name = "URL")]
    checksum_url: Option<Url>,
}

fn hexadecimal<const LENGTH: usize>(text: &str) -> Result<String, String> {
    if text.len() == LENGTH && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("expected {LENGTH} hexadecimal characters"))
}

impl Deploy {
    /// Runs it.
    pub(super) async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let wanted = self.instance_info()?;
        let request = self.request()?;
        let path = ["nodes", self.node.as_str()];
        let node = client.get(&path, &[("fields", "instance_info".to_owned())]).await?;
        client.patch(&path, &patch(&node["instance_info"], &wanted)).await?;
        client.put(&["nodes", &self.node, "states", "provision"], &request).await?;
        if !self.watch {
            let sentence = format!(
                "the deploy of node {0} has begun; `bessemer node show {0}` shows how far it is",
                self.node
            );
            output.done(&sentence, &json!({"node": self.node, "target": "active"}))?;
            return Ok(());
        }
        let mut watch = Watch::new(&self.node, *output);
        let timeout = Duration::from_secs(self.timeout);
        let ended =
            wait::until(client, &self.node, ProvisionState::Active, timeout, |sight| watch.see(&sight)).await;
        watch.finish();
        let node = ended?;
        output.done(&format!("node {} is active", self.node), &node)?;
        Ok(())
    }

    fn request(&self) -> anyhow::Result<Value> {
        let mut request = json!({"target": if self.rebuild { "rebuild" } else { "active" }});
        if let Some(config_drive) = &self.config_drive {
            request["configdrive"] = config_drive::read(config_drive)?;
        }
        Ok(request)
    }

    fn instance_info(&self) -> anyhow::Result<Map<String, Value>> {
        let mut info = Map::new();
        info.insert("image_source".into(), self.image.as_str().into());
        let hash = [("sha256", &self.digest.sha256), ("sha512", &self.digest.sha512)];
        for (algorithm, value) in hash {
            if let Some(value) = value {
                info.insert("image_os_hash_algo".into(), algorithm.into());
                info.insert("image_os_hash_value".into(), value.clone().into());
            }
        }
        if let Some(url) = &self.digest.checksum_url {
            info.insert("image_checksum".into(), url.as_str().into());
        }
        if let Some(url) = &self.manifest {
            info.insert("image_manifest".into(), url.as_str().into());
        }
        if let Some(sha256) = &self.manifest_sha256 {
            info.insert("image_manifest_checksum".into(), sha256.clone().into());
        }
        if !self.root_device.is_empty() {
            let hints = hints(&self.root_device).map_err(anyhow::Error::msg)?;
            info.insert("root_device".into(), hints.into());
        }
        self.add_transfer(&mut info)?;
        Ok(info)
    }

    /// How the image is fetched and written.
    fn add_transfer(&self, info: &mut Map<String, Value>) -> anyhow::Result<()> {
        if let Some(path) = &self.authorization_file {
            let text =
                fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
            info.insert("image_request_authorization_secret".into(), text.trim().into());
        }
        if let Some(count) = self.connections {
            info.insert("image_connections".into(), count.into());
        }
        if self.verify_readback {
            info.insert("image_verify_readback".into(), true.into());
        }
        Ok(())
    }
}

/// The operations that make `wanted` the image of a node whose `instance_info` is `present`.
fn patch(present: &Value, wanted: &Map<String, Value>) -> Value {
    let mut operations: Vec<Value> = IMAGE_KEYS
        .iter()
        .filter(|key| present.get(**key).is_some() && !wanted.contains_key(**key))
        .map(|key| json!({"op": "remove", "path": member("instance_info", key)}))
        .collect();
    operations.extend(wanted.iter().map(|(key, value)| add(&member("instance_info", key), value.clone())));
    operations.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_deploy_left_does_not_mix_with_this_one() {
        let present =
            json!({"image_checksum": "http://old/SUMS", "image_source": "http://old", "capabilities": {}});
        let wanted = json!({"image_source": "http://new", "image_os_hash_algo": "sha256"});
        assert_eq!(
            patch(&present, wanted.as_object().unwrap()),
            json!([
                {"op": "remove", "path": "/instance_info/image_checksum"},
                {"op": "add", "path": "/instance_info/image_os_hash_algo", "value": "sha256"},
                {"op": "add", "path": "/instance_info/image_source", "value": "http://new"},
            ])
        );
    }
}
