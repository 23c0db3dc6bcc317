//! Whole deploys on virtual machines: the real controller binary, the real deploy ISO, a BMC at the wire.
//!
//! They need what `make ramdisk images` builds: the deploy ISO and the Debian disk image.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod deploys;
mod failures;
mod impostors;
mod site;
mod sushy_tools;
