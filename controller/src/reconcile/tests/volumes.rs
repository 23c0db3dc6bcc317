//! RAID volumes that the BMC makes and removes. People's data is on them.

use super::{
    out_of_band::{asked, clean, recover, step, world},
    *,
};
use crate::bmc::Volume;

fn old(name: &str, disks: &[&str]) -> Volume {
    Volume {
        id: "old".into(),
        name: name.into(),
        level: Some("1".into()),
        size: 300 << 30,
        wwn: Some("0x600508b1001cffff".into()),
        drives: disks.iter().map(|&disk| disk.to_owned()).collect(),
        is_array: true,
    }
}

async fn wants(world: &World, id: NodeId, disks: Value) {
    let config = json!({"logical_disks": disks});
    world.engine.set_target_raid_config(id, config.as_object().cloned().unwrap()).await.unwrap();
}

async fn create(world: &World, id: NodeId, args: Value) -> Node {
    clean(world, id, step("raid", "create_configuration", args)).await.unwrap();
    world.until(id, |node| !node.provision_state.is_moving()).await
}

async fn delete(world: &World, id: NodeId) -> Node {
    clean(world, id, step("raid", "delete_configuration", json!({}))).await.unwrap();
    world.until(id, |node| !node.provision_state.is_moving()).await
}

fn ids(world: &World) -> Vec<String> {
    world.machine.lock().works.volumes.iter().map(|volume| volume.id.clone()).collect()
}

#[tokio::test]
async fn volumes_are_made_as_the_node_wants_them_and_the_root_volume_is_the_root_device() {
    let (world, id) = world().await;
    world.machine.lock().works.volumes = vec![old("data", &["d0", "d1"])];
    wants(&world, id, json!([{"size_gb": "MAX", "raid_level": "1", "is_root_volume": true}])).await;
    // Disks in use are not taken.
    let node = create(&world, id, json!({})).await;
    assert!(node.last_error.unwrap().contains("no free, healthy, equal disks"));
    assert_eq!(ids(&world), ["old"]);
    recover(&world, id).await;
    let node = create(&world, id, json!({"delete_existing": true})).await;
    assert_eq!(node.last_error, None);
    assert_eq!(world.machine.lock().works.asked_for[0].drives, ["d0", "d1"]);
    assert_eq!(
        (ids(&world), &node.raid_config["logical_disks"][0]["raid_level"]),
        (vec!["v1".into()], &json!("1"))
    );
    assert_eq!(node.properties["root_device"], json!({"wwn": "0x600508b1001c0001"}));
    // With the volume goes what was said of it.
    let node = delete(&world, id).await;
    assert_eq!((&node.raid_config["logical_disks"], ids(&world)), (&json!([]), vec![]));
    assert!(!node.properties.contains_key("root_device"));
}

#[tokio::test]
async fn a_volume_of_the_same_name_that_is_another_one_is_neither_taken_nor_hinted() {
    let (world, id) = world().await;
    {
        let mut state = world.machine.lock();
        (state.works.volumes, state.works.more_disks) = (vec![old("root", &["d0", "d1"])], 2);
    }
    let root = json!({"size_gb": 400, "raid_level": "1", "volume_name": "root", "is_root_volume": true});
    wants(&world, id, json!([root])).await;
    let node = create(&world, id, json!({})).await;
    let error = node.last_error.unwrap();
    assert!(error.contains("root is there already, but it has 300 GiB, not 400"), "{error}");
    assert!(!node.properties.contains_key("root_device") && world.machine.lock().works.asked_for.is_empty());
    // What is the wanted one in all is taken as it is, as often as that is asked for; its disks stay its own.
    recover(&world, id).await;
    let root = json!({"size_gb": 300, "raid_level": "1", "volume_name": "root", "is_root_volume": true});
    wants(&world, id, json!([root, {"size_gb": "MAX", "raid_level": "1", "volume_name": "data"}])).await;
    for _ in 0..2 {
        let node = create(&world, id, json!({})).await;
        assert_eq!(node.last_error, None);
        assert_eq!(node.properties["root_device"], json!({"wwn": "0x600508b1001cffff"}));
    }
    assert_eq!(ids(&world), ["old", "v1"]);
    assert_eq!(world.machine.lock().works.asked_for[0].drives, ["d2", "d3"]);
}

#[tokio::test]
async fn a_kill_while_volumes_are_made_makes_none_twice() {
    let (mut world, id) = world().await;
    {
        let mut state = world.machine.lock();
        // Disks for a second pair are there.
        (state.works.more_disks, state.works.volumes_wait) = (6, true);
        state.slow = Some(("create volumes", Duration::from_secs(600)));
    }
    let disk = json!({"size_gb": 300, "raid_level": "1"});
    let root = json!({"size_gb": 300, "raid_level": "1", "is_root_volume": true});
    wants(&world, id, json!([disk, root])).await;
    clean(&world, id, step("raid", "create_configuration", json!({}))).await.unwrap();
    world.until(id, |_| world.machine.lock().slowed > 0).await;
    // It is in force, and nobody here knows.
    {
        let mut state = world.machine.lock();
        state.slow = None;
        state.works.start();
    }
    world.kill().await;
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!((node.last_error, ids(&world)), (None, vec!["v1".into(), "v2".into()]));
    assert_eq!(world.machine.lock().works.asked_for.len(), 2);
    // The root volume has no name, and is known by its disks.
    assert_eq!(node.properties["root_device"], json!({"wwn": "0x600508b1001c0002"}));
}

