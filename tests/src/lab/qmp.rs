//! A small client for QEMU's machine protocol: commands and the few events the lab lives by.

use std::{collections::HashMap, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec};

/// No answer or event of QEMU that matters here is longer.
const LINE_LIMIT: usize = 256 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What can go wrong with QMP.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU closed the connection, or said something that is not QMP.
    #[error("QEMU's machine protocol ended: {0}")]
    Ended(String),
    /// No answer in time.
    #[error("QEMU did not answer \"{0}\" in time")]
    Timeout(String),
    /// An error answer.
    #[error("QEMU refused \"{command}\": {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        description: String,
    },
}

/// The events the lab acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QmpEvent {
    /// The guest turned itself off.
    Shutdown,
    /// The guest asked for a reset.
    Reset,
}

enum Line {
    Greeting,
    Answer { id: u64, result: Result<Value, String> },
    Event(QmpEvent),
    Other,
}

struct Request {
    body: Value,
    id: u64,
    reply: oneshot::Sender<Result<Value, String>>,
}

/// An open connection. Dropping it ends the task behind it.
pub struct Qmp {
    requests: mpsc::Sender<Request>,
    next_id: u64,
}

impl Qmp {
    /// Reads the greeting, leaves negotiation mode, and hands back the client and its events.
    pub async fn open<R, W>(
        reader: R,
        writer: W,
        within: Duration,
    ) -> Result<(Self, mpsc::Receiver<QmpEvent>), QmpError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let mut lines = FramedRead::new(reader, LinesCodec::new_with_max_length(LINE_LIMIT));
        let greeting =
            timeout(within, lines.next()).await.map_err(|_| QmpError::Timeout("connect".into()))?;
        match greeting {
            Some(Ok(line)) if matches!(parse(&line), Line::Greeting) => {}
            Some(Ok(_)) => return Err(QmpError::Ended("the first line is no greeting".into())),
            Some(Err(error)) => return Err(QmpError::Ended(error.to_string())),
            None => return Err(QmpError::Ended("closed before the greeting".into())),
        }
        let (requests, inbox) = mpsc::channel(8);
        let (events, outbox) = mpsc::channel(16);
        tokio::spawn(converse(lines, FramedWrite::new(writer, LinesCodec::new()), inbox, events));
        let mut client = Self { requests, next_id: 1 };
        client.execute("qmp_capabilities", json!({})).await?;
        Ok((client, outbox))
    }

    /// Runs one command.
    pub async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let id = self.next_id;
        self.next_id += 1;
        let body = json!({ "execute": command, "arguments": arguments, "id": id });
        let (reply, answer) = oneshot::channel();
        let gone = || QmpError::Ended("the connection is closed".into());
        self.requests.send(Request { body, id, reply }).await.map_err(|_| gone())?;
        match timeout(ANSWER_WITHIN, answer).await {
            Err(_) => Err(QmpError::Timeout(command.into())),
            Ok(Err(_)) => Err(gone()),
            Ok(Ok(Err(description))) => Err(QmpError::Refused { command: command.into(), description }),
            Ok(Ok(Ok(value))) => Ok(value),
        }
    }
}

/// Owns both directions until either end closes.
async fn converse<R, W>(
    mut lines: FramedRead<R, LinesCodec>,
    mut writer: FramedWrite<W, LinesCodec>,
    mut requests: mpsc::Receiver<Request>,
    events: mpsc::Sender<QmpEvent>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Value, String>>> = HashMap::new();
    loop {
        tokio::select! {
            request = requests.recv() => {
                let Some(request) = request else { return };
                if writer.send(request.body.to_string()).await.is_err() {
                    return;
                }
                waiting.insert(request.id, request.reply);
            }
            line = lines.next() => {
                let Some(Ok(line)) = line else { return };
                match parse(&line) {
                    Line::Answer { id, result } => {
                        if let Some(reply) = waiting.remove(&id) {
                            // The one who asked may have given up.
                            let _ = reply.send(result);
                        }
                    }
                    // One start of a machine has one shutdown or reset, so the channel has room.
                    Line::Event(event) => drop(events.try_send(event)),
                    Line::Greeting | Line::Other => {}
                }
            }
        }
    }
}

