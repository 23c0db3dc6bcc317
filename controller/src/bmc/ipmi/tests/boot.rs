//! What a BMC is told about the next boot, byte by byte.

use serde_json::json;

use super::{super::Machine, bmc::Bmc, machine, pace, settings};
use crate::{
    bmc::{BmcError, BootDevice as _, BootSource, Changed},
    node::{BootMode, Node},
};

const DELL: u32 = 674;

fn of(bmc: &Bmc, boot_mode: Result<BootMode, String>) -> Machine {
    Machine { boot_mode, ..machine(settings(bmc.address, json!({})), pace()) }
}

fn flags(bmc: &Bmc) -> [u8; 2] {
    *bmc.state.lock().unwrap().options[&5].first_chunk().unwrap()
}

/// Boot options in the order in which they were written.
fn written(bmc: &Bmc) -> Vec<Vec<u8>> {
    let state = bmc.state.lock().unwrap();
    state
        .commands
        .iter()
        .filter(|(net_fn, code, _)| (*net_fn, *code) == (0, 8))
        .map(|c| c.2.clone())
        .collect()
}

#[tokio::test]
async fn modes_and_persistence_are_told_and_read_back() {
    let bmc = Bmc::modern().await;
    bmc.state.lock().unwrap().maker = Some(DELL);
    for (mode, once, always) in [(BootMode::Uefi, 0xa0, 0xe0), (BootMode::Bios, 0x80, 0xc0)] {
        let machine = of(&bmc, Ok(mode));
        assert_eq!(machine.boot_once(BootSource::Pxe).await.unwrap(), Changed::Yes);
        assert_eq!(flags(&bmc), [once, 1 << 2]);
        assert_eq!(machine.current().await.unwrap(), Some((BootSource::Pxe, false)));
        assert_eq!(machine.boot_always(BootSource::Disk).await.unwrap(), Changed::Yes);
        assert_eq!(flags(&bmc), [always, 2 << 2]);
        assert_eq!(machine.current().await.unwrap(), Some((BootSource::Disk, true)));
        assert_eq!(machine.boot_always(BootSource::Disk).await.unwrap(), Changed::Already);
    }
}

#[tokio::test]
async fn the_firmware_is_told_that_there_is_news_and_others_that_they_wait() {
    let bmc = Bmc::modern().await;
    let machine = of(&bmc, Ok(BootMode::Uefi));
    machine.boot_once(BootSource::Cd).await.unwrap();
    let expected: Vec<Vec<u8>> =
        vec![vec![0, 1], vec![3, 8], vec![4, 1, 1], vec![5, 0xa0, 5 << 2, 0, 0, 0], vec![0, 0]];
    assert_eq!(written(&bmc), expected);
    // A BMC that has none of these does without; one that has no boot flags is let go again.
    bmc.state.lock().unwrap().lacks = vec![0, 3, 4];
    machine.boot_once(BootSource::Pxe).await.unwrap();
    bmc.state.lock().unwrap().lacks = vec![5];
    machine.boot_once(BootSource::Cd).await.unwrap_err();
    assert_eq!(written(&bmc).last().unwrap(), &[0, 0]);
}

#[tokio::test]
async fn supermicro_calls_the_disk_otherwise_in_uefi_mode() {
    let bmc = Bmc::modern().await;
    let machine = of(&bmc, Ok(BootMode::Uefi));
    machine.boot_always(BootSource::Disk).await.unwrap();
    assert_eq!(flags(&bmc), [0xe0, 0x24]);
    assert_eq!(machine.current().await.unwrap(), Some((BootSource::Disk, true)));
    of(&bmc, Ok(BootMode::Bios)).boot_once(BootSource::Disk).await.unwrap();
    assert_eq!(flags(&bmc), [0x80, 2 << 2]);
}

#[tokio::test]
async fn machines_are_uefi_unless_a_capability_says_otherwise() {
    let bmc = Bmc::modern().await;
    let mut node = Node::new("ipmi");
    let info = json!({"ipmi_address": "127.0.0.1", "ipmi_port": bmc.address.port(),
        "ipmi_username": "admin", "ipmi_password": "secret"});
    node.driver_info = info.as_object().unwrap().clone();
    for (capability, found) in [("", 0xa0), ("boot_mode:bios", 0x80), ("boot_mode:uefi", 0xa0)] {
        node.properties.insert("capabilities".into(), json!(capability));
        let device = super::super::open(&node).unwrap().boot_device.unwrap();
        device.boot_once(BootSource::Pxe).await.unwrap();
        assert_eq!(flags(&bmc)[0], found, "{capability}");
    }
    node.properties.insert("capabilities".into(), json!("boot_mode:efi32"));
    let bmc = super::super::open(&node).unwrap();
    bmc.power.state().await.unwrap();
    let error = bmc.boot_device.unwrap().boot_once(BootSource::Pxe).await.unwrap_err();
    assert!(matches!(&error, BmcError::DriverInfo(text) if text.contains("boot_mode:efi32")), "{error}");
}
