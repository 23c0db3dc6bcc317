//! The lab itself: machines driven through their BMCs, with media so small that they boot in a second.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod boot_media;
mod conformance;
mod machines;
mod program;
mod redfish;
