//! The gRPC side: certificate authority, enrolment, sessions. Records what an agent reports and pokes the
//! engine; decides nothing.

pub mod authority;
mod enroll;
mod intake;
mod listener;
mod live;
mod service;
mod session;

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bessemer_proto::{
    MAX_MESSAGE_BYTES,
    ids::{BootId, NodeId, StepId},
    secret::Secret,
    v1::{
        CancelStep, ControllerCommand, RunStep, StepProgress, agent_server::AgentServer,
        controller_command::Command,
    },
};
use chrono::{DateTime, Utc};
use rand::TryRngCore as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{info, warn};

pub use authority::Authority;

use self::{
    enroll::FailureLimit,
    live::{EndReason, LiveNodes},
    service::Service,
};
use crate::store::{Boot, Store, StoreError};

/// How long a command may wait for an agent that does not read.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// How long sessions may take to end when the controller stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// `[agents]`: the port that agents dial.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port that agents are served on. Default `[::]:6386`.
    pub listen: SocketAddr,
    /// `host:port` under which agents reach this controller, best first. Default: `advertise_address` with the
    /// port of `listen`.
    pub advertise: Vec<String>,
    /// Seconds that the join token of a boot may be used, from when its medium is made. Default 3600.
    pub token_lifetime: NonZeroU32,
    /// Seconds that an agent's certificate is valid; agents renew it before it ends. Default 28800.
    pub certificate_lifetime: NonZeroU32,
    /// Seconds between an agent's signs of life. Default 60.
    pub heartbeat_interval: NonZeroU32,
}

/// Called with a node about which something was recorded: the engine looks at it soon.
pub type Poke = Arc<dyn Fn(NodeId) + Send + Sync>;

/// All agents that are or may be connected; cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    config: Config,
    advertise: Vec<String>,
    store: Store,
    authority: Arc<Authority>,
    poke: Poke,
    live: LiveNodes,
    failures: FailureLimit,
}

/// Commands to one agent; an error ends its session.
type CommandSender = mpsc::Sender<Result<ControllerCommand, Status>>;

/// What a boot medium must carry so that its agent can enrol.
#[derive(Debug)]
pub struct BootTicket {
    /// The boot.
    pub boot: BootId,
    /// The one-time token: stored only as a hash.
    pub token: Secret,
    /// CA certificates, DER.
    pub ca_certificates: Vec<Vec<u8>>,
    /// host:port of this controller, as agents reach it.
    pub controllers: Vec<String>,
}

/// A session that is open now.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The boot its agent runs in.
    pub boot: BootId,
    /// Agent version.
    pub agent_version: String,
    /// Steps it can run.
    pub supported_steps: Vec<String>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Last sign of life.
    pub last_seen: DateTime<Utc>,
}

/// Live progress of a step, from memory.
#[derive(Clone, Debug)]
pub struct LiveProgress {
    /// What the agent said last.
    pub progress: StepProgress,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why agents cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No certificate for this controller.
    #[error(transparent)]
    Authority(#[from] authority::AuthorityError),
    /// The TLS library refuses the configuration.
    #[error("TLS for agents could not be set up")]
    Tls(#[source] rustls::Error),
    /// The CA certificate cannot be a root.
    #[error("agents' certificates cannot be verified with the authority's certificate")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// The gRPC server stopped.
    #[error("the server for agents stopped")]
    Grpc(#[source] tonic::transport::Error),
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        let seconds = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MAX);
        Self {
            listen: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 6386),
            advertise: Vec::new(),
            token_lifetime: seconds(3600),
            certificate_lifetime: seconds(8 * 3600),
            heartbeat_interval: seconds(60),
        }
    }
}

// === impl Fleet ===

impl Fleet {
    /// A fleet nobody has dialled yet. `advertise`: host:port under which agents reach this controller, best first.
    #[must_use]
    pub fn new(
        config: Config,
        advertise: Vec<String>,
        store: Store,
        authority: Arc<Authority>,
        poke: Poke,
    ) -> Self {
        let (live, failures) = (LiveNodes::default(), FailureLimit::default());
        Self(Arc::new(Inner { config, advertise, store, authority, poke, live, failures }))
    }

