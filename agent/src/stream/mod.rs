//! The write path: image bytes from a server to a disk, one adapter per file.
//!
//! [`job`] is a whole write: it finds out what the image must be and opens it. From there it goes one of two ways:
//!
//! - [`pipeline`], bytes in order: [`fetch`] → digest as served → `decode_stage` ([`decode`] for packed bytes, [`qcow2`])
//!   → `content_check` where there is a manifest → [`write`](mod@write). Each is a thread; rings of buffers bound what is
//!   between them.
//! - `by_manifest`, a raw image on a server with ranges: `ranged` fetches what the disk lacks, in any order, on several
//!   threads → [`write`](mod@write).
//!
//! `fit` refuses what cannot suit the disk before it is touched. [`held_back`] keeps the boot area zero; `boot_area`
//! writes it in the end, which takes a [`proof::Verified`]; [`readback`] compares when it is asked for. Nothing here
//! knows steps (but for their reports) or the controller.

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
mod pending_zeros;
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
mod xz_blocks;
mod xz_header;
mod xz_index;
mod xz_pool;
mod xz_rest;
mod xz_streams;
mod zeroing;
mod zeros;
mod zstd_frames;
mod zstd_header;
mod zstd_pool;

pub use checksum_file::ChecksumError;
pub use error::{DecodeError, StreamError};
pub use fetch::FetchError;
pub use qcow2::Qcow2Error;
