//! Against a real HTTP receiver.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc};

use super::*;
use crate::node::ProvisionState;

const SECRET: &[u8] = b"thirty-two bytes for the tests!!";

/// Takes messages, as long as it is told to answer so.
struct Inbox {
    url: String,
    shared: Shared,
    messages: mpsc::UnboundedReceiver<(HeaderMap, String)>,
}

use http::StatusCode;

#[derive(Clone)]
struct Shared {
    answer: Arc<Mutex<StatusCode>>,
    /// Messages with this text in them are answered with an error.
    hated: Arc<Mutex<Option<String>>>,
    retry_after: Arc<Mutex<Option<&'static str>>>,
    sender: mpsc::UnboundedSender<(HeaderMap, String)>,
}

impl Inbox {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=geheim", listener.local_addr().unwrap());
        let (sender, messages) = mpsc::unbounded_channel();
        let shared = Shared {
            answer: Arc::new(Mutex::new(StatusCode::NO_CONTENT)),
            hated: Arc::default(),
            retry_after: Arc::default(),
            sender,
        };
        let take = async |State(shared): State<Shared>, headers: HeaderMap, body: String| {
            let hates = shared.hated.lock().unwrap().as_deref().is_some_and(|hated| body.contains(hated));
            let answer =
                if hates { StatusCode::INTERNAL_SERVER_ERROR } else { *shared.answer.lock().unwrap() };
            shared.sender.send((headers, body)).unwrap();
            let retry_after = *shared.retry_after.lock().unwrap();
            let headers = retry_after.map(|seconds| (http::header::RETRY_AFTER, seconds.parse().unwrap()));
            (answer, HeaderMap::from_iter(headers))
        };
        let router = Router::new().route("/hook", post(take)).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared, messages }
    }

    fn answers(&self, status: StatusCode) {
        *self.shared.answer.lock().unwrap() = status;
    }

    /// The next message, its signature checked.
    async fn next(&mut self) -> (String, Value) {
        let within = Duration::from_secs(30);
        let (headers, body) = tokio::time::timeout(within, self.messages.recv()).await.unwrap().unwrap();
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        let tag = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        hmac::verify(&key, format!("{id}.{timestamp}.{body}").as_bytes(), &tag).unwrap();
        (id, serde_json::from_str(&body).unwrap())
    }
}

struct World {
    folder: TempDir,
    store: Store,
    node: Node,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), format!("whsec_{}", STANDARD.encode(SECRET))).unwrap();
        let store = crate::store::tests::open_in(folder.path()).await;
        let node = Node::new("redfish");
        store.create_node(&node).await.unwrap();
        Self { folder, store, node }
    }

    async fn start(&self, urls: &[&str]) -> Notifications {
        let webhooks = urls.iter().map(|url| Webhook {
            url: url.parse().unwrap(),
            secret_file: "secret".into(),
            events: vec!["node.provision_state.*".into()],
            ca_file: None,
        });
        let config = Config { webhooks: webhooks.collect(), timeout: 2, ..Config::default() };
        Notifications::start(&config, &self.store, |path| self.folder.path().join(path)).await.unwrap()
    }

    /// As a controller that was killed and started again.
    async fn restart(&mut self) {
        self.store.close().await;
        self.store = crate::store::tests::open_in(self.folder.path()).await;
    }

    async fn waiting(&self, receiver: &str) -> Vec<Message> {
        self.store.all_messages(receiver).await.unwrap()
    }

    async fn moves(&mut self, to: ProvisionState) {
        let event = HistoryEvent::moved(&self.node, to, None);
        self.node.provision_state = to;
        self.store.update_node(&mut self.node, Some(&event)).await.unwrap();
    }
}

#[tokio::test]
async fn changes_are_sent_signed_and_in_order_and_what_is_not_wanted_is_not() {
    let (mut inbox, mut world) = (Inbox::open().await, World::new().await);
    let sending = world.start(&[&inbox.url]).await;
    let power = HistoryEvent::noted(&world.node, crate::node::events::POWER, "on".to_owned());
    world.store.update_node(&mut world.node, Some(&power)).await.unwrap();
    let states = [ProvisionState::Verifying, ProvisionState::Manageable, ProvisionState::Cleaning];
    for state in states {
        world.moves(state).await;
    }
    for state in states {
        let (_, message) = inbox.next().await;
        assert_eq!(message["type"], "node.provision_state.changed");
        assert_eq!(message["data"]["node"]["provision_state"], state.as_str());
        assert_eq!(message["data"]["node"]["uuid"], world.node.uuid.to_string());
    }
    // What was taken is removed, so that it is not sent again.
    let removed = async {
        while !world.waiting(&name_of_url(&inbox.url)).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), removed).await.unwrap();
    sending.stop().await;
}

