//! A walk over all that a BMC links, bounded in number, size and time: what it answers to reads, for tests to replay.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use http::{Method, header};
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;

use super::{
    Pace, Settings,
    auth::ROOT,
    client::Client,
    scrub::{Known, Scrubber},
    transport::{Answer, Call},
};
use crate::{bmc::BmcError, node::Dictionary};

/// What is not walked: sessions are secrets, schemas are the same everywhere.
const SKIPPED: [&str; 4] =
    ["/SessionService/Sessions/", "/JsonSchemas", "/redfish/v1/$metadata", "/redfish/v1/odata"];
/// Entries of one log.
const MAX_ENTRIES: usize = 16;
/// Members of any other collection.
const MAX_MEMBERS: usize = 256;
/// Failures in a row after which the walk ends.
const MAX_FAILURES: u32 = 5;
const MAX_NOTES: usize = 64;

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
    let client = Client::new(settings, Pace::default())?;
    let mut walk = Walk { queue: [ROOT.to_owned()].into(), ..Walk::default() };
    walk.go(&client, bounds).await?;
    let Walk { mut answers, left_out, .. } = walk;
    let mut scrubber = Scrubber::new(&known);
    answers.iter().for_each(|answer| scrubber.learn(&answer.body));
    let replacer = scrubber.replacer();
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
}

impl Walk {
    async fn go(&mut self, client: &Client, bounds: Bounds) -> Result<(), BmcError> {
        let until = Instant::now() + bounds.time;
        let mut failures = 0;
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
                    failures = 0;
                    self.take(&link, &answer);
                }
                Err(
                    error @ (BmcError::Credentials { .. }
                    | BmcError::DriverInfo(_)
                    | BmcError::Certificate { .. }),
                ) => return Err(error),
                Err(error) if self.answers.is_empty() || failures + 1 == MAX_FAILURES => return Err(error),
                Err(error) => {
                    failures += 1;
                    self.note(format!("{link}: {error}"));
                }
            }
        }
        Ok(())
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
            for (key, one) in object {
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
    let wanted = link.starts_with("/redfish/v1/") && !SKIPPED.iter().any(|skipped| link.contains(skipped));
    wanted.then(|| link.to_owned())
}
