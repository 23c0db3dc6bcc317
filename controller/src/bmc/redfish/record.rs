//! A walk over all that a BMC links, bounded in number, size and time: what it answers to reads, for tests to replay.

use std::{
    collections::{HashSet, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
    time::Duration,
};

use bessemer_proto::secret::Secret;
use http::{Method, header};
use regex::Regex;
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;

use super::{
    Pace, Settings,
    auth::ROOT,
    client::Client,
    scrub::Scrubber,
    transport::{Answer, Call},
};
use crate::{bmc::BmcError, node::Dictionary};

/// What is not walked: schemas are the same everywhere.
const SKIPPED: [&str; 3] = ["/JsonSchemas", "/redfish/v1/$metadata", "/redfish/v1/odata"];
/// The collection of sessions and what is in it: they are secrets.
const SESSIONS: &str = "Sessions";
/// Entries of one log.
const MAX_ENTRIES: usize = 16;
/// Members of any other collection.
const MAX_MEMBERS: usize = 256;
/// Failures in a row after which the walk ends.
const MAX_FAILURES: u32 = 5;
/// The same for what the user may not see: all accounts may be such.
const MAX_REFUSALS: u32 = 20;
const MAX_NOTES: usize = 64;

/// Scheme, user and password, host, port, and what follows.
pub(super) static URL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let parts = r#"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#\s"'<>]*@)?(\[[^\]\s]*\]|[^/:?#@\s"'<>]*)(:[0-9]+)?([^\s"'<>]*)"#;
    Regex::new(parts).ok()
});

/// What is known before anything is read.
#[derive(Default)]
pub(super) struct Known {
    pub(super) host: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

/// How far the walk goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Resources.
    pub resources: usize,
    /// Bytes of all bodies together.
    pub bytes: usize,
    /// From the first request to the start of the last one.
    pub time: Duration,
}

/// One answer, scrubbed.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What was asked for.
    pub path: String,
    /// HTTP status.
    pub status: u16,
    /// Header `ETag`.
    pub etag: Option<String>,
    /// Header `Allow`.
    pub allow: Option<String>,
    /// The body.
    pub body: Value,
}

