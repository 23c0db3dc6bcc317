//! The command line against the real router on a loopback port.

use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::{
    api::tests::Controller,
    node::{Node, ProvisionState},
};

/// Serves a controller and says where.
async fn serve(controller: &Controller) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = controller.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Runs a command line; the error is what standard error would say.
async fn run_at(url: &str, line: &[&str]) -> Result<(), String> {
    let arguments = Arguments::try_parse_from([&["bessemer"], line].concat()).map_err(|e| e.to_string())?;
    let client = Client::new(url, None).unwrap();
    let output = Output::new(Format::Json);
    let ended = match arguments.command {
        Command::Node(command) => command.run(&client, &output).await,
        Command::Port(command) => command.run(&client, &output).await,
        Command::Console(console) => console.run(&client, &output).await,
        Command::Deploy(deploy) => deploy.run(&client, &output).await,
        Command::Serve(_) | Command::Config(_) | Command::Image(_) | Command::Bmc(_) => unreachable!(),
    };
    ended.map_err(|error| chain(&error))
}

async fn edit(controller: &Controller, change: impl FnOnce(&mut Node)) {
    let mut node = controller.state.store.node("n").await.unwrap();
    change(&mut node);
    controller.state.store.update_node(&mut node, None).await.unwrap();
}

const SHA256: &str = "67be4210ef12e818ed319fbc57d839a5fcbf0a1bc4c2fd55cdd54dab2e77a104";

#[test]
fn the_command_line_is_consistent() {
    command_line().debug_assert();
}

#[test]
fn only_what_reaches_a_controller_offers_options_for_it() {
    let help = |line: &[&str]| {
        let line = [&["bessemer"], line, &["--help"]].concat();
        command_line().try_get_matches_from(line).unwrap_err().to_string()
    };
    for line in [&["image", "manifest"][..], &["image"], &["serve"], &["config", "check"]] {
        let shown = help(line);
        assert!(!shown.contains("--url") && !shown.contains("--output"), "{line:?}: {shown}");
    }
    for line in [&["node", "list"][..], &["deploy"], &["port"], &[]] {
        assert!(help(line).contains("--url"), "{line:?}");
    }
    let url = |line: &[&str]| {
        let matches = command_line().try_get_matches_from([&["bessemer"], line].concat());
        matches.map(|matches| Arguments::from_arg_matches(&matches).unwrap().remote.url)
    };
    assert_eq!(url(&["node", "list", "--url", "http://h"]).unwrap(), "http://h");
    assert_eq!(url(&["--url", "http://h", "node", "list"]).unwrap(), "http://h");
    assert!(url(&["--url", "http://h", "image", "manifest", "x"]).is_ok());
    assert!(url(&["image", "manifest", "x", "--url", "http://h"]).is_err());
}

#[test]
fn the_password_of_the_api_is_handed_to_no_bmc() {
    let line = ["--user", "ann", "--password-file", "api", "bmc", "probe", "10.0.0.5", "--username", "admin"];
    let shown = format!("{:?}", Arguments::try_parse_from([&["bessemer"], &line[..]].concat()).unwrap());
    assert!(shown.contains("bmc_password_file: None"), "{shown}");
    let line =
        ["bmc", "record", "10.0.0.5", "--out", "x", "--username", "admin", "--bmc-password-file", "theirs"];
    let shown = format!("{:?}", Arguments::try_parse_from([&["bessemer"], &line[..]].concat()).unwrap());
    assert!(shown.contains("bmc_password_file: Some(\"theirs\")"), "{shown}");
}

#[test]
fn wrong_command_lines_are_refused() {
    let parse = |line: &[&str]| Arguments::try_parse_from([&["bessemer"], line].concat());
    let deploy = ["deploy", "n", "--image", "http://h/i.raw"];
    let with = |more: &[&'static str]| parse(&[&deploy[..], more].concat());
    assert!(with(&["--sha256", SHA256, "--watch"]).is_ok());
    assert!(with(&["--checksum-url", "http://h/SHA256SUMS", "--root-device", "serial=S1"]).is_ok());
    assert!(with(&["--sha256", SHA256, "--connections", "8", "--verify-readback"]).is_ok());
    for count in ["0", "9", "x"] {
        assert!(with(&["--sha256", SHA256, "--connections", count]).is_err(), "{count}");
    }
    for more in [&[][..], &["--sha256", "abc"], &["--sha256", SHA256, "--checksum-url", "http://h/S"]] {
        assert!(with(more).is_err(), "{more:?}");
    }
    for line in [&["node", "power", "sideways", "n"][..], &["node"], &["node", "set", "n", "--extra", "x"]] {
        assert!(parse(line).is_err(), "{line:?}");
    }
}

#[tokio::test]
async fn nodes_and_ports_from_create_to_delete() {
    let controller = Controller::start().await;
    let url = serve(&controller).await;
    let info = "redfish_address=http://127.0.0.1:1";
    for line in [
        &[
            "node",
            "create",
            "--name",
            "n",
            "--driver-info",
            info,
            "--property",
            "capabilities=boot_mode:uefi",
        ][..],
        &["node", "set", "n", "--driver-info", "redfish_password=123456", "--extra", "a/b={\"c\": [1]}"],
        &["port", "create", "52:54:00:00:00:01", "--node", "n"],
    ] {
        let ended = run_at(&url, line).await;
        // A slash in a key is refused before anything is sent.
        assert_eq!(ended.is_err(), line.contains(&"a/b={\"c\": [1]}"), "{line:?}: {ended:?}");
    }
    let line = ["node", "set", "n", "--driver-info", "redfish_password=123456", "--extra", "a={\"c\": [1]}"];
    run_at(&url, &line).await.unwrap();
    let node = controller.state.store.node("n").await.unwrap();
    assert_eq!(node.driver_info["redfish_password"], "123456");
    assert_eq!(node.extra["a"], json!({"c": [1]}));
    assert_eq!(node.properties["capabilities"], "boot_mode:uefi");
    for line in [
        &["node", "list"][..],
        &["node", "list", "--provision-state", "enroll"],
        &["node", "show", "n"],
        &["node", "history", "n"],
        &["node", "logs", "n"],
        &["port", "list", "--node", "n"],
        &["node", "delete", "n"],
    ] {
        run_at(&url, line).await.unwrap();
    }
    assert_eq!(run_at(&url, &["node", "show", "n"]).await.unwrap_err(), "Node n could not be found.");
}

#[tokio::test]
async fn an_unreachable_controller_is_a_plain_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let said = run_at(&url, &["node", "list"]).await.unwrap_err();
    assert!(
        said.starts_with(&format!("the controller at {url}/ cannot be reached (is `bessemer serve`")),
        "{said}"
    );
}

