//! Whose BMC is asked next: a few at the same moment, and of one subnet at most half of them. One subnet that is cut off,
//! where each question takes until its deadline, then leaves places to all others.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Subnets that are remembered before idle ones are forgotten.
const CAPACITY: usize = 1024;

/// Places for polls of one kind.
pub(super) struct Turns {
    workers: Arc<Semaphore>,
    per_subnet: usize,
    subnets: Mutex<HashMap<Subnet, Arc<Semaphore>>>,
}

/// The places that a poll has while it asks.
pub(super) struct Turn(#[expect(dead_code, reason = "held, not read")] [Option<OwnedSemaphorePermit>; 2]);

/// BMCs that probably share a switch or a router.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subnet {
    V4([u8; 3]),
    V6([u8; 8]),
}

impl Turns {
    pub(super) fn new(workers: u32, per_subnet: u32) -> Self {
        // Whatever is configured, one subnet that is cut off leaves workers to the others.
        let per_subnet = per_subnet.min(workers / 2).max(1) as usize;
        let workers = Arc::new(Semaphore::new(workers as usize));
        Self { workers, per_subnet, subnets: Mutex::default() }
    }

    /// Waits for a place, first in the subnet: whoever waits there takes nobody else's place.
    pub(super) async fn turn(&self, host: Option<&str>) -> Turn {
        let subnet = match host.and_then(subnet_of) {
            Some(subnet) => self.places(subnet).acquire_owned().await.ok(),
            None => None,
        };
        Turn([subnet, Arc::clone(&self.workers).acquire_owned().await.ok()])
    }

    fn places(&self, subnet: Subnet) -> Arc<Semaphore> {
        let mut subnets = self.subnets.lock().unwrap_or_else(PoisonError::into_inner);
        if subnets.len() >= CAPACITY {
            // Whoever holds or awaits a place holds the semaphore.
            subnets.retain(|_, places| Arc::strong_count(places) > 1);
        }
        Arc::clone(subnets.entry(subnet).or_insert_with(|| Arc::new(Semaphore::new(self.per_subnet))))
    }
}

/// `None` for names: nothing is known of where they are.
fn subnet_of(host: &str) -> Option<Subnet> {
    Some(match host.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Subnet::V4([a, b, c])
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h, ..] = address.octets();
            Subnet::V6([a, b, c, d, e, f, g, h])
        }
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn addresses_of_one_subnet_belong_together() {
        assert_eq!(subnet_of("10.1.2.3"), subnet_of("10.1.2.250"));
        assert_eq!(subnet_of("10.1.2.3"), subnet_of("::ffff:10.1.2.9"));
        assert_ne!(subnet_of("10.1.2.3"), subnet_of("10.1.3.3"));
        assert_eq!(subnet_of("fd00:0:0:1::1"), subnet_of("fd00:0:0:1:ffff::"));
        assert_ne!(subnet_of("fd00:0:0:1::1"), subnet_of("fd00:0:0:2::1"));
        assert_eq!(subnet_of("bmc.example.com"), None);
    }

    #[tokio::test]
    async fn a_full_subnet_leaves_places_for_others() {
        let turns = Turns::new(4, 4);
        let dead = [turns.turn(Some("10.0.0.1")).await, turns.turn(Some("10.0.0.2")).await];
        assert!(turns.turn(Some("10.0.0.3")).now_or_never().is_none());
        let others = ["10.0.1.1", "10.0.2.1"].map(|host| turns.turn(Some(host)).now_or_never());
        assert!(others.iter().all(Option::is_some));
        assert!(turns.turn(None).now_or_never().is_none(), "all workers have something to do");
        drop(others);
        assert!(turns.turn(None).now_or_never().is_some());
        drop(dead);
        assert!(turns.turn(Some("10.0.0.3")).now_or_never().is_some());
    }
}
