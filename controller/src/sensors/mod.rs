//! Sensors of machines: the newest readings, how Prometheus gets them, and what notifications say of them. They are
//! read by the engine ([`crate::reconcile`]), which asks BMCs.

mod board;
mod config;
mod message;
mod metrics;

pub use board::Board;
pub(crate) use board::Readings;
pub use config::{Config, ConfigError};
pub(crate) use message::{body_of, kind_of};
pub use metrics::{CONTENT_TYPE, exposition};
