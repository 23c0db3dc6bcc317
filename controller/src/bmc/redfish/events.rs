//! Subscriptions to events: the BMC posts what happens to somebody's URL.

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use http::Method;
use serde_json::{Value, json};
use url::Url;

use super::{Machine, document::Document, transport::Call};
use crate::bmc::{BmcError, Changed, EventSubscriptions, Subscription};

#[async_trait]
impl EventSubscriptions for Machine {
    async fn list(&self) -> Result<Vec<Subscription>, BmcError> {
        let link = self.subscriptions().await?;
        Ok(self.client.documents(&link).await?.iter().map(subscription).collect())
    }

    async fn create(
        &self,
        destination: &Url,
        event_types: &[String],
        context: Option<&str>,
        headers: &[(String, Secret)],
    ) -> Result<Subscription, BmcError> {
        let link = self.subscriptions().await?;
        let mut body = json!({"Destination": destination, "Protocol": "Redfish"});
        // Required by old BMCs, also when it is empty.
        body["Context"] = json!(context.unwrap_or_default());
        if !event_types.is_empty() {
            body["EventTypes"] = json!(event_types);
        }
        if !headers.is_empty() {
            let headers: Vec<Value> =
                headers.iter().map(|(name, value)| json!({name.as_str(): value.reveal()})).collect();
            body["HttpHeaders"] = json!(headers);
        }
        let call = Call { method: &Method::POST, link: &link, body: Some(&body), if_match: None };
        let started = match self.client.start(call).await? {
            // Newer BMCs choose by registries, and take no types.
            Err(refusal)
                if refusal.messages.iter().any(|m| m.arguments.iter().any(|a| a == "EventTypes")) =>
            {
                body.as_object_mut().and_then(|body| body.remove("EventTypes"));
                let call = Call { method: &Method::POST, link: &link, body: Some(&body), if_match: None };
                self.client.start(call).await??
            }
            result => result?,
        };
        let made = match &started.location {
            Some(link) => self.client.look(link).await?,
            None => None,
        };
        match made {
            Some(made) => Ok(subscription(&made)),
            None => {
                let all = self.list().await?.into_iter();
                let mut same = all.filter(|one| one.destination == destination.as_str());
                same.next_back().ok_or_else(|| self.client.unsupported("show the subscription it made"))
            }
        }
    }

    async fn delete(&self, id: &str) -> Result<Changed, BmcError> {
        let link = self.subscriptions().await?;
        let all = self.client.documents(&link).await?;
        let Some(found) = all.iter().find(|one| one.id() == id) else { return Ok(Changed::Already) };
        self.client.delete(&found.path).await??;
        Ok(Changed::Yes)
    }
}

impl Machine {
    async fn subscriptions(&self) -> Result<String, BmcError> {
        let service = match self.client.root().await?.link("/EventService") {
            Some(link) => self.client.find(link).await?,
            None => None,
        };
        let link = service.and_then(|service| service.link("/Subscriptions").map(str::to_owned));
        link.ok_or_else(|| self.client.unsupported("tell of events: it has no EventService"))
    }
}

fn subscription(document: &Document) -> Subscription {
    let types = document.texts("/EventTypes").unwrap_or_default();
    Subscription {
        id: document.id(),
        destination: document.shown("/Destination").unwrap_or_default(),
        event_types: types.into_iter().map(|text| text.chars().take(64).collect()).collect(),
        context: document.shown("/Context"),
        protocol: document.shown("/Protocol"),
    }
}
