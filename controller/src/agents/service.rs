//! The calls of `bessemer.agent.v1.Agent`: who may make them, and what they answer.

use std::{pin::Pin, time::Duration};

use bessemer_proto::v1::{
    AgentEvent, ControllerCommand, EnrollRequest, EnrollResponse, HeartbeatRequest, HeartbeatResponse,
    LookupRequest, LookupResponse, RenewRequest, RenewResponse, agent_server::Agent,
};
use chrono::Utc;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error, info, warn};

use super::{
    Fleet,
    authority::RequestedKey,
    enroll,
    listener::{Peer, PeerInfo},
    session,
};
use crate::{node::Node, store::StoreError};

/// Enrolments checked at once.
const MAX_ENROLMENTS: usize = 32;
/// Commands that wait for an agent to read them.
const COMMAND_QUEUE: usize = 64;

/// The service; thin.
pub(super) struct Service {
    fleet: Fleet,
    shutdown: CancellationToken,
    enrolments: Semaphore,
}

impl Service {
    pub(super) fn new(fleet: Fleet, shutdown: CancellationToken) -> Self {
        Self { fleet, shutdown, enrolments: Semaphore::new(MAX_ENROLMENTS) }
    }

    /// The node behind a request, if its certificate is of a boot that is open.
    async fn authorize<T>(&self, request: &Request<T>) -> Result<(Peer, PeerInfo, Node), Status> {
        let info = peer_info(request)?;
        let Some(peer) = info.peer else {
            warn!(peer = %info.address, reason = "no client certificate", "call of an agent refused");
            return Err(Status::unauthenticated("a client certificate is needed: enrol first"));
        };
        let node = self.check(peer).await.map_err(|refusal| refusal.log(peer, &info))?;
        Ok((peer, info, node))
    }

    async fn check(&self, peer: Peer) -> Result<Node, Refusal> {
        let boot = self.fleet.0.store.boot(peer.boot).await.map_err(Refusal::from_missing)?;
        if boot.node != peer.node {
            return Err(Refusal::Gone);
        }
        if boot.closed {
            return Err(Refusal::Closed);
        }
        self.fleet.0.store.node(&peer.node.to_string()).await.map_err(Refusal::from_missing)
    }
}

/// Why a call with a certificate is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the certificate's node or boot does not exist any more")]
    Gone,
    #[error("the certificate's boot is over")]
    Closed,
    #[error(transparent)]
    Store(StoreError),
}

impl Refusal {
    fn from_missing(error: StoreError) -> Self {
        if matches!(error, StoreError::NotFound { .. }) { Self::Gone } else { Self::Store(error) }
    }

    fn log(self, peer: Peer, info: &PeerInfo) -> Status {
        let (node, boot) = (peer.node, peer.boot);
        warn!(%node, %boot, peer = %info.address, reason = %self, "call of an agent refused");
        match self {
            Self::Gone => Status::permission_denied("this node is not managed any more"),
            Self::Closed => Status::permission_denied("this boot is over"),
            Self::Store(_) => Status::unavailable("the controller cannot read its database now: try again"),
        }
    }
}

fn peer_info<T>(request: &Request<T>) -> Result<PeerInfo, Status> {
    let info = request.extensions().get::<PeerInfo>().copied();
    info.ok_or_else(|| Status::internal("the connection is not known"))
}

#[tonic::async_trait]
impl Agent for Service {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let info = peer_info(&request)?;
        let _turn = tokio::time::timeout(Duration::from_secs(10), self.enrolments.acquire())
            .await
            .map_err(|_| Status::unavailable("too many agents enrol now: try again"))?;
        enroll::enroll(&self.fleet, info.address, request.into_inner()).await.map(Response::new)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let (peer, info, _) = self.authorize(&request).await?;
        let (node, boot) = (peer.node, peer.boot);
        let key = RequestedKey::from_request(&request.get_ref().csr_der).map_err(|reason| {
            warn!(%node, %boot, peer = %info.address, %reason, "renewal of a certificate refused");
            Status::invalid_argument(reason.to_string())
        })?;
        let lifetime = Duration::from_secs(self.fleet.0.config.certificate_lifetime.get().into());
        let issued = self.fleet.0.authority.issue_agent(node, boot, &key, lifetime).map_err(|problem| {
            error!(%node, %boot, %problem, "a certificate could not be renewed");
            Status::unavailable("the controller cannot issue certificates now: try again")
        })?;
        info!(%node, %boot, not_after = %issued.not_after, "certificate of an agent renewed");
        Ok(Response::new(RenewResponse {
            certificate_der: issued.der,
            not_after_ms: issued.not_after.timestamp_millis(),
            controller_time_ms: Utc::now().timestamp_millis(),
        }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Result<Response<LookupResponse>, Status> {
        let (peer, _, node) = self.authorize(&request).await?;
        Ok(Response::new(LookupResponse {
            node_uuid: peer.node.to_string(),
            node_name: node.name.unwrap_or_default(),
            controller_endpoints: self.fleet.0.advertise.clone(),
            heartbeat_interval_seconds: self.fleet.0.config.heartbeat_interval.get(),
            controller_time_ms: Utc::now().timestamp_millis(),
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let (peer, _, _) = self.authorize(&request).await?;
        self.fleet.0.live.seen(peer.node);
        let beat = request.get_ref();
        debug!(node = %peer.node, uptime = beat.uptime_seconds, step = %enroll::clip(&beat.running_step_id, 40), "heartbeat");
        Ok(Response::new(HeartbeatResponse {
            next_heartbeat_seconds: self.fleet.0.config.heartbeat_interval.get(),
            controller_time_ms: Utc::now().timestamp_millis(),
        }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<ControllerCommand, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentEvent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (peer, info, _) = self.authorize(&request).await?;
        let (commands, stream) = mpsc::channel(COMMAND_QUEUE);
        // Answered before the agent's first event: an agent may wait for the answer before it says hello.
        let opening = session::Opening {
            fleet: self.fleet.clone(),
            peer,
            address: info.address,
            commands,
            shutdown: self.shutdown.clone(),
        };
        tokio::spawn(opening.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