#[tokio::test]
async fn something_that_is_no_controller_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let page = axum::Router::new().fallback(|| async { "<html>hello</html>" });
    tokio::spawn(async move { axum::serve(listener, page).await });
    let said = run_at(&url, &["node", "list"]).await.unwrap_err();
    assert!(said.contains("is the URL right?"), "{said}");
}

#[tokio::test]
async fn waiting_ends_with_the_reason_of_the_failure() {
    let controller = Controller::start().await;
    let url = serve(&controller).await;
    controller.node("n", ProvisionState::Enroll).await;
    let said = run_at(&url, &["node", "manage", "n", "--wait"]).await.unwrap_err();
    assert!(said.starts_with("node n is in state \"enroll\": "), "{said}");
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

#[tokio::test]
async fn waiting_ends_when_the_state_is_reached_or_time_is_up() {
    let controller = Controller::start().await;
    let url = serve(&controller).await;
    controller.node("n", ProvisionState::Enroll).await;
    let client = Client::new(&url, None).unwrap();
    let until = async |state, seconds| {
        let timeout = std::time::Duration::from_secs(seconds);
        wait::until(&client, "n", state, timeout, |_| Ok(())).await.map_err(|error| error.to_string())
    };
    assert_eq!(until(ProvisionState::Enroll, 0).await.unwrap()["name"], "n");
    // Else it would find that nothing was begun in the state that is set by hand.
    controller.state.engine.stop().await;
    edit(&controller, |node| {
        node.provision_state = ProvisionState::WaitCallBack;
        node.wait_until = Some(chrono::Utc::now() + chrono::TimeDelta::hours(1));
    })
    .await;
    let said = until(ProvisionState::Active, 1).await.unwrap_err();
    assert!(said.contains("is not active after 1 s") && said.contains("wait call-back"), "{said}");
}

#[tokio::test]
async fn a_deploy_that_cannot_start_says_why() {
    let controller = Controller::start().await;
    let url = serve(&controller).await;
    controller.node("n", ProvisionState::Manageable).await;
    let deploy = ["deploy", "n", "--image", "http://127.0.0.1:1/i.raw", "--sha256", SHA256, "--watch"];
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "Bearer k3y\n").unwrap();
    let how = ["--connections", "2", "--verify-readback", "--authorization-file", key.to_str().unwrap()];
    let said = run_at(&url, &[&deploy[..], &how].concat()).await.unwrap_err();
    assert!(said.contains("\"active\" can not be performed") && said.contains("\"manageable\""), "{said}");
    let node = controller.state.store.node("n").await.unwrap();
    assert_eq!(node.instance_info["image_os_hash_value"], SHA256);
    assert_eq!(node.instance_info["image_os_hash_algo"], "sha256");
    assert_eq!(node.instance_info["image_connections"], 2);
    assert_eq!(node.instance_info["image_verify_readback"], true);
    assert_eq!(node.instance_info["image_request_authorization_secret"], "Bearer k3y");
    // The next deploy has an image of its own: nothing of this one is left.
    run_at(&url, &deploy).await.unwrap_err();
    let node = controller.state.store.node("n").await.unwrap();
    let kept: Vec<_> = node.instance_info.keys().map(String::as_str).collect();
    assert_eq!(kept, ["image_os_hash_algo", "image_os_hash_value", "image_source"]);
    std::fs::remove_file(&key).unwrap();
    let said = run_at(&url, &[&deploy[..], &how].concat()).await.unwrap_err();
    assert!(said.starts_with("could not read ") && said.contains("key"), "{said}");
}

#[tokio::test]
async fn a_watched_deploy_survives_a_silent_controller_and_ends_with_last_error() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::DeployFailed).await;
    edit(&controller, |node| node.last_error = Some("the image\u{1b}[2J is broken".into())).await;
    // Nobody listens at first: the controller is being restarted.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let router = controller.router();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let listener = TcpListener::bind(address).await.unwrap();
        axum::serve(listener, router).await
    });
    let client = Client::new(&format!("http://{address}"), None).unwrap();
    let mut silences = 0;
    let timeout = std::time::Duration::from_secs(60);
    let ended = wait::until(&client, "n", ProvisionState::Active, timeout, |sight| {
        silences += u32::from(matches!(sight, wait::Sight::Silence(_)));
        Ok(())
    })
    .await;
    assert_eq!(
        ended.unwrap_err().to_string(),
        "node n is in state \"deploy failed\": the image\u{fffd}[2J is broken"
    );
    assert!(silences > 0);
}
