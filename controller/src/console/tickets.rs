//! What opens a console from a browser, which can send no password with a WebSocket: a secret, once, for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bessemer_proto::ids::NodeId;
use sha2::{Digest as _, Sha256};

/// Tickets that are out; the oldest ones make room.
const MOST: usize = 4096;
/// Of them for one node: who asks again and again pushes out nobody else's.
const MOST_OF_NODE: usize = 8;

/// Only hashes are kept.
pub(super) struct Tickets {
    lifetime: Duration,
    out: Mutex<HashMap<[u8; 32], (NodeId, Instant)>>,
}

impl Tickets {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, out: Mutex::default() }
    }

    pub(super) fn issue(&self, node: NodeId) -> String {
        let ticket = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.retain(|_, (_, at)| at.elapsed() < self.lifetime);
        let is_full = out.len() >= MOST;
        let of_node = out.values().filter(|(of, _)| *of == node).count();
        if is_full || of_node >= MOST_OF_NODE {
            let oldest = out
                .iter()
                .filter(|(_, (of, _))| of_node < MOST_OF_NODE || *of == node)
                .min_by_key(|(_, (_, at))| *at)
                .map(|(hash, _)| *hash);
            oldest.map(|oldest| out.remove(&oldest));
        }
        out.insert(hash(&ticket), (node, Instant::now()));
        ticket
    }

    /// Whether it was one for that node. It is none afterwards.
    pub(super) fn take(&self, node: NodeId, ticket: &str) -> bool {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let found = out.remove(&hash(ticket));
        found.is_some_and(|(of, at)| of == node && at.elapsed() < self.lifetime)
    }
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_for_one_node_once_and_for_a_while() {
        let tickets = Tickets::new(Duration::from_secs(60));
        let (node, other) = (NodeId::random(), NodeId::random());
        let ticket = tickets.issue(node);
        assert!(!tickets.take(node, "guessed"));
        assert!(tickets.take(node, &ticket) && !tickets.take(node, &ticket));
        let ticket = tickets.issue(node);
        assert!(
            !tickets.take(other, &ticket) && !tickets.take(node, &ticket),
            "a try with another node spends it"
        );
        let late = Tickets::new(Duration::ZERO);
        let ticket = late.issue(node);
        assert!(!late.take(node, &ticket));
        let of_other = tickets.issue(other);
        for _ in 0..=MOST {
            tickets.issue(node);
        }
        assert_eq!(tickets.out.lock().unwrap().len(), MOST_OF_NODE + 1);
        assert!(tickets.take(other, &of_other), "who polls one node pushes out nobody else's");
        for _ in 0..=MOST {
            tickets.issue(NodeId::random());
        }
        assert_eq!(tickets.out.lock().unwrap().len(), MOST);
    }
}
