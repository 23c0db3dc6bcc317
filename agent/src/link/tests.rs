mod server;

use async_trait::async_trait;
use bessemer_proto::{
    ids::{BootId, NodeId},
    secret::Secret,
    v1::{
        AcknowledgeStep, QueryStep, RunStep, StepFinished, StepStatus, agent_event::Event,
        controller_command::Command,
    },
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
};

use super::*;
use crate::steps::{Registry, Roots, Step, StepContext, StepError};
use server::{Authority, Behaviour, CONTROLLER_TIME, Open, Server};

/// The boot medium's time; the server certificate of the tests is valid from 2027 to 2037.
const FLOOR: u64 = 1_890_000_000;

/// Ends when told.
struct Patient(Arc<Notify>);

#[async_trait]
impl Step for Patient {
    fn name(&self) -> &'static str {
        "patient"
    }
    async fn run(&self, _: Value, context: StepContext) -> Result<Value, StepError> {
        context.report.progress("waiting", 1, 2);
        self.0.notified().await;
        Ok(json!({"done": true}))
    }
}

struct Bench {
    behaviour: Arc<Behaviour>,
    sessions: mpsc::Receiver<Open>,
    parameters: BootParameters,
    address: std::net::SocketAddr,
    go: Arc<Notify>,
    clock: Arc<Clock>,
    report: Report,
    shutdown: CancellationToken,
}

impl Bench {
    fn new(listener: &TcpListener) -> Self {
        Self::with_life(listener, 3_600_000)
    }

