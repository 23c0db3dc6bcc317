//! The UDP socket of a DHCP client: bound to one interface that has no address yet.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket as StdSocket},
};

use async_trait::async_trait;
use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket,
    sockopt::{BindToDevice, Broadcast, ReuseAddr},
};
use std::os::fd::AsRawFd as _;
use tokio::net::UdpSocket;

use super::dhcp::{MAX_PACKET, Transport};

/// DHCP packets on one interface.
pub(super) struct DhcpSocket {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl DhcpSocket {
    pub(super) fn open(interface: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        setsockopt(&fd, ReuseAddr, &true)?;
        setsockopt(&fd, Broadcast, &true)?;
        setsockopt(&fd, BindToDevice, &OsString::from(interface))?;
        bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT)))?;
        let socket = UdpSocket::from_std(StdSocket::from(fd))?;
        Ok(Self { socket, buffer: vec![0; MAX_PACKET] })
    }
}

#[async_trait]
impl Transport for DhcpSocket {
    async fn send(&mut self, packet: &[u8], server: Option<Ipv4Addr>) -> io::Result<()> {
        let to = SocketAddrV4::new(server.unwrap_or(Ipv4Addr::BROADCAST), SERVER_PORT);
        self.socket.send_to(packet, to).await.map(drop)
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let (length, from) = self.socket.recv_from(&mut self.buffer).await?;
            // Servers and relays speak from the server port.
            if from.port() == SERVER_PORT {
                return Ok(self.buffer.get(..length).unwrap_or_default().to_vec());
            }
        }
    }
}
