//! The engine and the states. Only the engine changes a node's state.

pub mod engine;
pub mod states;

pub use engine::{Engine, RequestError};
