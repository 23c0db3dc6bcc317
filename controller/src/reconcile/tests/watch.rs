//! Power synchronisation and recovery, by a clock of seconds.

use super::*;
use crate::{node::PowerState, store::HistoryEvent};

async fn watched(change: impl FnOnce(&mut Config)) -> World {
    World::with(|config| {
        config.sync_power_state_interval = 1;
        config.power_failure_recovery_interval = 1;
        config.power_state_sync_max_retries = 1;
        change(config);
    })
    .await
}

async fn monitored(world: &World, id: NodeId) -> Vec<String> {
    let history = world.store.history(id, 100).await.unwrap();
    history.iter().filter(|event| event.details.event_type == "monitoring").map(HistoryEvent::text).collect()
}

#[tokio::test]
async fn a_machine_that_somebody_switched_is_put_back_and_that_is_told() {
    let world = watched(|_| {}).await;
    let id = world.available().await;
    assert_eq!(world.node(id).await.power_state, Some(PowerState::Off));
    world.machine.lock().on = true;
    let restored = async {
        loop {
            if !world.machine.lock().on && !monitored(&world, id).await.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), restored).await.unwrap();
    assert!(monitored(&world, id).await[0].contains("\"power on\" instead of \"power off\""));
    assert!(!world.node(id).await.maintenance);
}

#[tokio::test]
async fn without_force_the_new_state_is_taken_over() {
    let world = watched(|config| config.force_power_state_during_sync = false).await;
    let id = world.available().await;
    world.machine.lock().on = true;
    world.until(id, |node| node.power_state == Some(PowerState::On)).await;
    assert!(world.machine.lock().on);
    assert!(monitored(&world, id).await[0].contains("by somebody else"));
}

#[tokio::test]
async fn what_was_read_before_a_change_of_power_is_no_news_after_it() {
    let world = watched(|config| config.force_power_state_during_sync = false).await;
    let id = world.available().await;
    world.machine.lock().slow = Some(("read power", Duration::from_secs(2)));
    world.until(id, |_| world.machine.lock().slowed > 0).await;
    let before = {
        let mut state = world.machine.lock();
        state.slow = None;
        state.asked.iter().filter(|asked| *asked == "read power").count()
    };
    world.engine.power(id, crate::node::PowerTarget::On).await.unwrap();
    world.until(id, |node| node.power_state == Some(PowerState::On)).await;
    // The slow answer, and those of the looks after it.
    let reads = |state: &machine::State| state.asked.iter().filter(|asked| *asked == "read power").count();
    world.until(id, |_| reads(&world.machine.lock()) > before + 4).await;
    assert_eq!(world.node(id).await.power_state, Some(PowerState::On));
    assert_eq!(monitored(&world, id).await, [""; 0]);
}

#[tokio::test]
async fn a_bmc_that_does_not_answer_means_maintenance_until_it_does() {
    let world = watched(|_| {}).await;
    let id = world.available().await;
    world.machine.lock().broken = Some("read power");
    let node = world.until(id, |node| node.maintenance).await;
    assert_eq!(node.fault.as_deref(), Some("power failure"));
    assert_eq!(node.power_state, None);
    let reason = node.maintenance_reason.unwrap();
    assert!(reason.contains("2 times in a row") && reason.contains("out of order"), "{reason}");
    assert_eq!(node.last_error, Some(reason));
    assert_eq!(node.provision_state, ProvisionState::Available);

    world.machine.lock().broken = None;
    let node = world.until(id, |node| !node.maintenance).await;
    assert_eq!((node.fault, node.maintenance_reason), (None, None));
    assert_eq!(node.power_state, Some(PowerState::Off));
    // Then all is as it should be, and the error is of yesterday.
    world.until(id, |node| node.last_error.is_none()).await;
}

#[tokio::test]
async fn maintenance_of_an_operator_is_not_ended_by_a_good_answer() {
    let world = watched(|_| {}).await;
    let (id, other) = (world.available().await, world.available().await);
    let by_hand = |node: &mut Node| {
        node.maintenance = true;
        node.maintenance_reason = Some("disk swap".into());
        Ok(())
    };
    world.engine.edit(id, by_hand).await.unwrap();
    world.machine.lock().broken = Some("read power");
    world.until(other, |node| node.maintenance).await;
    world.machine.lock().broken = None;
    world.until(other, |node| !node.maintenance).await;
    assert!(world.node(id).await.maintenance);
}

#[tokio::test]
async fn sensors_are_read_where_there_is_an_instance_and_a_failure_is_told() {
    let world = watched(|config| config.sync_power_state_interval = 0).await;
    let (id, empty) = (world.active().await, world.available().await);
    world
        .engine
        .edit(empty, |node| {
            node.instance_uuid = None;
            Ok(())
        })
        .await
        .unwrap();
    let line = |metric: &str, id: NodeId| {
        let text = world.engine.metrics().unwrap();
        let is_wanted =
            |line: &&str| line.starts_with(&format!("{metric}{{")) && line.contains(&id.to_string());
        text.lines().find(is_wanted).map(str::to_owned)
    };
    let until = async |metric: &str, value: &str| {
        let seen = async {
            while !line(metric, id).is_some_and(|line| line.ends_with(value)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap();
    };
    until("baremetal_temperature_celsius", " 21.5").await;
    until("baremetal_sensors_up", " 1").await;
    assert_eq!(line("baremetal_sensors_up", empty), None);
    world.machine.lock().broken = Some("read sensors");
    until("baremetal_sensors_up", " 0").await;
    assert!(line("baremetal_temperature_celsius", id).is_some(), "what was read is not yet stale");
}
