//! What a machine boots: the deploy ISO with its parameters region patched as it is served, and the FAT
//! parameters medium. Serves them over HTTP(S) with ranges. Knows no provision state.

use bessemer_proto::{boot_parameters::BootParameters, ids::NodeId};
use url::Url;

/// The media of one boot, as URLs the BMC can fetch.
#[derive(Clone, Debug)]
pub struct BootMedia {
    /// The deploy ISO, with the parameters in its region (unless they are on the floppy).
    pub iso: Url,
    /// The parameters medium, when asked for.
    pub floppy: Option<Url>,
}

/// How the parameters travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParametersBy {
    /// In the ISO's region.
    IsoRegion,
    /// On a FAT medium in a second virtual drive.
    Floppy,
}

/// Media of boots that are under way; cheap to clone. In memory: they hold join tokens.
#[derive(Clone)]
pub struct MediaShelf {}

/// Why media cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The deploy ISO is not there.
    #[error("the deploy ISO {path} cannot be read: build it with bessemer-ramdisk and set boot.deploy_iso")]
    Iso {
        /// Where it should be.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not one of ours.
    #[error("the deploy ISO {path} cannot carry boot parameters")]
    Region {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: bessemer_proto::boot_parameters::region::RegionError,
    },
    /// The FAT medium could not be made.
    #[error("the parameters medium could not be made")]
    Fat(#[source] std::io::Error),
}

#[allow(
    unused_variables,
    clippy::todo,
    clippy::unused_async,
    reason = "skeleton, replaced by the owner of this room"
)]
impl MediaShelf {
    /// Makes the media of a node's boot available under fresh unguessable URLs. Replaces the node's older ones.
    pub async fn put(
        &self,
        node: NodeId,
        parameters: &BootParameters,
        by: ParametersBy,
    ) -> Result<BootMedia, BootError> {
        todo!()
    }
    /// Takes a node's media away.
    pub fn remove(&self, node: NodeId) {
        todo!()
    }
}
