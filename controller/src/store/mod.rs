//! The database: nodes, ports, resources, boots, steps, logs, history. No business words, no I/O but SQL.
//!
//! One row per node: a few columns to filter on, and the whole [`Node`] as JSON beside them.

mod boots;
mod columns;
mod config;
mod db;
mod fence;
#[cfg(test)]
mod fuse;
mod history;
mod listing;
mod log;
mod nodes;
mod open;
mod outbox;
mod ports;
mod postgres;
mod resources;
mod seal;
mod steps;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use bessemer_proto::{
    ids::{BootId, NodeId, StepId},
    v1::LogRecord,
};
use chrono::{DateTime, Utc};
use serde_json::Value;

pub use config::{Config, ConfigError};
use db::Db;
pub use history::{HistoryDetails, HistoryEvent};
pub use listing::{NodeFilter, NodeQuery};
pub use outbox::{Announce, Message};
pub use resources::{Resource, Stored};
use seal::Sealer;

/// Handle to the database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    sealer: Sealer,
    lock: Option<postgres::ControllerLock>,
    announce: OnceLock<Announce>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// What went wrong. Callers decide by variant.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such row.
    #[error("{what} {ident} could not be found")]
    NotFound {
        /// `Node`, `Port`.
        what: &'static str,
        /// What was looked for.
        ident: String,
    },
    /// A unique value is taken.
    #[error("{what} with {field} {value} already exists")]
    Duplicate {
        /// `A node`, `A port`.
        what: &'static str,
        /// The column.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// Somebody else wrote the row since it was read.
    #[error("{what} {ident} was changed by somebody else meanwhile")]
    Conflict {
        /// `Node`.
        what: &'static str,
        /// Which one.
        ident: String,
    },
    /// The database itself.
    #[error("the database could not {action}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A row that cannot be read.
    #[error("{what} {ident} in the database cannot be read")]
    Corrupt {
        /// `Node`.
        what: &'static str,
        /// Which one.
        ident: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A sealed column that the key does not open.
    #[error(
        "the secrets of {what} {ident} cannot be decrypted: the row was changed outside of the controller"
    )]
    Sealed {
        /// `Node`, `Step`.
        what: &'static str,
        /// Which one.
        ident: String,
    },
    /// The key file does not fit the database.
    #[error("the key {path} of the database {database} {problem}", path = path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// The database.
        database: String,
        /// What is wrong with it and what to do.
        problem: &'static str,
    },
    /// A file of the database.
    #[error("could not {action} {path}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tables could not be brought up to date.
    #[error(
        "the tables of {database} could not be brought up to date: was it written by a newer version of bessemer?"
    )]
    Migrate {
        /// The database.
        database: String,
        /// Why.
        #[source]
        source: Box<sqlx::migrate::MigrateError>,
    },
    /// Another controller works with the database.
    #[error("another controller uses the database {database}: stop it, or set another store.url")]
    InUse {
        /// The database.
        database: String,
    },
    /// Another controller took the database over: nothing of this one is written any more.
    #[error("another controller took the database over: this one could not {action}")]
    Overtaken {
        /// What was tried.
        action: &'static str,
    },
    /// A configuration that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// One boot of the deploy ramdisk on a node.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its id.
    pub id: BootId,
    /// Of which node.
    pub node: NodeId,
    /// SHA-256 of the join token.
    pub token_hash: Vec<u8>,
    /// Until when the token may be used.
    pub token_expires: DateTime<Utc>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that used the token.
    pub enrolled_key_hash: Option<Vec<u8>>,
    /// When it was made: the newest boot of a node wins.
    pub created: DateTime<Utc>,
    /// The deploy is over or was taken down: nothing of this boot is accepted any more.
    pub closed: bool,
}

/// One execution of an in-band step.
#[derive(Clone)]
pub struct StepRow {
    /// Its id.
    pub id: StepId,
    /// On which node.
    pub node: NodeId,
    /// In which boot.
    pub boot: BootId,
    /// Name of the step.
    pub name: String,
    /// Counts from 1.
    pub attempt: u32,
    /// Arguments. May hold secrets.
    pub arguments: Value,
    /// Seconds the agent has for it.
    pub deadline_seconds: u32,
    /// What became of it; `None` while not finished.
    pub outcome: Option<StepOutcome>,
    /// When it was made.
    pub created: DateTime<Utc>,
}

/// Without the arguments: they may hold secrets.
impl std::fmt::Debug for StepRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepRow")
            .field("id", &self.id)
            .field("node", &self.node)
            .field("name", &self.name)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub enum StepOutcome {
    /// With this result.
    Succeeded(Value),
    /// With this error, a sentence.
    Failed(String),
}

/// A stored line of an agent's log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Counts up per controller.
    pub id: i64,
    /// The boot it comes from.
    pub boot: BootId,
    /// The record.
    pub record: LogRecord,
}

// === impl StoreError ===

impl StoreError {
    fn is_unique_violation(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        source.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }
}

fn database(action: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { action, source }
}

fn corrupt(what: &'static str, ident: &str) -> impl Fn(serde_json::Error) -> StoreError {
    let ident = ident.to_owned();
    move |source| StoreError::Corrupt { what, ident: ident.clone(), source }
}

/// A column whose text is not what it must be.
fn unreadable(what: &'static str, ident: &str, problem: impl std::fmt::Display) -> StoreError {
    corrupt(what, ident)(serde::de::Error::custom(problem))
}

fn not_found(what: &'static str, ident: impl ToString) -> StoreError {
    StoreError::NotFound { what, ident: ident.to_string() }
}

fn time_of(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
