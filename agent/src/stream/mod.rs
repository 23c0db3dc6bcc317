//! The write path: image bytes from a server to a disk, one adapter per file.
//!
//! [`fetch`] → [`digest`] (bytes as served) → [`decode`] → [`write`](mod@write) with the boot area held back by
//! [`held_back`] → [`readback`] when it is asked for. [`pipeline`] puts each on its own thread; a ring of buffers bounds
//! what is between them. With a manifest [`ranged`] takes the place of fetch and digest. The boot area of the disk is
//! written by one function, which takes a [`proof::Verified`]. Nothing here knows steps or the controller.

mod boot_area;
mod by_manifest;
mod bzip2_streams;
pub mod checksum_file;
pub mod chunks;
mod content_check;
pub mod decode;
mod decode_stage;
mod detect;
pub mod digest;
mod error;
pub mod fetch;
mod fit;
#[doc(hidden)]
pub mod fuzzing;
mod gzip;
pub mod held_back;
#[cfg(test)]
mod hostile_tests;
pub mod job;
mod lz4_frames;
mod lz4_header;
mod parallel;
pub mod pipeline;
pub mod placed;
pub mod progress;
pub mod proof;
pub mod qcow2;
pub mod random_access;
mod ranged;
pub mod readback;
mod skippable;
mod stage;
mod unpack;
pub mod work;
pub mod write;
mod xz_streams;
mod zeros;
mod zstd_frames;
mod zstd_header;
mod zstd_pool;

pub use checksum_file::ChecksumError;
pub use error::{DecodeError, StreamError};
pub use fetch::FetchError;
pub use qcow2::Qcow2Error;
