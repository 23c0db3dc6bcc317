//! Bessemer's controller: the brain.
//!
//! Rooms, and what each may not do:
//! - [`node`]: pure words and rules about machines. No I/O.
//! - [`reconcile`]: the engine and the states. Only they change a node's state.
//! - [`drivers`]: hardware types as visible lists of interfaces.
//! - [`bmc`]: out-of-band hardware behind narrow traits. Knows no provision state.
//! - [`boot`]: what a machine boots. Knows no provision state.
//! - [`image`]: where images come from and how they are kept and served.
//! - [`console`]: serial consoles: kept open, recorded, shown. Serves nothing itself.
//! - [`config_drive`]: config drives: their forms, their file system, how agents get them.
//! - [`files`]: the HTTP(S) server that BMCs and agents fetch boot media and images from.
//! - [`agents`]: the gRPC side. Records what an agent reports and pokes; decides nothing.
//! - [`api`]: the Ironic-compatible REST API. Never touches hardware.
//! - [`store`]: the database. Knows nodes and their columns, and no rule about states.
//! - [`notify`]: webhooks, from the outbox that the store writes with each change. Changes nothing else.
//! - [`sensors`]: the newest readings of machines' sensors, as metrics and as notifications. Asks no BMC.
//! - [`app`], [`config`]: put all of it together, from one file.
//! - [`cli`]: the operator's command line: a client of the API; `bmc probe` and `bmc record` ask BMCs themselves.
#![forbid(unsafe_code)]

pub mod agents;
pub mod api;
pub mod app;
pub mod bmc;
pub mod boot;
pub mod cli;
pub mod config;
pub mod config_drive;
pub mod console;
pub mod drivers;
pub mod files;
pub mod image;
pub mod node;
pub mod notify;
pub mod reconcile;
pub mod sensors;
pub mod store;