#[tokio::test]
async fn a_message_is_sent_again_with_its_id_until_it_is_taken_also_after_a_restart() {
    let (mut inbox, mut world) = (Inbox::open().await, World::new().await);
    inbox.answers(StatusCode::SERVICE_UNAVAILABLE);
    let sending = world.start(&[&inbox.url]).await;
    world.moves(ProvisionState::Verifying).await;
    let (first, _) = inbox.next().await;
    let (second, _) = inbox.next().await;
    assert_eq!(first, second);
    sending.stop().await;
    world.restart().await;
    inbox.answers(StatusCode::OK);
    while inbox.messages.try_recv().is_ok() {}
    let sending = world.start(&[&inbox.url]).await;
    let (third, message) = inbox.next().await;
    assert_eq!((third, &message["data"]["node"]["provision_state"]), (first, &"verifying".into()));
    sending.stop().await;
}

#[tokio::test]
async fn a_dead_receiver_stops_neither_writes_nor_the_others() {
    let (mut inbox, mut world) = (Inbox::open().await, World::new().await);
    // Accepts connections, never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("http://{}/", silent.local_addr().unwrap());
    let sending = world.start(&[&dead, "http://127.0.0.1:1/", &inbox.url]).await;
    world.moves(ProvisionState::Verifying).await;
    world.moves(ProvisionState::Manageable).await;
    inbox.next().await;
    inbox.next().await;
    assert_eq!(world.waiting(&name_of_url(&dead)).await.len(), 2);
    sending.stop().await;
}

#[tokio::test]
async fn a_refused_message_is_dropped_and_the_next_one_is_sent() {
    let (mut inbox, mut world) = (Inbox::open().await, World::new().await);
    inbox.answers(StatusCode::BAD_REQUEST);
    let sending = world.start(&[&inbox.url]).await;
    world.moves(ProvisionState::Verifying).await;
    let (refused, _) = inbox.next().await;
    inbox.answers(StatusCode::OK);
    world.moves(ProvisionState::Manageable).await;
    let (next, _) = inbox.next().await;
    assert_ne!(refused, next);
    sending.stop().await;
}

#[tokio::test]
async fn what_waits_is_bounded_in_number_and_age_and_forgotten_with_its_receiver() {
    let mut world = World::new().await;
    let url = "http://127.0.0.1:1/";
    let name = name_of_url(url);
    let sending = world.start(&[url]).await;
    for _ in 0..5 {
        world.moves(ProvisionState::Manageable).await;
        world.moves(ProvisionState::Available).await;
    }
    sending.stop().await;
    assert_eq!(world.store.trim_messages(&name, 4).await.unwrap(), 6);
    let left = world.waiting(&name).await;
    assert_eq!(left.len(), 4);
    assert!(left[3].body.contains("\"provision_state\":\"available\""), "the newest stay");
    assert_eq!(world.store.expire_messages(&name, left[2].created).await.unwrap(), 2);
    world.restart().await;
    world.start(&[]).await.stop().await;
    assert!(world.waiting(&name).await.is_empty());
}

#[tokio::test]
async fn a_write_that_is_refused_leaves_no_message() {
    let mut world = World::new().await;
    let url = "http://127.0.0.1:1/";
    let sending = world.start(&[url]).await;
    let mut older = world.node.clone();
    world.moves(ProvisionState::Verifying).await;
    let event = HistoryEvent::moved(&older, ProvisionState::Manageable, None);
    world.store.update_node(&mut older, Some(&event)).await.unwrap_err();
    assert_eq!(world.waiting(&name_of_url(url)).await.len(), 1);
    sending.stop().await;
}