#[tokio::test]
async fn what_waited_for_a_start_when_the_controller_was_killed_gets_it() {
    let (mut world, id) = world().await;
    wants(&world, id, json!([{"size_gb": 300, "raid_level": "1"}])).await;
    for (slow, name, left) in [
        ("create volumes", "create_configuration", vec!["v1".to_owned()]),
        ("delete volumes", "delete_configuration", vec![]),
    ] {
        {
            let mut state = world.machine.lock();
            (state.works.volumes_wait, state.slowed) = (true, 0);
            state.slow = Some((slow, Duration::from_secs(600)));
        }
        clean(&world, id, step("raid", name, json!({}))).await.unwrap();
        world.until(id, |_| world.machine.lock().slowed > 0).await;
        world.machine.lock().slow = None;
        world.kill().await;
        let node = world.reaches(id, ProvisionState::Manageable).await;
        assert_eq!((node.last_error, ids(&world)), (None, left), "{name}");
    }
}

#[tokio::test]
async fn what_waits_for_a_start_without_a_job_is_started_and_seen() {
    let (world, id) = world().await;
    world.machine.lock().works.volumes_wait = true;
    wants(&world, id, json!([{"size_gb": 300, "raid_level": "1"}])).await;
    let node = create(&world, id, json!({})).await;
    assert_eq!((node.last_error, ids(&world)), (None, vec!["v1".into()]));
    assert_eq!(asked(&world).iter().filter(|asked| *asked == "on").count(), 1);
    delete(&world, id).await;
    assert!(ids(&world).is_empty());
}

#[tokio::test]
async fn volumes_that_are_not_made_are_no_success() {
    let change = |config: &mut Config| {
        (config.out_of_band_step_interval, config.out_of_band_step_timeout) = (1, 3);
    };
    let world = World::with(change).await;
    let id = world.enrolled().await;
    world.ask(id, Verb::Manage).await.unwrap();
    world.reaches(id, ProvisionState::Manageable).await;
    world.machine.lock().works.volumes_fail = true;
    wants(&world, id, json!([{"size_gb": 300, "raid_level": "1"}])).await;
    let error = create(&world, id, json!({})).await.last_error.unwrap();
    assert!(
        error.contains("not done after 3 s; no volume of RAID level 1 is on the disks d0, d1"),
        "{error}"
    );
}

#[tokio::test]
async fn only_arrays_are_deleted_and_the_operators_root_device_stays() {
    let (world, id) = world().await;
    let disk = Volume { id: "namespace".into(), is_array: false, ..old("", &["d2"]) };
    {
        let mut state = world.machine.lock();
        (state.works.volumes, state.works.more_disks) = (vec![old("a", &["d0", "d1"]), disk], 2);
    }
    let hint = |node: &mut Node| {
        node.properties.insert("root_device".into(), json!({"serial": "S1"}));
        Ok(())
    };
    world.engine.edit(id, hint).await.unwrap();
    let node = delete(&world, id).await;
    assert_eq!((node.last_error, ids(&world)), (None, vec!["namespace".into()]));
    assert_eq!(node.properties["root_device"], json!({"serial": "S1"}));
}

#[tokio::test]
async fn a_root_volume_that_nobody_can_find_among_older_ones_fails_the_step() {
    let (world, id) = world().await;
    {
        let mut state = world.machine.lock();
        (state.works.volumes, state.works.more_disks) = (vec![old("data", &["d0", "d1"])], 2);
        state.works.tells_no_wwn = true;
    }
    wants(
        &world,
        id,
        json!([{"size_gb": 300, "raid_level": "1", "is_root_volume": true, "volume_name": "root"}]),
    )
    .await;
    let error = create(&world, id, json!({})).await.last_error.unwrap();
    assert!(error.contains("set properties.root_device"), "{error}");
    let hint = |node: &mut Node| {
        node.properties.insert("root_device".into(), json!({"serial": "S1"}));
        Ok(())
    };
    world.engine.edit(id, hint).await.unwrap();
    recover(&world, id).await;
    assert_eq!(create(&world, id, json!({})).await.last_error, None);
    assert_eq!(ids(&world), ["old", "v1"]);
}

#[tokio::test]
async fn volumes_are_not_gone_because_their_controller_is_not_shown() {
    let (world, id) = world().await;
    {
        let works = &mut world.machine.lock().works;
        (works.volumes, works.unseen) = (vec![old("a", &["d0", "d1"])], 1);
    }
    let error = delete(&world, id).await.last_error.unwrap();
    assert!(error.contains("shows no storage controller"), "{error}");
    assert_eq!(ids(&world).len(), 1);
    assert!(!asked(&world).contains(&"delete volumes".to_owned()));
}

#[tokio::test]
async fn a_deletion_waits_for_its_controller_to_be_shown_again() {
    let (world, id) = world().await;
    {
        let works = &mut world.machine.lock().works;
        (works.volumes, works.volumes_wait) = (vec![old("a", &["d0", "d1"])], true);
        works.unseen_after_deletion = 2;
    }
    let node = delete(&world, id).await;
    assert_eq!((node.last_error, ids(&world)), (None, vec![]));
    assert_eq!(world.machine.lock().works.unseen, 0, "it was not done before the controller was seen");
}
