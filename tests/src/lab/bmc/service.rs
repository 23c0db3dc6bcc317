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
