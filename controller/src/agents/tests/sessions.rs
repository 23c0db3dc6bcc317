use bessemer_proto::v1::{HeartbeatRequest, LogBatch, LogRecord, StepFinished, StepStarted, StepStatus};
use serde_json::json;
use tonic::Code;

use super::*;
use crate::store::{StepOutcome, StepRow};

async fn step(world: &World, identity: &Identity) -> StepId {
    let row = StepRow {
        id: StepId::random(),
        node: identity.node,
        boot: identity.boot,
        name: "inspect".into(),
        attempt: 1,
        arguments: json!({"a": 1}),
        deadline_seconds: 30,
        outcome: None,
        created: Utc::now(),
    };
    world.store.create_step(&row).await.unwrap();
    row.id
}

async fn outcome(world: &World, step: StepId) -> Option<StepOutcome> {
    world.store.step(step).await.unwrap().outcome
}

fn finished(step: impl ToString, status: StepStatus, result: &str, error: &str) -> Event {
    Event::StepFinished(StepFinished {
        step_id: step.to_string(),
        status: status.into(),
        result_json: result.into(),
        error: error.into(),
    })
}

#[tokio::test]
async fn a_step_goes_down_its_progress_and_result_come_up() {
    let world = World::new().await;
    let identity = world.enrolled().await;
    let step = step(&world, &identity).await;
    assert!(!world.fleet.send_step(identity.node, step).await.unwrap(), "sent without a session");
    let mut agent = world.session(&identity).await;
    // The session is open a moment before its poke.
    eventually("the poke", || (*world.pokes.lock().unwrap() == [identity.node]).then_some(())).await;
    let info = world.fleet.session(identity.node).unwrap();
    assert_eq!((info.boot, info.supported_steps), (identity.boot, vec!["inspect".to_owned()]));

    assert!(world.fleet.send_step(identity.node, step).await.unwrap());
    let Command::RunStep(run) = agent.next().await.unwrap() else { panic!("not RunStep") };
    assert_eq!((run.name.as_str(), run.arguments_json.as_str()), ("inspect", r#"{"a":1}"#));
    assert_eq!((run.step_id.as_str(), run.deadline_seconds), (step.to_string().as_str(), 30));

    agent.say(Event::StepStarted(StepStarted { step_id: run.step_id.clone() })).await;
    let progress = StepProgress { step_id: run.step_id, bytes_done: 7, ..Default::default() };
    agent.say(Event::StepProgress(progress)).await;
    eventually("progress", || world.fleet.progress(identity.node).filter(|p| p.progress.bytes_done == 7))
        .await;

    agent.say(finished(step, StepStatus::Succeeded, r#"{"ok":true}"#, "")).await;
    let Command::AcknowledgeStep(ack) = agent.next().await.unwrap() else { panic!("not acknowledged") };
    assert_eq!(ack.step_id, step.to_string());
    assert_eq!(outcome(&world, step).await, Some(StepOutcome::Succeeded(json!({"ok": true}))));
    assert!(world.fleet.progress(identity.node).is_none(), "progress outlives its step");

    assert!(world.fleet.send_step(identity.node, step).await.unwrap());
    world.fleet.cancel_step(identity.node, step).await;
    assert!(matches!(agent.next().await.unwrap(), Command::CancelStep(_)), "a finished step was sent again");
}

#[tokio::test]
async fn every_kind_of_end_has_a_reason() {
    let world = World::new().await;
    let identity = world.enrolled().await;
    let mut agent = world.session(&identity).await;
    for (status, result, error, expected) in [
        (StepStatus::Failed, "", "the disk is gone", "the disk is gone"),
        (StepStatus::TimedOut, "", "", "deadline"),
        (StepStatus::UnknownStep, "", " ", "no such step"),
        (StepStatus::Succeeded, "{", "", "not JSON"),
        (StepStatus::Unspecified, "", "", "no reason"),
    ] {
        let step = step(&world, &identity).await;
        agent.say(finished(step, status, result, error)).await;
        agent.next().await.unwrap();
        let Some(StepOutcome::Failed(text)) = outcome(&world, step).await else { panic!("not failed") };
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn another_nodes_step_and_nonsense_are_acknowledged_and_change_nothing() {
    let world = World::new().await;
    let _log = world.log.collect();
    let victim = world.enrolled().await;
    let target = step(&world, &victim).await;
    let intruder = world.enrolled().await;
    let mut agent = world.session(&intruder).await;
    for id in [target.to_string(), StepId::random().to_string(), "nonsense".to_owned()] {
        agent.say(finished(&id, StepStatus::Succeeded, "{}", "")).await;
        let Command::AcknowledgeStep(ack) = agent.next().await.unwrap() else { panic!("not acknowledged") };
        assert_eq!(ack.step_id, id);
    }
    assert_eq!(outcome(&world, target).await, None);
    assert!(world.log.text().contains("not this node's"));
    assert!(world.fleet.send_step(intruder.node, target).await.is_err(), "sent another node's step");
}

#[tokio::test]
async fn a_certificate_cannot_open_another_boots_session() {
    let world = World::new().await;
    let _log = world.log.collect();
    let one = world.enrolled().await;
    let other = world.enrolled().await;
    let mut agent = world.try_session(&one, other.boot).await.unwrap();
    let status = agent.next().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(world.fleet.session(one.node).is_none() && world.fleet.session(other.node).is_none());
    world.log.wait_for("session refused").await;
}

#[tokio::test]
async fn a_reconnect_replaces_the_session_of_the_same_boot() {
    let world = World::new().await;
    let identity = world.enrolled().await;
    let mut old = world.session(&identity).await;
    let mut new = world.try_session(&identity, identity.boot).await.unwrap();
    assert_eq!(old.next().await.unwrap_err().code(), Code::Aborted);
    let step = step(&world, &identity).await;
    assert!(world.fleet.send_step(identity.node, step).await.unwrap());
    assert!(matches!(new.next().await.unwrap(), Command::RunStep(_)));
    drop(old);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(world.fleet.session(identity.node).is_some(), "the old connection took the new one along");
    drop(new);
    eventually("disconnect", || world.fleet.session(identity.node).is_none().then_some(())).await;
    assert!(!world.fleet.send_step(identity.node, step).await.unwrap());
}

#[tokio::test]
async fn a_newer_boot_wins_and_the_older_one_is_out() {
    let world = World::new().await;
    let old = world.enrolled().await;
    let mut old_agent = world.session(&old).await;
    let old_step = step(&world, &old).await;
    let new = world.enrolled_on(old.node).await;
    assert_eq!(old_agent.next().await.unwrap_err().code(), Code::PermissionDenied);
    let _new_agent = world.session(&new).await;
    let refused = world.try_session(&old, old.boot).await.map(drop).unwrap_err();
    assert_eq!(refused.message(), "this boot is over");
    assert!(!world.fleet.send_step(old.node, old_step).await.unwrap(), "an older boot's step was sent");
    world.fleet.close(new.node).await.unwrap();
    assert!(world.fleet.session(new.node).is_none());
}

#[tokio::test]
async fn after_a_restart_the_old_certificate_works_and_a_result_counts_once() {
    let world = World::new().await;
    let identity = world.enrolled().await;
    let step = step(&world, &identity).await;
    let mut agent = world.session(&identity).await;
    world.fleet.send_step(identity.node, step).await.unwrap();
    assert!(matches!(agent.next().await.unwrap(), Command::RunStep(_)));
    let world = world.restart().await;
    assert_eq!(agent.next().await.unwrap_err().code(), Code::Unavailable);

    let mut agent = world.session(&identity).await;
    agent.say(finished(step, StepStatus::Succeeded, "1", "")).await;
    assert!(matches!(agent.next().await.unwrap(), Command::AcknowledgeStep(_)));
    agent.say(finished(step, StepStatus::Failed, "", "late")).await;
    assert!(matches!(agent.next().await.unwrap(), Command::AcknowledgeStep(_)));
    assert_eq!(outcome(&world, step).await, Some(StepOutcome::Succeeded(json!(1))));
}

#[tokio::test]
async fn logs_and_warnings_are_stored_and_the_newest_is_live() {
    let world = World::new().await;
    let identity = world.enrolled().await;
    let agent = world.session(&identity).await;
    let record = |message: &str| LogRecord { message: message.into(), level: 3, ..Default::default() };
    agent.say(Event::Log(LogBatch { records: vec![record("one"), record("two")], dropped: 0 })).await;
    eventually("log", || world.fleet.last_log(identity.node).filter(|m| m == "two")).await;
    let warning = bessemer_proto::v1::StepWarning { step_id: "x".into(), message: "hot".into() };
    agent.say(Event::StepWarning(warning)).await;
    let AgentEnd { events, commands: _commands } = agent;
    drop(events);
    eventually("end", || world.fleet.session(identity.node).is_none().then_some(())).await;
    for _ in 0..100 {
        let lines = world.store.log(identity.node, 0, 10).await.unwrap();
        if lines.len() == 3 {
            let messages: Vec<_> = lines.iter().map(|l| l.record.message.as_str()).collect();
            assert_eq!(messages, ["one", "two", "hot"]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the log was not stored");
}

#[tokio::test]
async fn who_does_not_say_hello_first_is_shown_out() {
    let world = World::new().await;
    let identity = world.enrolled().await;
    let mut client = world.client(Some(&identity)).await;
    let (events, stream) = mpsc::channel(4);
    let mut agent = AgentEnd { events, commands: open(&mut client, stream).await.unwrap() };
    agent.say(Event::StepStarted(StepStarted::default())).await;
    assert_eq!(agent.next().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn heartbeats_are_signs_of_life() {
    let world = World::new().await;
    let identity = world.enrolled().await;
    let _agent = world.session(&identity).await;
    let before = world.fleet.session(identity.node).unwrap().last_seen;
    let answer = world.client(Some(&identity)).await.heartbeat(HeartbeatRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().next_heartbeat_seconds, 60);
    assert!(world.fleet.session(identity.node).unwrap().last_seen > before);
}
