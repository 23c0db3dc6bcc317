//! HPE iLO. What answers decides how an iLO is spoken to: iLO 5 and newer by Redfish with HPE's own parts (`hpe`), iLO 4
//! by its REST interface of before Redfish (`ris`) and by XML (`ribcl`). Whoever uses an iLO does not see which.

mod compose;
mod front;
mod hpe;
mod licence;
mod link;
mod probe;
mod ribcl;
mod ris;
mod settings;
mod wait;

use std::{sync::Arc, time::Duration};

use self::{front::Ilo, link::Link, settings::Settings};
use super::{Bmc, BmcError};
use crate::node::Dictionary;

/// An iLO from the `ilo_*` keys of `driver_info`.
pub fn open(driver_info: &Dictionary) -> Result<Bmc, BmcError> {
    open_with(driver_info, Pace::default())
}

fn open_with(driver_info: &Dictionary, pace: Pace) -> Result<Bmc, BmcError> {
    let settings = Settings::from_driver_info(driver_info)?;
    let pace = Pace { request: settings.timeout, ..pace };
    let link = Arc::new(Link::new(settings, pace)?);
    Ok(front::bmc(&Arc::new(Ilo::new(link))))
}

/// How long things may take, and how often they are tried.
#[derive(Clone, Copy, Debug)]
struct Pace {
    connect: Duration,
    request: Duration,
    /// Shortest pause between two looks at something that changes.
    poll: Duration,
    /// Longest, while something changes quickly.
    poll_max: Duration,
    /// Longest of all.
    longest: Duration,
    /// After a restart of the iLO was asked for: it still answers for a while.
    begins: Duration,
    /// How long it may be away.
    away: Duration,
    /// How long the self-test of the machine may take.
    post: Duration,
    /// Blades need a while before they are asked for power again.
    blade: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            poll: Duration::from_secs(1),
            poll_max: Duration::from_secs(5),
            longest: Duration::from_secs(30),
            begins: Duration::from_secs(60),
            away: Duration::from_secs(300),
            post: Duration::from_secs(600),
            blade: Duration::from_secs(7),
        }
    }
}

#[cfg(test)]
mod tests;
