//! With lines whose other end a test holds.

use std::{
    fs, io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf},
    sync::mpsc,
};

use super::*;
use crate::{
    bmc::{Bmc, BmcError, Claim, Console, SerialLine, Taken},
    node::Node,
};

/// A BMC whose console is opened as often as it has lines.
struct Opens(tokio::sync::Mutex<mpsc::Receiver<DuplexStream>>, Arc<Mutex<Vec<Claim>>>);

/// A line that is taken away when the machine's end of it is closed.
struct Lost(DuplexStream);

impl AsyncRead for Lost {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        Poll::Ready(if buffer.filled().len() == before { Err(io::Error::other(Taken)) } else { Ok(()) })
    }
}

impl AsyncWrite for Lost {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match bytes {
            b"off" => Poll::Ready(Err(io::Error::new(io::ErrorKind::ResourceBusy, "the machine is off"))),
            bytes => Pin::new(&mut self.0).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[async_trait]
impl Console for Opens {
    async fn has_serial(&self) -> Result<bool, BmcError> {
        Ok(true)
    }

    async fn serial(&self, claim: Claim) -> Result<Box<dyn SerialLine>, BmcError> {
        self.1.lock().unwrap().push(claim);
        match self.0.lock().await.recv().await {
            Some(line) => Ok(Box::new(Lost(line))),
            None => Err(BmcError::Unsupported { address: "bmc".into(), what: "open its console".into() }),
        }
    }

    async fn graphical(&self) -> Result<Option<Url>, BmcError> {
        Ok(Some(Url::parse("https://bmc.test/kvm").unwrap()))
    }
}

struct World {
    consoles: Consoles,
    store: Store,
    lines: mpsc::Sender<DuplexStream>,
    claims: Arc<Mutex<Vec<Claim>>>,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::tests::open_in(folder.path()).await;
        let (lines, opens) = mpsc::channel(8);
        let claims = Arc::default();
        let console: Arc<dyn Console> = Arc::new(Opens(tokio::sync::Mutex::new(opens), Arc::clone(&claims)));
        let open_bmc: OpenBmc = Arc::new(move |node: &Node| {
            let power = crate::bmc::open(&Node::new("fake-hardware"))?.power;
            let console = (node.driver != "broken").then(|| Arc::clone(&console));
            Ok(Bmc { console, ..Bmc::only_power(power) })
        });
        let quick = Duration::from_millis(5);
        let pace = Pace { first: quick, longest: quick, good: Duration::from_secs(60) };
        let parts = (store.clone(), open_bmc);
        let consoles = Consoles::with(config, &folder.path().join("consoles"), parts, pace);
        Self { consoles, store, lines, claims, folder }
    }

    async fn node(&self) -> NodeId {
        let node = Node::new("fake-hardware");
        self.store.create_node(&node).await.unwrap();
        node.uuid
    }

    /// The machine's end of the next line.
    async fn line(&self) -> DuplexStream {
        let (here, there) = tokio::io::duplex(1024);
        self.lines.send(there).await.unwrap();
        here
    }

