//! A console from its WebSocket to a BMC.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};
use tokio_util::sync::CancellationToken;

use super::Controller;
use crate::{api, bmc::ipmi::tests::bmc::Bmc};

type Socket = WebSocketStream<TcpStream>;

/// A controller at a real port, and a node with a console that says what is typed, in capitals.
async fn world() -> (Controller, std::net::SocketAddr, Bmc, CancellationToken) {
    world_of(json!({"driver": "ipmi", "driver_info": {
        "ipmi_address": "127.0.0.1", "ipmi_username": "admin", "ipmi_password": "secret",
    }}))
    .await
}

/// The same with a node of any driver.
async fn world_of(mut node: Value) -> (Controller, std::net::SocketAddr, Bmc, CancellationToken) {
    let controller = Controller::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(api::serve(listener, controller.router(), None, 100, stop.clone()));
    let bmc = Bmc::modern().await;
    node["name"] = "n".into();
    node["driver_info"]["ipmi_port"] = bmc.address.port().into();
    let made = controller.send(http::Method::POST, "/v1/nodes", node).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    (controller, address, bmc, stop)
}

const CONSOLE: &str = "/v1/nodes/n/states/console";

async fn url(controller: &Controller) -> String {
    let info = &controller.get(CONSOLE).await.body["console_info"];
    assert_eq!(info["type"], "websocket");
    info["url"].as_str().unwrap().to_owned()
}

async fn open(address: std::net::SocketAddr, url: &str, origin: Option<&str>) -> Result<Socket, StatusCode> {
    let mut request = url.replace("127.0.0.1:6384", &address.to_string()).into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    let tcp = TcpStream::connect(address).await.unwrap();
    match client_async(request, tcp).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status()),
        Err(error) => panic!("{error}"),
    }
}

