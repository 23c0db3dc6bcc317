//! The one system: power, boot override, Secure Boot.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde_json::{Map, Value, json};

use super::{
    Bmc, CHASSIS, MANAGER, SYSTEM, Shared, actions, bios, disguise,
    error::RedfishError,
    mode_word,
    profile::MediaLocation,
    reply::{self, Allow},
};
use crate::lab::{BootMode, BootOverride, BootTarget, OverrideEnabled, Post, Power};

const ACTION_INFO: &str = "/redfish/v1/Systems/1/ResetActionInfo";
const RESETS: [(&str, Power); 8] = [
    ("On", Power::On),
    ("ForceOn", Power::On),
    ("ForceOff", Power::ForceOff),
    ("GracefulShutdown", Power::GracefulShutdown),
    ("PushPowerButton", Power::GracefulShutdown),
    ("ForceRestart", Power::ForceRestart),
    ("GracefulRestart", Power::ForceRestart),
    ("PowerCycle", Power::ForceRestart),
];
const NMI: &str = "Nmi";
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

/// What a word for a boot target means to the machine; words for drives that it does not have mean nothing.
fn target_of(bmc: &Bmc, word: &str) -> Option<BootTarget> {
    match word {
        "Cd" if bmc.profile().boot.cd_is_physical => None,
        "Cd" | "UsbCd" => Some(BootTarget::Cd),
        "Hdd" => Some(BootTarget::Disk),
        "Pxe" => Some(BootTarget::Network),
        _ => None,
    }
}

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(SYSTEM, get(system).patch(change))
        .route("/redfish/v1/Systems/1/SD", get(settings).patch(change))
        .route("/redfish/v1/Systems/1/Settings", get(settings).patch(change))
        .route(ACTION_INFO, get(action_info))
        .route("/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", post(reset))
        .route("/redfish/v1/Systems/1/SecureBoot", get(secure_boot).merge(patch(change_secure_boot)))
}

fn power_state(bmc: &Bmc) -> &'static str {
    let status = bmc.handle.status();
    match (status.changing_to, status.on) {
        (Some(true), false) => "PoweringOn",
        (Some(false), true) => "PoweringOff",
        (_, true) => "On",
        (_, false) => "Off",
    }
}

fn shown_mode(bmc: &Bmc) -> BootMode {
    let status = bmc.handle.status();
    if bmc.profile().boot.changes_at_start { status.mode_at_start } else { status.mode }
}

fn boot(bmc: &Bmc) -> Value {
    let (rules, status) = (&bmc.profile().boot, bmc.handle.status());
    let is_set = status.boot.enabled != OverrideEnabled::Disabled || bmc.state().boot_word == "None";
    let word = if is_set { bmc.state().boot_word.clone() } else { "None".to_owned() };
    let mut boot = json!({
        "BootSourceOverrideEnabled": name_of(&ENABLED, &status.boot.enabled),
        "BootSourceOverrideTarget": if status.boot.target.is_some() { word } else { "None".to_owned() },
    });
    if rules.lists_targets {
        boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = json!(rules.targets);
    }
    if !rules.mode_is_hidden {
        boot["BootSourceOverrideMode"] = mode_word(shown_mode(bmc)).into();
        boot["BootSourceOverrideMode@Redfish.AllowableValues"] = json!(names(&MODES));
    }
    boot
}

fn body(bmc: &Bmc) -> Value {
    let (machine, rules) = (&bmc.definition, &bmc.profile().power);
    let below = |name: &str| json!({ "@odata.id": format!("{SYSTEM}/{name}") });
    let reset = format!("{SYSTEM}/Actions/ComputerSystem.Reset");
    let reset = if rules.action_info {
        json!({ "target": reset, "@Redfish.ActionInfo": ACTION_INFO })
    } else {
        json!({ "target": reset, "ResetType@Redfish.AllowableValues": rules.resets })
    };
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
        "AssetTag": bmc.state().asset_tag,
        "PowerState": power_state(bmc),
        "BiosVersion": "1.0.0",
        "LocationIndicatorActive": bmc.state().indicator,
        "Status": { "State": "Enabled", "Health": "OK" },
        "MemorySummary": { "TotalSystemMemoryGiB": f64::from(machine.memory_mib) / 1024.0 },
        "ProcessorSummary": { "Count": 1, "CoreCount": machine.cpus, "LogicalProcessorCount": machine.cpus },
        "Boot": boot(bmc),
        "Bios": { "@odata.id": bios::BIOS },
        "Processors": below("Processors"),
        "Memory": below("Memory"),
        "Storage": below("Storage"),
        "EthernetInterfaces": below("EthernetInterfaces"),
        "SimpleStorage": below("SimpleStorage"),
        "PCIeDevices": [{ "@odata.id": format!("{CHASSIS}/PCIeDevices/1") }],
        "Links": {
            "Chassis": [{ "@odata.id": CHASSIS }],
            "ManagedBy": [{ "@odata.id": MANAGER }],
        },
        "Actions": { "#ComputerSystem.Reset": reset },
    });
    if let Some(object) = body.as_object_mut() {
        if bmc.profile().media.location != MediaLocation::Manager {
            object.insert("VirtualMedia".into(), below("VirtualMedia"));
        }
        if bmc.handle.status().secure_boot.is_some() {
            object.insert("SecureBoot".into(), below("SecureBoot"));
        }
    }
    body
}

