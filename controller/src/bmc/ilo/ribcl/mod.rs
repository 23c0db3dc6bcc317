//! RIBCL, the XML that iLO 2 to iLO 4 (and iLO 5, where it is switched on) take by HTTPS at `/ribcl` (HPE iLO 4 Scripting
//! and Command Line Guide). The one way into Gen8 servers whose firmware has nothing newer.

mod answer;
mod boot;
mod client;
#[cfg(test)]
mod codec_tests;
mod health;
mod inventory;
mod manager;
mod media;
mod mode;
mod power;
mod request;
mod table;
mod xml;

use std::sync::Arc;

use self::{
    client::Client,
    request::{Class, Command},
};
use super::{Link, Pace};
use crate::bmc::{Bmc, BmcError};

/// One machine behind its iLO.
pub(super) struct Ribcl {
    client: Client,
}

impl Ribcl {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { client: Client::new(link) }
    }

    fn pace(&self) -> &Pace {
        &self.client.link.pace
    }
}

/// Sees that RIBCL is spoken, whatever is said.
pub(super) async fn is_spoken(link: &Arc<Link>) -> Result<(), BmcError> {
    let command = Command::read(Class::Server, "GET_PRODUCT_NAME");
    Client::new(Arc::clone(link)).run(&command).await.map(drop)
}

/// What RIBCL has. It lacks Secure Boot, interrupts, settings of the firmware and RAID.
pub(super) fn bmc(ribcl: &Arc<Ribcl>) -> Bmc {
    Bmc {
        boot_device: Some(ribcl.clone()),
        boot_mode: Some(ribcl.clone()),
        virtual_media: Some(ribcl.clone()),
        firmware: Some(ribcl.clone()),
        overview: Some(ribcl.clone()),
        inventory: Some(ribcl.clone()),
        sensors: Some(ribcl.clone()),
        manager: Some(ribcl.clone()),
        ..Bmc::only_power(ribcl.clone())
    }
}
