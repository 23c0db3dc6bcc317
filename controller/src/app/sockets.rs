//! The ports of the controller, and the URLs that lead to them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use tokio::net::TcpListener;
use url::Url;

use super::AppError;
use crate::config::Config;

/// The sockets, bound before anything is changed.
pub(super) struct Listeners {
    pub(super) api: TcpListener,
    pub(super) agents: TcpListener,
    pub(super) files: TcpListener,
}

/// How others reach the sockets.
pub(super) struct Endpoints {
    /// `host:port` of the agents' port.
    pub(super) agents: Vec<String>,
    pub(super) url_for_bmcs: Url,
    pub(super) url_for_agents: Url,
}

impl Listeners {
    pub(super) async fn bind(config: &Config) -> Result<Self, AppError> {
        Ok(Self {
            api: bind("api.listen", config.api.listen).await?,
            agents: bind("agents.listen", config.agents.listen).await?,
            files: bind("files.listen", config.files.listen).await?,
        })
    }

    pub(super) fn endpoints(&self, config: &Config) -> Result<Endpoints, AppError> {
        let host = config.advertised_host();
        let files = files_url(config, &host, &self.files)?;
        Ok(Endpoints {
            agents: advertise(config, &host, &self.agents),
            url_for_bmcs: config.files.url_for_bmcs.clone().unwrap_or_else(|| files.clone()),
            url_for_agents: config.files.url_for_agents.clone().unwrap_or(files),
        })
    }
}

impl Endpoints {
    /// The names that a certificate of the file server must carry.
    pub(super) fn file_hosts(&self) -> Vec<String> {
        let urls = [&self.url_for_bmcs, &self.url_for_agents];
        urls.into_iter().filter_map(|url| url.host_str()).map(str::to_owned).collect()
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    let any_v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
    let bound = match TcpListener::bind(address).await {
        // "All addresses" on a machine without IPv6.
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind(any_v4).await
        }
        bound => bound,
    };
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => AppError::InUse { key, address },
        _ => AppError::Listen { key, address, source },
    })
}

/// The port is the bound one: the configuration may say 0.
fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

pub(super) fn shown(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string())
}

fn advertise(config: &Config, host: &str, listener: &TcpListener) -> Vec<String> {
    match config.agents.advertise.is_empty() {
        true => vec![format!("{host}:{}", port(listener))],
        false => config.agents.advertise.clone(),
    }
}

fn files_url(config: &Config, host: &str, listener: &TcpListener) -> Result<Url, AppError> {
    let scheme = if config.files.tls { "https" } else { "http" };
    Url::parse(&format!("{scheme}://{host}:{}/", port(listener)))
        .map_err(|_| AppError::Advertise { host: host.to_owned() })
}
