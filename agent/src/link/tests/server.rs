//! A controller as small as it can be: the same wire, none of the rest.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bessemer_proto::{
    identity::{CONTROLLER_SERVER_NAME, node_of_certificate, node_uri},
    ids::NodeId,
    v1::{agent_server, *},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair, SanType};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

pub(super) const CONTROLLER_TIME: i64 = 1_900_000_000_000;

pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(super) der: Vec<u8>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub(super) fn server_config(&self, years: (i32, i32)) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![CONTROLLER_SERVER_NAME.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone().into()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    fn issue(&self, csr: &[u8], node: NodeId) -> Vec<u8> {
        let mut request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        request.params.subject_alt_names = vec![SanType::URI(node_uri(node).try_into().unwrap())];
        request.signed_by(&self.issuer()).unwrap().der().to_vec()
    }
}

/// One open session, seen from the controller.
pub(super) struct Open {
    pub(super) events: mpsc::Receiver<AgentEvent>,
    pub(super) commands: mpsc::Sender<Result<ControllerCommand, Status>>,
}

impl Open {
    pub(super) async fn next(&mut self) -> AgentEvent {
        tokio::time::timeout(Duration::from_secs(10), self.events.recv()).await.unwrap().unwrap()
    }

    /// The next event that is no log.
    pub(super) async fn event(&mut self) -> agent_event::Event {
        loop {
            match self.next().await.event.unwrap() {
                agent_event::Event::Log(_) => {}
                event => return event,
            }
        }
    }

    pub(super) async fn command(&self, command: controller_command::Command) {
        self.commands.send(Ok(ControllerCommand { command: Some(command) })).await.unwrap();
    }
}

/// What the controller does and saw.
pub(super) struct Behaviour {
    pub(super) authority: Authority,
    pub(super) node: NodeId,
    /// Status of the next answers to Enroll; success when empty.
    pub(super) refuse_enroll: Mutex<Vec<Status>>,
    pub(super) certificate_life_ms: i64,
    pub(super) sessions: mpsc::Sender<Open>,
    pub(super) calls: Mutex<Vec<&'static str>>,
}

impl Behaviour {
    pub(super) fn count(&self, call: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|seen| **seen == call).count()
    }
}

#[derive(Clone)]
struct Service {
    behaviour: Arc<Behaviour>,
    peer: Option<NodeId>,
}

impl Service {
    fn seen(&self, call: &'static str) -> Result<(), Status> {
        self.behaviour.calls.lock().unwrap().push(call);
        match self.peer == Some(self.behaviour.node) || call == "enroll" {
            true => Ok(()),
            false => Err(Status::unauthenticated("no client certificate")),
        }
    }
}

#[tonic::async_trait]
impl agent_server::Agent for Service {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        self.seen("enroll")?;
        if let Some(status) = self.behaviour.refuse_enroll.lock().unwrap().pop() {
            return Err(status);
        }
        let request = request.into_inner();
        if request.join_token != "join-me" {
            return Err(Status::unauthenticated("unknown join token"));
        }
        Ok(Response::new(EnrollResponse {
            certificate_der: self.behaviour.authority.issue(&request.csr_der, self.behaviour.node),
            not_after_ms: CONTROLLER_TIME + self.behaviour.certificate_life_ms,
            controller_time_ms: CONTROLLER_TIME,
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        self.seen("renew")?;
        let certificate_der =
            self.behaviour.authority.issue(&request.into_inner().csr_der, self.behaviour.node);
        let not_after_ms = CONTROLLER_TIME + 3_600_000;
        Ok(Response::new(RenewResponse {
            certificate_der,
            not_after_ms,
            controller_time_ms: CONTROLLER_TIME,
        }))
    }

    async fn lookup(&self, _: Request<LookupRequest>) -> Result<Response<LookupResponse>, Status> {
        self.seen("lookup")?;
        Ok(Response::new(LookupResponse {
            heartbeat_interval_seconds: 1,
            controller_time_ms: CONTROLLER_TIME,
            ..Default::default()
        }))
    }

    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        self.seen("heartbeat")?;
        Ok(Response::new(HeartbeatResponse {
            next_heartbeat_seconds: 1,
            controller_time_ms: CONTROLLER_TIME,
        }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<ControllerCommand, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentEvent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.seen("session")?;
        let (events_in, events) = mpsc::channel(1000);
        let (commands, commands_out) = mpsc::channel(1000);
        let mut stream = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(event)) = stream.next().await {
                if events_in.send(event).await.is_err() {
                    break;
                }
            }
        });
        self.behaviour.sessions.send(Open { events, commands }).await.unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(commands_out))))
    }
}

/// Serves until dropped; dropping it breaks every connection without a word, as a killed controller does.
pub(super) struct Server {
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) fn start(listener: TcpListener, config: Arc<ServerConfig>, behaviour: Arc<Behaviour>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(config);
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, behaviour) = (acceptor.clone(), behaviour.clone());
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let peer =
                        tls.get_ref().1.peer_certificates().map(|c| node_of_certificate(&c[0]).unwrap());
                    let service = agent_server::AgentServer::new(Service { behaviour, peer });
                    let service = TowerToHyperService::new(tonic::service::Routes::new(service));
                    let http = auto::Builder::new(TokioExecutor::new());
                    http.serve_connection(TokioIo::new(tls), service).await.ok();
                });
            }
        });
        Self { _tasks: tasks }
    }
}