fn parse(line: &str) -> Line {
    let Ok(value) = serde_json::from_str::<Value>(line) else { return Line::Other };
    if value.get("QMP").is_some() {
        return Line::Greeting;
    }
    if let Some(name) = value.get("event").and_then(Value::as_str) {
        let reason = value.pointer("/data/reason").and_then(Value::as_str).unwrap_or_default();
        return match (name, reason) {
            ("SHUTDOWN", "guest-reset") => Line::Event(QmpEvent::Reset),
            ("SHUTDOWN", _) => Line::Event(QmpEvent::Shutdown),
            _ => Line::Other,
        };
    }
    let Some(id) = value.get("id").and_then(Value::as_u64) else { return Line::Other };
    let result = match (value.get("return"), value.pointer("/error/desc")) {
        (Some(answer), _) => Ok(answer.clone()),
        (None, Some(description)) => Err(description.as_str().unwrap_or("no description").to_owned()),
        (None, None) => return Line::Other,
    };
    Line::Answer { id, result }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#;

    /// Plays QEMU: greets, then answers each command with the next of `answers` (`$ID` is replaced).
    async fn open(answers: &'static [&'static str]) -> (Qmp, mpsc::Receiver<QmpEvent>) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move {
            let (reader, mut writer) = tokio::io::split(theirs);
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(format!("{GREETING}\r\n").as_bytes()).await.unwrap();
            for answer in [r#"{"return": {}, "id": $ID}"#].iter().chain(answers) {
                let Some(command) = lines.next_line().await.unwrap() else { return };
                let id = serde_json::from_str::<Value>(&command).unwrap()["id"].to_string();
                writer.write_all(format!("{}\r\n", answer.replace("$ID", &id)).as_bytes()).await.unwrap();
            }
        });
        let (reader, writer) = tokio::io::split(ours);
        Qmp::open(reader, writer, Duration::from_secs(5)).await.unwrap()
    }

    #[tokio::test]
    async fn answers_and_errors_reach_the_one_who_asked() {
        let (mut qmp, _events) = open(&[
            r#"{"return": {"status": "running"}, "id": $ID}"#,
            r#"{"id": $ID, "error": {"class": "GenericError", "desc": "Device 'x' not found"}}"#,
        ])
        .await;
        assert_eq!(qmp.execute("query-status", json!({})).await.unwrap()["status"], "running");
        let error = qmp.execute("eject", json!({})).await.unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused \"eject\": Device 'x' not found");
    }

    #[tokio::test]
    async fn a_reset_is_told_from_a_shutdown_and_noise_is_ignored() {
        let (mut qmp, mut events) = open(&[concat!(
            "not json\r\n{\"event\": \"NIC_RX_FILTER_CHANGED\"}\r\n",
            "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\r\n",
            "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-shutdown\"}}\r\n",
            "{\"return\": {}, \"id\": 999}\r\n{\"return\": {}, \"id\": $ID}"
        )])
        .await;
        qmp.execute("cont", json!({})).await.unwrap();
        assert_eq!(events.recv().await, Some(QmpEvent::Reset));
        assert_eq!(events.recv().await, Some(QmpEvent::Shutdown));
    }

    #[tokio::test]
    async fn an_end_is_an_error_not_a_wait() {
        let (mut qmp, mut events) = open(&[]).await;
        assert!(matches!(qmp.execute("quit", json!({})).await, Err(QmpError::Ended(_))));
        assert_eq!(events.recv().await, None);
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let endless = tokio::io::repeat(b'x');
        let result = Qmp::open(endless, tokio::io::sink(), Duration::from_secs(5)).await;
        assert!(matches!(result.err(), Some(QmpError::Ended(_))));
    }
}
