//! The proving ground of Bessemer: what stands around the product while it is tested.
//!
//! - [`lab`]: virtual machines and hollow ones, each with a virtual BMC that speaks Redfish as its profile says (as an older
//!   iLO also RIBCL), BMCs that replay a recording, and a server for images.
//! - [`harness`]: the real controller as a child process, its REST API, and the artifacts that a deploy needs.
//! - [`recorded`]: what a real Ironic and its clients said to each other, to be replayed.
//! - [`counterparts`]: programs that nobody here wrote: sushy-tools, the `baremetal` command line, DMTF's validator.
#![forbid(unsafe_code)]

pub mod counterparts;
pub mod harness;
pub mod lab;
pub mod recorded;
