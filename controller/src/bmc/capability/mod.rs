//! What BMCs can do, as narrow traits: each at most seven methods, each optional, each operation idempotent. Deadlines,
//! retries and the order of calls are the driver's and the queue's business, not the caller's.

mod boot;
mod condition;
mod console;
mod inventory;
mod manager;
mod media;
mod power;
mod settings;

pub use boot::*;
pub use condition::*;
pub use console::*;
pub use inventory::*;
pub use manager::*;
pub use media::*;
pub use power::*;
pub use settings::*;

/// Whether an idempotent operation had to do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It did.
    Yes,
    /// Things were so already.
    Already,
}