async fn system(State(bmc): State<Shared>, headers: HeaderMap) -> Response {
    actions::settle(&bmc).await;
    reply::resource(&headers, body(&bmc), Allow::Patch)
}

/// Where a profile has the boot override changed, when that is not the system.
fn settings_body(bmc: &Bmc, path: &str) -> Result<Value, RedfishError> {
    let own = disguise::made(bmc, path).filter(|_| bmc.profile().boot.path.as_deref() == Some(path));
    let mut body = own.ok_or_else(|| RedfishError::missing("resource", path))?;
    disguise::merge(&mut body, json!({ "Boot": boot(bmc) }), false);
    Ok(body)
}

async fn settings(State(bmc): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, RedfishError> {
    Ok(reply::resource(&headers, settings_body(&bmc, uri.path())?, Allow::Patch))
}

async fn action_info(State(bmc): State<Shared>, headers: HeaderMap) -> Result<Response, RedfishError> {
    if !bmc.profile().power.action_info {
        return Err(RedfishError::missing("resource", ACTION_INFO));
    }
    let body = json!({
        "@odata.id": ACTION_INFO,
        "@odata.type": "#ActionInfo.v1_6_0.ActionInfo",
        "Id": "ResetActionInfo",
        "Name": "Reset Action Info",
        "Parameters": [{
            "Name": "ResetType", "Required": true, "DataType": "String",
            "AllowableValues": bmc.profile().power.resets,
        }],
    });
    Ok(reply::resource(&headers, body, Allow::Read))
}

async fn change(
    State(bmc): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    request: Bytes,
) -> Result<Response, RedfishError> {
    let own_path = bmc.profile().boot.path.as_deref().unwrap_or(SYSTEM);
    let shown = if uri.path() == SYSTEM { body(&bmc) } else { settings_body(&bmc, uri.path())? };
    reply::check_if_match(&bmc, &headers, &shown)?;
    let mut request = reply::object(&request)?;
    let boot = match request.remove("Boot") {
        None => None,
        Some(Value::Object(boot)) => Some(boot),
        Some(other) => return Err(RedfishError::bad_value("Boot", &other)),
    };
    if boot.is_some() && uri.path() != own_path {
        return Err(RedfishError::own(StatusCode::BAD_REQUEST, "PropertyNotWritable"));
    }
    let tag = reply::take_text(&mut request, "AssetTag")?;
    let lamp = match (request.remove("LocationIndicatorActive"), request.remove("IndicatorLED")) {
        (Some(Value::Bool(on)), None) => Some(on),
        (None, Some(Value::String(word))) => Some(word != "Off"),
        (None, None) => None,
        (Some(other), _) | (_, Some(other)) => {
            return Err(RedfishError::bad_value("LocationIndicatorActive", &other));
        }
    };
    reply::nothing_left(&request)?;
    if let Some(boot) = boot {
        change_boot(&bmc, boot).await?;
    }
    let mut state = bmc.state();
    state.asset_tag = tag.unwrap_or_else(|| state.asset_tag.clone());
    state.indicator = lamp.unwrap_or(state.indicator);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The override that a PATCH asks for, by the profile's rules.
async fn change_boot(bmc: &Bmc, mut boot: Map<String, Value>) -> Result<(), RedfishError> {
    let (rules, status) = (&bmc.profile().boot, bmc.handle.status());
    if let (Some(id), Post::Running) = (&rules.refused_in_post, status.post) {
        return Err(RedfishError::own(StatusCode::BAD_REQUEST, id));
    }
    for name in ["BootSourceOverrideEnabled", "BootSourceOverrideTarget", "BootSourceOverrideMode"] {
        if rules.needs_all && !boot.contains_key(name) {
            return Err(RedfishError::missing_property(name));
        }
        if rules.refuses_repeat && boot.get(name).is_some_and(|new| self::boot(bmc).get(name) == Some(new)) {
            return Err(RedfishError::own(StatusCode::BAD_REQUEST, "PropertyValueConflict"));
        }
    }
    let enabled = choose(&mut boot, "BootSourceOverrideEnabled", &ENABLED)?;
    let word = reply::take_text(&mut boot, "BootSourceOverrideTarget")?;
    if let Some(word) = word.as_ref().filter(|word| !rules.targets.contains(word)) {
        return Err(RedfishError::bad_value("BootSourceOverrideTarget", &word.clone().into()));
    }
    let mut mode = choose(&mut boot, "BootSourceOverrideMode", &MODES)?;
    reply::nothing_left(&boot)?;
    if (rules.mode_is_fixed || rules.mode_is_hidden) && mode.is_some() {
        return Err(RedfishError::own(StatusCode::BAD_REQUEST, "PropertyNotWritable"));
    }
    if rules.forgets_mode {
        mode = mode.or(Some(BootMode::Legacy));
    }
    let target = word.as_ref().map(|word| target_of(bmc, word));
    let old = status.boot;
    let mut wanted =
        BootOverride { enabled: enabled.unwrap_or(old.enabled), target: target.unwrap_or(old.target) };
    if wanted.enabled == OverrideEnabled::Continuous && rules.only_once {
        return Err(RedfishError::bad_value("BootSourceOverrideEnabled", &"Continuous".into()));
    }
    if wanted.target.is_none() {
        // Nothing to override with is no override.
        wanted = BootOverride::DISABLED;
    }
    if rules.disk_is_not_kept && wanted.target == Some(BootTarget::Disk) {
        wanted.enabled = if wanted.enabled == OverrideEnabled::Continuous {
            OverrideEnabled::Once
        } else {
            wanted.enabled
        };
    }
    if let Some(word) = word {
        bmc.state().boot_word = word;
    }
    Ok(bmc.handle.boot(Some(wanted), mode).await?)
}

async fn reset(State(bmc): State<Shared>, request: Bytes) -> Result<StatusCode, RedfishError> {
    let mut request = reply::object(&request)?;
    let name = "ResetType";
    let word = reply::take_text(&mut request, name)?.ok_or_else(|| RedfishError::missing_property(name))?;
    reply::nothing_left(&request)?;
    let rules = &bmc.profile().power;
    let known = RESETS.iter().find(|(known, _)| *known == word).map(|(_, power)| *power);
    if !rules.resets.contains(&word) || (known.is_none() && word != NMI) {
        return Err(RedfishError::bad_value(name, &word.into()));
    }
    let on = bmc.handle.status().on;
    let Some(power) = known else {
        if !on {
            return Err(RedfishError::own(StatusCode::CONFLICT, "ActionNotSupported"));
        }
        actions::send_event(&bmc, "NMI", "An NMI was asked for.");
        return Ok(StatusCode::NO_CONTENT);
    };
    let repeats = match power {
        Power::On => on,
        Power::ForceOff | Power::GracefulShutdown => !on,
        _ => false,
    };
    if let (Some((status, id)), true) = (&rules.refuses_repeat, repeats) {
        let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::CONFLICT);
        return Err(RedfishError::own(status, id));
    }
    bmc.handle.power(power).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn secure_boot_body(bmc: &Bmc) -> Result<Value, RedfishError> {
    let status = bmc.handle.status();
    let enabled = status
        .secure_boot
        .ok_or_else(|| RedfishError::missing("resource", "/redfish/v1/Systems/1/SecureBoot"))?;
    let late = bmc.profile().boot.changes_at_start && status.starts > 0;
    let has_keys = bmc.state().has_keys;
    Ok(json!({
        "@odata.id": format!("{SYSTEM}/SecureBoot"),
        "@odata.type": "#SecureBoot.v1_1_0.SecureBoot",
        "Id": "SecureBoot",
        "Name": "UEFI Secure Boot",
        "SecureBootEnable": if late { status.secure_boot_at_start } else { enabled },
        "SecureBootCurrentBoot": if status.secure_boot_at_start && has_keys { "Enabled" } else { "Disabled" },
        // Without keys the firmware checks nothing.
        "SecureBootMode": if has_keys { "UserMode" } else { "SetupMode" },
        "Actions": { "#SecureBoot.ResetKeys": {
            "target": format!("{SYSTEM}/SecureBoot/Actions/SecureBoot.ResetKeys"),
            "ResetKeysType@Redfish.AllowableValues": ["ResetAllKeysToDefault", "DeleteAllKeys", "DeletePK"],
        }},
    }))
}

async fn secure_boot(State(bmc): State<Shared>, headers: HeaderMap) -> Result<Response, RedfishError> {
    actions::settle(&bmc).await;
    Ok(reply::resource(&headers, secure_boot_body(&bmc)?, Allow::Patch))
}

async fn change_secure_boot(
    State(bmc): State<Shared>,
    headers: HeaderMap,
    request: Bytes,
) -> Result<StatusCode, RedfishError> {
    reply::check_if_match(&bmc, &headers, &secure_boot_body(&bmc)?)?;
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