/// The next message of that kind.
async fn message(socket: &mut Socket, is_it: impl Fn(&Message) -> bool) -> Message {
    let found = async {
        loop {
            let message = socket.next().await.unwrap().unwrap();
            if is_it(&message) {
                return message;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap()
}

fn says(message: &Message, status: &str) -> bool {
    let Message::Text(text) = message else { return false };
    serde_json::from_str::<Value>(text).unwrap()["status"] == status
}

#[tokio::test]
async fn what_is_typed_reaches_the_bmc_and_its_answer_comes_back() {
    let (controller, address, _bmc, stop) = world().await;
    assert_eq!(controller.put(CONSOLE, json!({"enabled": true})).await.status, StatusCode::ACCEPTED);
    let mut socket = open(address, &url(&controller).await, None).await.unwrap();
    message(&mut socket, |message| says(message, "connected")).await;
    socket.send(Message::Binary("hello".into())).await.unwrap();
    let answer = message(&mut socket, Message::is_binary).await;
    assert_eq!(answer, Message::Binary("HELLO".into()));
    let mut second = open(address, &url(&controller).await, None).await.unwrap();
    assert_eq!(message(&mut second, Message::is_binary).await, Message::Binary("HELLO".into()));
    second.send(Message::Text("me too".into())).await.unwrap();
    message(&mut second, |message| says(message, "refused")).await;

    assert_eq!(controller.put(CONSOLE, json!({"enabled": false})).await.status, StatusCode::ACCEPTED);
    message(&mut socket, |message| says(message, "closed")).await;
    message(&mut second, Message::is_close).await;
    let off = json!({"console_enabled": false, "console_info": null});
    assert_eq!(controller.get(CONSOLE).await.body, off);
    stop.cancel();
}

#[tokio::test]
async fn only_who_was_given_a_url_gets_in_and_only_once() {
    let (controller, address, _bmc, _stop) = world().await;
    controller.put(CONSOLE, json!({"enabled": true})).await;
    let good = url(&controller).await;
    let other_site = open(address, &good, Some("http://evil.example")).await;
    assert_eq!(other_site.err(), Some(StatusCode::FORBIDDEN));
    open(address, &good, Some(&format!("http://{address}"))).await.unwrap();
    for bad in [
        good.clone(),
        good.split('?').next().unwrap().to_owned(),
        "ws://127.0.0.1:6384/v1/nodes/no-such-node/console?ticket=x".to_owned(),
    ] {
        assert_eq!(open(address, &bad, None).await.err(), Some(StatusCode::FORBIDDEN), "{bad}");
    }
    // Not a WebSocket: the ticket is not spent.
    let again = url(&controller).await;
    let path = again.strip_prefix("ws://127.0.0.1:6384").unwrap();
    assert_eq!(controller.get(path).await.status, StatusCode::BAD_REQUEST);
    open(address, &again, None).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_removed_has_no_console() {
    let (controller, address, _bmc, _stop) = world().await;
    controller.put(CONSOLE, json!({"enabled": true})).await;
    let mut socket = open(address, &url(&controller).await, None).await.unwrap();
    message(&mut socket, |message| says(message, "connected")).await;
    let gone = controller.send(http::Method::DELETE, "/v1/nodes/n", Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{gone:?}");
    message(&mut socket, |message| says(message, "closed")).await;
}

#[tokio::test]
async fn a_console_follows_its_node_to_another_bmc_and_can_always_be_turned_off() {
    let (controller, address, first, _stop) = world().await;
    controller.put(CONSOLE, json!({"enabled": true})).await;
    let mut socket = open(address, &url(&controller).await, None).await.unwrap();
    message(&mut socket, |message| says(message, "connected")).await;
    let second = Bmc::modern().await;
    let moved = json!([{"op": "replace", "path": "/driver_info/ipmi_port", "value": second.address.port()}]);
    let moved = controller.send(http::Method::PATCH, "/v1/nodes/n", moved).await;
    assert_eq!(moved.status, StatusCode::OK, "{moved:?}");
    message(&mut socket, |message| says(message, "connected")).await;
    socket.send(Message::Binary("hello".into())).await.unwrap();
    message(&mut socket, Message::is_binary).await;
    assert_eq!((first.typed(), second.typed()), (String::new(), "hello".to_owned()));

    let none = json!([{"op": "replace", "path": "/console_interface", "value": "no-console"}]);
    let refused = controller.send(http::Method::PATCH, "/v1/nodes/n", none.clone()).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.fault().contains("while the console is enabled"), "{}", refused.fault());
    assert_eq!(controller.put(CONSOLE, json!({"enabled": false})).await.status, StatusCode::ACCEPTED);
    let changed = controller.send(http::Method::PATCH, "/v1/nodes/n", none).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
}

#[tokio::test]
async fn a_warm_reset_without_an_answer_is_a_success() {
    let (controller, _address, bmc, _stop) = world().await;
    let call = "/v1/nodes/n/vendor_passthru?method=bmc_reset";
    bmc.dies_at_reset();
    let asked = controller.send(http::Method::POST, call, json!({"warm": true})).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
    let at_rest = async {
        loop {
            let node = controller.get("/v1/nodes/n").await.body;
            if node["reservation"].is_null() {
                return node;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let node = tokio::time::timeout(Duration::from_secs(60), at_rest).await.unwrap();
    assert_eq!(node["last_error"], Value::Null, "{node}");
}

#[tokio::test]
async fn consoles_count_as_connections_of_their_clients() {
    let (controller, address, _bmc, _stop) = world().await;
    controller.put(CONSOLE, json!({"enabled": true})).await;
    let mut held = Vec::new();
    // The share of one client on this machine is three quarters of a hundred; watchers are eight at most.
    for _ in 0..8 {
        held.push(open(address, &url(&controller).await, None).await.unwrap());
    }
    let mut idle = Vec::new();
    let is_refused = async {
        loop {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            let asked = async {
                tcp.write_all(b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n").await?;
                tcp.read_u8().await
            };
            match asked.await {
                Ok(_) => idle.push(tcp),
                Err(_) => return idle.len(),
            }
        }
    };
    let most = tokio::time::timeout(Duration::from_secs(60), is_refused).await.unwrap();
    assert_eq!(most, 75 - 8);
    drop(held);
}

#[tokio::test]
async fn redfish_and_ilo_have_serial_over_lan_at_the_same_address() {
    for node in [
        json!({"driver": "redfish", "console_interface": "ipmitool-socat", "driver_info": {
            "redfish_address": "https://127.0.0.1:1", "redfish_username": "admin", "redfish_password": "secret"}}),
        json!({"driver": "ilo", "console_interface": "ilo", "driver_info": {
            "ilo_address": "127.0.0.1", "client_port": 1, "ilo_username": "admin", "ilo_password": "secret"}}),
    ] {
        let (controller, address, bmc, _stop) = world_of(node).await;
        let on = controller.put(CONSOLE, json!({"enabled": true})).await;
        assert_eq!(on.status, StatusCode::ACCEPTED, "{on:?}");
        let mut socket = open(address, &url(&controller).await, None).await.unwrap();
        message(&mut socket, |message| says(message, "connected")).await;
        socket.send(Message::Binary("hello".into())).await.unwrap();
        assert_eq!(message(&mut socket, Message::is_binary).await, Message::Binary("HELLO".into()));
        assert_eq!(bmc.typed(), "hello");
    }
}
