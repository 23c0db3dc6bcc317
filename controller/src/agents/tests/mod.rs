//! Real TLS clients against a real listener.

mod connections;
mod enrolment;
mod sessions;

use std::{
    io,
    sync::Mutex,
    time::{Duration, Instant},
};

use bessemer_proto::v1::{
    AgentEvent, EnrollRequest, EnrollResponse, Hello, agent_client::AgentClient, agent_event::Event,
};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};
use tracing::subscriber::DefaultGuard;

use super::*;
use crate::node::Node;

/// A controller's agent side on a port of its own, with its log.
struct World {
    dir: tempfile::TempDir,
    store: Store,
    authority: Arc<Authority>,
    fleet: Fleet,
    address: SocketAddr,
    pokes: Arc<Mutex<Vec<NodeId>>>,
    stop: CancellationToken,
    log: Log,
}

/// What an agent holds after enrolment.
struct Identity {
    node: NodeId,
    boot: BootId,
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

/// An open session, seen from the agent.
struct AgentEnd {
    events: mpsc::Sender<AgentEvent>,
    commands: Streaming<ControllerCommand>,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Collects the log of this thread: tests run on runtimes of one thread.
    fn collect(&self) -> DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    async fn wait_for(&self, words: &str) {
        eventually(words, || self.text().contains(words).then_some(())).await;
    }
}

/// Polls until `check` has something.
async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl World {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start(dir, config).await
    }

    /// Starts on a state directory, new or used.
    async fn start(dir: tempfile::TempDir, config: Config) -> Self {
        let log = Log::default();
        let store = crate::store::tests::open_in(dir.path()).await;
        let authority = Authority::open(&dir.path().join("ca")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pokes = Arc::new(Mutex::new(Vec::new()));
        let poked = Arc::clone(&pokes);
        let fleet = Fleet::new(
            config,
            vec![address.to_string()],
            store.clone(),
            Arc::clone(&authority),
            Arc::new(move |node| poked.lock().unwrap().push(node)),
        );
        let stop = CancellationToken::new();
        tokio::spawn(fleet.clone().serve(listener, stop.clone()));
        Self { dir, store, authority, fleet, address, pokes, stop, log }
    }

    /// Stops and starts again with the same files, at another port.
    async fn restart(self) -> Self {
        self.stop.cancel();
        tokio::time::sleep(Duration::from_millis(100)).await;
        Self::start(self.dir, Config::default()).await
    }

    async fn node(&self) -> NodeId {
        let node = Node::new("redfish");
        self.store.create_node(&node).await.unwrap();
        node.uuid
    }

    async fn ticket(&self, node: NodeId) -> BootTicket {
        self.fleet.issue_ticket(node, Duration::from_secs(60)).await.unwrap()
    }

    async fn client(&self, identity: Option<&Identity>) -> AgentClient<Channel> {
        let identity = identity.map(|i| (i.chain.clone(), i.key.serialize_der()));
        dial(self.address, self.authority.certificate(), identity).await.unwrap()
    }

    async fn enroll(&self, ticket: &BootTicket, key: &KeyPair) -> Result<EnrollResponse, Status> {
        let request = enroll_request(ticket.boot, ticket.token.reveal(), key);
        self.client(None).await.enroll(request).await.map(tonic::Response::into_inner)
    }

    /// A node with a fresh boot whose agent has enrolled.
    async fn enrolled(&self) -> Identity {
        let node = self.node().await;
        self.enrolled_on(node).await
    }

    async fn enrolled_on(&self, node: NodeId) -> Identity {
        let ticket = self.ticket(node).await;
        let key = KeyPair::generate().unwrap();
        let answer = self.enroll(&ticket, &key).await.unwrap();
        Identity { node, boot: ticket.boot, chain: vec![answer.certificate_der.into()], key }
    }

    async fn session(&self, identity: &Identity) -> AgentEnd {
        let agent = self.try_session(identity, identity.boot).await.unwrap();
        eventually("session", || self.fleet.session(identity.node)).await;
        agent
    }

    async fn try_session(&self, identity: &Identity, boot: BootId) -> Result<AgentEnd, Status> {
        let mut client = self.client(Some(identity)).await;
        let (events, stream) = mpsc::channel(16);
        let agent = AgentEnd { events, commands: open(&mut client, stream).await? };
        let hello = Hello {
            agent_version: "1".into(),
            boot_id: boot.to_string(),
            supported_steps: vec!["inspect".into()],
            running_step_id: String::new(),
        };
        agent.say(Event::Hello(hello)).await;
        Ok(agent)
    }
}

async fn open(
    client: &mut AgentClient<Channel>,
    events: mpsc::Receiver<AgentEvent>,
) -> Result<Streaming<ControllerCommand>, Status> {
    let stream = tokio_stream::wrappers::ReceiverStream::new(events);
    client.session(stream).await.map(tonic::Response::into_inner)
}

impl AgentEnd {
    async fn say(&self, event: Event) {
        let event = AgentEvent { sequence: 1, time_ms: Utc::now().timestamp_millis(), event: Some(event) };
        self.events.send(event).await.unwrap();
    }

    /// The next command, or why the session ended.
    async fn next(&mut self) -> Result<Command, Status> {
        let command = tokio::time::timeout(Duration::from_secs(10), self.commands.message()).await;
        let command = command.expect("nothing came")?.ok_or_else(|| Status::ok("end"))?;
        Ok(command.command.expect("empty command"))
    }
}

fn signing_request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn enroll_request(boot: BootId, token: &str, key: &KeyPair) -> EnrollRequest {
    EnrollRequest {
        boot_id: boot.to_string(),
        join_token: token.to_owned(),
        csr_der: signing_request(key),
        agent_version: "1".into(),
        agent_time_ms: Utc::now().timestamp_millis(),
    }
}

/// Dials as an agent does: pinned to `ca`, asking for the controller's fixed name.
async fn dial(
    address: SocketAddr,
    ca: &CertificateDer<'static>,
    identity: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
) -> Result<AgentClient<Channel>, tonic::transport::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            let name = ServerName::try_from(bessemer_proto::identity::CONTROLLER_SERVER_NAME).unwrap();
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    let channel = Endpoint::from_static("http://controller").connect_with_connector(connect).await?;
    Ok(AgentClient::new(channel))
}
