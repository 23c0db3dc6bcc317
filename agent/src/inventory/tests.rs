use super::*;
use crate::test_support::machine::Machine;

#[test]
fn a_machine_that_tells_nothing_is_inspected_all_the_same() {
    let inventory = collect(&Machine::empty().roots).unwrap();
    assert!(inventory.disks.is_empty() && inventory.interfaces.is_empty());
    assert_eq!((inventory.memory.total, inventory.cpu.count, inventory.cpu.socket_count), (0, 0, 1));
    assert_eq!((inventory.boot.current_boot_mode.as_str(), inventory.boot.secure_boot), ("bios", None));
    assert_eq!(inventory.system_vendor, bessemer_proto::inventory::SystemVendor::default());
}
