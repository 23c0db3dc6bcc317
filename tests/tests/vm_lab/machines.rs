//! Machines that really run: power, boot override, virtual media, firmware.

use std::{fs, path::Path, time::Duration};

use bessemer_tests::lab::{
    DiskBus, DiskDefinition, Firmware, Lab, MachineDefinition, SecondMedium, image_server::ImageServer,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    boot_media::{self, Then},
    redfish::Redfish,
};

const SYSTEM: &str = "/redfish/v1/Systems/1";
const BOOT_WITHIN: Duration = Duration::from_secs(120);

async fn images(folder: &Path) -> ImageServer {
    ImageServer::start(folder, ([127, 0, 0, 1], 0).into()).await.unwrap()
}

async fn insert(redfish: &Redfish, slot: &str, url: String) {
    let path = format!("{SYSTEM}/VirtualMedia/{slot}/Actions/VirtualMedia.InsertMedia");
    redfish.done(Method::POST, &path, json!({ "Image": url })).await;
}

async fn boot(redfish: &Redfish, enabled: &str, target: &str) {
    let boot = json!({ "BootSourceOverrideEnabled": enabled, "BootSourceOverrideTarget": target });
    redfish.done(Method::PATCH, SYSTEM, json!({ "Boot": boot })).await;
}

async fn reset(redfish: &Redfish, kind: &str) {
    let path = format!("{SYSTEM}/Actions/ComputerSystem.Reset");
    redfish.done(Method::POST, &path, json!({ "ResetType": kind })).await;
}

/// A disk of one boot sector's worth of sense.
fn bootable_disk(path: &Path, word: &str) -> DiskDefinition {
    let mut content = boot_media::boot_sector(word, Then::Halt);
    content.resize(1 << 20, 0);
    fs::write(path, content).unwrap();
    DiskDefinition { path: Some(path.into()), ..DiskDefinition::new(DiskBus::Virtio, 0) }
}

#[tokio::test]
async fn boot_once_is_used_up_by_one_start_also_when_the_guest_resets_itself() {
    let folder = tempfile::tempdir().unwrap();
    boot_media::bios_iso(&folder.path().join("a.iso"), "word from the CD", Then::Reset);
    let mut definition = MachineDefinition::new("m", Firmware::SeaBios);
    definition.disks = vec![bootable_disk(&folder.path().join("disk.img"), "word from the disk")];
    let (images, lab) =
        (images(folder.path()).await, Lab::start(folder.path(), vec![definition]).await.unwrap());
    let machine = lab.machine("m");
    let redfish = Redfish::new(machine);
    insert(&redfish, "Cd", images.url("a.iso")).await;
    boot(&redfish, "Once", "Cd").await;
    reset(&redfish, "On").await;
    let mut serial = bessemer_tests::lab::LogReader::from_start(machine.serial_log());
    serial.wait_for("word from the CD", BOOT_WITHIN).await.unwrap();
    let between = serial.wait_for("word from the disk", BOOT_WITHIN).await.unwrap();
    assert!(!between.contains("word from the CD"), "the override held for a second start: {between}");
    let now = redfish.get(SYSTEM).await;
    assert_eq!(
        (&now["PowerState"], &now["Boot"]["BootSourceOverrideEnabled"]),
        (&json!("On"), &json!("Disabled"))
    );
    assert_eq!(machine.status().starts, 2);

    boot(&redfish, "Once", "Cd").await;
    machine.faults().ignore_boot_override(true);
    reset(&redfish, "ForceRestart").await;
    let third = serial.wait_for("word from the disk", BOOT_WITHIN).await.unwrap();
    assert!(!third.contains("word from the CD"), "firmware with that bug ignores the override");
    reset(&redfish, "ForceOff").await;
    assert_eq!(redfish.get(SYSTEM).await["PowerState"], "Off");
    lab.stop().await;
}