/// What a walk found.
#[derive(Debug)]
pub struct Recording {
    /// The answers, in the order of the walk.
    pub answers: Vec<Recorded>,
    /// What is not in them, and why.
    pub left_out: Vec<String>,
    /// Kinds of values that were replaced, and how many different ones of each.
    pub scrubbed: Vec<(&'static str, usize)>,
}

/// Walks over the BMC of the `redfish_*` keys of `driver_info`. Changes nothing but the sessions.
pub async fn record(driver_info: &Dictionary, bounds: Bounds) -> Result<Recording, BmcError> {
    let settings = Settings::from_driver_info(driver_info)?;
    let mut known = Known { host: settings.origin.host_str().map(str::to_owned), ..Known::default() };
    if let Some(credentials) = &settings.credentials {
        known.user = Some(credentials.user.clone());
        known.password = Some(credentials.password.clone());
    }
    let address = settings.address();
    let client = Client::new(settings, Pace::default())?;
    let mut walk = Walk { queue: [ROOT.to_owned()].into(), ..Walk::default() };
    walk.go(&client, bounds).await?;
    let Walk { mut answers, left_out, .. } = walk;
    let mut scrubber = Scrubber::new(&known);
    answers.iter().for_each(|answer| scrubber.learn(&answer.body));
    left_out.iter().for_each(|note| scrubber.learn(&Value::String(note.clone())));
    let replacer = scrubber
        .replacer()
        .map_err(|why| BmcError::Unsupported { address, what: format!("be recorded: {why}") })?;
    for answer in &mut answers {
        answer.path = replacer.text(&answer.path);
        answer.body = replacer.value(&answer.body);
        answer.etag = answer.etag.as_deref().map(|tag| replacer.text(tag));
    }
    let left_out = left_out.iter().map(|note| replacer.text(note)).collect();
    Ok(Recording { answers, left_out, scrubbed: replacer.counts() })
}

#[derive(Default)]
struct Walk {
    queue: VecDeque<String>,
    seen: HashSet<String>,
    bytes: usize,
    answers: Vec<Recorded>,
    left_out: Vec<String>,
    /// In a row.
    failures: u32,
}

impl Walk {
    async fn go(&mut self, client: &Client, bounds: Bounds) -> Result<(), BmcError> {
        let until = Instant::now() + bounds.time;
        let mut last = None;
        while let Some(link) = self.queue.pop_front() {
            if !self.seen.insert(link.trim_end_matches('/').to_owned()) {
                continue;
            }
            let full = self.answers.len() >= bounds.resources || self.bytes >= bounds.bytes;
            if full || Instant::now() >= until {
                let left = self.queue.len() + 1;
                let limit = if full { "the bound of resources or bytes" } else { "the bound of time" };
                self.left_out.push(format!("{limit} was reached with {left} links left, the first {link}"));
                break;
            }
            let call = Call { method: &Method::GET, link: &link, body: None, if_match: None };
            match client.send(call).await {
                Ok(answer) => {
                    self.failures = 0;
                    self.take(&link, &answer);
                }
                Err(error) => {
                    let ends = self.failed(&link, &error);
                    last = Some(error);
                    if ends {
                        break;
                    }
                }
            }
        }
        match last {
            Some(error) if !self.got_in() => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether more was read than the root, which anyone may read.
    fn got_in(&self) -> bool {
        let is_root = |path: &str| path.trim_end_matches('/') == ROOT.trim_end_matches('/');
        self.answers.iter().any(|answer| answer.status < 300 && !is_root(&answer.path))
    }

    /// Notes it. Whether the walk ends: what was read is kept.
    fn failed(&mut self, link: &str, error: &BmcError) -> bool {
        self.failures += 1;
        self.note(format!("{link}: {error}"));
        let is_refusal = matches!(error, BmcError::Credentials { .. });
        let most = if is_refusal { MAX_REFUSALS } else { MAX_FAILURES };
        let ends = self.answers.is_empty() || self.failures >= most;
        if ends {
            let (failures, left) = (self.failures, self.queue.len());
            self.left_out.push(format!("{failures} failures in a row ended it with {left} links left"));
        }
        ends
    }

    fn note(&mut self, note: String) {
        debug!(note, "not recorded");
        if self.left_out.len() < MAX_NOTES {
            self.left_out.push(note.chars().take(512).collect());
        }
    }

    fn take(&mut self, link: &str, answer: &Answer) {
        let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
            return self.note(format!("{link}: answered {} without JSON", answer.status));
        };
        let kind = body.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
        if kind.starts_with("#SessionCollection.") || kind.starts_with("#Session.") {
            return;
        }
        self.bytes += answer.body.len();
        if answer.status.is_success() {
            let most = if link.contains("/Entries") { MAX_ENTRIES } else { MAX_MEMBERS };
            let members = body.get("Members").and_then(Value::as_array).map_or(0, Vec::len);
            if members > most {
                self.note(format!("{link}: {} of its {members} members", members - most));
            }
            links(&body, most, &mut self.queue);
        }
        let text = |name| answer.header(name).map(str::to_owned);
        self.answers.push(Recorded {
            path: link.to_owned(),
            status: answer.status.as_u16(),
            etag: text(header::ETAG),
            allow: text(header::ALLOW),
            body,
        });
    }
}

/// The links of a document, those of lists up to `most`.
fn links(value: &Value, most: usize, found: &mut VecDeque<String>) {
    match value {
        Value::Array(all) => all.iter().take(most).for_each(|one| links(one, most, found)),
        Value::Object(object) => {
            for (key, one) in object.iter().filter(|(key, _)| !key.eq_ignore_ascii_case(SESSIONS)) {
                let is_link = matches!(
                    key.as_str(),
                    "@odata.id" | "@Redfish.ActionInfo" | "Members@odata.nextLink" | "Uri"
                );
                match one.as_str().filter(|_| is_link) {
                    Some(link) => found.extend(walkable(link)),
                    None => links(one, most, found),
                }
            }
        }
        _ => {}
    }
}

fn walkable(link: &str) -> Option<String> {
    let link = link.split_once('#').map_or(link, |(link, _)| link);
    let is_session = link.split(['/', '?']).any(|part| part.eq_ignore_ascii_case(SESSIONS));
    let is_skipped = is_session || SKIPPED.iter().any(|skipped| link.contains(skipped));
    let wanted = link.starts_with("/redfish/v1/") && !is_skipped;
    wanted.then(|| link.to_owned())
}

/// Without what is before it, and as all makers write it.
pub(super) fn plain_key(key: &str) -> String {
    key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase().replace(['_', ' ', '-'], "")
}

/// Where the standard's schemas are.
pub(super) fn is_public(host: &str) -> bool {
    host == "dmtf.org" || host.ends_with(".dmtf.org")
}

/// The addresses in a text.
pub(super) fn addresses(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == ':' || c == '.';
    let mut found = Vec::new();
    for token in text.split(|c: char| !is_part(c)) {
        let v4 = token.split(':').map(|part| part.trim_matches('.'));
        found.extend(v4.filter(|part| part.parse::<Ipv4Addr>().is_ok()));
        let mut rest = Some(token.trim_matches('.'));
        // A word with a colon may stand before it.
        while let Some(part) = rest {
            let one_less = part.strip_suffix(':').unwrap_or(part);
            let v6 = [part, one_less].into_iter().find(|part| part.parse::<Ipv6Addr>().is_ok());
            if let Some(v6) = v6 {
                // Otherwise it is a WWN.
                if !v6.split(':').all(|group| group.len() == 2) {
                    found.push(v6);
                }
                break;
            }
            rest = part.split_once(':').map(|(_, after)| after);
        }
    }
    found.retain(|part| part.parse::<IpAddr>().is_ok_and(worth_hiding));
    found
}

pub(super) fn worth_hiding(address: IpAddr) -> bool {
    let is_mask = matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 255);
    !(address.is_unspecified() || address.is_loopback() || is_mask)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use serde_json::json;

