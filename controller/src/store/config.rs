//! The `[store]` section of the configuration.

use std::{num::NonZeroU32, str::FromStr as _};

use bessemer_proto::secret::Secret;
use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Where the database is.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A PostgreSQL database, `postgresql://user:password@host:5432/database`; see [the database](database.md). Keep
    /// this file to its owner when a password is in it. Default: none, the database is the SQLite file
    /// `bessemer.db` in `state_dir`.
    pub url: Option<Secret>,
    /// Connections to PostgreSQL at most; one more holds the controller's lock. Default 10.
    pub connections: NonZeroU32,
}

/// A key of the section that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("store.url {0}")]
pub struct ConfigError(&'static str);

impl Default for Config {
    fn default() -> Self {
        Self { url: None, connections: NonZeroU32::MIN.saturating_add(9) }
    }
}

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.url.as_ref().map_or(Ok(()), |url| server(url).map(drop))
    }
}

/// What the driver makes of the URL. An error does not show it: it may hold a password.
pub(super) fn server(url: &Secret) -> Result<PgConnectOptions, ConfigError> {
    let malformed = ConfigError("is not a URL as postgresql://user:password@host/database");
    let Ok(parsed) = url::Url::parse(url.reveal()) else { return Err(malformed) };
    if !matches!(parsed.scheme(), "postgresql" | "postgres") {
        return Err(ConfigError("must start with postgresql://: without it the database is a SQLite file"));
    }
    let Ok(options) = PgConnectOptions::from_str(url.reveal()) else { return Err(malformed) };
    if options.get_database().is_none() {
        return Err(ConfigError(
            "names no database: add it after the host, as in postgresql://host/bessemer",
        ));
    }
    let says_how = parsed.query_pairs().any(|(key, _)| matches!(&*key, "sslmode" | "ssl-mode"));
    let options = options.application_name("bessemer");
    // What leaves the machine is encrypted, to a server that proved who it is, unless the URL says otherwise.
    Ok(if says_how || is_local(&options) { options } else { options.ssl_mode(PgSslMode::VerifyFull) })
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    options.get_socket().is_some() || host.starts_with('/') || host == "localhost" || is_loopback
}
