use bessemer_proto::step::WrittenDevice;
use serde_json::json;

use super::*;
use crate::test_support::{
    disks::{MIB, TestDisk},
    esp::{DEBIAN, disk_with, read},
    machine::Machine,
};

fn written(name: &str, serial: Option<&str>, size: u64) -> WrittenDevice {
    WrittenDevice { name: name.into(), serial: serial.map(str::to_owned), size, ..WrittenDevice::default() }
}

async fn run(machine: &Machine, device: &WrittenDevice) -> Result<Value, StepError> {
    SetBootEntry.run(json!({"device": device}), machine.context().0).await
}

fn uefi(machine: &Machine) -> std::path::PathBuf {
    let folder = machine.roots.sys.join("firmware/efi/efivars");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test]
async fn in_bios_mode_there_is_nothing_to_do() {
    let machine = Machine::empty();
    let result = run(&machine, &written("/dev/sda", None, 1)).await.unwrap();
    assert_eq!(result["method"], "bios");
}

#[tokio::test]
async fn the_written_disk_is_found_by_serial_wherever_it_is_now() {
    let (machine, disk, other) = (Machine::empty(), disk_with(&DEBIAN), TestDisk::file(4 * MIB));
    let vars = uefi(&machine);
    machine.add_disk("sdy", "OTHER", &other.path, 4 * MIB as u64);
    machine.add_disk("sdz", "MINE", &disk.path, 12 * MIB as u64);
    let result = run(&machine, &written("/dev/sdy", Some("MINE"), 12 * MIB as u64)).await.unwrap();
    assert_eq!(result["method"], "uefi_entry");
    assert_eq!(result["loader"], r"\EFI\debian\shimx64.efi");
    assert_eq!(Variables::new(&vars).boot_order().unwrap(), [0]);
    assert_eq!(read(&disk, "EFI/BOOT/BOOTX64.EFI"), None);
}

#[tokio::test]
async fn a_disk_that_is_gone_or_has_no_esp_is_a_plain_error() {
    let (machine, disk) = (Machine::empty(), TestDisk::file(4 * MIB));
    uefi(&machine);
    machine.add_disk("sdz", "MINE", &disk.path, 4 * MIB as u64);
    let chain = |result: Result<Value, StepError>| format!("{:#}", anyhow::Error::from(result.unwrap_err()));
    let gone = chain(run(&machine, &written("/dev/sda", Some("GONE"), 1)).await);
    assert!(gone.contains("GONE") && gone.contains("/dev/sdz"), "{gone}");
    let bare = chain(run(&machine, &written("/dev/sdz", Some("MINE"), 1)).await);
    assert!(bare.contains("no GPT with an EFI system partition"), "{bare}");
    let wrong = SetBootEntry.run(json!({"disk": "sda"}), machine.context().0).await;
    assert!(matches!(wrong, Err(StepError::Arguments(_))));
}