    fn watch(&self, node: NodeId) -> Result<Watcher, ConsoleError> {
        self.consoles.admit(node, &self.consoles.ticket(node))
    }
}

/// Waits until the watcher sees it.
async fn sees(watcher: &mut Watcher, what: impl Fn(&Seen) -> bool) -> Seen {
    let found = async {
        loop {
            let seen = watcher.next().await.unwrap();
            if what(&seen) {
                return seen;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap()
}

fn connected(seen: &Seen) -> bool {
    *seen == Seen::State(State::Connected)
}

fn shown(text: &'static str) -> impl Fn(&Seen) -> bool {
    move |seen| *seen == Seen::Shown(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn several_watch_one_types_and_all_is_recorded() {
    let world = World::new(Config::default()).await;
    let node = world.node().await;
    world.consoles.start(node).unwrap();
    let (mut first, mut second) = (world.watch(node).unwrap(), world.watch(node).unwrap());
    let mut machine = world.line().await;
    sees(&mut first, connected).await;
    machine.write_all(b"login: ").await.unwrap();
    sees(&mut first, shown("login: ")).await;
    sees(&mut second, shown("login: ")).await;
    let (tail, state) = world.watch(node).unwrap().greet();
    assert_eq!((&tail[..], state), (&b"login: "[..], State::Connected));

    first.type_in(Bytes::from_static(b"root\r")).unwrap();
    let mut typed = [0; 5];
    machine.read_exact(&mut typed).await.unwrap();
    assert_eq!(typed, *b"root\r");
    assert_eq!(second.type_in(Bytes::from_static(b"x")), Err(Refusal::SomebodyElse));
    drop(first);
    second.type_in(Bytes::from_static(b"y")).unwrap();
    assert_eq!(machine.read_u8().await.unwrap(), b'y');
    assert_eq!(world.consoles.graphical(node).unwrap().as_str(), "https://bmc.test/kvm");

    let log = world.folder.path().join(format!("consoles/{node}.log"));
    assert_eq!(fs::read_to_string(&log).unwrap(), "login: ");
    world.consoles.stop(node).await;
    sees(&mut second, |seen| *seen == Seen::State(State::Closed)).await;
    assert!(world.consoles.state(node).is_none() && log.exists());
    world.consoles.forget(node).await;
    assert!(!log.exists());
}

#[tokio::test]
async fn a_line_that_breaks_is_opened_again_and_says_why() {
    let world = World::new(Config::default()).await;
    let node = world.node().await;
    world.consoles.start(node).unwrap();
    let mut watcher = world.watch(node).unwrap();
    let machine = world.line().await;
    sees(&mut watcher, connected).await;
    drop(machine);
    let broken = sees(&mut watcher, |seen| matches!(seen, Seen::State(State::Disconnected { .. }))).await;
    assert_eq!(broken, Seen::State(State::Disconnected { reason: Taken.to_string() }));
    assert_eq!(watcher.type_in(Bytes::from_static(b"x")), Err(Refusal::NotConnected));
    let mut machine = world.line().await;
    sees(&mut watcher, connected).await;
    machine.write_all(b"again").await.unwrap();
    sees(&mut watcher, shown("again")).await;
    // Who took it away keeps it until they leave; then it is ours again, and nobody is in the way.
    assert_eq!(*world.claims.lock().unwrap(), [Claim::Take, Claim::Wait]);

    // What the driver or the BMC says is what is shown.
    let mut broken = world.store.node(&node.to_string()).await.unwrap();
    broken.driver = "broken".into();
    world.store.update_node(&mut broken, None).await.unwrap();
    drop(machine);
    let reason = |seen: &Seen| matches!(seen, Seen::State(State::Disconnected { reason }) if reason.contains("cannot serve a console"));
    sees(&mut watcher, reason).await;
    // A node that is gone needs none.
    world.store.delete_node(node).await.unwrap();
    sees(&mut watcher, |seen| *seen == Seen::State(State::Closed)).await;
    // And holds no place.
    let gone = async {
        while world.consoles.state(node).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test]
async fn a_console_that_is_redirected_leaves_its_line_at_once() {
    let world = World::new(Config::default()).await;
    let node = world.node().await;
    world.consoles.start(node).unwrap();
    let mut watcher = world.watch(node).unwrap();
    let mut old = world.line().await;
    sees(&mut watcher, connected).await;
    world.consoles.reopen(node);
    assert_eq!(old.read(&mut [0; 8]).await.unwrap(), 0, "its end is told");
    let mut new = world.line().await;
    sees(&mut watcher, connected).await;
    new.write_all(b"new").await.unwrap();
    sees(&mut watcher, shown("new")).await;
    assert_eq!(*world.claims.lock().unwrap(), [Claim::Take, Claim::Take]);
}

#[tokio::test]
async fn who_types_learns_that_keys_are_dropped_and_others_do_not() {
    let world = World::new(Config::default()).await;
    let node = world.node().await;
    world.consoles.start(node).unwrap();
    let (mut first, mut second) = (world.watch(node).unwrap(), world.watch(node).unwrap());
    let mut machine = world.line().await;
    sees(&mut first, connected).await;
    sees(&mut second, connected).await;
    first.type_in(Bytes::from_static(b"off")).unwrap();
    let refused = sees(&mut first, |seen| matches!(seen, Seen::Refused(_))).await;
    assert_eq!(refused, Seen::Refused("the machine is off".into()));
    // The line goes on.
    machine.write_all(b"still here").await.unwrap();
    assert_eq!(second.next().await, Some(Seen::Shown(Bytes::from_static(b"still here"))));
}

#[tokio::test]
async fn a_console_that_was_stopped_has_ended_and_leaves_no_log_to_a_node_that_is_gone() {
    let world = World::new(Config::default()).await;
    let node = world.node().await;
    world.consoles.start(node).unwrap();
    let mut watcher = world.watch(node).unwrap();
    let mut machine = world.line().await;
    sees(&mut watcher, connected).await;
    machine.write_all(&[b'x'; 1024]).await.unwrap();
    world.consoles.forget(node).await;
    assert_eq!(machine.write_all(b"y").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let folder = world.folder.path().join("consoles");
    assert!(!folder.exists() || fs::read_dir(folder).unwrap().next().is_none());
    let (_, state) = watcher.greet();
    assert_eq!(state, State::Closed);
}

#[tokio::test]
async fn a_slow_watcher_is_told_what_it_missed_and_holds_nobody_up() {
    let world = World::new(Config { log_bytes: 0, ..Config::default() }).await;
    let node = world.node().await;
    world.consoles.start(node).unwrap();
    let (mut slow, mut quick) = (world.watch(node).unwrap(), world.watch(node).unwrap());
    let mut machine = world.line().await;
    sees(&mut quick, connected).await;
    for _ in 0..2000 {
        machine.write_all(b"x").await.unwrap();
        sees(&mut quick, |seen| matches!(seen, Seen::Shown(_))).await;
    }
    sees(&mut slow, |seen| matches!(seen, Seen::Skipped(pieces) if *pieces > 1000)).await;
    assert!(!world.folder.path().join("consoles").exists(), "nothing is to be recorded");
}

#[tokio::test]
async fn there_are_only_so_many_consoles_and_watchers() {
    let two = std::num::NonZeroU32::new(2).unwrap();
    let world = World::new(Config { max_sessions: two, max_watchers: two, ..Config::default() }).await;
    let nodes = [world.node().await, world.node().await, world.node().await];
    for node in &nodes[..2] {
        world.consoles.start(*node).unwrap();
    }
    assert_eq!(world.consoles.start(nodes[2]), Err(ConsoleError::TooMany(2)));
    world.consoles.start(nodes[0]).unwrap();
    assert_eq!(world.watch(nodes[2]).unwrap_err(), ConsoleError::NotEnabled);
    let watchers = [world.watch(nodes[0]).unwrap(), world.watch(nodes[0]).unwrap()];
    assert_eq!(world.watch(nodes[0]).unwrap_err(), ConsoleError::TooManyWatchers(2));
    drop(watchers);
    let mut watcher = world.watch(nodes[0]).unwrap();
    assert_eq!(world.consoles.admit(nodes[0], "made up").unwrap_err(), ConsoleError::Ticket);
    // BMCs that do not answer do not hold up the end of the controller.
    world.consoles.stop_all().await;
    sees(&mut watcher, |seen| *seen == Seen::State(State::Closed)).await;
}
