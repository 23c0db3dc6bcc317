//! Bessemer's agent: the hands.
//!
//! Runs as PID 1 of a deploy ramdisk or as an ordinary process, dials the controller, runs steps, trusts only
//! the certificate authority of its boot parameters. Nothing listens here.
//!
//! Rooms: [`init`] PID 1 duties · [`parameters`] finds boot parameters · [`link`] enrolment, session, reconnect ·
//! [`runner`] one loop that runs steps · [`report`] events and logs out · [`steps`] one file per step ·
//! [`stream`] image bytes, one adapter per file · `write_command` the same without a controller · [`disk`] block devices ·
//! [`efi`] boot entries · [`inventory`] reads a sysfs root.
//!
//! A vendor's agent is this crate, one more step and a five-line `main`:
//!
//! ```no_run
//! # struct AcmeStep;
//! # #[async_trait::async_trait]
//! # impl bessemer_agent::steps::Step for AcmeStep {
//! #     fn name(&self) -> &'static str { "acme" }
//! #     async fn run(
//! #         &self, _: serde_json::Value, _: bessemer_agent::steps::StepContext,
//! #     ) -> Result<serde_json::Value, bessemer_agent::steps::StepError> { Ok(serde_json::json!({})) }
//! # }
//! use bessemer_agent::steps::Registry;
//!
//! fn main() -> std::process::ExitCode {
//!     bessemer_agent::main(Registry::standard().with(AcmeStep))
//! }
//! ```
#![deny(unsafe_code)]

pub mod app;
mod backoff;
pub mod disk;
pub mod efi;
pub mod init;
pub mod inventory;
pub mod link;
pub mod parameters;
pub mod report;
pub mod runner;
pub mod steps;
pub mod stream;
mod write_command;

pub use app::main;

#[cfg(test)]
mod test_support;
