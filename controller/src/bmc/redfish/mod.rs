//! Redfish (DMTF DSP0266): standard behaviour.

use super::{Bmc, BmcError};
use crate::node::Dictionary;

/// A BMC from the `redfish_*` keys of `driver_info`.
pub fn open(driver_info: &Dictionary) -> Result<Bmc, BmcError> {
    let _ = driver_info;
    todo!()
}
