//! The contract: what Bessemer's controller and agent may say to each other, and the words they share.
//!
//! No I/O happens here. The wire messages are generated from `defs/` into `generated/` (checked in; a test
//! fails when they are stale); everything else is hand-written domain types that parse at the border.
#![forbid(unsafe_code)]

pub mod boot_parameters;
pub mod config_drive;
pub mod digest;
pub mod identity;
pub mod ids;
pub mod image_magic;
pub mod inventory;
pub mod manifest;
pub mod secret;
pub mod step;

/// Messages and service stubs of `bessemer.agent.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated from proto/defs by tests/regenerate.rs"
)]
pub mod v1 {
    include!("generated/bessemer.agent.v1.rs");
}

/// Largest message either end accepts, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
