use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::Notify;

use super::*;
use crate::{
    link::clock::Clock,
    steps::{StepContext, StepError},
};

/// Does what its arguments say, and counts how often.
#[derive(Clone, Default)]
struct Puppet {
    runs: Arc<AtomicUsize>,
    go: Arc<Notify>,
}

#[async_trait]
impl Step for Puppet {
    fn name(&self) -> &'static str {
        "puppet"
    }

    async fn run(&self, arguments: Value, context: StepContext) -> Result<Value, StepError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        match arguments["do"].as_str().unwrap_or("succeed") {
            "succeed" => Ok(json!({"answer": 42})),
            "fail" => Err(anyhow::anyhow!("no medium").context("reading /dev/sr0").into()),
            "panic" => panic!("lost my head"),
            "wait" => {
                tokio::select! {
                    () = self.go.notified() => Ok(json!({})),
                    () = context.cancel.cancelled() => Err(StepError::Cancelled),
                }
            }
            "ignore" => {
                self.go.notified().await;
                Ok(json!({}))
            }
            "progress" => {
                for n in 0..1000_u64 {
                    context.report.progress("writing", n, 1000);
                }
                context.report.progress("flushing", 1000, 1000);
                context.report.warning("slow disk".into());
                Ok(json!({}))
            }
            "huge" => Ok(Value::String("x".repeat(MAX_RESULT_BYTES))),
            _ => Err(crate::steps::arguments::<u8>(json!("x")).unwrap_err()),
        }
    }
}

struct PowerStep;

#[async_trait]
impl Step for PowerStep {
    fn name(&self) -> &'static str {
        names::POWER_OFF
    }
    async fn run(&self, _: Value, _: StepContext) -> Result<Value, StepError> {
        Ok(json!({}))
    }
}

fn make() -> (Runner, Puppet, Report) {
    let puppet = Puppet::default();
    let report = Report::new(Clock::new());
    let registry = Registry::default().with(puppet.clone()).with(PowerStep);
    let runner = Runner::with_grace(
        registry,
        Roots::default(),
        report.clone(),
        CancellationToken::new(),
        Duration::from_millis(200),
    );
    (runner, puppet, report)
}

fn command(id: &str, what: &str) -> RunStep {
    RunStep {
        step_id: id.into(),
        name: "puppet".into(),
        attempt: 1,
        arguments_json: json!({ "do": what }).to_string(),
        deadline_seconds: 60,
    }
}

