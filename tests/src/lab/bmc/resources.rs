//! What can only be read: collections, network card, disks, manager, chassis.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    Bmc, CHASSIS, MANAGER, SYSTEM, Shared, actions, error::RedfishError, profile::MediaLocation, reply,
    reply::Allow, service::service_uuid,
};
use crate::lab::DiskBus;

const OK: &str = "OK";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/redfish/v1/Systems", read(|_| collection("ComputerSystem", "/redfish/v1/Systems", "1")))
        .route("/redfish/v1/Managers", read(|_| collection("Manager", "/redfish/v1/Managers", "1")))
        .route("/redfish/v1/Chassis", read(|_| collection("Chassis", "/redfish/v1/Chassis", "1")))
        .route(
            "/redfish/v1/Systems/1/EthernetInterfaces",
            read(|_| collection("EthernetInterface", &format!("{SYSTEM}/EthernetInterfaces"), "1")),
        )
        .route("/redfish/v1/Systems/1/EthernetInterfaces/1", read(network_card))
        .route(
            "/redfish/v1/Systems/1/SimpleStorage",
            read(|_| collection("SimpleStorage", &format!("{SYSTEM}/SimpleStorage"), "1")),
        )
        .route("/redfish/v1/Systems/1/SimpleStorage/1", read(storage))
        .route(MANAGER, read(manager).patch(change_manager))
        .route(CHASSIS, read(chassis))
}

fn read(body: fn(&Bmc) -> Value) -> axum::routing::MethodRouter<Shared> {
    get(move |State(bmc): State<Shared>, headers: HeaderMap| async move {
        reply::resource(&headers, body(&bmc), Allow::Read) as Response
    })
}

/// A collection of one.
fn collection(kind: &str, path: &str, member: &str) -> Value {
    json!({
        "@odata.id": path,
        "@odata.type": format!("#{kind}Collection.{kind}Collection"),
        "Name": format!("{kind} Collection"),
        "Members@odata.count": 1,
        "Members": [{ "@odata.id": format!("{path}/{member}") }],
    })
}

fn network_card(bmc: &Bmc) -> Value {
    let up = bmc.handle.status().on;
    json!({
        "@odata.id": format!("{SYSTEM}/EthernetInterfaces/1"),
        "@odata.type": "#EthernetInterface.v1_9_0.EthernetInterface",
        "Id": "1",
        "Name": "Network Card 1",
        "MACAddress": bmc.definition.mac,
        "PermanentMACAddress": bmc.definition.mac,
        "InterfaceEnabled": true,
        "LinkStatus": if up { "LinkUp" } else { "LinkDown" },
        "Status": { "State": "Enabled", "Health": OK },
    })
}

fn storage(bmc: &Bmc) -> Value {
    let bus = |bus: DiskBus| match bus {
        DiskBus::Virtio => "Virtio Disk",
        DiskBus::Sata => "SATA Disk",
        DiskBus::Nvme => "NVMe Disk",
        DiskBus::Usb => "USB Disk",
        DiskBus::Scsi => "SCSI Disk",
    };
    let devices: Vec<Value> = bmc
        .definition
        .disks
        .iter()
        .zip(&bmc.disks)
        .enumerate()
        .map(|(number, (disk, path))| {
            // A raw file that was there before says itself how large it is.
            let size = match disk.format {
                crate::lab::DiskFormat::Raw => path.metadata().map(|metadata| metadata.len()).ok(),
                crate::lab::DiskFormat::Qcow2 => Some(disk.size_bytes),
            };
            json!({
                "Name": format!("{} {number}", bus(disk.bus)),
                "CapacityBytes": size,
                "Status": { "State": "Enabled", "Health": OK },
            })
        })
        .collect();
    json!({
        "@odata.id": format!("{SYSTEM}/SimpleStorage/1"),
        "@odata.type": "#SimpleStorage.v1_3_1.SimpleStorage",
        "Id": "1",
        "Name": "Disks",
        "Status": { "State": "Enabled", "Health": OK },
        "Devices": devices,
    })
}

fn manager(bmc: &Bmc) -> Value {
    let mut body = json!({
        "@odata.id": MANAGER,
        "@odata.type": "#Manager.v1_17_0.Manager",
        "Id": "1",
        "Name": "Lab BMC",
        "ManagerType": "BMC",
        "Manufacturer": "Bessemer",
        "Model": "Lab BMC",
        "FirmwareVersion": env!("CARGO_PKG_VERSION"),
        "ServiceEntryPointUUID": service_uuid(bmc),
        "PowerState": "On",
        "DateTime": actions::now(bmc),
        "DateTimeLocalOffset": "+00:00",
        "LogServices": { "@odata.id": format!("{MANAGER}/LogServices") },
        "Actions": { "#Manager.Reset": {
            "target": format!("{MANAGER}/Actions/Manager.Reset"),
            "ResetType@Redfish.AllowableValues": ["GracefulRestart", "ForceRestart"],
        }},
        "Status": { "State": "Enabled", "Health": OK },
        "Links": {
            "ManagerForServers": [{ "@odata.id": SYSTEM }],
            "ManagerForChassis": [{ "@odata.id": CHASSIS }],
            "ManagerInChassis": { "@odata.id": CHASSIS },
        },
    });
    if let Some(object) = body.as_object_mut()
        && bmc.profile().media.location != MediaLocation::System
    {
        object.insert("VirtualMedia".into(), json!({ "@odata.id": format!("{MANAGER}/VirtualMedia") }));
    }
    body
}

fn chassis(bmc: &Bmc) -> Value {
    json!({
        "@odata.id": CHASSIS,
        "@odata.type": "#Chassis.v1_22_0.Chassis",
        "Id": "1",
        "Name": bmc.definition.name,
        "ChassisType": "RackMount",
        "Manufacturer": "Bessemer",
        "Model": "Lab Machine",
        "SerialNumber": bmc.definition.name,
        "PowerState": if bmc.handle.status().on { "On" } else { "Off" },
        "Status": { "State": "Enabled", "Health": OK },
        "NetworkAdapters": { "@odata.id": format!("{CHASSIS}/NetworkAdapters") },
        "PCIeDevices": { "@odata.id": format!("{CHASSIS}/PCIeDevices") },
        "Sensors": { "@odata.id": format!("{CHASSIS}/Sensors") },
        "ThermalSubsystem": { "@odata.id": format!("{CHASSIS}/ThermalSubsystem") },
        "Links": {
            "ComputerSystems": [{ "@odata.id": SYSTEM }],
            "ManagedBy": [{ "@odata.id": MANAGER }],
            "ManagersInChassis": [{ "@odata.id": MANAGER }],
        },
    })
}

/// The clock, which a client may set.
async fn change_manager(
    State(bmc): State<Shared>,
    headers: HeaderMap,
    request: Bytes,
) -> Result<StatusCode, RedfishError> {
    reply::check_if_match(&bmc, &headers, &manager(&bmc))?;
    let mut request = reply::object(&request)?;
    let wanted = reply::take_text(&mut request, "DateTime")?;
    reply::take_text(&mut request, "DateTimeLocalOffset")?;
    reply::nothing_left(&request)?;
    if let Some(wanted) = wanted {
        let time = DateTime::parse_from_rfc3339(&wanted);
        let time = time.map_err(|_| RedfishError::bad_value("DateTime", &wanted.into()))?;
        bmc.state().clock_offset = (time.to_utc() - Utc::now()).num_seconds();
    }
    Ok(StatusCode::NO_CONTENT)
}
