//! `[notifications]`.

use std::{fmt, path::PathBuf};

use serde::Deserialize;
use url::Url;

/// `[notifications]`: who is told of changes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Receivers, each a table `[[notifications.webhooks]]` with `url`, `secret_file`, `events` and `ca_file`: see
    /// [notifications.md](notifications.md). Default none.
    pub webhooks: Vec<Webhook>,
    /// Seconds that a receiver may take to answer. Default 10.
    pub timeout: u32,
    /// Seconds after which a message that nobody took is given up. Default 86400.
    pub give_up_after: u32,
    /// Most messages that wait for one receiver; the oldest are given up. Default 100000.
    pub max_waiting: u32,
}

/// One receiver.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where messages are sent to (`POST`).
    pub url: Url,
    /// File with the secret that signs them; relative ones start at `state_dir`.
    pub secret_file: PathBuf,
    /// Which types of messages; `*` at the end stands for anything.
    #[serde(default = "everything")]
    pub events: Vec<String>,
    /// File with the certificates (PEM) of the authority that the receiver's certificate is of, when it is an own one.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// What is wrong with `[notifications]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Not a URL that messages can be sent to.
    #[error(
        "notifications.webhooks: the url of {0} must start with http:// or https:// and hold no user or password"
    )]
    Url(String),
    /// A number of zero.
    #[error("notifications.{0} must be at least 1")]
    Zero(&'static str),
    /// Two receivers with one URL: each message would be sent twice.
    #[error("notifications.webhooks: there are two of {0}")]
    Twice(String),
    /// A filter that lets nothing through.
    #[error("notifications.webhooks: events of {0} is empty, so nothing would be sent")]
    NoEvents(String),
}

// === impl Config, Webhook ===

impl Default for Config {
    fn default() -> Self {
        Self { webhooks: Vec::new(), timeout: 10, give_up_after: 86_400, max_waiting: 100_000 }
    }
}

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let numbers = [
            ("timeout", self.timeout),
            ("give_up_after", self.give_up_after),
            ("max_waiting", self.max_waiting),
        ];
        if let Some((name, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
            return Err(ConfigError::Zero(name));
        }
        for (at, webhook) in self.webhooks.iter().enumerate() {
            let has_user = !webhook.url.username().is_empty() || webhook.url.password().is_some();
            if has_user || !matches!(webhook.url.scheme(), "http" | "https") {
                return Err(ConfigError::Url(webhook.shown()));
            }
            if webhook.events.is_empty() {
                return Err(ConfigError::NoEvents(webhook.shown()));
            }
            if self.webhooks.iter().take(at).any(|other| other.url == webhook.url) {
                return Err(ConfigError::Twice(webhook.shown()));
            }
        }
        Ok(())
    }
}

impl Webhook {
    /// Its URL for messages and logs: a query, and often the path, is a secret of the receiver.
    #[must_use]
    pub fn shown(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }

    /// Whether it wants messages of that type.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.events.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => pattern == kind,
        })
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.shown())
            .field("secret_file", &self.secret_file)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, events: &[&str]) -> Webhook {
        Webhook {
            url: url.parse().unwrap(),
            secret_file: "webhook.secret".into(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            ca_file: None,
        }
    }

    #[test]
    fn a_filter_takes_names_and_beginnings() {
        let some = webhook("http://h/", &["node.power", "node.provision_state.*"]);
        assert!(some.wants("node.power") && some.wants("node.provision_state.error"));
        assert!(!some.wants("node.power.x") && !some.wants("node.maintenance"));
        assert!(webhook("http://h/", &["*"]).wants("anything"));
    }

    #[test]
    fn what_cannot_work_is_refused_and_secrets_are_not_repeated() {
        let check = |webhooks| Config { webhooks, ..Config::default() }.check();
        assert_eq!(check(vec![webhook("https://h/x?token=t", &["*"])]), Ok(()));
        let refused = check(vec![webhook("https://u:geheim@h/", &["*"])]).unwrap_err();
        assert!(!refused.to_string().contains("geheim"));
        assert!(check(vec![webhook("ftp://h/", &["*"])]).is_err());
        assert!(check(vec![webhook("http://h/", &[])]).is_err());
        assert!(check(vec![webhook("http://h/", &["*"]), webhook("http://h/", &["a"])]).is_err());
        assert_eq!(Config { timeout: 0, ..Config::default() }.check(), Err(ConfigError::Zero("timeout")));
        assert!(!format!("{:?}", webhook("http://h/secret?token=geheim", &["*"])).contains("geheim"));
    }
}
