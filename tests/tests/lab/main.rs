//! The lab itself: machines driven through their BMCs, with media so small that they boot in a second.

mod boot_media;
mod machines;
mod redfish;
