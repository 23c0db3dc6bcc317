//! The proving ground of Bessemer: what stands around the product while it is tested.
//!
//! - [`counterparts`]: programs that nobody here wrote: sushy-tools, the `baremetal` command line, DMTF's validator.
#![forbid(unsafe_code)]

pub mod counterparts;
