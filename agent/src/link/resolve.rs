//! Names to addresses. The static binary has no name service switch, so this reads `/etc/hosts` and
//! `/etc/resolv.conf` itself; the network set-up may rewrite them at any time. One resolver for the controller's
//! name and for image servers.

use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    Hosts, TokioResolver,
    config::{LookupIpStrategy, ResolveHosts},
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::parse_resolv_conf,
};

/// Longest `hosts` or `resolv.conf` that is read.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Addresses of one name that are used.
const MAX_ADDRESSES: usize = 16;
/// Longest wait for all name servers together.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(20);

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is no usable `resolv.conf`.
    #[error("no name server is known to look up {host}: DHCP must give one, or use an IP address")]
    NoNameServer {
        /// The name.
        host: String,
        /// What is wrong with the file.
        #[source]
        source: NetError,
    },
    /// The name servers know no address.
    #[error("{host} cannot be resolved")]
    Lookup {
        /// The name.
        host: String,
        /// What they said.
        #[source]
        source: NetError,
    },
    /// No name server answered.
    #[error("no name server answered for {host} within {} s", LOOKUP_DEADLINE.as_secs())]
    Deadline {
        /// The name.
        host: String,
    },
}

/// Looks names up. Cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    etc: PathBuf,
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    files: (Vec<u8>, Vec<u8>),
    resolver: TokioResolver,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new("/etc")
    }
}

impl Resolver {
    /// A resolver that reads `hosts` and `resolv.conf` of a folder.
    pub fn new(etc: impl Into<PathBuf>) -> Self {
        Self { shared: Arc::new(Shared { etc: etc.into(), cached: Mutex::new(None) }) }
    }

    /// The addresses of a host: a literal address (IPv6 with or without brackets) or a name.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse() {
            return Ok(vec![address]);
        }
        let resolver =
            self.resolver().map_err(|source| ResolveError::NoNameServer { host: host.to_owned(), source })?;
        let found = tokio::time::timeout(LOOKUP_DEADLINE, resolver.lookup_ip(host))
            .await
            .map_err(|_| ResolveError::Deadline { host: host.to_owned() })?
            .map_err(|source| ResolveError::Lookup { host: host.to_owned(), source })?;
        Ok(found.iter().take(MAX_ADDRESSES).collect())
    }

    /// The resolver for what the files say now; its cache lives as long as they do not change.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let files = (read(&self.shared.etc.join("hosts"))?, read(&self.shared.etc.join("resolv.conf"))?);
        let mut cached = self.shared.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached.as_ref().filter(|cached| cached.files == files) {
            return Ok(cached.resolver.clone());
        }
        let resolver = build(&files.0, &files.1)?;
        *cached = Some(Cached { files, resolver: resolver.clone() });
        Ok(resolver)
    }
}

fn build(hosts: &[u8], resolv_conf: &[u8]) -> Result<TokioResolver, NetError> {
    let mut table = Hosts::default();
    table.read_hosts_conf(hosts)?;
    let (config, mut options) = match parse_resolv_conf(resolv_conf) {
        Ok(parsed) => parsed,
        // Names of the hosts file work without a name server.
        Err(_) if !hosts.trim_ascii().is_empty() => Default::default(),
        Err(error) => return Err(error),
    };
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let mut builder =
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    builder.options_mut().cache_size = 64;
    let mut resolver = builder.build()?;
    resolver.set_hosts(Arc::new(table));
    Ok(resolver)
}

/// A missing file is an empty one.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map(|_| bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(error) => Err(error),
    }
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str()).await?;
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_files(hosts: &str, resolv_conf: &str) -> (tempfile::TempDir, Resolver) {
        let etc = tempfile::tempdir().unwrap();
        std::fs::write(etc.path().join("hosts"), hosts).unwrap();
        std::fs::write(etc.path().join("resolv.conf"), resolv_conf).unwrap();
        let resolver = Resolver::new(etc.path());
        (etc, resolver)
    }

    #[tokio::test]
    async fn literals_need_no_files() {
        let resolver = Resolver::new("/nonexistent");
        assert_eq!(resolver.lookup("10.0.0.1").await.unwrap(), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(resolver.lookup("[fd00::1]").await.unwrap(), ["fd00::1".parse::<IpAddr>().unwrap()]);
        assert!(matches!(
            resolver.lookup("controller.example").await,
            Err(ResolveError::NoNameServer { .. })
        ));
    }

    #[tokio::test]
    async fn the_hosts_file_works_without_a_name_server_and_changes_are_seen() {
        let (etc, resolver) = with_files("10.0.0.7 controller.example\n", "");
        assert_eq!(
            resolver.lookup("controller.example").await.unwrap(),
            ["10.0.0.7".parse::<IpAddr>().unwrap()]
        );
        std::fs::write(etc.path().join("hosts"), "10.0.0.8 controller.example\n").unwrap();
        assert_eq!(
            resolver.lookup("controller.example").await.unwrap(),
            ["10.0.0.8".parse::<IpAddr>().unwrap()]
        );
    }

    #[tokio::test]
    async fn a_broken_file_is_an_error_not_a_panic() {
        let (_etc, resolver) = with_files("\u{1}\u{2} ....\n", "nameserver not-an-address\nsearch ..\n");
        assert!(resolver.lookup("controller.example").await.is_err());
    }
}
