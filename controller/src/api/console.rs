//! `/v1/nodes/X/console`: the serial console of a node as a WebSocket. Not part of Ironic's API: `console_info` of
//! `states/console` leads here.
//!
//! Binary messages are the machine's bytes, and what is typed. Text messages of the controller are JSON about the console:
//! `{"status": …}`.

use std::time::Duration;

use axum::{
    Extension, Router,
    extract::{
        Path, State as Extract, WebSocketUpgrade,
        ws::{Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
    routing::get,
};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, timeout};

use super::{State, connections::Held, error::ApiError, links::Context, query::Query};
use crate::{
    console::{ConsoleError, Seen, State as ConsoleState, Watcher},
    node::Node,
};

/// Longest message that is taken.
const MAX_MESSAGE: usize = 16 * 1024;
/// For a watcher to take a message.
const TAKE_WITHIN: Duration = Duration::from_secs(30);
/// How often a watcher has to show that it is there, and how often it may fail to.
const PING: Duration = Duration::from_secs(20);
const SILENT: u32 = 3;

pub(super) fn routes() -> Router<State> {
    Router::new().route("/v1/nodes/{node}/console", get(attach))
}

/// `console_info`: with a URL that can be used once.
pub(super) fn info(state: &State, context: &Context, node: &Node) -> Value {
    if !node.console_enabled {
        return Value::Null;
    }
    let consoles = state.engine.consoles();
    // The console of `fake-hardware` leads nowhere.
    let Some(now) = consoles.state(node.uuid) else { return json!({}) };
    let url = context.url(&format!("nodes/{}/console?ticket={}", node.uuid, consoles.ticket(node.uuid)));
    // ws for http, wss for https.
    let url = url.strip_prefix("http").map_or_else(|| url.clone(), |rest| format!("ws{rest}"));
    let mut info = json!(now);
    info["type"] = "websocket".into();
    info["url"] = url.into();
    if let Some(graphical) = consoles.graphical(node.uuid) {
        info["graphical_url"] = graphical.as_str().into();
    }
    info
}

/// Nobody is authenticated here: browsers send no password with a WebSocket. The ticket is the proof.
async fn attach(
    Extract(state): Extract<State>,
    Path(ident): Path<String>,
    mut query: Query,
    held: Option<Extension<Held>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let ticket = query.text("ticket").unwrap_or_default();
    query.finish()?;
    let upgrade = upgrade.map_err(|_| ApiError::bad("This is a WebSocket; see console_info of the node."))?;
    // Whoever has no ticket does not learn which nodes there are.
    let node = state.store.node(&ident).await.map_err(|_| refused(&ConsoleError::Ticket))?;
    let watcher = state.engine.consoles().admit(node.uuid, &ticket).map_err(|error| refused(&error))?;
    tracing::info!(node = %node.uuid, "somebody watches a console");
    Ok(upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).on_upgrade(
        move |socket| async move {
            talk(socket, watcher).await;
            // It was one of the client's connections until now.
            drop(held);
        },
    ))
}

fn refused(error: &ConsoleError) -> ApiError {
    let status = match error {
        ConsoleError::Ticket => StatusCode::FORBIDDEN,
        ConsoleError::NotEnabled => StatusCode::CONFLICT,
        ConsoleError::TooMany(_) | ConsoleError::TooManyWatchers(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    ApiError::new(status, error.to_string())
}

/// Until one of both ends it.
async fn talk(mut socket: WebSocket, mut watcher: Watcher) {
    let (tail, now) = watcher.greet();
    let mut ended = !(say(&mut socket, &json!(now)).await && show(&mut socket, tail).await);
    // Closed since the ticket was taken: nothing comes any more.
    ended |= now == ConsoleState::Closed;
    let mut ping = tokio::time::interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut silent, mut was_refused) = (0, false);
    while !ended {
        ended = tokio::select! {
            seen = watcher.next() => match seen {
                Some(Seen::Shown(bytes)) => !show(&mut socket, bytes).await,
                Some(Seen::Skipped(pieces)) => {
                    !say(&mut socket, &json!({"status": "skipped", "pieces": pieces})).await
                }
                Some(Seen::Refused(reason)) => {
                    !say(&mut socket, &json!({"status": "refused", "reason": reason})).await
                }
                Some(Seen::State(now)) => {
                    !say(&mut socket, &json!(now)).await || now == ConsoleState::Closed
                }
                None => true,
            },
            received = socket.recv() => {
                silent = 0;
                let typed = match received {
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Text(text))) => text.into(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                };
                // Said once, not at each key.
                let refusal = watcher.type_in(typed).err();
                let is_new = refusal.is_some() && !was_refused;
                was_refused = refusal.is_some();
                match refusal {
                    Some(reason) if is_new => {
                        !say(&mut socket, &json!({"status": "refused", "reason": reason.to_string()})).await
                    }
                    _ => false,
                }
            }
            _ = ping.tick() => {
                silent += 1;
                silent > SILENT || !send(&mut socket, Message::Ping(Bytes::new())).await
            }
        };
    }
    send(&mut socket, Message::Close(None)).await;
}

async fn say(socket: &mut WebSocket, what: &Value) -> bool {
    send(socket, Message::Text(what.to_string().into())).await
}

async fn show(socket: &mut WebSocket, bytes: Bytes) -> bool {
    bytes.is_empty() || send(socket, Message::Binary(bytes)).await
}

async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(TAKE_WITHIN, socket.send(message)).await, Ok(Ok(())))
}
