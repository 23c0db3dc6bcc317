use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    bmc::{BootSource, Changed, Light, MediaKind, PowerAction},
    node::{BootMode, PowerState},
};

fn node(info: Value) -> Node {
    let mut node = Node::new("fake-hardware");
    node.driver_info = info.as_object().cloned().unwrap();
    node
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn power_changes_after_the_delay_and_every_opener_sees_it() {
    let node = node(json!({"fake_power_delay": "10,20"}));
    let (one, other) = (open(&node).unwrap(), open(&node).unwrap());
    assert_eq!(one.power.set(PowerAction::On).await.unwrap(), Changed::Yes);
    assert_eq!(other.power.state().await.unwrap(), PowerState::Off);
    let early = other.power.wait_for(PowerState::On, Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(early, BmcError::PowerUnchanged { seconds: 5, .. }), "{early}");
    other.power.wait_for(PowerState::On, LONG).await.unwrap();
    assert_eq!(one.power.set(PowerAction::On).await.unwrap(), Changed::Already);
    forget(node.uuid);
    assert_eq!(open(&node).unwrap().power.state().await.unwrap(), PowerState::Off);
    forget(node.uuid);
}

#[tokio::test]
async fn a_new_process_goes_on_with_what_the_node_has_stored() {
    let mut node = node(json!({}));
    node.power_state = Some(PowerState::On);
    node.boot_mode = Some(BootMode::Bios);
    node.secure_boot = Some(true);
    let bmc = open(&node).unwrap();
    assert_eq!(bmc.power.state().await.unwrap(), PowerState::On);
    assert_eq!(bmc.boot_mode.unwrap().mode().await.unwrap(), Some(BootMode::Bios));
    assert_eq!(bmc.secure_boot.unwrap().enabled().await.unwrap(), Some(true));
    forget(node.uuid);
}

#[tokio::test]
async fn a_one_time_boot_device_is_used_up_by_the_next_start() {
    let node = node(json!({}));
    let bmc = open(&node).unwrap();
    let device = bmc.boot_device.unwrap();
    assert_eq!(device.current().await.unwrap(), Some((BootSource::Pxe, false)));
    device.boot_always(BootSource::Disk).await.unwrap();
    device.boot_once(BootSource::Cd).await.unwrap();
    assert_eq!(device.current().await.unwrap(), Some((BootSource::Cd, false)));
    bmc.power.set(PowerAction::On).await.unwrap();
    bmc.power.wait_for(PowerState::On, LONG).await.unwrap();
    assert_eq!(device.current().await.unwrap(), Some((BootSource::Disk, true)));
    forget(node.uuid);
}

#[tokio::test]
async fn media_and_lights_keep_what_they_are_told() {
    let node = node(json!({}));
    let bmc = open(&node).unwrap();
    let media = bmc.virtual_media.unwrap();
    media.insert(MediaKind::Cd, &"http://files/x.iso".parse().unwrap()).await.unwrap();
    let slots = media.slots().await.unwrap();
    assert!(slots[0].inserted && slots[0].image == "http://files/x.iso" && !slots[1].inserted, "{slots:?}");
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Yes);
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Already);
    let lights = bmc.indicators.unwrap();
    lights.set_light("system", "led", Light::Blinking).await.unwrap();
    assert_eq!(lights.light("system", "led").await.unwrap(), Light::Blinking);
    assert_eq!(lights.light("chassis", "led-0").await.unwrap(), Light::On);
    forget(node.uuid);
}

#[tokio::test(start_paused = true)]
async fn it_fails_and_sticks_on_demand() {
    let mut node = node(json!({"fake_fail": "boot_mode, power_off", "fake_stuck": ["power_on"]}));
    let bmc = open(&node).unwrap();
    let failure = bmc.boot_mode.unwrap().set_mode(BootMode::Bios).await.unwrap_err();
    assert!(failure.to_string().contains("fake_fail in driver_info"), "{failure}");
    assert_eq!(bmc.power.set(PowerAction::On).await.unwrap(), Changed::Yes);
    let stuck = bmc.power.wait_for(PowerState::On, LONG).await.unwrap_err();
    assert!(matches!(stuck, BmcError::PowerUnchanged { .. }), "{stuck}");
    // Repaired, it works.
    node.driver_info.clear();
    let bmc = open(&node).unwrap();
    bmc.power.set(PowerAction::On).await.unwrap();
    bmc.power.wait_for(PowerState::On, LONG).await.unwrap();
    forget(node.uuid);
}

#[test]
fn settings_that_cannot_be_meant_name_their_key() {
    for (info, key) in [
        (json!({"fake_power_delay": -1}), "fake_power_delay"),
        (json!({"fake_power_delay": "5,1"}), "fake_power_delay"),
        (json!({"fake_power_delay": "soon"}), "fake_power_delay"),
        (json!({"fake_power_delay": 1e9}), "fake_power_delay"),
        (json!({"fake_power_delay": "NaN"}), "fake_power_delay"),
        (json!({"fake_management_delay": []}), "fake_management_delay"),
        (json!({"fake_fail": "everything"}), "fake_fail"),
        (json!({"fake_fail": [1]}), "fake_fail"),
        (json!({"fake_stuck": "boot_mode"}), "fake_stuck"),
        (json!({"fake_boot_devices": "tape"}), "fake_boot_devices"),
    ] {
        let error = open(&node(info.clone())).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(key), "{info}: {error}");
    }
}
