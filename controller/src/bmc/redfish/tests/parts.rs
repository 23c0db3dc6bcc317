//! What the machine is made of, how it is, what it says: all from documents as BMCs have them.

use chrono::{DateTime, Utc};

use super::{mock::SYSTEM, *};
use crate::bmc::{Health, LogEntry, SensorKind};

const CHASSIS: &str = "/redfish/v1/Chassis/1";

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

/// A machine with processors, disks, cards and sensors.
async fn furnished() -> Mock {
    let mock = Mock::start().await;
    let below = |name: &str| format!("{SYSTEM}/{name}");
    for (pointer, value) in [
        ("/Model", json!("PowerEdge R650")),
        ("/Manufacturer", json!("Dell Inc.")),
        ("/UUID", json!("4c4c4544-0044")),
        ("/SerialNumber", json!(" SN1\n")),
        ("/BiosVersion", json!("1.2.3")),
        ("/MemorySummary", json!({"TotalSystemMemoryGiB": 15.5})),
        ("/Processors", link(&below("Processors"))),
        ("/Storage", link(&below("Storage"))),
        ("/EthernetInterfaces", link(&below("EthernetInterfaces"))),
        ("/PCIeDevices", json!([link("/redfish/v1/Pci/1")])),
        ("/Links/Chassis", json!([link(CHASSIS)])),
    ] {
        mock.set(SYSTEM, pointer, value);
    }
    mock.add(json!({
        "/redfish/v1/Systems/1/Processors": {"Members": [
            {"@odata.id": "/redfish/v1/p1"}, {"@odata.id": "/redfish/v1/p2"}, {"@odata.id": "/redfish/v1/gone"}]},
        "/redfish/v1/p1": {"TotalThreads": 16, "Model": "Xeon", "InstructionSet": "x86-64", "MaxSpeedMHz": 3500},
        "/redfish/v1/p2": {"TotalThreads": 16, "Status": {"State": "Absent"}},
        "/redfish/v1/Systems/1/Storage": {"Members": [{"@odata.id": "/redfish/v1/Systems/1/Storage/R"}]},
        "/redfish/v1/Systems/1/Storage/R": {"Id": "R", "Name": "RAID", "Volumes": {"@odata.id": "/redfish/v1/V"},
            "StorageControllers": [{"Name": "PERC", "SupportedRAIDTypes": ["RAID0", "RAID1", "RAID10"]}],
            "Drives": [{"@odata.id": "/redfish/v1/d1"}, {"@odata.id": "/redfish/v1/d2"}]},
        "/redfish/v1/d1": {"Id": "Bay1", "CapacityBytes": 480_000_000_000_u64, "MediaType": "SSD", "Protocol": "SATA",
            "Status": {"State": "Enabled", "Health": "OK"}},
        "/redfish/v1/d2": {"Id": "Bay2", "CapacityBytes": 480_000_000_000_u64, "MediaType": "SSD", "Protocol": "SATA",
            "Status": {"State": "Enabled", "Health": "Critical"}},
        "/redfish/v1/V": {"Members": [], "@Redfish.OperationApplyTimeSupport": {"SupportedValues": ["OnReset"]}},
        "/redfish/v1/Systems/1/EthernetInterfaces": {"Members": [
            {"@odata.id": "/redfish/v1/n1"}, {"@odata.id": "/redfish/v1/n2"}]},
        "/redfish/v1/n1": {"Id": "NIC.1", "MACAddress": "AA-BB-CC-00-11-22", "SpeedMbps": 25000},
        "/redfish/v1/n2": {"Id": "NIC.2", "MACAddress": "nonsense"},
        "/redfish/v1/Pci/1": {"PCIeFunctions": {"@odata.id": "/redfish/v1/Pci/1/f"}},
        "/redfish/v1/Pci/1/f": {"Members": [{"@odata.id": "/redfish/v1/Pci/1/f/0"}]},
        "/redfish/v1/Pci/1/f/0": {"ClassCode": "0x030200", "VendorId": "0x10de", "DeviceId": "0x20b5"},
        "/redfish/v1/Chassis/1": {"Id": "C", "NetworkAdapters": {"@odata.id": "/redfish/v1/A"},
            "Thermal": {"@odata.id": "/redfish/v1/T"}, "Power": {"@odata.id": "/redfish/v1/P"}},
        "/redfish/v1/A": {"Members": [{"@odata.id": "/redfish/v1/A/1"}]},
        "/redfish/v1/A/1": {"Id": "NIC", "Ports": {"@odata.id": "/redfish/v1/A/1/P"},
            "Controllers": [{"FirmwarePackageVersion": "22.1"}]},
        "/redfish/v1/A/1/P": {"Members": [{"@odata.id": "/redfish/v1/A/1/P/1"}]},
        "/redfish/v1/A/1/P/1": {"Id": "1", "Ethernet": {"LLDPReceive": {"ChassisId": "sw1", "PortId": "Eth1/7"}}},
        "/redfish/v1/T": {"Temperatures": [{"MemberId": "0", "Name": "CPU 1", "ReadingCelsius": 41,
                "Status": {"State": "Enabled", "Health": "OK"}}, {"Status": {"State": "Absent"}}, 7],
            "Fans": [{"MemberId": "0", "FanName": "Fan A", "Reading": 30, "ReadingUnits": "Percent",
                "Status": {"Health": "Warning"}}]},
        "/redfish/v1/P": {"PowerSupplies": [{"MemberId": "0", "Name": "PSU 1", "PowerCapacityWatts": 800}],
            "PowerControl": [{"MemberId": "0", "Name": "Total", "PowerConsumedWatts": 212.5}]},
    }));
    mock
}

