//! The system event log (IPMI 2.0, sections 31 and 32).

use std::{collections::VecDeque, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{
    Client, Machine,
    command::{self, CLEAR_SEL, GET_SEL_ENTRY, GET_SEL_INFO, RESERVE_SEL},
};
use crate::bmc::{BmcError, Changed, LogEntry, SystemLog, queue};

/// Entries that are read at most, to find the newest.
const MAX_ENTRIES: usize = 8192;
const WITHIN: Duration = Duration::from_secs(300);
const FIRST: u16 = 0;
const LAST: u16 = 0xffff;
const WHOLE: u8 = 0xff;
const SYSTEM_EVENT: u8 = 0x02;
/// Times before that are seconds since the BMC started (section 37).
const SINCE_START: u32 = 0x2000_0000;
const ERASE: u8 = 0xaa;
const IS_ERASED: u8 = 0;
const ERASED: u8 = 1;

#[async_trait]
impl SystemLog for Machine {
    async fn entries(&self, most: usize) -> Result<Vec<LogEntry>, BmcError> {
        queue::within(&self.client.address, "for its log", WITHIN, entries(&self.client, most)).await
    }

    async fn clear(&self) -> Result<Changed, BmcError> {
        if count(&self.client).await? == 0 {
            return Ok(Changed::Already);
        }
        let [low, high] = match self.client.ask(&RESERVE_SEL, &[]).await {
            // Reservations are optional; 0 stands for none (section 31.9).
            Err(BmcError::Completion { code: 0xc1, .. }) => [0, 0],
            reservation => reservation?,
        };
        let request = |what| [low, high, b'C', b'L', b'R', what];
        self.client.command(&CLEAR_SEL, &request(ERASE)).await?;
        queue::within(&self.client.address, "to clear its log", WITHIN, async {
            loop {
                let [state]: [u8; 1] = self.client.ask(&CLEAR_SEL, &request(IS_ERASED)).await?;
                if state & 0x0f == ERASED {
                    return Ok(Changed::Yes);
                }
                tokio::time::sleep(self.client.pace.poll).await;
            }
        })
        .await
    }
}

async fn count(client: &Client) -> Result<u16, BmcError> {
    let [_, low, high]: [u8; 3] = client.ask(&GET_SEL_INFO, &[]).await?;
    Ok(u16::from_le_bytes([low, high]))
}

async fn entries(client: &Client, most: usize) -> Result<Vec<LogEntry>, BmcError> {
    let mut entries = VecDeque::new();
    if most == 0 || count(client).await? == 0 {
        return Ok(Vec::new());
    }
    let (mut id, mut read) = (FIRST, 0);
    while id != LAST && read < MAX_ENTRIES {
        let [low, high] = id.to_le_bytes();
        let (code, data) = client.exchange(&GET_SEL_ENTRY, &[0, 0, low, high, 0, WHOLE]).await?;
        match code {
            0 => {}
            // Cleared meanwhile.
            code if command::ABSENT.contains(&code) => break,
            code => return Err(command::refused(&client.address, &GET_SEL_ENTRY, code)),
        }
        let Some(([low, high], record)) = data.split_first_chunk::<2>() else {
            return Err(client.malformed(&GET_SEL_ENTRY, "it is too short"));
        };
        let Some(record) = record.first_chunk::<16>() else {
            return Err(client.malformed(&GET_SEL_ENTRY, "the entry is too short"));
        };
        if entries.len() == most {
            entries.pop_front();
        }
        entries.push_back(entry(record));
        let next = u16::from_le_bytes([*low, *high]);
        if next == id {
            return Err(client.malformed(&GET_SEL_ENTRY, "an entry that follows itself"));
        }
        (id, read) = (next, read + 1);
    }
    Ok(entries.into())
}

/// A record of 16 bytes (section 32.1).
pub(super) fn entry(record: &[u8; 16]) -> LogEntry {
    let [i0, i1, kind, t0, t1, t2, t3, _, _, _, sensor_type, sensor, event, d1, d2, d3] = *record;
    let id = u16::from_le_bytes([i0, i1]).to_string();
    // Records that a manufacturer defines have a time only in one range (section 32.2).
    let at = (kind < 0xe0).then(|| time(u32::from_le_bytes([t0, t1, t2, t3]))).flatten();
    if kind != SYSTEM_EVENT {
        let bytes = hex::encode(&record[if kind < 0xe0 { 7 } else { 3 }..]);
        return LogEntry { id, at, severity: None, message: format!("record of type {kind:#04x}: {bytes}") };
    }
    let (event_type, ended) = (event & 0x7f, event & 0x80 != 0);
    let (what, severity) = described(sensor_type, event_type, d1 & 0x0f);
    let kind = sensor_kind(sensor_type);
    let ended = if ended { ", ended" } else { "" };
    let severity = if ended.is_empty() { severity } else { Some("OK") };
    let data = hex::encode([d1, d2, d3]);
    LogEntry {
        id,
        at,
        severity: severity.map(str::to_owned),
        message: format!("{kind} (sensor {sensor:#04x}): {what}{ended}; data {data}"),
    }
}

/// A time of the BMC; `None`: it does not know.
pub(super) fn time(seconds: u32) -> Option<DateTime<Utc>> {
    (SINCE_START..u32::MAX).contains(&seconds).then(|| DateTime::from_timestamp(seconds.into(), 0)).flatten()
}

/// Table 42-3.
fn sensor_kind(sensor_type: u8) -> String {
    const KINDS: [&str; 45] = [
        "Reserved",
        "Temperature",
        "Voltage",
        "Current",
        "Fan",
        "Chassis intrusion",
        "Security violation",
        "Processor",
        "Power supply",
        "Power unit",
        "Cooling device",
        "Other sensor",
        "Memory",
        "Drive slot",
        "POST memory resize",
        "System firmware",
        "Event log",
        "Watchdog 1",
        "System event",
        "Critical interrupt",
        "Button",
        "Board",
        "Microcontroller",
        "Add-in card",
        "Chassis",
        "Chip set",
        "Other FRU",
        "Cable",
        "Terminator",
        "System boot",
        "Boot error",
        "OS boot",
        "OS stop",
        "Slot",
        "System power state",
        "Watchdog 2",
        "Platform alert",
        "Entity presence",
        "Monitor",
        "LAN",
        "Management subsystem",
        "Battery",
        "Session audit",
        "Version change",
        "FRU state",
    ];
    let known = KINDS.get(usize::from(sensor_type));
    known.map_or_else(|| format!("Sensor of type {sensor_type:#04x}"), |name| (*name).to_owned())
}

/// What an event says, and how bad it is (tables 42-2 and 42-3).
fn described(sensor_type: u8, event_type: u8, offset: u8) -> (String, Option<&'static str>) {
    let (ok, warning, critical) = (Some("OK"), Some("Warning"), Some("Critical"));
    let known: Option<(&str, Option<&'static str>)> = match (event_type, sensor_type, offset) {
        (0x01, _, 0 | 1) => Some(("below the lower non-critical threshold", warning)),
        (0x01, _, 2 | 3) => Some(("below the lower critical threshold", critical)),
        (0x01, _, 4 | 5) => Some(("below the lower non-recoverable threshold", critical)),
        (0x01, _, 6 | 7) => Some(("above the upper non-critical threshold", warning)),
        (0x01, _, 8 | 9) => Some(("above the upper critical threshold", critical)),
        (0x01, _, 10 | 11) => Some(("above the upper non-recoverable threshold", critical)),
        (0x6f, 0x07, 0) => Some(("internal error", critical)),
        (0x6f, 0x07, 1) => Some(("thermal trip", critical)),
        (0x6f, 0x08, 0) => Some(("present", ok)),
        (0x6f, 0x08, 1) => Some(("failure", critical)),
        (0x6f, 0x08, 3) => Some(("input lost", warning)),
        (0x6f, 0x09, 0) => Some(("powered off", ok)),
        (0x6f, 0x09, 4) => Some(("AC lost", warning)),
        (0x6f, 0x0c, 0) => Some(("correctable error", warning)),
        (0x6f, 0x0c, 1) => Some(("uncorrectable error", critical)),
        (0x6f, 0x0d, 0) => Some(("drive present", ok)),
        (0x6f, 0x0d, 1) => Some(("drive fault", critical)),
        (0x6f, 0x0f, 0) => Some(("POST error", critical)),
        (0x6f, 0x10, 2) => Some(("log cleared", ok)),
        (0x6f, 0x10, 4) => Some(("log full", warning)),
        (0x6f, 0x13, 0) => Some(("NMI", critical)),
        (0x6f, 0x13, 4) => Some(("PCI PERR", critical)),
        (0x6f, 0x13, 5) => Some(("PCI SERR", critical)),
        (0x6f, 0x20, 1) => Some(("stopped by a fatal error", critical)),
        (0x6f, 0x23, 1) => Some(("hard reset", critical)),
        _ => None,
    };
    match known {
        Some((text, severity)) => (text.to_owned(), severity),
        None => (format!("event type {event_type:#04x} offset {offset}"), None),
    }
}
