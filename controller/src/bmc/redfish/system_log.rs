//! The machine's own log of events: below the system, or below its managers.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::{Machine, document::Document};
use crate::bmc::{BmcError, Changed, LogEntry, SystemLog};

const CLEAR: &str = "LogService.ClearLog";
/// As vendors call the log of the hardware's events, best first.
const NAMES: [&str; 6] = ["sel", "iml", "eventlog", "log1", "log", "faultlist"];

#[async_trait]
impl SystemLog for Machine {
    async fn entries(&self, most: usize) -> Result<Vec<LogEntry>, BmcError> {
        self.client.whole("its log", self.newest_entries(most)).await
    }

    async fn clear(&self) -> Result<Changed, BmcError> {
        let service = self.log_service().await?;
        let link = service
            .action_target(CLEAR)
            .ok_or_else(|| self.client.unsupported("empty its log: the log has no ClearLog action"))?;
        self.client.post(link, &json!({})).await??;
        Ok(Changed::Yes)
    }
}

impl Machine {
    async fn newest_entries(&self, most: usize) -> Result<Vec<LogEntry>, BmcError> {
        let service = self.log_service().await?;
        let Some(link) = service.link("/Entries") else { return Ok(Vec::new()) };
        let documents = self.client.documents(link).await?;
        let mut entries: Vec<_> = documents.iter().map(entry).collect();
        // Some BMCs begin with the newest, some with the oldest; some have no clock but count.
        entries.sort_by_key(|entry| (entry.at, entry.id.parse::<u64>().unwrap_or_default()));
        Ok(entries.split_off(entries.len().saturating_sub(most)))
    }

    async fn log_service(&self) -> Result<Document, BmcError> {
        let system = self.system().await?;
        let mut services = Vec::new();
        let managers = self.managers(&system).await?;
        for owner in std::iter::once(&system).chain(&managers) {
            if let Some(link) = owner.link("/LogServices") {
                services.extend(self.client.documents(link).await?);
            }
        }
        let best = services.into_iter().min_by_key(rank);
        best.ok_or_else(|| self.client.unsupported("show its log: it has no LogServices"))
    }
}

/// Small is good.
fn rank(service: &Document) -> usize {
    if service.text("/LogEntryType") == Some("SEL") {
        return 0;
    }
    let id = service.id().to_ascii_lowercase();
    NAMES.iter().position(|name| *name == id).map_or(NAMES.len() + 1, |place| place + 1)
}

fn entry(document: &Document) -> LogEntry {
    let at = document.text("/Created").and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    LogEntry {
        id: document.id(),
        at: at.map(|at| at.with_timezone(&Utc)),
        severity: document.shown("/Severity"),
        message: document.shown("/Message").or_else(|| document.shown("/MessageId")).unwrap_or_default(),
    }
}
