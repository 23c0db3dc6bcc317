//! What anyone may read: the service root, the list of services and the metadata document.

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Bmc, Shared,
    reply::{self, Allow},
};

/// The types in use: file name of the schema, namespace with version.
const TYPES: &[(&str, &str)] = &[
    ("ServiceRoot", "ServiceRoot.v1_17_0"),
    ("ComputerSystemCollection", "ComputerSystemCollection"),
    ("ComputerSystem", "ComputerSystem.v1_20_0"),
    ("SecureBoot", "SecureBoot.v1_1_0"),
    ("EthernetInterfaceCollection", "EthernetInterfaceCollection"),
    ("EthernetInterface", "EthernetInterface.v1_9_0"),
    ("SimpleStorageCollection", "SimpleStorageCollection"),
    ("SimpleStorage", "SimpleStorage.v1_3_1"),
    ("VirtualMediaCollection", "VirtualMediaCollection"),
    ("VirtualMedia", "VirtualMedia.v1_6_0"),
    ("ManagerCollection", "ManagerCollection"),
    ("Manager", "Manager.v1_17_0"),
    ("ChassisCollection", "ChassisCollection"),
    ("Chassis", "Chassis.v1_22_0"),
    ("SessionService", "SessionService.v1_1_9"),
    ("SessionCollection", "SessionCollection"),
    ("Session", "Session.v1_7_2"),
    ("Message", "Message.v1_1_1"),
    ("ProcessorCollection", "ProcessorCollection"),
    ("Processor", "Processor.v1_23_0"),
    ("MemoryCollection", "MemoryCollection"),
    ("Memory", "Memory.v1_24_0"),
    ("StorageCollection", "StorageCollection"),
    ("Storage", "Storage.v1_22_0"),
    ("StorageControllerCollection", "StorageControllerCollection"),
    ("StorageController", "StorageController.v1_12_0"),
    ("DriveCollection", "DriveCollection"),
    ("Drive", "Drive.v1_22_0"),
    ("VolumeCollection", "VolumeCollection"),
    ("Volume", "Volume.v1_10_2"),
    ("NetworkAdapterCollection", "NetworkAdapterCollection"),
    ("NetworkAdapter", "NetworkAdapter.v1_14_0"),
    ("PortCollection", "PortCollection"),
    ("Port", "Port.v1_19_0"),
    ("PCIeDeviceCollection", "PCIeDeviceCollection"),
    ("PCIeDevice", "PCIeDevice.v1_22_0"),
    ("PCIeFunctionCollection", "PCIeFunctionCollection"),
    ("PCIeFunction", "PCIeFunction.v1_6_0"),
    ("SensorCollection", "SensorCollection"),
    ("Sensor", "Sensor.v1_13_0"),
    ("ThermalSubsystem", "ThermalSubsystem.v1_5_0"),
    ("ThermalMetrics", "ThermalMetrics.v1_3_3"),
    ("FanCollection", "FanCollection"),
    ("Fan", "Fan.v1_6_0"),
    ("Thermal", "Thermal.v1_7_3"),
    ("Power", "Power.v1_7_3"),
    ("LogServiceCollection", "LogServiceCollection"),
    ("LogService", "LogService.v1_9_0"),
    ("LogEntryCollection", "LogEntryCollection"),
    ("LogEntry", "LogEntry.v1_21_0"),
    ("TaskService", "TaskService.v1_3_0"),
    ("TaskCollection", "TaskCollection"),
    ("Task", "Task.v1_7_4"),
    ("EventService", "EventService.v1_12_0"),
    ("EventDestinationCollection", "EventDestinationCollection"),
    ("EventDestination", "EventDestination.v1_17_0"),
    ("AccountService", "AccountService.v1_18_1"),
    ("ManagerAccountCollection", "ManagerAccountCollection"),
    ("ManagerAccount", "ManagerAccount.v1_14_1"),
    ("RoleCollection", "RoleCollection"),
    ("Role", "Role.v1_3_3"),
    ("UpdateService", "UpdateService.v1_17_1"),
    ("SoftwareInventoryCollection", "SoftwareInventoryCollection"),
    ("SoftwareInventory", "SoftwareInventory.v1_14_0"),
    ("Bios", "Bios.v1_3_0"),
    ("Settings", "Settings.v1_5_0"),
    ("MessageRegistryFileCollection", "MessageRegistryFileCollection"),
    ("MessageRegistryFile", "MessageRegistryFile.v1_1_5"),
    ("AttributeRegistry", "AttributeRegistry.v1_5_0"),
    ("ActionInfo", "ActionInfo.v1_6_0"),
];