#[tokio::test]
async fn an_inspection_finds_what_the_bmc_tells_and_leaves_out_the_rest() {
    let mock = furnished().await;
    let found = bmc(&mock).inventory.unwrap().look().await.unwrap();
    let properties = json!({"cpus": 16, "cpu_arch": "x86_64", "memory_mb": 15872, "local_gb": 446});
    assert_eq!(Value::Object(found.properties), properties);
    let inventory = Value::Object(found.inventory);
    for (pointer, expected) in [
        ("/cpu/model_name", json!("Xeon")),
        ("/memory/physical_mb", json!(15872)),
        (
            "/system_vendor",
            json!({"product_name": "PowerEdge R650", "serial_number": "SN1",
            "manufacturer": "Dell Inc.", "system_uuid": "4c4c4544-0044"}),
        ),
        ("/interfaces", json!([{"mac_address": "aa:bb:cc:00:11:22", "name": "NIC.1", "speed_mbps": 25000}])),
        ("/disks/0", json!({"name": "Bay1", "size": 480_000_000_000_u64})),
        ("/storage_controllers/0/storage_controllers", json!(["PERC"])),
        ("/pci_devices/0/vendor_id", json!("0x10de")),
        ("/boot/current_boot_mode", json!("uefi")),
    ] {
        assert_eq!(inventory.pointer(pointer), Some(&expected), "{pointer}");
    }
    assert_eq!(found.plugin_data["parsed_lldp"]["NIC-1"]["switch_port_id"], "Eth1/7");
    let said: Vec<_> = found.capabilities.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    assert_eq!(
        said.join(","),
        "boot_mode:uefi,has_ssd:true,nic_capacity:25Gb,pci_gpu_devices:1,\
         rom_firmware_version:1.2.3,secure_boot:true,server_model:PowerEdge R650"
    );

    let bare = bmc(&Mock::start().await).inventory.unwrap().look().await.unwrap();
    assert!(bare.properties.is_empty(), "{:?}", bare.properties);
    // What a BMC refuses to tell is left out; a BMC that is not there is an error.
    mock.instead("GET /redfish/v1/Systems/1/Processors", 403, json!({}), 100);
    let found = bmc(&mock).inventory.unwrap().look().await.unwrap();
    assert!(!found.properties.contains_key("cpus") && found.properties.contains_key("memory_mb"));
}

#[tokio::test]
async fn sensors_of_older_and_newer_bmcs() {
    let mock = furnished().await;
    let sensors = bmc(&mock).sensors.unwrap();
    let found = sensors.sensors().await.unwrap();
    let shown: Vec<_> = found.iter().map(|s| (s.kind, s.id.as_str(), s.reading, s.unit)).collect();
    assert_eq!(
        shown,
        [
            (SensorKind::Temperature, "0@C", Some(41.0), "Celsius"),
            (SensorKind::Fan, "0@C", Some(30.0), "Percent"),
            (SensorKind::Power, "0@C", None, ""),
            (SensorKind::Power, "PowerControl0@C", Some(212.5), "Watts"),
            (SensorKind::Drive, "Bay1@R", None, ""),
            (SensorKind::Drive, "Bay2@R", None, ""),
        ]
    );
    assert_eq!(found[1].health, Some(Health::Warning));
    assert_eq!(found[2].more["power_capacity_watts"], 800);
    assert_eq!(found[5].health, Some(Health::Critical));

    mock.unset(CHASSIS, "/Thermal");
    mock.unset(CHASSIS, "/Power");
    mock.set(CHASSIS, "/Sensors", link("/redfish/v1/S"));
    mock.add(json!({
        "/redfish/v1/S": {"Members": [{"@odata.id": "/redfish/v1/S/1"}], "Members@odata.nextLink": "/redfish/v1/S?2"},
        "/redfish/v1/S?2": {"Members": [{"@odata.id": "/redfish/v1/S/2"}], "Members@odata.nextLink": "/redfish/v1/S?2"},
        "/redfish/v1/S/1": {"Id": "Inlet", "ReadingType": "Temperature", "Reading": 22.5},
        "/redfish/v1/S/2": {"Id": "V12", "ReadingType": "Voltage", "Reading": 12.1},
    }));
    let found = sensors.sensors().await.unwrap();
    let shown: Vec<_> = found.iter().map(|s| (s.kind, s.id.as_str(), s.reading)).take(2).collect();
    let (temperature, voltage) = (SensorKind::Temperature, SensorKind::Voltage);
    assert_eq!(shown, [(temperature, "Inlet@C", Some(22.5)), (voltage, "V12@C", Some(12.1))], "both pages");
}

