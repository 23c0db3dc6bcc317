//! The real controller, killed again and again while fake nodes live their whole lives: each arrives, and nothing
//! that was answered with success is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bessemer_tests::harness::{Api, Controller, HarnessError};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// Nodes that live side by side, so that each kill hits many different moments.
const NODES: usize = 16;
/// Longest life between two kills.
const MOST_MILLISECONDS: u64 = 250;
const SEED: u64 = 4;
const WITHIN: Duration = Duration::from_secs(80);

/// What is asked for, and where it ends.
fn lifecycle() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"target": "manage"}), "manageable"),
        (json!({"target": "inspect"}), "manageable"),
        (json!({"target": "adopt"}), "active"),
        (json!({"target": "rescue", "rescue_password": "pa55"}), "rescue"),
        (json!({"target": "unrescue"}), "active"),
        (json!({"target": "deleted"}), "available"),
        (json!({"target": "manage"}), "manageable"),
        (json!({"target": "provide"}), "available"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_arrive_however_often_the_controller_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let deploy_iso = folder.path().join("deploy.iso");
    std::fs::write(&deploy_iso, [0; 2048]).unwrap();
    let quick = "[conductor]\ncheck_provision_state_interval = 1\nrestart_grace = 1\n";
    let mut controller = Controller::start(folder.path(), &deploy_iso, quick).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut lives = JoinSet::new();
    for number in 0..NODES {
        let (api, is_over) = (controller.api().at("1.115"), Arc::clone(&is_over));
        lives.spawn(async move { live(&api, number, &is_over).await });
    }
    let mut random = StdRng::seed_from_u64(SEED);
    let deadline = Instant::now() + WITHIN;
    let mut kills = 0;
    while !lives.is_empty() {
        let life = Duration::from_millis(random.random_range(0..MOST_MILLISECONDS));
        tokio::select! {
            ended = lives.join_next() => if let Some(ended) = ended {
                ended.unwrap();
                continue;
            },
            () = sleep(life) => {}
        }
        // At last it may live.
        if Instant::now() < deadline - Duration::from_secs(30) {
            controller.restart().await.unwrap();
            kills += 1;
        }
        if Instant::now() >= deadline {
            is_over.store(true, Ordering::SeqCst);
        }
    }
    assert!(kills >= 10, "only {kills} kills: nothing was proved");
    controller.stop().await.unwrap();
}

async fn live(api: &Api, number: usize, is_over: &AtomicBool) {
    let name = format!("node-{number}");
    let body = json!({
        "driver": "fake-hardware", "name": name,
        "driver_info": {
            "fake_power_delay": 0.6, "fake_inspect_delay": 1.0, "fake_rescue_delay": 1.0,
        },
    });
    // Without an answer it may be there or not; if it is, the name is taken.
    loop {
        assert!(!is_over.load(Ordering::SeqCst), "{name} was never made");
        match api.call(Method::POST, "/v1/nodes", Some(body.clone())).await {
            Ok(_) | Err(HarnessError::Refused { status: 409, .. }) => break,
            Err(HarnessError::Request { .. }) => sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{name}: {error}"),
        }
    }
    for (wanted, target) in lifecycle() {
        let before = moves(api, &name, is_over).await;
        ask(api, &name, &wanted, before, is_over).await;
        loop {
            let node = read(api, &format!("/v1/nodes/{name}"), is_over).await;
            let state = node["provision_state"].as_str().unwrap_or_default();
            assert!(!state.ends_with("failed") && state != "error", "{name}, {wanted}: {node}");
            if state == target && node["reservation"].is_null() && moves(api, &name, is_over).await > before {
                break;
            }
            sleep(Duration::from_millis(30)).await;
        }
    }
}

/// Asks until it was taken. What was answered with success must be in the history from then on.
async fn ask(api: &Api, name: &str, wanted: &Value, before: usize, is_over: &AtomicBool) {
    loop {
        assert!(!is_over.load(Ordering::SeqCst), "{name}: {wanted} was never taken");
        match api.provision(name, wanted.clone()).await {
            Ok(()) => {
                assert!(
                    moves(api, name, is_over).await > before,
                    "{name}: {wanted} was answered and is lost"
                );
                return;
            }
            // Nobody knows whether it was taken before the kill.
            Err(HarnessError::Request { .. }) => {
                if moves(api, name, is_over).await > before {
                    return;
                }
            }
            Err(HarnessError::Refused { status: 409, .. }) => {}
            Err(error) => panic!("{name}, {wanted}: {error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// How often the node changed its state, as its history tells.
async fn moves(api: &Api, name: &str, is_over: &AtomicBool) -> usize {
    let history = read(api, &format!("/v1/nodes/{name}/history"), is_over).await;
    let events = history["history"].as_array().cloned().unwrap_or_default();
    let is_move =
        |event: &&Value| event["event"].as_str().unwrap_or_default().starts_with("Provision state changed");
    events.iter().filter(is_move).count()
}

/// Reads until there is an answer.
async fn read(api: &Api, path: &str, is_over: &AtomicBool) -> Value {
    loop {
        assert!(!is_over.load(Ordering::SeqCst), "{path}: the test takes too long");
        match api.get(path).await {
            Ok(body) => return body,
            Err(HarnessError::Request { .. }) => sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{path}: {error}"),
        }
    }
}
