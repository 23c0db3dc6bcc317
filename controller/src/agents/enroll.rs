//! Enrolment: a one-time join token and a signing request become a client certificate.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bessemer_proto::{
    ids::{BootId, NodeId},
    secret::Secret,
    v1::{EnrollRequest, EnrollResponse, LogLevel, LogRecord},
};
use chrono::Utc;
use subtle::ConstantTimeEq as _;
use tonic::Status;
use tracing::{info, warn};

use super::{
    Fleet,
    authority::{AuthorityError, RequestError, RequestedKey},
    hash_token,
};
use crate::store::{Boot, StoreError};

/// Longest token that is hashed at all. Ours has 43 characters.
const MAX_TOKEN_BYTES: usize = 256;
/// Failures of one peer within [`WINDOW`] after which it has to wait.
const MAX_FAILURES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Peers whose failures are remembered.
const MAX_PEERS: usize = 4096;
/// Clocks further apart than this are worth a warning.
const CLOCK_DIFFERENCE_MS: u64 = 5 * 60 * 1000;

/// Why an enrolment is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("too many failed attempts from this address")]
    TooMany,
    #[error("the boot id is not a UUID")]
    BootId,
    #[error("no such boot")]
    UnknownBoot,
    #[error("wrong join token")]
    WrongToken,
    #[error("the boot is over")]
    Closed,
    #[error("the join token has expired")]
    Expired,
    #[error("the join token was used by another key")]
    UsedByAnotherKey,
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Checks the token and makes the certificate.
pub(super) async fn enroll(
    fleet: &Fleet,
    peer: SocketAddr,
    request: EnrollRequest,
) -> Result<EnrollResponse, Status> {
    let mut node = None;
    let refusal = match admit(fleet, peer.ip(), &request, &mut node).await {
        Ok(response) => return Ok(response),
        Err(refusal) => refusal,
    };
    if refusal.counts() {
        fleet.0.failures.note(peer.ip());
    }
    let boot: String = request.boot_id.chars().take(40).collect();
    let cause = std::error::Error::source(&refusal).map(ToString::to_string).unwrap_or_default();
    let name = node.map(|node| format!("{node}")).unwrap_or_default();
    warn!(node = name, boot, %peer, reason = %refusal, cause, "enrolment refused");
    if let (Some(node), Ok(boot), false) =
        (node, request.boot_id.parse(), matches!(refusal, Refusal::TooMany))
    {
        tell_operator(fleet, node, boot, format!("an agent at {} was refused: {refusal}", peer.ip())).await;
    }
    Err(refusal.into())
}

/// Puts a line into the node's log, where the operator looks for a machine that does not join.
async fn tell_operator(fleet: &Fleet, node: NodeId, boot: BootId, message: String) {
    let record = LogRecord {
        time_ms: Utc::now().timestamp_millis(),
        level: LogLevel::Error.into(),
        target: "controller".to_owned(),
        message,
    };
    if let Err(error) = fleet.0.store.append_log(node, boot, &[record]).await {
        warn!(%node, %error, "the refusal is not in the node's log");
    }
}

async fn admit(
    fleet: &Fleet,
    peer: IpAddr,
    request: &EnrollRequest,
    node: &mut Option<NodeId>,
) -> Result<EnrollResponse, Refusal> {
    // Only guesses are limited: a neighbour's guesses must not keep out who has the right token.
    let or_limit = |refusal| if fleet.0.failures.exceeded(peer) { Refusal::TooMany } else { refusal };
    let id: BootId = request.boot_id.parse().map_err(|_| or_limit(Refusal::BootId))?;
    let boot = match fleet.0.store.boot(id).await {
        Err(StoreError::NotFound { .. }) => return Err(or_limit(Refusal::UnknownBoot)),
        other => other?,
    };
    *node = Some(boot.node);
    check_token(&boot, &request.join_token).map_err(or_limit)?;
    let key = RequestedKey::from_request(&request.csr_der)?;
    if !fleet.0.store.enroll_boot(id, &key.hash()).await? {
        let closed = fleet.0.store.boot(id).await?.closed;
        return Err(if closed { Refusal::Closed } else { Refusal::UsedByAnotherKey });
    }
    let lifetime = Duration::from_secs(fleet.0.config.certificate_lifetime.get().into());
    let issued = fleet.0.authority.issue_agent(boot.node, id, &key, lifetime)?;
    let now = Utc::now().timestamp_millis();
    info!(node = %boot.node, boot = %id, %peer, version = %clip(&request.agent_version, 64), "agent enrolled");
    if now.abs_diff(request.agent_time_ms) > CLOCK_DIFFERENCE_MS {
        let seconds = i128::from(request.agent_time_ms) - i128::from(now);
        warn!(node = %boot.node, ahead_seconds = %(seconds / 1000), "the machine's clock is wrong");
    }
    Ok(EnrollResponse {
        certificate_der: issued.der,
        not_after_ms: issued.not_after.timestamp_millis(),
        controller_time_ms: now,
    })
}

fn check_token(boot: &Boot, token: &str) -> Result<(), Refusal> {
    let sane = (1..=MAX_TOKEN_BYTES).contains(&token.len());
    let matches = sane && bool::from(hash_token(&Secret::new(token)).ct_eq(&boot.token_hash));
    if !matches {
        Err(Refusal::WrongToken)
    } else if boot.closed {
        Err(Refusal::Closed)
    } else if boot.token_expires <= Utc::now() {
        Err(Refusal::Expired)
    } else {
        Ok(())
    }
}

/// The first `max` characters.
pub(super) fn clip(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

// === impl Refusal ===

impl Refusal {
    /// Whether the peer is to blame.
    fn counts(&self) -> bool {
        !matches!(self, Self::TooMany | Self::Store(_) | Self::Authority(_))
    }
}

/// What the caller is told. Who does not hold the right token learns nothing.
impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooMany => Self::resource_exhausted("too many failed attempts to enrol: wait a minute"),
            Refusal::BootId | Refusal::UnknownBoot | Refusal::WrongToken => Self::unauthenticated(
                "the join token is not accepted: boot the machine from a medium made for it",
            ),
            Refusal::Closed => Self::permission_denied("this boot is over: its join token is void"),
            Refusal::Expired => Self::permission_denied("the join token has expired: deploy the node again"),
            Refusal::UsedByAnotherKey => Self::permission_denied(
                "the join token was used already by another key: deploy the node again; if nobody restarted its \
                 agent, somebody else holds its token",
            ),
            Refusal::Request(error) => Self::invalid_argument(error.to_string()),
            Refusal::Store(_) | Refusal::Authority(_) => {
                Self::unavailable("the controller cannot enrol agents now: try again")
            }
        }
    }
}

// === impl FailureLimit ===

/// Counts failed attempts per peer: an IPv4 address or an IPv6 network of 64 bits.
#[derive(Default)]
pub(super) struct FailureLimit(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl FailureLimit {
    fn exceeded(&self, peer: IpAddr) -> bool {
        let peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers
            .get(&network(peer))
            .is_some_and(|(since, count)| since.elapsed() < WINDOW && *count >= MAX_FAILURES)
    }

    fn note(&self, peer: IpAddr) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_PEERS {
            peers.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
        if peers.len() >= MAX_PEERS && !peers.contains_key(&network(peer)) {
            return;
        }
        let entry = peers.entry(network(peer)).or_insert_with(|| (Instant::now(), 0));
        if entry.0.elapsed() >= WINDOW {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}