    /// Serves agents until `shutdown`, then ends their sessions: agents keep working and dial again.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServeError> {
        let hosts: Vec<_> = self.0.advertise.iter().map(|endpoint| host_of(endpoint)).collect();
        let identity = self.0.authority.issue_server(&hosts)?;
        let tls = listener::tls_config(&self.0.authority, identity)?;
        let incoming = listener::incoming(listener, tls, shutdown.clone());
        let service = AgentServer::new(Service::new(self, shutdown.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let server = tonic::transport::Server::builder()
            .max_concurrent_streams(16)
            .concurrency_limit_per_connection(16)
            .timeout(Duration::from_secs(30))
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .http2_max_header_list_size(16 * 1024)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
        let overdue = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_WITHIN).await;
        };
        tokio::select! {
            ended = server => ended.map_err(ServeError::Grpc),
            () = overdue => {
                warn!("some agents' connections did not end in time and are cut");
                Ok(())
            }
        }
    }

    /// Makes a boot for a node: stores the token's hash, valid for `token_lifetime`; closes older boots.
    pub async fn issue_ticket(
        &self,
        node: NodeId,
        token_lifetime: Duration,
    ) -> Result<BootTicket, StoreError> {
        let token = random_token();
        let now = Utc::now();
        let boot = Boot {
            id: BootId::random(),
            node,
            token_hash: hash_token(&token),
            token_expires: now + token_lifetime,
            enrolled_key_hash: None,
            created: now,
            closed: false,
        };
        self.0.store.create_boot(&boot).await?;
        self.0.live.forget(node, EndReason::NewBoot);
        info!(%node, boot = %boot.id, expires = %boot.token_expires, "join token issued");
        Ok(BootTicket {
            boot: boot.id,
            token,
            ca_certificates: vec![self.0.authority.certificate().to_vec()],
            controllers: self.0.advertise.clone(),
        })
    }

    /// The node's session, when one is open.
    #[must_use]
    pub fn session(&self, node: NodeId) -> Option<SessionInfo> {
        self.0.live.session(node)
    }

    /// Sends a stored step down the node's session, if one of the step's boot is open; false if not. Idempotent: an
    /// agent that knows the step answers with what became of it; a step with an outcome is not sent.
    pub async fn send_step(&self, node: NodeId, step: StepId) -> Result<bool, StoreError> {
        let row = self.0.store.step(step).await?;
        if row.node != node {
            return Err(StoreError::NotFound { what: "Step", ident: step.to_string() });
        }
        if row.outcome.is_some() {
            return Ok(true);
        }
        let Some(commands) = self.0.live.commands(node, Some(row.boot)) else { return Ok(false) };
        let command = Command::RunStep(RunStep {
            step_id: step.to_string(),
            name: row.name,
            attempt: row.attempt,
            arguments_json: row.arguments.to_string(),
            deadline_seconds: row.deadline_seconds,
        });
        Ok(send(&commands, command).await)
    }

    /// Asks the agent to stop a step.
    pub async fn cancel_step(&self, node: NodeId, step: StepId) {
        if let Some(commands) = self.0.live.commands(node, None) {
            send(&commands, Command::CancelStep(CancelStep { step_id: step.to_string() })).await;
        }
    }

    /// Live progress of a node's running step.
    #[must_use]
    pub fn progress(&self, node: NodeId) -> Option<LiveProgress> {
        self.0.live.progress(node)
    }

    /// The newest log message of a node's agent.
    #[must_use]
    pub fn last_log(&self, node: NodeId) -> Option<String> {
        self.0.live.last_log(node)
    }

    /// Ends the node's session and closes its boots: the deploy is over.
    pub async fn close(&self, node: NodeId) -> Result<(), StoreError> {
        self.0.store.close_boots(node).await?;
        self.0.live.forget(node, EndReason::Closed);
        Ok(())
    }
}

/// True when the command is on its way.
async fn send(commands: &CommandSender, command: Command) -> bool {
    let command = ControllerCommand { command: Some(command) };
    matches!(tokio::time::timeout(SEND_WITHIN, commands.send(Ok(command))).await, Ok(Ok(())))
}

/// 256 random bits, URL-safe base64 without padding.
fn random_token() -> Secret {
    let mut bytes = [0_u8; 32];
    // The operating system's generator fails only before it is seeded: then nothing may be issued at all.
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).unwrap_or_else(|error| panic!("no random bytes: {error}"));
    Secret::new(URL_SAFE_NO_PAD.encode(bytes))
}

fn hash_token(token: &Secret) -> Vec<u8> {
    Sha256::digest(token.reveal()).to_vec()
}

/// The host of `host:port` or `[address]:port`.
fn host_of(endpoint: &str) -> String {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

#[cfg(test)]
mod tests;