pub(super) fn open_routes() -> Router<Shared> {
    Router::new()
        .route("/redfish", get(versions))
        .route("/redfish/v1", get(root))
        .route("/redfish/v1/", get(root))
        .route("/redfish/v1/odata", get(odata))
        .route("/redfish/v1/$metadata", get(metadata))
}

async fn versions() -> Json<serde_json::Value> {
    Json(json!({ "v1": "/redfish/v1/" }))
}

/// The service's own UUID, made from the machine's so that it lasts.
pub(super) fn service_uuid(bmc: &Bmc) -> Uuid {
    Uuid::from_u128(bmc.definition.uuid.as_u128() ^ 1)
}

async fn root(State(bmc): State<Shared>, headers: HeaderMap) -> Response {
    let body = json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_17_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Root Service",
        "Vendor": "Bessemer",
        "Product": "Lab BMC",
        "RedfishVersion": "1.20.0",
        "UUID": service_uuid(&bmc),
        "Systems": { "@odata.id": "/redfish/v1/Systems" },
        "Managers": { "@odata.id": "/redfish/v1/Managers" },
        "Chassis": { "@odata.id": "/redfish/v1/Chassis" },
        "Tasks": { "@odata.id": "/redfish/v1/TaskService" },
        "EventService": { "@odata.id": "/redfish/v1/EventService" },
        "UpdateService": { "@odata.id": "/redfish/v1/UpdateService" },
        "AccountService": { "@odata.id": "/redfish/v1/AccountService" },
        "Registries": { "@odata.id": "/redfish/v1/Registries" },
        "SessionService": { "@odata.id": "/redfish/v1/SessionService" },
        "Links": { "Sessions": { "@odata.id": "/redfish/v1/SessionService/Sessions" } },
    });
    reply::resource(&headers, body, Allow::Read)
}

async fn odata() -> Response {
    let service = |name: &str, url: &str| json!({ "name": name, "kind": "Singleton", "url": url });
    let body = json!({
        "@odata.context": "/redfish/v1/$metadata",
        "value": [
            service("Service", "/redfish/v1/"),
            service("Systems", "/redfish/v1/Systems"),
            service("Managers", "/redfish/v1/Managers"),
            service("Chassis", "/redfish/v1/Chassis"),
            service("SessionService", "/redfish/v1/SessionService"),
            service("Sessions", "/redfish/v1/SessionService/Sessions"),
        ],
    });
    Json(body).into_response()
}

async fn metadata() -> Response {
    let references: String = TYPES
        .iter()
        .map(|(file, namespace)| {
            let bare = if file == namespace {
                String::new()
            } else {
                format!("    <edmx:Include Namespace=\"{namespace}\"/>\n")
            };
            format!(
                "  <edmx:Reference Uri=\"http://redfish.dmtf.org/schemas/v1/{file}_v1.xml\">\n    \
                 <edmx:Include Namespace=\"{file}\"/>\n{bare}  </edmx:Reference>\n"
            )
        })
        .collect();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <edmx:Edmx xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n{references}  \
         <edmx:DataServices>\n    \
         <Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\">\n      \
         <EntityContainer Name=\"Service\" Extends=\"ServiceRoot.v1_17_0.ServiceContainer\"/>\n    \
         </Schema>\n  </edmx:DataServices>\n</edmx:Edmx>\n"
    );
    ([(header::CONTENT_TYPE, "application/xml;charset=utf-8")], body).into_response()
}
