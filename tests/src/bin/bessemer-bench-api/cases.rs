//! What is measured of a subject.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    load::{Connection, Measured, load, request},
    subject::Subject,
};

/// Connections of the cases with many clients.
const CLIENTS: usize = 16;
const MOVED_WITHIN: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(250);

/// A kind of request, and what came of it.
#[derive(Serialize)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    pub(crate) measured: Measured,
}

/// How long nodes took from a verb to its end.
#[derive(Serialize)]
pub(crate) struct Stage {
    pub(crate) verb: &'static str,
    pub(crate) state: &'static str,
    pub(crate) nodes: usize,
    /// Until the last verb was answered.
    pub(crate) accepted_seconds: f64,
    pub(crate) seconds: f64,
}

/// The requests that are measured one after the other.
pub(crate) async fn requests(subject: &Subject, nodes: &[String], duration: Duration) -> Result<Vec<Case>> {
    let get = |path: &str| vec![request("GET", path, subject.address, "")];
    let shows =
        nodes.iter().map(|node| request("GET", &format!("/v1/nodes/{node}"), subject.address, "")).collect();
    let patch = |(number, node): (usize, &String)| {
        let body = json!([{ "op": "add", "path": "/extra/seen", "value": number }]).to_string();
        request("PATCH", &format!("/v1/nodes/{node}"), subject.address, &body)
    };
    let patches = nodes.iter().enumerate().map(patch).collect();
    let all: Vec<(&str, usize, Vec<Vec<u8>>)> = vec![
        ("node show", CLIENTS, shows),
        ("node list, first page of 1000", 1, get("/v1/nodes")),
        ("node list, page of 100", 1, get("/v1/nodes?limit=100")),
        ("node list --long, first page of 1000", 1, get("/v1/nodes?detail=True")),
        (
            "node list by resource class and state",
            1,
            get("/v1/nodes?resource_class=gold&provision_state=enroll"),
        ),
        (
            "node list by instance",
            CLIENTS,
            get("/v1/nodes?instance_uuid=9ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ),
        ("PATCH of a node", CLIENTS, patches),
    ];
    let mut cases = Vec::new();
    for (name, clients, requests) in all {
        let measured = load(subject.address, &requests, clients, duration).await?;
        cases.push(Case { name, clients, measured });
    }
    Ok(cases)
}

/// All these nodes through a life at once: each verb is sent to all, then all are waited for.
pub(crate) async fn lives(subject: &Subject, nodes: &[String]) -> Result<Vec<Stage>> {
    let verbs =
        [("manage", "manageable"), ("provide", "available"), ("active", "active"), ("deleted", "available")];
    let mut stages = Vec::new();
    for (verb, state) in verbs {
        let started = Instant::now();
        tell(subject, nodes, verb).await?;
        let accepted_seconds = started.elapsed().as_secs_f64();
        arrive(subject, nodes, state).await?;
        let (nodes, seconds) = (nodes.len(), started.elapsed().as_secs_f64());
        stages.push(Stage { verb, state, nodes, accepted_seconds, seconds });
    }
    Ok(stages)
}

async fn tell(subject: &Subject, nodes: &[String], verb: &str) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for part in nodes.chunks(nodes.len().div_ceil(CLIENTS)) {
        let (part, address, verb) = (part.to_vec(), subject.address, verb.to_owned());
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for node in part {
                let path = format!("/v1/nodes/{node}/states/provision");
                let request = request("PUT", &path, address, &json!({ "target": verb }).to_string());
                loop {
                    match connection.ask(&request).await? {
                        (202, _) => break,
                        // Busy: as clients do, again.
                        (409 | 503, _) => tokio::time::sleep(POLL).await,
                        (status, body) => bail!("{path}: {status}: {}", String::from_utf8_lossy(body)),
                    }
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn arrive(subject: &Subject, nodes: &[String], state: &str) -> Result<()> {
    let deadline = Instant::now() + MOVED_WITHIN;
    let path = format!("/v1/nodes?provision_state={state}&fields=uuid,target_provision_state&limit=1000");
    loop {
        let there = subject.get(&path).await?;
        let there = there.get("nodes").and_then(Value::as_array).map_or(0, |all| {
            all.iter().filter(|node| node.get("target_provision_state").is_some_and(Value::is_null)).count()
        });
        if there >= nodes.len() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{there} of {} nodes are {state} after {} s", nodes.len(), MOVED_WITHIN.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}
