//! Waiting until a BMC says that something is so.

use std::time::Duration;

use tokio::time::Instant;

use super::Pace;
use crate::{
    bmc::{BmcError, Power},
    node::PowerState,
};

/// Polls until the machine is in `state`. BMCs are busy around a change of power: only the deadline ends the wait.
pub(super) async fn for_power(
    power: &dyn Power,
    state: PowerState,
    within: Duration,
    pace: &Pace,
    address: &str,
) -> Result<(), BmcError> {
    let until = Instant::now() + within;
    let mut pause = pace.poll;
    loop {
        // The last look may begin at the deadline.
        let problem = match tokio::time::timeout_at(until + pace.poll_max, power.state()).await {
            Ok(Ok(found)) if found == state => return Ok(()),
            Ok(Ok(_)) | Err(_) => None,
            Ok(Err(error)) if error.passing() => Some(error),
            Ok(Err(error)) => return Err(error),
        };
        let now = Instant::now();
        if now >= until {
            let (address, seconds) = (address.to_owned(), within.as_secs());
            return Err(problem.unwrap_or(BmcError::PowerUnchanged { address, wanted: state, seconds }));
        }
        tokio::time::sleep_until(until.min(now + pause)).await;
        pause = (pause * 2).min(pace.poll_max);
    }
}
