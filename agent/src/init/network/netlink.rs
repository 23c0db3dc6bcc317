//! Links, addresses and routes by rtnetlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressScope},
        route::{RouteAttribute, RouteMessage},
    },
};

/// A route to a network by a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) destination: IpAddr,
    pub(super) prefix: u8,
    /// `None`: on the link itself.
    pub(super) gateway: Option<IpAddr>,
    /// Lower wins.
    pub(super) metric: u32,
}

/// Talks to the kernel about its network.
#[derive(Clone)]
pub(super) struct Netlink {
    handle: Handle,
}

impl Netlink {
    pub(super) fn open() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub(super) async fn up(&self, index: u32) -> Result<(), rtnetlink::Error> {
        self.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
    }

    pub(super) async fn add_address(
        &self,
        index: u32,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), rtnetlink::Error> {
        self.handle.address().add(index, address, prefix).replace().execute().await
    }

    pub(super) async fn remove_address(
        &self,
        index: u32,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), rtnetlink::Error> {
        let message = match address {
            IpAddr::V4(address) => {
                AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix).build()
            }
            IpAddr::V6(address) => {
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, prefix).build()
            }
        };
        self.handle.address().del(message).execute().await
    }

    pub(super) async fn add_route(&self, index: u32, route: Route) -> Result<(), rtnetlink::Error> {
        self.handle.route().add(message(index, route)).replace().execute().await
    }

    pub(super) async fn remove_route(&self, index: u32, route: Route) -> Result<(), rtnetlink::Error> {
        self.handle.route().del(message(index, route)).execute().await
    }

    /// True when there is an address by which other machines can be reached.
    pub(super) async fn has_address(&self) -> Result<bool, rtnetlink::Error> {
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.try_next().await? {
            let routable = message.header.scope == AddressScope::Universe
                && message
                    .attributes
                    .iter()
                    .any(|attribute| matches!(attribute, AddressAttribute::Address(a) if !a.is_loopback()));
            if routable {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn message(index: u32, route: Route) -> RouteMessage {
    let mut message = match route.destination {
        IpAddr::V4(destination) => {
            let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(destination, route.prefix)
                .output_interface(index);
            if let Some(IpAddr::V4(gateway)) = route.gateway {
                // On-link: clouds hand out gateways outside the subnet.
                builder = builder.gateway(gateway).onlink();
            }
            builder.build()
        }
        IpAddr::V6(destination) => {
            let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(destination, route.prefix)
                .output_interface(index);
            if let Some(IpAddr::V6(gateway)) = route.gateway {
                builder = builder.gateway(gateway).onlink();
            }
            builder.build()
        }
    };
    message.attributes.push(RouteAttribute::Priority(route.metric));
    message
}