    use super::*;

    fn refused() -> BmcError {
        BmcError::Credentials { address: "bmc".to_owned(), user: "jsmith".to_owned(), keys: "keys" }
    }

    fn answer(body: &Value) -> Answer {
        Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: body.to_string().into_bytes() }
    }

    #[test]
    fn sessions_are_not_recorded() {
        for link in
            ["/redfish/v1/SessionService/Sessions", "/redfish/v1/Sessions/", "/redfish/v1/a/sessions/5"]
        {
            assert_eq!(walkable(link), None, "{link}");
        }
        assert!(walkable("/redfish/v1/SessionService").is_some());
        let mut found = VecDeque::new();
        links(&json!({"Links": {"Sessions": {"@odata.id": "/redfish/v1/Logins"}}}), 9, &mut found);
        assert!(found.is_empty(), "{found:?}");
        let mut walk = Walk::default();
        walk.take(
            "/redfish/v1/Logins",
            &answer(&json!({"@odata.type": "#SessionCollection.SessionCollection"})),
        );
        assert!(walk.answers.is_empty());
    }

    #[test]
    fn failures_are_notes_once_something_was_read() {
        let mut walk = Walk::default();
        assert!(walk.failed(ROOT, &refused()), "nothing was read");

        let mut walk = Walk::default();
        walk.take(ROOT, &answer(&json!({})));
        assert!(!walk.got_in());
        walk.take("/redfish/v1/Systems", &answer(&json!({})));
        assert!(walk.got_in());
        assert!(!walk.failed("/redfish/v1/AccountService", &refused()));
        assert_eq!(walk.left_out.len(), 1);
        walk.failures = 0;
        let broken = BmcError::DriverInfo("broken".to_owned());
        let ends = (0..MAX_FAILURES).map(|_| walk.failed("/redfish/v1/x", &broken)).collect::<Vec<_>>();
        assert_eq!(ends, [false, false, false, false, true]);
        assert!(walk.got_in() && walk.left_out.last().is_some_and(|note| note.contains("in a row")));
    }
}
