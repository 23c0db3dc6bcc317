//! The one system: power, boot override, Secure Boot.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{get, patch, post},
};
use serde_json::{Map, Value, json};

use super::{
    Bmc, CHASSIS, MANAGER, SYSTEM, Shared,
    error::RedfishError,
    reply::{self, Allow},
};
use crate::lab::{BootMode, BootOverride, BootTarget, MediaLocation, OverrideEnabled, Power};

const RESETS: [(&str, Power); 5] = [
    ("On", Power::On),
    ("ForceOff", Power::ForceOff),
    ("GracefulShutdown", Power::GracefulShutdown),
    ("ForceRestart", Power::ForceRestart),
    ("PowerCycle", Power::ForceRestart),
];
const TARGETS: [(&str, Option<BootTarget>); 4] = [
    ("None", None),
    ("Cd", Some(BootTarget::Cd)),
    ("Hdd", Some(BootTarget::Disk)),
    ("Pxe", Some(BootTarget::Network)),
];
const ENABLED: [(&str, OverrideEnabled); 3] = [
    ("Disabled", OverrideEnabled::Disabled),
    ("Once", OverrideEnabled::Once),
    ("Continuous", OverrideEnabled::Continuous),
];
const MODES: [(&str, BootMode); 2] = [("Legacy", BootMode::Legacy), ("UEFI", BootMode::Uefi)];