#[tokio::test]
async fn a_message_that_is_not_taken_holds_up_its_node_only() {
    let (mut inbox, mut world) = (Inbox::open().await, World::new().await);
    // More nodes than a batch has messages, and more than one message of each.
    let mut hated = Vec::new();
    for _ in 0..70 {
        let node = Node {
            description: Some("hated".into()),
            owner: Some("hated-owner".into()),
            ..Node::new("redfish")
        };
        world.store.create_node(&node).await.unwrap();
        hated.push(node);
    }
    *inbox.shared.hated.lock().unwrap() = Some("hated-owner".into());
    let sending = world.start(&[&inbox.url]).await;
    for node in &mut hated {
        for to in [ProvisionState::Verifying, ProvisionState::Manageable] {
            let event = HistoryEvent::moved(node, to, None);
            node.provision_state = to;
            world.store.update_node(node, Some(&event)).await.unwrap();
        }
    }
    world.moves(ProvisionState::Verifying).await;
    world.moves(ProvisionState::Manageable).await;
    let mut states = Vec::new();
    while states.len() < 2 {
        let (_, message) = inbox.next().await;
        let node = &message["data"]["node"];
        match node["uuid"] == world.node.uuid.to_string() {
            true => states.push(node["provision_state"].as_str().unwrap().to_owned()),
            false => assert_eq!(node["provision_state"], "verifying", "not before its first"),
        }
    }
    assert_eq!(states, ["verifying", "manageable"]);
    *inbox.shared.hated.lock().unwrap() = None;
    let (first, mut taken) = (hated[0].uuid.to_string(), Vec::new());
    while taken.last().is_none_or(|state| state != "manageable") {
        let (_, message) = inbox.next().await;
        let node = &message["data"]["node"];
        if node["uuid"] == first {
            taken.push(node["provision_state"].as_str().unwrap().to_owned());
        }
    }
    sending.stop().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_gets_it() {
    let (mut inbox, mut world) = (Inbox::open().await, World::new().await);
    inbox.answers(StatusCode::TOO_MANY_REQUESTS);
    *inbox.shared.retry_after.lock().unwrap() = Some("3");
    let sending = world.start(&[&inbox.url]).await;
    world.moves(ProvisionState::Verifying).await;
    inbox.next().await;
    let (asked, mut other) = (std::time::Instant::now(), Node::new("redfish"));
    inbox.answers(StatusCode::OK);
    world.store.create_node(&other).await.unwrap();
    let event = HistoryEvent::moved(&other, ProvisionState::Verifying, None);
    world.store.update_node(&mut other, Some(&event)).await.unwrap();
    inbox.next().await;
    assert!(asked.elapsed() > Duration::from_secs(2));
    inbox.next().await;
    sending.stop().await;
}

fn name_of_url(url: &str) -> String {
    name_of(&Webhook {
        url: url.parse().unwrap(),
        secret_file: PathBuf::new(),
        events: Vec::new(),
        ca_file: None,
    })
}

#[tokio::test]
async fn of_sensors_only_the_newest_waits_and_it_takes_nobody_elses_place() {
    let mut world = World::new().await;
    let (mut inbox, gone) = (Inbox::open().await, "http://127.0.0.1:1/");
    let webhooks = [inbox.url.as_str(), gone].map(|url| Webhook {
        url: url.parse().unwrap(),
        secret_file: "secret".into(),
        events: vec!["hardware.*".into(), "node.*".into()],
        ca_file: None,
    });
    let config = Config { webhooks: webhooks.into(), timeout: 2, ..Config::default() };
    let folder = world.folder.path().to_owned();
    let sending = Notifications::start(&config, &world.store, |path| folder.join(path)).await.unwrap();
    world.moves(ProvisionState::Manageable).await;
    let (kind, node) = ("hardware.redfish.metrics.update", world.node.uuid);
    for reading in 1..=3 {
        let messages =
            sending.announcer().to_each(kind, node, |id| json!({"id": id, "reading": reading}).to_string());
        assert_eq!(messages.len(), 2);
        world.store.leave_newest("sensors", messages).await.unwrap();
    }
    let waiting = world.waiting(&name_of_url(gone)).await;
    let bodies: Vec<Value> = waiting.iter().map(|one| serde_json::from_str(&one.body).unwrap()).collect();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert_eq!(
        (&bodies[0]["type"], &bodies[1]["reading"]),
        (&json!("node.provision_state.changed"), &json!(3))
    );
    assert_eq!(bodies[1]["id"], json!(waiting[1].id));
    assert_eq!(inbox.next().await.1["type"], "node.provision_state.changed");
    let last = loop {
        let body = inbox.next().await.1;
        if body["reading"] == 3 {
            break body;
        }
    };
    assert!(last["id"].is_string());
    assert!(sending.announcer().to_each("other", node, |_| String::new()).is_empty());
    sending.stop().await;
}
