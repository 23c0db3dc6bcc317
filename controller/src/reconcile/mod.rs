//! The engine and the states. Only the engine changes a node's state.
//!
//! - [`engine`]: the handle that the rest of the controller talks to, and its scheduler.
//! - `process`: one look at one node: call its state, persist what comes of it.
//! - `requests`, `power`: what the API may ask.
//! - `states`: what is done in each state. `steps`: running plans of steps; `deploy`: those of a deploy.
//! - `inspection`: makes what was found part of the node. `rescue`: the password of a rescue system.
//! - `hardware`, `console`: what the API may ask of a machine besides power, and turning its console on and off.
//! - `machine`: work with a BMC that several states share; `insist` asks again one that does not answer.
//! - `watch`: what nobody asked about: power states, and sensors.

mod allocations;
mod config;
mod console;
mod context;
mod deploy;
pub mod engine;
mod error;
mod hardware;
mod hardware_cache;
mod inspection;
mod lessee;
mod locks;
mod machine;
mod maintenance;
mod outcome;
mod persist;
mod power;
mod process;
mod queue;
mod ramdisk;
mod requests;
mod rescue;
mod rules;
mod states;
mod steps;
#[cfg(test)]
mod tests;
mod validate;
mod vendor;
mod vifs;
mod watch;

pub use config::Config;
pub use context::OpenBmc;
pub use engine::{Asker, Deps, Engine};
pub(crate) use error::sentence;
pub use error::{RequestError, Validation};
pub use hardware::Change;
pub use lessee::LesseeSource;
pub(crate) use locks::NodeGuard;
pub use queue::Pokes;
pub use ramdisk::{BAD_TOKEN, Heartbeat, lookup_allowed};
