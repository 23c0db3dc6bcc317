//! `resolv.conf`, written from what all interfaces know.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Name servers that a resolver uses.
const MAX_SERVERS: usize = 3;

/// Name servers and domain that one interface knows.
type Known = (Vec<IpAddr>, Option<String>);

/// Name servers and domain of each interface.
pub(super) struct Dns {
    etc: PathBuf,
    known: Mutex<BTreeMap<String, Known>>,
}

impl Dns {
    pub(super) fn new(etc: PathBuf) -> Self {
        Self { etc, known: Mutex::new(BTreeMap::new()) }
    }

    /// Sets what an interface knows; nothing when it went away.
    pub(super) fn set(&self, interface: &str, servers: Vec<IpAddr>, domain: Option<String>) {
        let text = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(interface.to_owned(), (servers, domain));
            text(known.values())
        };
        if let Err(error) = self.write(&text) {
            tracing::warn!(%error, "resolv.conf cannot be written: names may not resolve");
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        std::fs::create_dir_all(&self.etc)?;
        let (new, path) = (self.etc.join("resolv.conf.new"), self.etc.join("resolv.conf"));
        std::fs::write(&new, text)?;
        std::fs::rename(new, path)
    }
}

fn text<'a>(known: impl Iterator<Item = &'a Known> + Clone) -> String {
    let mut text = String::new();
    let mut servers: Vec<&IpAddr> = Vec::new();
    for server in known.clone().flat_map(|(servers, _)| servers) {
        if !servers.contains(&server) && servers.len() < MAX_SERVERS {
            servers.push(server);
            writeln!(text, "nameserver {server}").ok();
        }
    }
    if let Some(domain) = known.clone().find_map(|(_, domain)| domain.as_ref()) {
        writeln!(text, "search {domain}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_merged_and_bounded() {
        let etc = tempfile::tempdir().unwrap();
        let dns = Dns::new(etc.path().join("new"));
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        dns.set("eth0", vec![address(1), address(2)], None);
        dns.set("eth1", vec![address(2), address(3), address(4)], Some("example.org".into()));
        let read = || std::fs::read_to_string(etc.path().join("new/resolv.conf")).unwrap();
        assert_eq!(
            read(),
            "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch example.org\n"
        );
        dns.set("eth0", vec![], None);
        assert_eq!(
            read(),
            "nameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\nsearch example.org\n"
        );
    }
}
