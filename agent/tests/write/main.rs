//! `bessemer-agent write` as its users run it: a process, its exit code, its lines, and what is on the disk after it
//! was killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod devices;
#[path = "../../src/test_support/disks.rs"]
#[allow(dead_code, reason = "shared with the unit tests")]
mod disks;
mod exit_codes;
mod files;
mod killed;
mod output;
mod program;
#[path = "../../src/test_support/proxy.rs"]
#[allow(dead_code, reason = "shared with the unit tests")]
mod proxy;
mod secrets;
#[path = "../../src/test_support/server/mod.rs"]
#[allow(dead_code, reason = "shared with the unit tests")]
mod server;
#[path = "../../src/test_support/xz.rs"]
#[allow(dead_code, reason = "shared with the unit tests")]
mod xz;
#[path = "xz.rs"]
mod xz_images;
