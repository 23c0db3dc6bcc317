//! A small client of the controller's REST API, as strict as a test needs it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::HarnessError;
use crate::lab::Machine;

const VERSION: &str = "1.81";
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(250);

/// The API of one controller.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    version: &'static str,
}

impl Api {
    pub(super) fn new(base: String, authority: Option<&[u8]>) -> Result<Self, HarnessError> {
        // The first caller in the process wins; all want the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |source| HarnessError::Request { method: "GET".into(), path: base.clone(), source };
        let mut client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN);
        if let Some(authority) = authority {
            let authority = reqwest::Certificate::from_pem(authority).map_err(failed)?;
            client = client.tls_certs_only([authority]);
        }
        let client = client.build().map_err(failed)?;
        Ok(Self { client, base, version: VERSION })
    }

    /// The same at another microversion.
    #[must_use]
    pub fn at(self, version: &'static str) -> Self {
        Self { version, ..self }
    }

    /// Its address, such as `http://127.0.0.1:6385`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// One request; an answer without body is `Value::Null`. An error status is an error.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, HarnessError> {
        let failed = |source| HarnessError::Request { method: method.to_string(), path: path.into(), source };
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        request = request.header("X-OpenStack-Ironic-API-Version", self.version);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let text = response.text().await.map_err(failed)?;
        if !status.is_success() {
            let (method, path) = (method.to_string(), path.to_owned());
            return Err(HarnessError::Refused { method, path, status: status.as_u16(), body: text });
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// A GET.
    pub async fn get(&self, path: &str) -> Result<Value, HarnessError> {
        self.call(Method::GET, path, None).await
    }

    /// Creates a node of driver `redfish` for a machine of the lab; `more` is merged over its body. Answers its UUID.
    pub async fn enroll(&self, machine: &Machine, more: Value) -> Result<String, HarnessError> {
        let credentials = machine.credentials();
        let mut body = json!({
            "name": machine.definition().name,
            "driver": "redfish",
            "driver_info": {
                "redfish_address": machine.bmc_url(),
                "redfish_system_id": machine.system_path(),
                "redfish_username": credentials.user,
                "redfish_password": credentials.password.reveal(),
                // Self-signed, when it is HTTPS at all.
                "redfish_verify_ca": false,
            },
        });
        merge(&mut body, more);
        let node = self.call(Method::POST, "/v1/nodes", Some(body)).await?;
        Ok(node.get("uuid").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// A node.
    pub async fn node(&self, node: &str) -> Result<Value, HarnessError> {
        self.get(&format!("/v1/nodes/{node}")).await
    }

    /// Changes a node by JSON patch.
    pub async fn patch(&self, node: &str, patch: Value) -> Result<Value, HarnessError> {
        self.call(Method::PATCH, &format!("/v1/nodes/{node}"), Some(patch)).await
    }

    /// Asks for a provision state, such as `{"target": "active"}`.
    pub async fn provision(&self, node: &str, wanted: Value) -> Result<(), HarnessError> {
        let path = format!("/v1/nodes/{node}/states/provision");
        self.call(Method::PUT, &path, Some(wanted)).await.map(drop)
    }

    /// Waits until a node is in provision state `wanted`. Ends early when it fails or goes into error. The API may be
    /// away meanwhile, as when a test kills the controller.
    pub async fn wait_for_state(
        &self,
        node: &str,
        wanted: &str,
        within: Duration,
    ) -> Result<Value, HarnessError> {
        let deadline = Instant::now() + within;
        loop {
            let result = self.node(node).await;
            let late = Instant::now() >= deadline;
            match result {
                Ok(body) => {
                    let text =
                        |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                    let (state, last_error) = (text("provision_state"), text("last_error"));
                    if state == wanted {
                        return Ok(body);
                    }
                    let failed = state == "error" || state.ends_with("failed");
                    if failed || late {
                        let after =
                            if failed { "now".into() } else { format!("after {} s", within.as_secs()) };
                        let (node, wanted) = (node.into(), wanted.into());
                        return Err(HarnessError::State { node, state, wanted, after, last_error });
                    }
                }
                Err(error @ HarnessError::Refused { .. }) => return Err(error),
                Err(error) if late => return Err(error),
                Err(_) => {}
            }
            sleep(POLL).await;
        }
    }
}

/// Merges objects key by key; anything else is replaced.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_what_is_not_named() {
        let mut body = json!({ "driver_info": { "a": 1, "b": 2 }, "name": "n" });
        merge(&mut body, json!({ "driver_info": { "b": 3 }, "properties": { "c": 4 } }));
        let merged = json!({ "driver_info": { "a": 1, "b": 3 }, "name": "n", "properties": { "c": 4 } });
        assert_eq!(body, merged);
    }
}