#[tokio::test]
async fn a_guest_that_powers_off_is_off() {
    let folder = tempfile::tempdir().unwrap();
    boot_media::bios_iso(&folder.path().join("a.iso"), "word from the CD", Then::PowerOff);
    let images = images(folder.path()).await;
    let definition = MachineDefinition::new("m", Firmware::SeaBios);
    let lab = Lab::start(folder.path(), vec![definition]).await.unwrap();
    let (machine, redfish) = (lab.machine("m"), Redfish::new(lab.machine("m")));
    insert(&redfish, "Cd", images.url("a.iso")).await;
    boot(&redfish, "Continuous", "Cd").await;
    for round in 1..=2 {
        reset(&redfish, "On").await;
        machine.wait_for_starts(round, BOOT_WITHIN).await.unwrap();
        machine.wait_for_power(false, BOOT_WITHIN).await.unwrap();
        assert_eq!(redfish.get(SYSTEM).await["PowerState"], "Off");
    }
    let log = fs::read_to_string(machine.serial_log()).unwrap();
    assert_eq!(log.matches("word from the CD").count(), 2, "a continuous override holds, the log goes on");
}

#[tokio::test]
async fn media_come_and_go_while_the_machine_runs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.img"), vec![1; 1_474_560]).unwrap();
    let images = images(folder.path()).await;
    let mut stick = MachineDefinition::new("stick", Firmware::SeaBios);
    stick.second_medium = Some(SecondMedium::UsbStick);
    stick.disks = [DiskBus::Sata, DiskBus::Nvme, DiskBus::Scsi, DiskBus::Usb]
        .map(|bus| DiskDefinition { serial: Some("S1".into()), ..DiskDefinition::new(bus, 1 << 20) })
        .into();
    let floppy = MachineDefinition::new("floppy", Firmware::SeaBios);
    let lab = Lab::start(folder.path(), vec![stick, floppy]).await.unwrap();
    for (name, second) in [("stick", "UsbStick"), ("floppy", "Floppy")] {
        let redfish = Redfish::new(lab.machine(name));
        reset(&redfish, "On").await;
        for slot in ["Cd", second, second] {
            insert(&redfish, slot, images.url("a.img")).await;
            let path = format!("{SYSTEM}/VirtualMedia/{slot}");
            assert_eq!(redfish.get(&path).await["Inserted"], true);
            redfish.done(Method::POST, &format!("{path}/Actions/VirtualMedia.EjectMedia"), json!({})).await;
            assert_eq!(redfish.get(&path).await["Inserted"], false);
        }
        insert(&redfish, second, images.url("a.img")).await;
        reset(&redfish, "ForceRestart").await;
        assert_eq!(redfish.get(SYSTEM).await["PowerState"], "On", "starts with a medium inserted");
    }
}

/// Boots a signed GRUB from the CD once and waits until it has powered the machine off.
async fn boot_uefi(definition: MachineDefinition, secure: bool) {
    let folder = tempfile::tempdir().unwrap();
    boot_media::uefi_iso(&folder.path().join("a.iso"), "word from the CD", Then::PowerOff);
    let images = images(folder.path()).await;
    let lab = Lab::start(folder.path(), vec![definition]).await.unwrap();
    let (machine, redfish) = (lab.machine("m"), Redfish::new(lab.machine("m")));
    insert(&redfish, "Cd", images.url("a.iso")).await;
    boot(&redfish, "Once", "Cd").await;
    reset(&redfish, "On").await;
    machine.wait_for_serial("word from the CD", BOOT_WITHIN).await.unwrap();
    machine.wait_for_power(false, BOOT_WITHIN).await.unwrap();
    if secure {
        let now: Value = redfish.get(&format!("{SYSTEM}/SecureBoot")).await;
        assert_eq!(now["SecureBootCurrentBoot"], "Enabled");
    }
    lab.stop().await;
}

#[tokio::test]
async fn uefi_boots_the_cd() {
    boot_uefi(MachineDefinition::new("m", Firmware::Ovmf), false).await;
}

#[tokio::test]
async fn uefi_with_secure_boot_boots_the_signed_cd() {
    boot_uefi(MachineDefinition::new("m", Firmware::OvmfSecureBoot), true).await;
}
