//! A DHCPv4 client: one lease on one interface.

mod packet;

use std::{
    io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rand::Rng as _;
use tokio::time::{sleep, timeout};

use packet::{Answer, Client};
pub use packet::{Lease, Route};

pub(super) const MAX_PACKET: usize = packet::MAX_PACKET;

/// First wait for an answer. RFC 2131 suggests four seconds; lost first packets are common while a switch port
/// comes up, and a deploy should not wait for them.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// Requests for one offer before asking anew.
const REQUESTS: u32 = 4;
/// Shortest pause between two requests to extend a lease (RFC 2131 section 4.4.5).
const SHORTEST_RETRY: Duration = Duration::from_secs(60);
/// Packets that are not for us, looked at in one wait.
const MAX_FOREIGN: usize = 1000;

/// Carries packets on one interface.
#[async_trait]
pub trait Transport: Send {
    /// Sends to a server, or to all.
    async fn send(&mut self, packet: &[u8], server: Option<Ipv4Addr>) -> io::Result<()>;
    /// Waits for a packet.
    async fn receive(&mut self) -> io::Result<Vec<u8>>;
}

/// What became of a lease that had to be extended.
#[derive(Debug)]
pub enum Extended {
    /// It goes on.
    Renewed(Lease),
    /// It has ended: stop using the address.
    Lost,
}

/// Asks until a server grants an address.
pub async fn obtain(transport: &mut impl Transport, mac: [u8; 6]) -> Lease {
    let started = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let client = client(mac, started);
        let discover = client.discover();
        let question = Question { client: &client, packet: &discover, server: None, wait };
        let offer = ask(transport, question, |answer| match answer {
            Answer::Offer(lease) => Some(lease),
            _ => None,
        });
        if let Some(offer) = offer.await
            && let Some(lease) = select(transport, client, &offer).await
        {
            return lease;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Takes an offer; `None` when the server changed its mind or fell silent.
async fn select(transport: &mut impl Transport, client: Client, offer: &Lease) -> Option<Lease> {
    let request = client.select(offer);
    let mut wait = FIRST_WAIT;
    for _ in 0..REQUESTS {
        let question = Question { client: &client, packet: &request, server: None, wait };
        let decision = ask(transport, question, |answer| match answer {
            Answer::Ack(lease) if lease.server == offer.server => Some(Some(lease)),
            Answer::Nak => Some(None),
            _ => None,
        });
        if let Some(decision) = decision.await {
            return decision;
        }
        wait *= 2;
    }
    None
}

/// Waits until a lease must be extended, and extends it: by its server first, by any server when that is gone.
pub async fn extend(
    transport: &mut impl Transport,
    mac: [u8; 6],
    lease: &Lease,
    granted: Instant,
) -> Extended {
    sleep(lease.renew.saturating_sub(granted.elapsed())).await;
    let started = Instant::now();
    loop {
        let age = granted.elapsed();
        if age >= lease.expire {
            return Extended::Lost;
        }
        let (server, end) =
            if age < lease.rebind { (Some(lease.server), lease.rebind) } else { (None, lease.expire) };
        let left = end.saturating_sub(age);
        let wait = (left / 2).max(SHORTEST_RETRY).min(left).max(Duration::from_millis(100));
        let client = client(mac, started);
        let request = client.extend(lease);
        let question = Question { client: &client, packet: &request, server, wait };
        let decision = ask(transport, question, |answer| match answer {
            Answer::Ack(renewed) if renewed.address == lease.address => Some(Extended::Renewed(renewed)),
            Answer::Nak => Some(Extended::Lost),
            _ => None,
        });
        if let Some(decision) = decision.await {
            return decision;
        }
    }
}

fn client(mac: [u8; 6], started: Instant) -> Client {
    let seconds = u16::try_from(started.elapsed().as_secs()).unwrap_or(u16::MAX);
    Client { mac, xid: rand::random(), seconds }
}

/// A packet, and how long to wait for its answer.
struct Question<'a> {
    client: &'a Client,
    packet: &'a [u8],
    server: Option<Ipv4Addr>,
    wait: Duration,
}

/// Sends once and waits for an answer that `choose` wants.
async fn ask<T>(
    transport: &mut impl Transport,
    question: Question<'_>,
    choose: impl Fn(Answer) -> Option<T>,
) -> Option<T> {
    let jitter = rand::rng().random_range(0.8..=1.2);
    let answered = async {
        // While the interface is not ready sending fails; that is like a lost packet.
        if transport.send(question.packet, question.server).await.is_err() {
            return std::future::pending().await;
        }
        for _ in 0..MAX_FOREIGN {
            match transport.receive().await {
                Ok(bytes) => {
                    if let Some(chosen) = question.client.parse(&bytes).and_then(&choose) {
                        return Some(chosen);
                    }
                }
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
        std::future::pending().await
    };
    timeout(question.wait.mul_f64(jitter), answered).await.ok().flatten()
}

#[cfg(test)]
mod tests;
