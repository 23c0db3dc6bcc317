//! The parts and services of a machine, made once from its definition.

use serde_json::{Value, json};

use super::{
    CHASSIS, MANAGER, SYSTEM,
    documents::{Document, Documents},
};
use crate::lab::{DiskBus, MachineDefinition};

fn ok() -> Value {
    json!({ "State": "Enabled", "Health": "OK" })
}

fn collection(documents: &Documents, kind: &str, path: &str, grows: bool) {
    let document = Document::new(json!({
        "@odata.id": path,
        "@odata.type": format!("#{kind}Collection.{kind}Collection"),
        "Name": format!("{kind} Collection"),
    }));
    documents.put(Document { grows, ..document });
}

/// One resource; `more` is added to what all have.
pub(super) fn resource(path: &str, kind: &str, name: &str, more: Value) -> Value {
    let id = path.rsplit('/').next().unwrap_or_default();
    let (file, _) = kind.split_once('.').unwrap_or((kind, ""));
    let mut body = json!({
        "@odata.id": path,
        "@odata.type": format!("#{kind}.{file}"),
        "Id": id,
        "Name": name,
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

/// Puts all of a machine's parts into `documents`.
pub(super) fn fill(documents: &Documents, machine: &MachineDefinition) {
    processors_and_memory(documents, machine);
    storage(documents, machine);
    network(documents, machine);
    sensors(documents);
    logs(documents);
    services(documents);
    firmware(documents);
}

fn processors_and_memory(documents: &Documents, machine: &MachineDefinition) {
    collection(documents, "Processor", &format!("{SYSTEM}/Processors"), false);
    let body = json!({
        "ProcessorType": "CPU", "ProcessorArchitecture": "x86", "InstructionSet": "x86-64", "Socket": "CPU 1",
        "Manufacturer": "Bessemer", "Model": "Lab Processor", "MaxSpeedMHz": 2400,
        "TotalCores": machine.cpus, "TotalThreads": machine.cpus, "Status": ok(),
    });
    let path = format!("{SYSTEM}/Processors/1");
    documents.put(Document::new(resource(&path, "Processor.v1_23_0", "Processor 1", body)));
    collection(documents, "Memory", &format!("{SYSTEM}/Memory"), false);
    let body = json!({
        "MemoryType": "DRAM", "MemoryDeviceType": "DDR4", "CapacityMiB": machine.memory_mib, "Status": ok(),
    });
    documents.put(Document::new(resource(&format!("{SYSTEM}/Memory/1"), "Memory.v1_24_0", "DIMM 1", body)));
}

fn storage(documents: &Documents, machine: &MachineDefinition) {
    let base = format!("{SYSTEM}/Storage");
    collection(documents, "Storage", &base, false);
    let base = format!("{base}/1");
    collection(documents, "Volume", &format!("{base}/Volumes"), true);
    collection(documents, "StorageController", &format!("{base}/Controllers"), false);
    collection(documents, "Drive", &format!("{CHASSIS}/Drives"), false);
    let mut links = Vec::new();
    for (number, disk) in machine.disks.iter().enumerate() {
        let path = format!("{CHASSIS}/Drives/{number}");
        links.push(json!({ "@odata.id": path }));
        let (protocol, media) = match disk.bus {
            DiskBus::Nvme => ("NVMe", "SSD"),
            DiskBus::Usb => ("USB", "HDD"),
            DiskBus::Scsi => ("SAS", "HDD"),
            DiskBus::Virtio | DiskBus::Sata => ("SATA", "SSD"),
        };
        let serial = disk.serial.clone().unwrap_or_else(|| format!("LAB{number:04}"));
        let body = json!({
            "CapacityBytes": disk.size_bytes, "Protocol": protocol, "MediaType": media, "BlockSizeBytes": 512,
            "Manufacturer": "Bessemer", "Model": "Lab Disk", "SerialNumber": serial, "Status": ok(),
        });
        documents.put(Document::new(resource(&path, "Drive.v1_22_0", &format!("Drive {number}"), body)));
    }
    let body = json!({
        "Drives": links, "Drives@odata.count": links.len(), "Status": ok(),
        "Volumes": { "@odata.id": format!("{base}/Volumes") },
        "Controllers": { "@odata.id": format!("{base}/Controllers") },
    });
    documents.put(Document::new(resource(&base, "Storage.v1_22_0", "Storage", body)));
    let body = json!({
        "Manufacturer": "Bessemer", "Model": "Lab RAID", "FirmwareVersion": "1.0", "Status": ok(),
        "SupportedRAIDTypes": ["RAID0", "RAID1", "RAID5", "RAID6", "RAID10"],
    });
    let path = format!("{base}/Controllers/1");
    documents.put(Document::new(resource(&path, "StorageController.v1_12_0", "Controller 1", body)));
}

fn network(documents: &Documents, machine: &MachineDefinition) {
    let base = format!("{CHASSIS}/NetworkAdapters");
    collection(documents, "NetworkAdapter", &base, false);
    let base = format!("{base}/1");
    let body = json!({
        "Manufacturer": "Bessemer", "Model": "Lab Network Card", "Status": ok(),
        "Ports": { "@odata.id": format!("{base}/Ports") },
    });
    documents.put(Document::new(resource(&base, "NetworkAdapter.v1_14_0", "Network Adapter 1", body)));
    collection(documents, "Port", &format!("{base}/Ports"), false);
    let body = json!({
        "PortId": "1", "PortProtocol": "Ethernet", "LinkStatus": "LinkUp", "CurrentSpeedGbps": 10.0, "Status": ok(),
        "Ethernet": { "AssociatedMACAddresses": [machine.mac] },
    });
    documents.put(Document::new(resource(&format!("{base}/Ports/1"), "Port.v1_19_0", "Port 1", body)));
    collection(documents, "PCIeDevice", &format!("{CHASSIS}/PCIeDevices"), false);
    collection(documents, "PCIeFunction", &format!("{CHASSIS}/PCIeDevices/1/PCIeFunctions"), false);
    let base = format!("{CHASSIS}/PCIeDevices/1");
    let body = json!({
        "Manufacturer": "Bessemer", "Model": "Lab Network Card", "DeviceType": "SingleFunction", "Status": ok(),
        "PCIeFunctions": { "@odata.id": format!("{base}/PCIeFunctions") },
    });
    documents.put(Document::new(resource(&base, "PCIeDevice.v1_22_0", "PCIe Device 1", body)));
    let body = json!({
        "FunctionId": 0, "FunctionType": "Physical", "DeviceClass": "NetworkController", "ClassCode": "0x020000",
        "DeviceId": "0x1000", "VendorId": "0x1AF4", "SubsystemId": "0x0001", "SubsystemVendorId": "0x1AF4",
        "RevisionId": "0x00", "Status": ok(),
    });
    let path = format!("{base}/PCIeFunctions/0");
    documents.put(Document::new(resource(&path, "PCIeFunction.v1_6_0", "PCIe Function 0", body)));
}

fn sensors(documents: &Documents) {
    collection(documents, "Sensor", &format!("{CHASSIS}/Sensors"), false);
    let all = [
        ("InletTemperature", "Temperature", "Cel", 22.5),
        ("ProcessorTemperature", "Temperature", "Cel", 41.0),
        ("FanSpeed", "Rotational", "{rev}/min", 6000.0),
        ("InputPower", "Power", "W", 180.0),
    ];
    for (name, kind, unit, reading) in all {
        let body = json!({ "ReadingType": kind, "ReadingUnits": unit, "Reading": reading, "Status": ok() });
        documents.put(Document::new(resource(
            &format!("{CHASSIS}/Sensors/{name}"),
            "Sensor.v1_13_0",
            name,
            body,
        )));
    }
    let base = format!("{CHASSIS}/ThermalSubsystem");
    let body = json!({
        "Status": ok(), "Fans": { "@odata.id": format!("{base}/Fans") },
        "ThermalMetrics": { "@odata.id": format!("{base}/ThermalMetrics") },
    });
    documents.put(Document::new(resource(&base, "ThermalSubsystem.v1_5_0", "Thermal Subsystem", body)));
    collection(documents, "Fan", &format!("{base}/Fans"), false);
    let body = json!({ "Status": ok(), "SpeedPercent": {
        "DataSourceUri": format!("{CHASSIS}/Sensors/FanSpeed"), "Reading": 40.0, "SpeedRPM": 6000.0,
    }});
    documents.put(Document::new(resource(&format!("{base}/Fans/1"), "Fan.v1_6_0", "Fan 1", body)));
    let body = json!({ "TemperatureSummaryCelsius": { "Intake": {
        "DataSourceUri": format!("{CHASSIS}/Sensors/InletTemperature"), "Reading": 22.5,
    }}});
    let path = format!("{base}/ThermalMetrics");
    documents.put(Document::new(resource(&path, "ThermalMetrics.v1_3_3", "Thermal Metrics", body)));
    older_sensors(documents);
}

/// What came before sensors were resources of their own.
fn older_sensors(documents: &Documents) {
    let path = format!("{CHASSIS}/Thermal");
    let member = |kind: &str| json!(format!("{path}#/{kind}/0"));
    let body = json!({
        "Temperatures": [{
            "@odata.id": member("Temperatures"), "MemberId": "0", "Name": "Inlet Temperature",
            "ReadingCelsius": 22.5, "UpperThresholdCritical": 47.0, "PhysicalContext": "Intake", "Status": ok(),
        }],
        "Fans": [{
            "@odata.id": member("Fans"), "MemberId": "0", "Name": "Fan 1", "Reading": 6000, "ReadingUnits": "RPM",
            "PhysicalContext": "SystemBoard", "Status": ok(),
        }],
    });
    documents.put(Document::new(resource(&path, "Thermal.v1_7_3", "Thermal", body)));
    let path = format!("{CHASSIS}/Power");
    let body = json!({
        "PowerControl": [{
            "@odata.id": format!("{path}#/PowerControl/0"), "MemberId": "0", "Name": "System Power",
            "PowerConsumedWatts": 180.0, "PowerCapacityWatts": 750.0,
        }],
        "PowerSupplies": [{
            "@odata.id": format!("{path}#/PowerSupplies/0"), "MemberId": "0", "Name": "Power Supply 1",
            "PowerSupplyType": "AC", "LineInputVoltage": 230.0, "PowerCapacityWatts": 750.0, "Status": ok(),
        }],
    });
    documents.put(Document::new(resource(&path, "Power.v1_7_3", "Power", body)));
}

fn logs(documents: &Documents) {
    let base = format!("{MANAGER}/LogServices");
    collection(documents, "LogService", &base, false);
    let base = format!("{base}/Sel");
    let body = json!({
        "LogEntryType": "SEL", "OverWritePolicy": "WrapsWhenFull", "ServiceEnabled": true, "Status": ok(),
        "Entries": { "@odata.id": format!("{base}/Entries") },
        "Actions": { "#LogService.ClearLog": { "target": format!("{base}/Actions/LogService.ClearLog") } },
    });
    documents.put(Document::new(resource(&base, "LogService.v1_9_0", "System Event Log", body)));
    collection(documents, "LogEntry", &format!("{base}/Entries"), false);
}

fn services(documents: &Documents) {
    let base = "/redfish/v1/TaskService";
    let body =
        json!({ "ServiceEnabled": true, "Tasks": { "@odata.id": format!("{base}/Tasks") }, "Status": ok() });
    documents.put(Document::new(resource(base, "TaskService.v1_3_0", "Task Service", body)));
    collection(documents, "Task", &format!("{base}/Tasks"), false);
    let base = "/redfish/v1/EventService";
    let body = json!({
        "ServiceEnabled": true, "DeliveryRetryAttempts": 3, "DeliveryRetryIntervalSeconds": 60, "Status": ok(),
        "EventFormatTypes": ["Event"],
        "Subscriptions": { "@odata.id": format!("{base}/Subscriptions") },
        "Actions": { "#EventService.SubmitTestEvent": {
            "target": format!("{base}/Actions/EventService.SubmitTestEvent"),
        }},
    });
    documents.put(Document::new(resource(base, "EventService.v1_12_0", "Event Service", body)));
    collection(documents, "EventDestination", &format!("{base}/Subscriptions"), true);
    let base = "/redfish/v1/AccountService";
    let body = json!({
        "ServiceEnabled": true, "MinPasswordLength": 8, "Status": ok(),
        "Accounts": { "@odata.id": format!("{base}/Accounts") },
        "Roles": { "@odata.id": format!("{base}/Roles") },
    });
    documents.put(Document::new(resource(base, "AccountService.v1_18_1", "Account Service", body)));
    collection(documents, "ManagerAccount", &format!("{base}/Accounts"), false);
    collection(documents, "Role", &format!("{base}/Roles"), false);
    let body = json!({
        "RoleId": "Administrator", "IsPredefined": true,
        "AssignedPrivileges": ["Login", "ConfigureManager", "ConfigureUsers", "ConfigureSelf", "ConfigureComponents"],
    });
    let path = format!("{base}/Roles/Administrator");
    documents.put(Document::new(resource(&path, "Role.v1_3_3", "Administrator", body)));
}

fn firmware(documents: &Documents) {
    let base = "/redfish/v1/UpdateService";
    let body = json!({
        "ServiceEnabled": true, "Status": ok(),
        "FirmwareInventory": { "@odata.id": format!("{base}/FirmwareInventory") },
        "MultipartHttpPushUri": "/redfish/v1/UpdateService/upload",
        "Actions": { "#UpdateService.SimpleUpdate": {
            "target": format!("{base}/Actions/UpdateService.SimpleUpdate"),
            "TransferProtocol@Redfish.AllowableValues": ["HTTP", "HTTPS"],
        }},
    });
    let body = resource(base, "UpdateService.v1_17_1", "Update Service", body);
    documents.put(Document::new(body));
    collection(documents, "SoftwareInventory", &format!("{base}/FirmwareInventory"), false);
    for (id, name, version) in [("BMC", "BMC Firmware", "1.0.0"), ("BIOS", "System Firmware", "1.0.0")] {
        let body = json!({ "Version": version, "Updateable": true, "Status": ok() });
        let path = format!("{base}/FirmwareInventory/{id}");
        documents.put(Document::new(resource(&path, "SoftwareInventory.v1_14_0", name, body)));
    }
}
