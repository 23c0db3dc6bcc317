//! The BMC itself: restart, clock, accounts, subscriptions to events, raw commands.

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use chrono::{DateTime, Utc};
use serde::Serialize;
use url::Url;

use super::Changed;
use crate::bmc::BmcError;

/// Care for the BMC.
#[async_trait]
pub trait Manager: Send + Sync {
    /// Restarts the BMC and waits until it answers again. Virtual media are gone afterwards.
    async fn reset(&self) -> Result<(), BmcError>;
    /// What time it believes it is; `None`: it does not say.
    async fn clock(&self) -> Result<Option<DateTime<Utc>>, BmcError>;
    /// Sets its clock.
    async fn set_clock(&self, now: DateTime<Utc>) -> Result<Changed, BmcError>;
    /// Changes the password of the user that `driver_info` names.
    async fn change_password(&self, new: &Secret) -> Result<Changed, BmcError>;
}

/// Somebody who is told of events by the BMC itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subscription {
    /// As the BMC calls it.
    pub id: String,
    /// Where events are posted to.
    pub destination: String,
    /// `Alert`, `StatusChange`, …
    pub event_types: Vec<String>,
    /// Comes back with each event.
    pub context: Option<String>,
    /// `Redfish`, …
    pub protocol: Option<String>,
}

/// Subscriptions to events.
#[async_trait]
pub trait EventSubscriptions: Send + Sync {
    /// All.
    async fn list(&self) -> Result<Vec<Subscription>, BmcError>;
    /// Makes one; `headers` go with each event and may hold secrets.
    async fn create(
        &self,
        destination: &Url,
        event_types: &[String],
        context: Option<&str>,
        headers: &[(String, Secret)],
    ) -> Result<Subscription, BmcError>;
    /// Ends one. One that is not there is no error.
    async fn delete(&self, id: &str) -> Result<Changed, BmcError>;
}

/// Commands in the BMC's own bytes.
#[async_trait]
pub trait Raw: Send + Sync {
    /// Sends network function, command and data; answers with the data after the completion code.
    async fn send(&self, request: &[u8]) -> Result<Vec<u8>, BmcError>;
}