async fn result(runner: &Runner, id: &str) -> StepFinished {
    for _ in 0..200 {
        if let Some(found) = runner.unacknowledged().into_iter().find(|result| result.step_id == id) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no result of {id}");
}

#[tokio::test]
async fn a_step_runs_once_however_often_it_is_sent() {
    let (runner, puppet, _) = make();
    assert_eq!(runner.run(command("1", "wait")), None);
    assert!(matches!(runner.run(command("1", "wait")), Some(Event::StepStarted(_))));
    assert_eq!(runner.running_step_id(), "1");
    puppet.go.notify_one();
    let finished = result(&runner, "1").await;
    assert_eq!(finished.status(), StepStatus::Succeeded);
    assert_eq!(runner.run(command("1", "wait")), Some(Event::StepFinished(finished.clone())));
    runner.acknowledge("1");
    assert!(runner.unacknowledged().is_empty());
    assert_eq!(runner.run(command("1", "wait")), Some(Event::StepFinished(finished.clone())));
    assert_eq!(runner.query("1"), Event::StepFinished(finished));
    assert!(matches!(runner.query("2"), Event::StepUnknown(_)));
    assert_eq!(puppet.runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_second_step_is_refused_while_busy() {
    let (runner, puppet, _) = make();
    assert_eq!(runner.run(command("1", "wait")), None);
    assert_eq!(runner.run(command("2", "succeed")), None);
    let refused = result(&runner, "2").await;
    assert_eq!(refused.status(), StepStatus::Failed);
    assert_eq!(refused.error, "busy with puppet 1");
    puppet.go.notify_one();
    assert_eq!(result(&runner, "1").await.status(), StepStatus::Succeeded);
    assert_eq!(runner.run(command("3", "succeed")), None);
    assert_eq!(result(&runner, "3").await.result_json, r#"{"answer":42}"#);
}

#[tokio::test]
async fn failures_say_the_whole_chain_once() {
    let (runner, ..) = make();
    assert_eq!(runner.run(command("1", "fail")), None);
    let finished = result(&runner, "1").await;
    assert_eq!(
        (finished.status(), finished.error.as_str()),
        (StepStatus::Failed, "reading /dev/sr0: no medium")
    );
}

#[tokio::test]
async fn a_panic_is_a_failed_step_and_the_runner_lives() {
    let (runner, ..) = make();
    assert_eq!(runner.run(command("1", "panic")), None);
    let finished = result(&runner, "1").await;
    assert_eq!(finished.status(), StepStatus::Failed);
    assert!(finished.error.contains("lost my head"), "{}", finished.error);
    assert_eq!(runner.run(command("2", "succeed")), None);
    assert_eq!(result(&runner, "2").await.status(), StepStatus::Succeeded);
}

#[tokio::test]
async fn cancel_and_deadline_have_their_own_status() {
    let (runner, ..) = make();
    assert_eq!(runner.run(command("1", "wait")), None);
    runner.cancel("1");
    assert_eq!(result(&runner, "1").await.status(), StepStatus::Cancelled);
    let late = RunStep { deadline_seconds: 1, ..command("2", "wait") };
    assert_eq!(runner.run(late), None);
    let finished = result(&runner, "2").await;
    assert_eq!(finished.status(), StepStatus::TimedOut);
    assert!(finished.error.contains("deadline of 1 s"), "{}", finished.error);
}

#[tokio::test]
async fn a_step_that_ignores_cancel_is_reported_and_blocks_all_but_power_off() {
    let (runner, puppet, _) = make();
    assert_eq!(runner.run(command("1", "ignore")), None);
    runner.cancel("1");
    let finished = result(&runner, "1").await;
    assert_eq!(finished.status(), StepStatus::Cancelled);
    assert!(finished.error.contains("did not stop"), "{}", finished.error);
    assert_eq!(runner.run(command("2", "succeed")), None);
    assert!(result(&runner, "2").await.error.contains("busy with puppet 1"));
    let off = RunStep { name: names::POWER_OFF.into(), ..command("3", "") };
    assert_eq!(runner.run(off), None);
    assert_eq!(result(&runner, "3").await.status(), StepStatus::Succeeded);
    puppet.go.notify_one();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(runner.run(command("4", "succeed")), None);
    assert_eq!(result(&runner, "4").await.status(), StepStatus::Succeeded);
}

#[tokio::test]
async fn what_cannot_run_is_answered() {
    let (runner, puppet, _) = make();
    let unknown = RunStep { name: "levitate".into(), ..command("1", "") };
    assert_eq!(runner.run(unknown), None);
    assert_eq!(result(&runner, "1").await.status(), StepStatus::UnknownStep);
    let not_json = RunStep { arguments_json: "{".into(), ..command("2", "") };
    assert_eq!(runner.run(not_json), None);
    assert_eq!(result(&runner, "2").await.status(), StepStatus::BadArguments);
    assert_eq!(runner.run(command("3", "arguments")), None);
    assert_eq!(result(&runner, "3").await.status(), StepStatus::BadArguments);
    assert_eq!(runner.run(command("4", "huge")), None);
    assert_eq!(result(&runner, "4").await.status(), StepStatus::Failed);
    let long = "x".repeat(100_000);
    match runner.run(command(&long, "succeed")) {
        Some(Event::StepUnknown(unknown)) => assert_eq!(unknown.step_id.len(), MAX_ID),
        other => panic!("{other:?}"),
    }
    assert_eq!(puppet.runs.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn progress_is_thinned_out_but_ends_with_the_last_value() {
    let (runner, _, report) = make();
    assert_eq!(runner.run(command("1", "progress")), None);
    result(&runner, "1").await;
    let events = report.take();
    let progress: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::StepProgress(progress) => Some((progress.stage.as_str(), progress.bytes_done)),
            _ => None,
        })
        .collect();
    assert_eq!(progress, [("writing", 999), ("flushing", 1000)]);
    assert!(matches!(events.last(), Some(Event::StepWarning(_))));
}

#[tokio::test]
async fn settled_waits_for_the_acknowledgement_but_not_for_ever() {
    let (runner, ..) = make();
    assert!(runner.settled(Duration::from_millis(10)).await);
    assert_eq!(runner.run(command("1", "succeed")), None);
    result(&runner, "1").await;
    assert!(!runner.settled(Duration::from_millis(100)).await);
    runner.acknowledge("1");
    assert!(runner.settled(Duration::from_millis(100)).await);
}

#[tokio::test]
async fn a_controller_that_never_acknowledges_does_not_fill_the_memory() {
    let (runner, ..) = make();
    for n in 0..2 * MAX_RESULTS {
        let unknown = RunStep { name: "levitate".into(), ..command(&n.to_string(), "") };
        let answer = runner.run(unknown);
        assert_eq!(answer.is_some(), n >= MAX_RESULTS);
    }
    assert_eq!(runner.unacknowledged().len(), MAX_RESULTS);
}
