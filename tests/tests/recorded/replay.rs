//! Sending what was recorded, and comparing the answers.

use std::time::Duration;

use bessemer_tests::{
    lab::Machine,
    recorded::{Command, Difference, Exchange, Translation},
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::differences::{Known, Preparation, What};

const SETTLED_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
const VERSION: &str = "X-OpenStack-Ironic-API-Version";
/// Addresses of the recording.
const API: &str = "http://127.0.0.1:6384";
const HOST: &str = "localhost.localdomain";
const BMC: &str = "http://127.0.0.1:8002";
const MAKER: &str = "Sushy Emulator";
const SYSTEM: &str = "/redfish/v1/Systems/27946b59-9e44-4fa7-8e91-f3527a1ef094";

/// A recording that is being replayed.
pub(crate) struct Replay {
    client: Client,
    base: String,
    translation: Translation,
    known: Vec<(Known, bool)>,
    preparations: Vec<Preparation>,
    problems: Vec<String>,
}

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Option<Value>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Replay {
    /// Replays to the controller at `base`; `machine` stands for the machine of the recording.
    pub(crate) async fn new(
        base: &str,
        machine: &Machine,
        known: &[Known],
        preparations: &[Preparation],
    ) -> Self {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let conductors =
            client.get(format!("{base}/v1/conductors")).header(VERSION, "1.115").send().await.unwrap();
        let conductors: Value = conductors.json().await.unwrap();
        let host = conductors["conductors"][0]["hostname"].as_str().unwrap().to_owned();
        let bmc = machine.bmc_url().as_str().trim_end_matches('/').to_owned();
        let words = vec![
            (SYSTEM.into(), machine.system_path().to_owned()),
            (BMC.into(), bmc),
            (API.into(), base.to_owned()),
            (HOST.into(), host),
            (MAKER.into(), "Bessemer".into()),
        ];
        let known = known.iter().map(|known| (*known, false)).collect();
        Self {
            client,
            base: base.to_owned(),
            translation: Translation::new(words),
            known,
            preparations: preparations.to_vec(),
            problems: Vec::new(),
        }
    }

    /// Replays one command.
    pub(crate) async fn command(&mut self, command: &Command) {
        self.prepare(command).await;
        let mut written = false;
        for (index, exchange) in command.exchanges.iter().enumerate() {
            let next = command.exchanges.get(index + 1);
            let polled =
                exchange.method == Method::GET && next.is_some_and(|next| next.path == exchange.path);
            if !polled {
                self.exchange(command, exchange, written).await;
            }
            written |= exchange.method != Method::GET;
        }
        if let Some(last) = command.exchanges.last()
            && last.method != Method::GET
        {
            self.settle(&last.path).await;
        }
    }

    /// What is not as recorded, and what was said to differ but does not.
    pub(crate) fn end(self) -> Vec<String> {
        let stale = self.known.into_iter().filter(|(_, used)| !used);
        let stale =
            stale.map(|(known, _)| format!("the table says that this differs, but nothing does: {known:?}"));
        let unused = self.preparations.into_iter();
        let unused = unused.map(|unused| format!("no command wants to be prepared so: {unused:?}"));
        self.problems.into_iter().chain(stale).chain(unused).collect()
    }

    /// Each preparation serves the first command that it is about.
    async fn prepare(&mut self, command: &Command) {
        let (due, later) = self.preparations.drain(..).partition(|one| command.text.contains(one.command));
        self.preparations = later;
        let due: Vec<Preparation> = due;
        for (preparation, (method, path, body)) in
            due.iter().flat_map(|one| one.requests.iter().map(move |request| (one, request)))
        {
            let request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.base));
            let request = request.header(VERSION, "1.115").header("Content-Type", "application/json");
            let answer = request.body(self.translation.text(body)).send().await.unwrap();
            let status = answer.status();
            if !status.is_success() {
                let said = answer.text().await.unwrap();
                self.problems
                    .push(format!("prepared by {method} {path}: {status} {said} ({})", preparation.why));
            }
            self.settle(path).await;
        }
    }

    async fn exchange(&mut self, command: &Command, exchange: &Exchange, written: bool) {
        let known = self.known.iter().enumerate().filter(|(_, (known, _))| known.is_about(command, exchange));
        let known: Vec<(usize, What)> = known.map(|(index, (known, _))| (index, known.what)).collect();
        if let Some((index, _)) = known.iter().find(|(_, what)| *what == What::NotSent) {
            self.known[*index].1 = true;
            return;
        }
        self.translation.keep_ids(&exchange.path);
        let deadline = Instant::now() + if written { SETTLED_WITHIN } else { Duration::ZERO };
        loop {
            let answer = self.send(exchange).await;
            // What is learned from an answer that does not fit is not kept.
            let before = self.translation.clone();
            self.learn_token(exchange, &answer);
            let (problems, used) = self.judge(exchange, &answer, &known);
            if problems.is_empty() || Instant::now() >= deadline {
                used.into_iter().for_each(|index| self.known[index].1 = true);
                let head = format!(
                    "line {}: {} {} ({})",
                    exchange.line, exchange.method, exchange.path, command.text
                );
                self.problems.extend(problems.into_iter().map(|problem| format!("{head}\n    {problem}")));
                return;
            }
            self.translation = before;
            sleep(POLL).await;
        }
    }

    /// The token of an agent is shown to it once.
    fn learn_token(&mut self, exchange: &Exchange, answer: &Answer) {
        let there = exchange.begin_of("config").and_then(|config| config["agent_token"].as_str());
        let here = answer.body.as_ref().and_then(|body| body["config"]["agent_token"].as_str());
        if let (Some(there), Some(here)) = (there, here) {
            self.translation.add_word(there, here);
        }
    }

    async fn send(&self, exchange: &Exchange) -> Answer {
        let url = format!("{}{}", self.base, self.translation.text(&exchange.path));
        let body = exchange.body.as_ref().map(|body| self.translation.value(body));
        for retry in 0.. {
            let mut request = self.client.request(exchange.method.clone(), &url);
            for (name, value) in
                exchange.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"))
            {
                request = request.header(name, value);
            }
            // The second run's headers are hidden; its clients were the same.
            if exchange.headers.is_empty() && exchange.answer_header(VERSION).is_none() {
                request = request.header(VERSION, "1.115");
            }
            if let Some(body) = &body {
                request = request.json(body);
            }
            let response = request.send().await.unwrap();
            // The client tries again by itself.
            if response.status() == StatusCode::CONFLICT && exchange.status != 409 && retry < 40 {
                sleep(POLL).await;
                continue;
            }
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let text = response.text().await.unwrap();
            let body = (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap_or(Value::String(text)));
            return Answer { status, headers, body };
        }
        unreachable!()
    }

    /// Problems, and which of the known differences were met.
    fn judge(
        &mut self,
        exchange: &Exchange,
        answer: &Answer,
        known: &[(usize, What)],
    ) -> (Vec<String>, Vec<usize>) {
        let mut used = Vec::new();
        let mut problems = Vec::new();
        let status = known.iter().find_map(|(index, what)| match what {
            What::Status(status) => Some((*index, *status)),
            _ => None,
        });
        if let Some((index, status)) = status {
            used.push(index);
            if answer.status != status {
                problems
                    .push(format!("status: known to be {status}; here: {} {:?}", answer.status, answer.body));
            }
            return (problems, used);
        }
        if answer.status != exchange.status {
            problems.push(format!(
                "status: recorded: {}; here: {} {:?}",
                exchange.status, answer.status, answer.body
            ));
            return (problems, used);
        }
        let mut found = self.headers(exchange, answer);
        found.extend(self.translation.compare(&exchange.answer, answer.body.as_ref()));
        for difference in found {
            match known.iter().find(|(_, what)| what.covers(&difference)) {
                Some((index, _)) => used.push(*index),
                None => problems.push(format!("{}: {}", difference.at, difference.what)),
            }
        }
        (problems, used)
    }

    fn headers(&mut self, exchange: &Exchange, answer: &Answer) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut wrong =
            |name: &str, what: String| found.push(Difference { at: format!("header {name}"), what });
        for name in ["X-OpenStack-Ironic-API-Minimum-Version", "X-OpenStack-Ironic-API-Maximum-Version"] {
            let wanted = if name.contains("Minimum") { "1.1" } else { "1.115" };
            if answer.header(name) != Some(wanted) {
                wrong(name, format!("recorded: {wanted}; here: {:?}", answer.header(name)));
            }
        }
        let used = exchange.answer_header(VERSION);
        if used.is_some() && answer.header(VERSION) != used {
            wrong(VERSION, format!("recorded: {used:?}; here: {:?}", answer.header(VERSION)));
        }
        if !answer.header("openstack-request-id").is_some_and(|id| id.starts_with("req-")) {
            wrong("openstack-request-id", "there is none".into());
        }
        let json = answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        if answer.body.is_some() && !json {
            wrong("Content-Type", format!("not JSON: {:?}", answer.header("content-type")));
        }
        let location =
            |text: Option<&str>| text.map(|text| bessemer_tests::recorded::Expected::Exactly(json!(text)));
        match (location(exchange.answer_header("Location")), answer.header("Location")) {
            (None, None) => {}
            (Some(wanted), Some(here)) => {
                let differences = self.translation.compare(&wanted, Some(&json!(here)));
                found.extend(
                    differences.into_iter().map(|one| Difference { at: "header Location".into(), ..one }),
                );
            }
            (wanted, here) => {
                let what = format!("recorded: {wanted:?}; here: {here:?}");
                found.push(Difference { at: "header Location".into(), what });
            }
        }
        found
    }

    /// Waits until a node that was told to move has arrived; the recorded clients were slower than any move.
    async fn settle(&self, path: &str) {
        let path = self.translation.text(path);
        let Some((node, _)) = path.strip_prefix("/v1/nodes/").and_then(|rest| rest.split_once("/states"))
        else {
            return;
        };
        let deadline = Instant::now() + SETTLED_WITHIN;
        while Instant::now() < deadline {
            let url = format!("{}/v1/nodes/{node}", self.base);
            let node = self.client.get(url).header(VERSION, "1.115").send().await.unwrap();
            let node: Value = node.json().await.unwrap();
            let state = node["provision_state"].as_str().unwrap_or_default();
            let rests = node["target_provision_state"].is_null()
                || state.ends_with("failed")
                || state.ends_with("hold")
                || state == "wait call-back";
            if rests && node["target_power_state"].is_null() && node["reservation"].is_null() {
                return;
            }
            sleep(POLL).await;
        }
    }
}