fn names<T, const N: usize>(table: &[(&'static str, T); N]) -> Vec<&'static str> {
    table.iter().map(|(name, _)| *name).collect()
}

fn name_of<T: PartialEq, const N: usize>(table: &[(&'static str, T); N], value: &T) -> Option<&'static str> {
    table.iter().find(|(_, candidate)| candidate == value).map(|(name, _)| *name)
}

/// Takes a property whose value must be in `table`.
fn choose<T: Copy, const N: usize>(
    object: &mut Map<String, Value>,
    property: &str,
    table: &[(&'static str, T); N],
) -> Result<Option<T>, RedfishError> {
    let Some(text) = reply::take_text(object, property)? else { return Ok(None) };
    let found = table.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| Some(*value)).ok_or_else(|| RedfishError::bad_value(property, &text.into()))
}

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(SYSTEM, get(system).patch(change))
        .route("/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", post(reset))
        .route("/redfish/v1/Systems/1/SecureBoot", get(secure_boot).merge(patch(change_secure_boot)))
}

fn body(bmc: &Bmc) -> Value {
    let (machine, status) = (&bmc.definition, bmc.handle.status());
    let mut body = json!({
        "@odata.id": SYSTEM,
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": "1",
        "Name": machine.name,
        "SystemType": "Virtual",
        "Manufacturer": "Bessemer",
        "Model": "Lab Machine",
        "SerialNumber": machine.name,
        "UUID": machine.uuid,
        "PowerState": if status.on { "On" } else { "Off" },
        "Status": { "State": "Enabled", "Health": "OK" },
        "MemorySummary": { "TotalSystemMemoryGiB": f64::from(machine.memory_mib) / 1024.0 },
        "ProcessorSummary": { "Count": 1, "CoreCount": machine.cpus, "LogicalProcessorCount": machine.cpus },
        "Boot": {
            "BootSourceOverrideEnabled": name_of(&ENABLED, &status.boot.enabled),
            "BootSourceOverrideTarget": name_of(&TARGETS, &status.boot.target),
            "BootSourceOverrideTarget@Redfish.AllowableValues": names(&TARGETS),
            "BootSourceOverrideMode": name_of(&MODES, &status.mode),
            "BootSourceOverrideMode@Redfish.AllowableValues": names(&MODES),
        },
        "EthernetInterfaces": { "@odata.id": format!("{SYSTEM}/EthernetInterfaces") },
        "SimpleStorage": { "@odata.id": format!("{SYSTEM}/SimpleStorage") },
        "Links": {
            "Chassis": [{ "@odata.id": CHASSIS }],
            "ManagedBy": [{ "@odata.id": MANAGER }],
        },
        "Actions": { "#ComputerSystem.Reset": {
            "target": format!("{SYSTEM}/Actions/ComputerSystem.Reset"),
            "ResetType@Redfish.AllowableValues": names(&RESETS),
        }},
    });
    if let Some(object) = body.as_object_mut() {
        if machine.bmc.media_location != MediaLocation::Manager {
            object.insert("VirtualMedia".into(), json!({ "@odata.id": format!("{SYSTEM}/VirtualMedia") }));
        }
        if status.secure_boot.is_some() {
            object.insert("SecureBoot".into(), json!({ "@odata.id": format!("{SYSTEM}/SecureBoot") }));
        }
    }
    body
}

async fn system(State(bmc): State<Shared>, headers: HeaderMap) -> Response {
    reply::resource(&headers, body(&bmc), Allow::Patch)
}

async fn change(
    State(bmc): State<Shared>,
    headers: HeaderMap,
    request: Bytes,
) -> Result<StatusCode, RedfishError> {
    reply::check_if_match(&headers, &body(&bmc))?;
    let mut request = reply::object(&request)?;
    let mut boot = match request.remove("Boot") {
        None => Map::new(),
        Some(Value::Object(boot)) => boot,
        Some(other) => return Err(RedfishError::bad_value("Boot", &other)),
    };
    reply::nothing_left(&request)?;
    let enabled = choose(&mut boot, "BootSourceOverrideEnabled", &ENABLED)?;
    let target = choose(&mut boot, "BootSourceOverrideTarget", &TARGETS)?;
    let mode = choose(&mut boot, "BootSourceOverrideMode", &MODES)?;
    reply::nothing_left(&boot)?;
    let old = bmc.handle.status().boot;
    let mut wanted =
        BootOverride { enabled: enabled.unwrap_or(old.enabled), target: target.unwrap_or(old.target) };
    if wanted.target.is_none() {
        // Nothing to override with is no override.
        wanted = BootOverride::DISABLED;
    }
    bmc.handle.boot(Some(wanted), mode).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reset(State(bmc): State<Shared>, request: Bytes) -> Result<StatusCode, RedfishError> {
    let mut request = reply::object(&request)?;
    let kind = choose(&mut request, "ResetType", &RESETS)?;
    reply::nothing_left(&request)?;
    bmc.handle.power(kind.ok_or_else(|| RedfishError::missing_property("ResetType"))?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn secure_boot_body(bmc: &Bmc) -> Result<Value, RedfishError> {
    let status = bmc.handle.status();
    let enabled = status
        .secure_boot
        .ok_or_else(|| RedfishError::missing("resource", "/redfish/v1/Systems/1/SecureBoot"))?;
    Ok(json!({
        "@odata.id": format!("{SYSTEM}/SecureBoot"),
        "@odata.type": "#SecureBoot.v1_1_0.SecureBoot",
        "Id": "SecureBoot",
        "Name": "UEFI Secure Boot",
        "SecureBootEnable": enabled,
        "SecureBootCurrentBoot": if status.secure_boot_at_start { "Enabled" } else { "Disabled" },
        // The keys of the firmware's template are always enrolled.
        "SecureBootMode": "UserMode",
    }))
}

async fn secure_boot(State(bmc): State<Shared>, headers: HeaderMap) -> Result<Response, RedfishError> {
    Ok(reply::resource(&headers, secure_boot_body(&bmc)?, Allow::Patch))
}

async fn change_secure_boot(
    State(bmc): State<Shared>,
    headers: HeaderMap,
    request: Bytes,
) -> Result<StatusCode, RedfishError> {
    reply::check_if_match(&headers, &secure_boot_body(&bmc)?)?;
    let mut request = reply::object(&request)?;
    match request.remove("SecureBootEnable") {
        Some(Value::Bool(enabled)) => {
            reply::nothing_left(&request)?;
            bmc.handle.secure_boot(enabled).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        Some(other) => Err(RedfishError::bad_value("SecureBootEnable", &other)),
        None => Err(RedfishError::missing_property("SecureBootEnable")),
    }
}