    fn with_life(listener: &TcpListener, certificate_life_ms: i64) -> Self {
        let (send, sessions) = mpsc::channel(10);
        let behaviour = Arc::new(Behaviour {
            authority: Authority::new(),
            node: NodeId::random(),
            refuse_enroll: Default::default(),
            certificate_life_ms,
            sessions: send,
            calls: Default::default(),
        });
        let address = listener.local_addr().unwrap();
        let parameters = BootParameters {
            controllers: vec!["127.0.0.1:1".into(), format!("localhost.test:{}", address.port())],
            node: behaviour.node,
            boot: BootId::random(),
            token: Secret::new("join-me"),
            ca_certificates: vec![behaviour.authority.der.clone()],
            time_floor: Some(FLOOR),
            ntp_servers: vec![],
            network: vec![],
            debug: false,
            vendor: Default::default(),
        };
        let clock = Clock::new();
        clock.set_floor(FLOOR);
        let report = Report::new(clock.clone());
        let (go, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
        Self { behaviour, sessions, parameters, address, go, clock, report, shutdown }
    }

    fn serve(&self, listener: TcpListener) -> Server {
        Server::start(listener, self.behaviour.authority.server_config((2027, 2037)), self.behaviour.clone())
    }

    fn start(&self) -> tokio::task::JoinHandle<Result<(), LinkError>> {
        let etc = tempfile::tempdir().unwrap();
        std::fs::write(etc.path().join("hosts"), "127.0.0.1 localhost.test\n").unwrap();
        let runner = Runner::new(
            Registry::default().with(Patient(self.go.clone())),
            Roots::default(),
            self.report.clone(),
            self.shutdown.clone(),
        );
        let parts = LinkParts {
            parameters: Arc::new(self.parameters.clone()),
            clock: self.clock.clone(),
            resolver: Resolver::new(etc.path()),
            runner,
            report: self.report.clone(),
            shutdown: self.shutdown.clone(),
        };
        let options = LinkOptions {
            enrol_deadline: Duration::from_secs(2),
            first_delay: Duration::from_millis(10),
            longest_delay: Duration::from_millis(100),
            set_system_clock: false,
        };
        let link = Link::new(parts, options).unwrap();
        tokio::spawn(async move {
            let _etc = etc;
            link.run().await
        })
    }

    async fn open(&mut self) -> Open {
        tokio::time::timeout(Duration::from_secs(20), self.sessions.recv()).await.unwrap().unwrap()
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// The address of a server that was just dropped.
async fn listen_again(address: std::net::SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{address} stays in use");
}

fn patient(id: &str) -> Command {
    Command::RunStep(RunStep {
        step_id: id.into(),
        name: "patient".into(),
        attempt: 1,
        arguments_json: "{}".into(),
        deadline_seconds: 60,
    })
}

async fn finished(open: &mut Open) -> StepFinished {
    loop {
        if let Event::StepFinished(finished) = open.event().await {
            return finished;
        }
    }
}

#[tokio::test]
async fn enrols_at_the_second_controller_and_runs_a_step() {
    let listener = listen().await;
    let mut bench = Bench::new(&listener);
    let _server = bench.serve(listener);
    let link = bench.start();
    let mut open = bench.open().await;
    let first = open.next().await;
    assert_eq!(first.sequence, 1);
    assert!(first.time_ms.abs_diff(CONTROLLER_TIME) < 60_000, "events carry the controller's time");
    let Some(Event::Hello(hello)) = first.event else { panic!("{first:?}") };
    assert_eq!(hello.supported_steps, ["patient"]);
    assert_eq!(hello.boot_id, bench.parameters.boot.to_string());

    open.command(patient("a")).await;
    assert!(matches!(open.event().await, Event::StepStarted(_)));
    assert!(matches!(open.event().await, Event::StepProgress(_)));
    open.command(Command::QueryStep(QueryStep { step_id: "b".into() })).await;
    assert!(matches!(open.event().await, Event::StepUnknown(_)));
    bench.go.notify_one();
    let result = finished(&mut open).await;
    assert_eq!((result.status(), result.result_json.as_str()), (StepStatus::Succeeded, r#"{"done":true}"#));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(bench.behaviour.count("heartbeat") >= 2);
    bench.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), link).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_killed_controller_loses_neither_the_step_nor_its_result() {
    let listener = listen().await;
    let mut bench = Bench::new(&listener);
    let server = bench.serve(listener);
    let _link = bench.start();
    let mut open = bench.open().await;
    open.command(patient("a")).await;
    assert!(matches!(open.event().await, Event::Hello(_)));
    assert!(matches!(open.event().await, Event::StepStarted(_)));
    drop(server);
    tokio::time::sleep(Duration::from_millis(200)).await;
    bench.go.notify_one();
    bench.report.log(bessemer_proto::v1::LogLevel::Info, "test", "said while nobody listened".into());

    let server = bench.serve(listen_again(bench.address).await);
    let mut open = bench.open().await;
    let mut heard = false;
    let result = loop {
        match open.next().await.event.unwrap() {
            Event::Log(batch) => {
                heard |= batch.records.iter().any(|r| r.message == "said while nobody listened");
            }
            Event::StepFinished(result) => break result,
            _ => {}
        }
    };
    assert!(heard);
    assert_eq!((result.step_id.as_str(), result.status()), ("a", StepStatus::Succeeded));

    // Not acknowledged: said again to the next session, and not to the one after the acknowledgement.
    drop(server);
    let server = bench.serve(listen_again(bench.address).await);
    let mut open = bench.open().await;
    assert_eq!(finished(&mut open).await.step_id, "a");
    open.command(patient("a")).await;
    assert_eq!(finished(&mut open).await.step_id, "a", "a known step is answered, not run again");
    open.command(Command::AcknowledgeStep(AcknowledgeStep { step_id: "a".into() })).await;
    open.command(Command::QueryStep(QueryStep { step_id: "x".into() })).await;
    assert!(matches!(open.event().await, Event::StepUnknown(_)), "commands are obeyed in order");
    drop(server);
    let _server = bench.serve(listen_again(bench.address).await);
    let mut open = bench.open().await;
    assert!(matches!(open.event().await, Event::Hello(_)));
    open.command(Command::QueryStep(QueryStep { step_id: "y".into() })).await;
    assert!(matches!(open.event().await, Event::StepUnknown(_)));
    assert_eq!(bench.behaviour.count("enroll"), 1);
}

#[tokio::test]
async fn a_permanent_refusal_ends_it_at_once_and_a_passing_one_does_not() {
    let listener = listen().await;
    let mut bench = Bench::new(&listener);
    bench.behaviour.refuse_enroll.lock().unwrap().push(Status::unavailable("starting up"));
    bench.parameters.token = Secret::new("stolen");
    let _server = bench.serve(listener);
    let error = bench.start().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the controller refused Enroll: unknown join token (Unauthenticated)");
    assert_eq!(bench.behaviour.count("enroll"), 2);
}

#[tokio::test]
async fn nobody_there_is_an_error_after_the_deadline_with_the_last_reason() {
    let listener = listen().await;
    let bench = Bench::new(&listener);
    drop(listener);
    let error = bench.start().await.unwrap().unwrap_err();
    let LinkError::EnrolDeadline { seconds: 2, last: Some(last) } = error else { panic!("{error:?}") };
    let LinkError::Dial(last) = *last else { panic!("{last:?}") };
    assert!(matches!(*last, DialError::Connect { .. }), "{last:?}");
}

#[tokio::test]
async fn a_controller_of_another_authority_is_refused() {
    let listener = listen().await;
    let mut bench = Bench::new(&listener);
    bench.parameters.ca_certificates = vec![Authority::new().der];
    let _server = bench.serve(listener);
    let error = bench.start().await.unwrap().unwrap_err();
    let LinkError::EnrolDeadline { last: Some(last), .. } = error else { panic!("{error:?}") };
    let LinkError::Dial(last) = *last else { panic!("{last:?}") };
    assert!(matches!(*last, DialError::Tls { .. } | DialError::Connect { .. }), "{last:?}");
    assert_eq!(bench.behaviour.count("enroll"), 0);
}

#[tokio::test]
async fn a_wrong_clock_is_named_and_the_floor_makes_up_for_it() {
    let listener = listen().await;
    let bench = Bench::new(&listener);
    let config = bench.behaviour.authority.server_config((2001, 2002));
    let _server = Server::start(listener, config, bench.behaviour.clone());
    let clock = Clock::new();
    clock.set_floor(FLOOR);
    let config = tls::client_config(&bench.parameters.ca_certificates, None, clock.clone()).unwrap();
    let endpoint = bench.address.to_string();
    let error = dial::dial(&endpoint, &Resolver::default(), config, &clock).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DialError::Clock { .. }), "{error:?}");
    assert!(text.contains("this machine's clock says 20"), "{text}");
    assert!(text.contains("the boot medium was made 2029-"), "{text}");

    // The same certificate is fine for a medium that was made when it was valid, whatever the machine's clock.
    let clock = Clock::new();
    clock.set_floor(1_000_000_000);
    let config = tls::client_config(&bench.parameters.ca_certificates, None, clock.clone()).unwrap();
    dial::dial(&endpoint, &Resolver::default(), config, &clock).await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_node_is_refused() {
    let listener = listen().await;
    let mut bench = Bench::new(&listener);
    bench.parameters.node = NodeId::random();
    let _server = bench.serve(listener);
    let error = bench.start().await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Certificate(CertificateError::OtherNode { .. })), "{error:?}");
}

#[tokio::test]
async fn the_certificate_is_renewed_at_two_thirds_and_the_session_goes_on() {
    let listener = listen().await;
    // The shortest life counts as 6 s, so renewal comes after 4 s.
    let mut bench = Bench::with_life(&listener, 1_000);
    let _server = bench.serve(listener);
    let _link = bench.start();
    let mut first = bench.open().await;
    assert!(matches!(first.event().await, Event::Hello(_)));
    tokio::time::timeout(Duration::from_secs(30), async {
        let mut second = bench.sessions.recv().await.unwrap();
        assert!(matches!(second.event().await, Event::Hello(_)));
    })
    .await
    .unwrap();
    assert_eq!(bench.behaviour.count("renew"), 1);
}

#[test]
fn endpoints_are_learned_bounded_and_the_working_one_stays() {
    let mut endpoints = Endpoints::new(&["a:1".to_owned(), "b:1".to_owned()]);
    assert_eq!(endpoints.current(), "a:1");
    endpoints.rotate();
    let told: Vec<_> = (0..100).map(|n| format!("c{n}:1")).chain(["junk".to_owned()]).collect();
    endpoints.learn(&told[..3], "b:1");
    assert_eq!(endpoints.list, ["c0:1", "c1:1", "c2:1", "a:1", "b:1"]);
    assert_eq!(endpoints.current(), "b:1");
    endpoints.learn(&told, "b:1");
    assert_eq!(endpoints.list.len(), MAX_ENDPOINTS);
    assert_eq!(Endpoints::new(&[]).current(), "");
}
