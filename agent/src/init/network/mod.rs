//! The network of a ramdisk: links up, fixed addresses or DHCP, name servers.
//!
//! Interfaces may appear at any time (drivers, USB) and cables may be plugged late, so this never ends: it looks
//! for new interfaces and each has a task of its own.

pub mod dhcp;
mod dns;
mod interface;
mod netlink;
mod socket;

use std::{
    collections::HashSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bessemer_proto::boot_parameters::{InterfaceMatch, InterfaceParameters};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use dhcp::{Extended, Lease};
use dns::Dns;
use interface::Interface;
use netlink::{Netlink, Route};
use socket::DhcpSocket;

/// How often new interfaces and cables are looked for.
const SCAN: Duration = Duration::from_millis(250);
/// Index of `lo` in every network namespace.
const LOOPBACK: u32 = 1;
/// Metric of the default route of the interface that was ready first; later ones get a higher one.
const FIRST_METRIC: u32 = 100;
const LATER_METRIC: u32 = 1000;

type Configuration = Option<Arc<Vec<InterfaceParameters>>>;

/// The network. Ends when dropped.
pub struct Network {
    netlink: Netlink,
    configuration: watch::Sender<Configuration>,
    _tasks: JoinSet<()>,
}

struct Shared {
    netlink: Netlink,
    dns: Dns,
    sys: PathBuf,
    has_default: AtomicBool,
    configuration: watch::Receiver<Configuration>,
}

impl Network {
    /// Brings up every link, now and when it appears. Addresses follow with [`Self::configure`]; links take
    /// seconds to come up, so that they had better start early.
    pub fn start(sys: &Path, proc: &Path, etc: &Path) -> io::Result<Self> {
        let netlink = Netlink::open()?;
        accept_router_advertisements(proc);
        let (configuration, configured) = watch::channel(None);
        let shared = Arc::new(Shared {
            netlink: netlink.clone(),
            dns: Dns::new(etc.to_owned()),
            sys: sys.to_owned(),
            has_default: AtomicBool::new(false),
            configuration: configured,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(discover(shared));
        Ok(Self { netlink, configuration, _tasks: tasks })
    }

    /// Gives interfaces their fixed addresses; DHCP on every interface when there are none.
    pub fn configure(&self, interfaces: Vec<InterfaceParameters>) {
        self.configuration.send_replace(Some(Arc::new(interfaces)));
    }

    /// Waits until any interface has an address; false when that takes longer than `deadline`.
    pub async fn usable(&self, deadline: Duration) -> bool {
        let usable = async {
            while !self.netlink.has_address().await.unwrap_or(false) {
                sleep(SCAN).await;
            }
        };
        timeout(deadline, usable).await.is_ok()
    }
}

/// IPv6 configures itself: the kernel does it when it is allowed to.
fn accept_router_advertisements(proc: &Path) {
    for scope in ["all", "default"] {
        for key in ["accept_ra", "autoconf"] {
            let path = proc.join("sys/net/ipv6/conf").join(scope).join(key);
            if let Err(error) = fs::write(&path, "1") {
                tracing::debug!(path = %path.display(), %error, "IPv6 stays as it is");
            }
        }
    }
}

async fn discover(shared: Arc<Shared>) {
    if let Err(error) = shared.netlink.up(LOOPBACK).await {
        tracing::warn!(%error, "the loopback interface stays down");
    }
    let mut known = HashSet::new();
    let mut tasks = JoinSet::new();
    loop {
        for interface in Interface::all(&shared.sys) {
            if known.insert((interface.name.clone(), interface.index)) {
                tasks.spawn(manage(shared.clone(), interface));
            }
        }
        sleep(SCAN).await;
    }
}

/// One interface, for as long as it exists.
async fn manage(shared: Arc<Shared>, interface: Interface) {
    let (name, mac) = (interface.name.clone(), interface.mac_text());
    if let Err(error) = shared.netlink.up(interface.index).await {
        tracing::warn!(interface = name, mac, %error, "a network interface stays down");
        return;
    }
    tracing::info!(interface = name, mac, "network interface found");
    let mut configuration = shared.configuration.clone();
    let Ok(configuration) = configuration.wait_for(Option::is_some).await.map(|value| value.clone()) else {
        return;
    };
    let configuration = configuration.unwrap_or_default();
    let own = configuration.iter().find(|parameters| match &parameters.interface {
        InterfaceMatch::Mac(wanted) => *wanted == mac,
        InterfaceMatch::Name(wanted) => *wanted == name,
    });
    match own {
        Some(parameters) => fixed(&shared, &interface, parameters).await,
        None if configuration.is_empty() => lease_for_ever(&shared, &interface).await,
        None => tracing::info!(interface = name, "no address is configured for this interface"),
    }
}

/// The metric for an interface's default route.
fn metric(shared: &Shared, interface: &Interface) -> u32 {
    let first = !shared.has_default.swap(true, Ordering::Relaxed);
    if first { FIRST_METRIC } else { LATER_METRIC.saturating_add(interface.index) }
}

async fn fixed(shared: &Shared, interface: &Interface, parameters: &InterfaceParameters) {
    for (address, prefix) in &parameters.addresses {
        match shared.netlink.add_address(interface.index, *address, *prefix).await {
            Ok(()) => tracing::info!(interface = interface.name, %address, prefix, "address set"),
            Err(error) => {
                tracing::error!(interface = interface.name, %address, %error, "an address cannot be set");
            }
        }
    }
    if let Some(gateway) = parameters.gateway {
        let destination: IpAddr =
            if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let metric = metric(shared, interface);
        let route = Route { destination, prefix: 0, gateway: Some(gateway), metric };
        if let Err(error) = shared.netlink.add_route(interface.index, route).await {
            tracing::error!(interface = interface.name, %gateway, %error, "the default route cannot be set");
        }
    }
    shared.dns.set(&interface.name, parameters.dns.clone(), None);
}

/// DHCP with renewal, until the interface goes away.
async fn lease_for_ever(shared: &Shared, interface: &Interface) {
    loop {
        while !interface.has_carrier() {
            sleep(SCAN).await;
        }
        tracing::info!(interface = interface.name, "asking for an address by DHCP");
        if let Err(error) = lease_once(shared, interface).await {
            tracing::warn!(interface = interface.name, %error, "DHCP is not possible");
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn lease_once(shared: &Shared, interface: &Interface) -> io::Result<()> {
    let mut socket = DhcpSocket::open(&interface.name)?;
    let mut lease = dhcp::obtain(&mut socket, interface.mac).await;
    let mut granted = Instant::now();
    let metric = metric(shared, interface);
    tracing::info!(
        interface = interface.name,
        address = %lease.address,
        prefix = lease.prefix,
        server = %lease.server,
        seconds = lease.expire.as_secs(),
        "address by DHCP"
    );
    apply(shared, interface, &lease, metric).await;
    loop {
        match dhcp::extend(&mut socket, interface.mac, &lease, granted).await {
            Extended::Renewed(renewed) => {
                granted = Instant::now();
                tracing::debug!(interface = interface.name, "lease renewed");
                if renewed.routes != lease.routes {
                    withdraw_routes(shared, interface, &lease, metric).await;
                }
                if renewed.prefix != lease.prefix {
                    withdraw(shared, interface, &lease).await;
                }
                lease = renewed;
                apply(shared, interface, &lease, metric).await;
            }
            Extended::Lost => {
                tracing::warn!(interface = interface.name, address = %lease.address, "lease lost");
                withdraw_routes(shared, interface, &lease, metric).await;
                withdraw(shared, interface, &lease).await;
                shared.dns.set(&interface.name, Vec::new(), None);
                return Ok(());
            }
        }
    }
}

fn routes(lease: &Lease, metric: u32) -> impl Iterator<Item = Route> {
    lease.routes.iter().map(move |(destination, prefix, gateway)| Route {
        destination: (*destination).into(),
        prefix: *prefix,
        gateway: Some(*gateway).filter(|gateway| !gateway.is_unspecified()).map(IpAddr::V4),
        metric,
    })
}

async fn apply(shared: &Shared, interface: &Interface, lease: &Lease, metric: u32) {
    let (name, index) = (&interface.name, interface.index);
    if let Err(error) = shared.netlink.add_address(index, lease.address.into(), lease.prefix).await {
        tracing::error!(interface = name, address = %lease.address, %error, "an address cannot be set");
    }
    for route in routes(lease, metric) {
        if let Err(error) = shared.netlink.add_route(index, route).await {
            tracing::error!(interface = name, ?route, %error, "a route cannot be set");
        }
    }
    let servers = lease.dns.iter().copied().map(IpAddr::V4).collect();
    shared.dns.set(name, servers, lease.domain.clone());
}

async fn withdraw_routes(shared: &Shared, interface: &Interface, lease: &Lease, metric: u32) {
    for route in routes(lease, metric) {
        shared.netlink.remove_route(interface.index, route).await.ok();
    }
}

async fn withdraw(shared: &Shared, interface: &Interface, lease: &Lease) {
    shared.netlink.remove_address(interface.index, lease.address.into(), lease.prefix).await.ok();
}
