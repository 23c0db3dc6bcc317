//! DHCPv4 packets (RFC 2131, 2132, 3442): what is asked, and what of an answer is believed.

use std::{net::Ipv4Addr, time::Duration};

use dhcproto::{
    Decodable as _, Decoder, Encodable as _, Encoder,
    v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode},
};

/// Largest packet that is looked at.
pub(super) const MAX_PACKET: usize = 4096;
const MAX_ROUTERS: usize = 4;
const MAX_ROUTES: usize = 32;
const MAX_DNS: usize = 3;
/// Leases shorter than this are taken as this long: a server must not make us busy.
const SHORTEST_LEASE: Duration = Duration::from_secs(60);
/// Leases longer than this (or endless) are renewed after half of it.
const LONGEST_LEASE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Identity of a client on one interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) mac: [u8; 6],
    pub(super) xid: u32,
    /// Seconds since the client started asking.
    pub(super) seconds: u16,
}

/// What a server grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
    /// The server that granted it.
    pub server: Ipv4Addr,
    /// Routes: destination, prefix length, gateway. The default route has prefix length 0.
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain for short names.
    pub domain: Option<String>,
    /// Renew after this.
    pub renew: Duration,
    /// Ask any server after this.
    pub rebind: Duration,
    /// Do not use the address after this.
    pub expire: Duration,
}

/// A server's answer to this client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Offer(Lease),
    Ack(Lease),
    Nak,
}

impl Client {
    /// Asks who is there.
    pub(super) fn discover(&self) -> Vec<u8> {
        self.packet(MessageType::Discover, Ipv4Addr::UNSPECIFIED, &[])
    }

    /// Takes an offer.
    pub(super) fn select(&self, offer: &Lease) -> Vec<u8> {
        let options =
            [DhcpOption::RequestedIpAddress(offer.address), DhcpOption::ServerIdentifier(offer.server)];
        self.packet(MessageType::Request, Ipv4Addr::UNSPECIFIED, &options)
    }

    /// Extends a lease.
    pub(super) fn extend(&self, lease: &Lease) -> Vec<u8> {
        self.packet(MessageType::Request, lease.address, &[])
    }

    fn packet(&self, kind: MessageType, address: Ipv4Addr, extra: &[DhcpOption]) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(self.xid, address, none, none, none, &self.mac);
        message.set_secs(self.seconds);
        // Before there is an address only a broadcast answer reaches an ordinary socket.
        if address.is_unspecified() {
            message.set_flags(Flags::default().set_broadcast());
        }
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        let mut id = vec![1];
        id.extend_from_slice(&self.mac);
        options.insert(DhcpOption::ClientIdentifier(id));
        options.insert(DhcpOption::ClassIdentifier(b"bessemer".to_vec()));
        options.insert(DhcpOption::MaxMessageSize(1472));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::ClasslessStaticRoute,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::DomainName,
            OptionCode::AddressLeaseTime,
            OptionCode::Renewal,
            OptionCode::Rebinding,
        ]));
        for option in extra {
            options.insert(option.clone());
        }
        let mut bytes = Vec::with_capacity(300);
        // Encoding fails only on options longer than ours.
        message.encode(&mut Encoder::new(&mut bytes)).ok();
        // BOOTP relays of old drop shorter packets.
        bytes.resize(bytes.len().max(300), 0);
        bytes
    }

    /// Reads an answer. `None`: not for us, or nothing that can be believed.
    pub(super) fn parse(&self, bytes: &[u8]) -> Option<Answer> {
        if bytes.len() > MAX_PACKET {
            return None;
        }
        let message = Message::decode(&mut Decoder::new(bytes)).ok()?;
        // The length is checked first: chaddr() trusts it.
        let for_us = message.opcode() == Opcode::BootReply
            && message.xid() == self.xid
            && message.hlen() == 6
            && message.chaddr() == self.mac;
        if !for_us {
            return None;
        }
        match message.opts().msg_type()? {
            MessageType::Offer => lease(&message).map(Answer::Offer),
            MessageType::Ack => lease(&message).map(Answer::Ack),
            MessageType::Nak => Some(Answer::Nak),
            _ => None,
        }
    }
}

fn lease(message: &Message) -> Option<Lease> {
    let options = message.opts();
    let address = Some(message.yiaddr()).filter(is_host)?;
    let server = match options.get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server).filter(is_host)?,
        _ => return None,
    };
    let prefix = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => prefix_length(*mask)?,
        _ => classful_prefix(address),
    };
    let dns = match options.get(OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(servers)) => {
            servers.iter().copied().filter(is_host).take(MAX_DNS).collect()
        }
        _ => Vec::new(),
    };
    let domain = match options.get(OptionCode::DomainName) {
        Some(DhcpOption::DomainName(name)) => Some(name.clone()).filter(|name| is_domain(name)),
        _ => None,
    };
    let (renew, rebind, expire) = times(message);
    Some(Lease { address, prefix, server, routes: routes(message), dns, domain, renew, rebind, expire })
}

/// Classless routes replace routers, says RFC 3442.
fn routes(message: &Message) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    let options = message.opts();
    if let Some(DhcpOption::ClasslessStaticRoute(routes)) = options.get(OptionCode::ClasslessStaticRoute)
        && !routes.is_empty()
    {
        let routes = routes.iter().filter(|(_, gateway)| is_host(gateway) || gateway.is_unspecified());
        return routes.take(MAX_ROUTES).map(|(net, via)| (net.network(), net.prefix_len(), *via)).collect();
    }
    match options.get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => {
            let mut routers = routers.iter().take(MAX_ROUTERS).filter(|router| is_host(router));
            routers.next().map(|router| (Ipv4Addr::UNSPECIFIED, 0, *router)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn times(message: &Message) -> (Duration, Duration, Duration) {
    let seconds = |code| match message.opts().get(code) {
        Some(DhcpOption::AddressLeaseTime(n) | DhcpOption::Renewal(n) | DhcpOption::Rebinding(n)) => {
            Some(Duration::from_secs((*n).into()))
        }
        _ => None,
    };
    let expire =
        seconds(OptionCode::AddressLeaseTime).unwrap_or(LONGEST_LEASE).clamp(SHORTEST_LEASE, LONGEST_LEASE);
    let rebind = seconds(OptionCode::Rebinding).filter(|t| *t < expire).unwrap_or(expire * 7 / 8);
    let rebind = rebind.max(SHORTEST_LEASE / 2);
    let renew = seconds(OptionCode::Renewal).filter(|t| *t < rebind).unwrap_or(expire / 2).min(rebind);
    (renew.max(SHORTEST_LEASE / 4), rebind, expire)
}

/// An address that one machine can have.
fn is_host(address: &Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback())
        && address.octets()[0] != 0
}

fn prefix_length(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let length = bits.leading_ones();
    let contiguous = bits.checked_shl(length).unwrap_or(0) == 0;
    u8::try_from(length).ok().filter(|length| contiguous && *length > 0)
}

fn classful_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// Goes into a file: letters, digits, dashes and dots only.
fn is_domain(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}
