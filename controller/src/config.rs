//! The configuration file: one TOML file, a section for each room. An empty file works.

mod keys;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    net::UdpSocket,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::de::DeTable;

use crate::{agents, api, bmc, boot, console, drivers, files, image, notify, reconcile, sensors, store};

const MAX_BYTES: u64 = 1024 * 1024;

/// The top of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder that holds the database, the authority, the key for secrets and the images. Made with permissions
    /// 0700 when it is not there. Default `/var/lib/bessemer`.
    pub state_dir: PathBuf,
    /// Name or address that BMCs and agents reach this controller by. Default: this machine's address on its
    /// default route, else `127.0.0.1`.
    pub advertise_address: Option<String>,
    /// The `[store]` section.
    pub store: store::Config,
    /// The `[api]` section.
    pub api: api::Config,
    /// The `[keystone]` section.
    pub keystone: api::access::keystone::Config,
    /// The `[agents]` section.
    pub agents: agents::Config,
    /// The `[files]` section.
    pub files: files::Config,
    /// The `[boot]` section.
    pub boot: boot::Config,
    /// The `[images]` section.
    pub images: image::Config,
    /// The `[bmc]` section.
    pub bmc: bmc::Config,
    /// The `[conductor]` section.
    pub conductor: reconcile::Config,
    /// The `[console]` section.
    pub console: console::Config,
    /// The `[ilo]` section.
    pub ilo: drivers::IloConfig,
    /// The `[sensor_data]` section.
    pub sensor_data: sensors::Config,
    /// The `[notifications]` section.
    pub notifications: notify::Config,
}

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the configuration file {path} cannot be read", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is far too large to be one.
    #[error("the configuration file {path} is larger than {MAX_BYTES} bytes", path = path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// Not TOML, or a value of the wrong kind.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// What the parser says.
        problem: String,
    },
    /// A key that does not exist.
    #[error(
        "{path}, line {line}: there is no key {key} in {section}{hint}",
        path = path.display(),
        hint = nearest.as_ref().map_or_else(String::new, |name| format!(": did you mean {name}?"))
    )]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// The key.
        key: String,
        /// `section [api]`, `the top of the file`.
        section: String,
        /// The nearest key there is.
        nearest: Option<String>,
    },
    /// A value that cannot work.
    #[error("{path}: {problem}", path = path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key, and what to do.
        problem: String,
    },
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(read)?.len() > MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    parse(&fs::read_to_string(path).map_err(read)?, path)
}

/// Checks the text of a configuration file; `path` is for messages.
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        problem: error.message().to_owned(),
    };
    let table = DeTable::parse(text).map_err(syntax)?;
    if let Some(unknown) = keys::unknown(table.get_ref()) {
        return Err(ConfigError::UnknownKey {
            path: path.to_owned(),
            line: line_of(text, unknown.at),
            key: unknown.key,
            section: unknown.section,
            nearest: unknown.nearest,
        });
    }
    let config: Config = toml::from_str(text).map_err(syntax)?;
    config.check().map_err(|problem| ConfigError::Value { path: path.to_owned(), problem })?;
    Ok(config)
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/bessemer".into(),
            advertise_address: None,
            store: store::Config::default(),
            api: api::Config::default(),
            keystone: api::access::keystone::Config::default(),
            agents: agents::Config::default(),
            files: files::Config::default(),
            boot: boot::Config::default(),
            images: image::Config::default(),
            bmc: bmc::Config::default(),
            conductor: reconcile::Config::default(),
            console: console::Config::default(),
            ilo: drivers::IloConfig::default(),
            sensor_data: sensors::Config::default(),
            notifications: notify::Config::default(),
        }
    }
}

impl Config {
    /// Refuses what cannot work.
    fn check(&self) -> Result<(), String> {
        self.store.check().map_err(|error| error.to_string())?;
        self.api.check().map_err(|error| error.to_string())?;
        self.conductor.check().map_err(|error| error.to_string())?;
        self.sensor_data.check().map_err(|error| error.to_string())?;
        self.notifications.check().map_err(|error| error.to_string())?;
        for (key, url) in
            [("url_for_bmcs", &self.files.url_for_bmcs), ("url_for_agents", &self.files.url_for_agents)]
        {
            if url.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https")) {
                return Err(format!("files.{key} must start with http:// or https://"));
            }
        }
        Ok(())
    }

    /// A path of the file: relative ones start at `state_dir`.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.state_dir.join(path)
    }

    /// How others reach this machine.
    #[must_use]
    pub fn advertised_host(&self) -> String {
        let host = self.advertise_address.clone().or_else(route_address).unwrap_or("127.0.0.1".to_owned());
        let is_bare_v6 = host.contains(':') && !host.starts_with('[');
        if is_bare_v6 { format!("[{host}]") } else { host }
    }
}

/// The address that the kernel would send from to the world. Nothing is sent: the address is for documentation.
fn route_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then(|| address.to_string())
}