#[tokio::test]
async fn members_come_with_their_collection_where_that_is_offered() {
    let mock = furnished().await;
    mock.set("/redfish/v1/", "/ProtocolFeaturesSupported", json!({"ExpandQuery": {"NoLinks": true}}));
    mock.add(json!({"/redfish/v1/Systems/1/Processors?$expand=.": {"Members": [
        {"@odata.id": "/redfish/v1/p1", "TotalThreads": 64}]}}));
    let found = bmc(&mock).inventory.unwrap().look().await.unwrap();
    assert_eq!(found.properties["cpus"], 64);
    assert_eq!(mock.count("GET /redfish/v1/p1"), 0);
    mock.instead("GET /redfish/v1/Systems/1/Processors", 400, json!({}), 1);
    let found = bmc(&mock).inventory.unwrap().look().await.unwrap();
    assert_eq!(found.properties["cpus"], 16, "a BMC that offers more than it can");
}

#[tokio::test]
async fn the_newest_of_the_log_whatever_its_order() {
    let mock = Mock::start().await;
    let log = bmc(&mock).log.unwrap();
    assert!(matches!(log.entries(10).await.unwrap_err(), BmcError::Unsupported { .. }));
    mock.set(SYSTEM, "/LogServices", link("/redfish/v1/L"));
    mock.add(json!({
        "/redfish/v1/L": {"Members": [{"@odata.id": "/redfish/v1/L/Audit"}, {"@odata.id": "/redfish/v1/L/Sel"}]},
        "/redfish/v1/L/Audit": {"Id": "Audit"},
        "/redfish/v1/L/Sel": {"Id": "Sel", "Entries": {"@odata.id": "/redfish/v1/L/Sel/E"},
            "Actions": {"#LogService.ClearLog": {"target": "/redfish/v1/L/Sel/Actions/LogService.ClearLog"}}},
        "/redfish/v1/L/Sel/E": {"Members": [
            {"@odata.id": "/redfish/v1/L/Sel/E/3", "Id": "3", "Created": "2026-01-03T00:00:00Z", "Message": "three"},
            {"@odata.id": "/redfish/v1/L/Sel/E/2", "Id": "2", "Created": "2026-01-02T00:00:00+01:00",
                "Message": "two\nlines", "Severity": "Warning"},
            {"@odata.id": "/redfish/v1/L/Sel/E/1", "Id": "1", "Created": "2026-01-01T00:00:00Z", "Message": "one"}]},
    }));
    let entries = log.entries(2).await.unwrap();
    let two = LogEntry {
        id: "2".into(),
        at: Some("2026-01-01T23:00:00Z".parse::<DateTime<Utc>>().unwrap()),
        severity: Some("Warning".into()),
        message: "two lines".into(),
    };
    assert_eq!(entries[0], two);
    assert_eq!((entries.len(), entries[1].message.as_str()), (2, "three"));
    log.clear().await.unwrap();
    assert_eq!(mock.count("POST /redfish/v1/L/Sel/Actions/LogService.ClearLog"), 1);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, ..Default::default() })]

    /// Whatever types the BMC's values have, and whatever is missing: no panic, an answer or an error.
    #[test]
    fn hostile_documents_never_panic(seed in proptest::collection::vec(0_u8..12, 64)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mock = furnished().await;
            let mut seed = seed.iter().copied().cycle();
            for (path, document) in &mut mock.model().documents {
                if path != "/redfish/v1/" && path != SYSTEM {
                    garble(document, &mut seed);
                }
            }
            let bmc = bmc(&mock);
            bmc.inventory.unwrap().look().await.ok();
            bmc.sensors.unwrap().sensors().await.ok();
            bmc.raid.unwrap().controllers().await.ok();
            bmc.log.unwrap().entries(10).await.ok();
            bmc.virtual_media.unwrap().slots().await.ok();
        });
    }
}

fn garble(value: &mut Value, seed: &mut impl Iterator<Item = u8>) {
    match seed.next() {
        Some(0) => *value = Value::Null,
        Some(1) => *value = json!(-1),
        Some(2) => *value = json!(1e300),
        Some(3) => *value = json!([[{}]]),
        Some(4) => *value = json!("\u{0}\u{7f}ü"),
        _ => match value {
            Value::Object(map) => map.values_mut().for_each(|value| garble(value, seed)),
            Value::Array(list) => list.iter_mut().for_each(|value| garble(value, seed)),
            _ => {}
        },
    }
}
