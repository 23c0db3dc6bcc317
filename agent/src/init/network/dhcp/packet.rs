//! DHCPv4 packets (RFC 2131, 2132, 3442): what is asked, and what of an answer is believed.

use std::{collections::HashMap, net::Ipv4Addr, time::Duration};

use dhcproto::{
    Encodable as _, Encoder,
    v4::{self, DhcpOption, Flags, MessageType, Opcode, OptionCode, borrowed::Message},
};

/// Largest packet that is looked at.
pub(super) const MAX_PACKET: usize = 4096;
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

/// Destination, prefix length, gateway (0.0.0.0: on the link itself).
pub type Route = (Ipv4Addr, u8, Ipv4Addr);

/// What a server grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
    /// The server that granted it.
    pub server: Ipv4Addr,
    /// Routes; the default route has prefix length 0.
    pub routes: Vec<Route>,
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
        let mut message = v4::Message::new_with_id(self.xid, address, none, none, none, &self.mac);
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
        let message = Message::new(bytes).ok()?;
        // The length is checked first: chaddr() trusts it.
        let for_us = message.opcode() == Opcode::BootReply
            && message.xid() == self.xid
            && message.hlen() == 6
            && message.chaddr() == self.mac;
        if !for_us {
            return None;
        }
        let options = Options::read(&message);
        match MessageType::from(*options.get(OptionCode::MessageType)?.first()?) {
            MessageType::Offer => lease(message.yiaddr(), &options).map(Answer::Offer),
            MessageType::Ack => lease(message.yiaddr(), &options).map(Answer::Ack),
            MessageType::Nak => Some(Answer::Nak),
            _ => None,
        }
    }
}

/// The options of an answer, raw. The library's own conversion panics on options of wrong length, so the few
/// that are wanted are converted here.
struct Options(HashMap<u8, Vec<u8>>);

impl Options {
    fn read(message: &Message<'_>) -> Self {
        Self(message.opts().map(|option| (option.code().into(), option.data().to_vec())).collect())
    }

    fn get(&self, code: OptionCode) -> Option<&[u8]> {
        self.0.get(&u8::from(code)).map(Vec::as_slice)
    }

    /// All addresses of an option, those that no machine can have left out.
    fn hosts(&self, code: OptionCode) -> impl Iterator<Item = Ipv4Addr> {
        let (addresses, _) = self.get(code).unwrap_or_default().as_chunks::<4>();
        addresses.iter().copied().map(Ipv4Addr::from).filter(is_host)
    }

    fn seconds(&self, code: OptionCode) -> Option<Duration> {
        let bytes: [u8; 4] = self.get(code)?.try_into().ok()?;
        Some(Duration::from_secs(u32::from_be_bytes(bytes).into()))
    }
}

fn lease(address: Ipv4Addr, options: &Options) -> Option<Lease> {
    let address = Some(address).filter(is_host)?;
    let server = options.hosts(OptionCode::ServerIdentifier).next()?;
    let prefix = match options.get(OptionCode::SubnetMask) {
        Some(mask) => prefix_length(<[u8; 4]>::try_from(mask).ok()?.into())?,
        None => classful_prefix(address),
    };
    let dns = options.hosts(OptionCode::DomainNameServer).take(MAX_DNS).collect();
    let domain = options.get(OptionCode::DomainName).and_then(domain);
    let (renew, rebind, expire) = times(options);
    Some(Lease { address, prefix, server, routes: routes(options), dns, domain, renew, rebind, expire })
}

/// Classless routes replace routers, says RFC 3442.
fn routes(options: &Options) -> Vec<Route> {
    let classless = options.get(OptionCode::ClasslessStaticRoute).map(classless_routes).unwrap_or_default();
    if !classless.is_empty() {
        return classless;
    }
    let router = options.hosts(OptionCode::Router).next();
    router.map(|router| (Ipv4Addr::UNSPECIFIED, 0, router)).into_iter().collect()
}

/// Prefix length, as many octets of the destination as it needs, gateway; repeated. What follows a mistake is
/// not believed.
fn classless_routes(mut bytes: &[u8]) -> Vec<Route> {
    let mut routes = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first()
        && routes.len() < MAX_ROUTES
        && *prefix <= 32
        && let Some((significant, rest)) = rest.split_at_checked(usize::from(prefix.div_ceil(8)))
        && let Some((gateway, rest)) = rest.split_first_chunk::<4>()
    {
        let mut destination = [0; 4];
        destination.iter_mut().zip(significant).for_each(|(to, from)| *to = *from);
        let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
        let destination = Ipv4Addr::from(u32::from_be_bytes(destination) & mask);
        let gateway = Ipv4Addr::from(*gateway);
        if is_host(&gateway) || gateway.is_unspecified() {
            routes.push((destination, *prefix, gateway));
        }
        bytes = rest;
    }
    routes
}

fn times(options: &Options) -> (Duration, Duration, Duration) {
    let lease = options.seconds(OptionCode::AddressLeaseTime);
    let expire = lease.unwrap_or(LONGEST_LEASE).clamp(SHORTEST_LEASE, LONGEST_LEASE);
    let rebind = options.seconds(OptionCode::Rebinding).filter(|t| *t < expire).unwrap_or(expire * 7 / 8);
    let rebind = rebind.max(SHORTEST_LEASE / 2);
    let renew =
        options.seconds(OptionCode::Renewal).filter(|t| *t < rebind).unwrap_or(expire / 2).min(rebind);
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
fn domain(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    let good = (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    good.then(|| name.to_owned())
}
