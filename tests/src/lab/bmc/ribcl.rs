//! RIBCL, the XML wire of iLO 4 and older, in front of the same machine. An answer is several XML documents in a row,
//! one for each element that was opened, as real ones do it (HPE iLO 4 Scripting and Command Line Guide).

use std::{collections::BTreeMap, fmt::Write as _};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use quick_xml::{
    Reader,
    escape::escape,
    events::{BytesStart, Event},
};
use url::Url;

use super::{Shared, actions, auth, media, profile::RibclRules};
use crate::lab::{BootMode, BootOverride, BootTarget, OverrideEnabled, Power, Slot};

const RESET: std::time::Duration = std::time::Duration::from_secs(2);
/// Elements of a request; more is no script of a client.
const MOST_ELEMENTS: usize = 64;
const ONE_TIME: [(&str, BootTarget); 3] =
    [("CDROM", BootTarget::Cd), ("NETWORK", BootTarget::Network), ("HDD", BootTarget::Disk)];

pub(super) fn routes(rules: &RibclRules) -> Router<Shared> {
    if !rules.enabled {
        return Router::new();
    }
    Router::new().route("/ribcl", post(answer)).route("/xmldata", get(discovery))
}

/// What anyone may know.
async fn discovery(State(bmc): State<Shared>) -> Response {
    let (rules, machine) = (&bmc.profile().ribcl, &bmc.definition);
    let body = format!(
        "<?xml version=\"1.0\"?>\r\n<RIMP>\r\n<HSI>\r\n<SBSN>{}</SBSN>\r\n<SPN>{}</SPN>\r\n<UUID>{}</UUID>\r\n\
         <cUUID>{}</cUUID>\r\n</HSI>\r\n<MP>\r\n<ST>1</ST>\r\n<PN>Integrated Lights-Out 4 (iLO 4)</PN>\r\n<FWRI>{}</FWRI>\r\n\
         </MP>\r\n</RIMP>\r\n",
        escape(&machine.name),
        escape(&rules.product),
        machine.uuid,
        machine.uuid,
        escape(&rules.firmware),
    );
    ([(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

/// One element with its attributes; names in upper case, for clients write them as they like.
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
}

impl Element {
    fn read(start: &BytesStart<'_>) -> Option<Self> {
        let mut attributes = BTreeMap::new();
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let value = quick_xml::escape::unescape(&attribute.value).ok()?.into_owned();
            attributes.insert(attribute.key.as_ref().to_uppercase(), value);
        }
        Some(Self { name: start.name().as_ref().to_uppercase(), attributes })
    }

    fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// `<RIBCL><LOGIN><TAG><COMMAND><CHILD/>…`, flattened.
fn parse(body: &[u8]) -> Option<Vec<Element>> {
    let mut reader = Reader::from_reader(body);
    let (mut elements, mut buffer) = (Vec::new(), Vec::new());
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).ok()? {
            Event::Start(start) | Event::Empty(start) => elements.push(Element::read(&start)?),
            Event::Eof => return Some(elements),
            _ => {}
        }
        if elements.len() > MOST_ELEMENTS {
            return None;
        }
    }
}

/// A refusal: status and message.
struct Refusal(u16, &'static str);

const SYNTAX: Refusal = Refusal(0x0001, "Syntax error: Line #0: syntax error near \"\" in the line: \"\"");
const NOT_SUPPORTED: Refusal = Refusal(0x003C, "Feature not supported.");
/// The text is what clients go by: the guide names no number for it.
const LICENCE: Refusal = Refusal(0x0043, "This feature requires an installed license key.");

fn document(out: &mut String, status: u16, message: &str, data: &str) {
    let message = escape(message);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<?xml version=\"1.0\"?>\r\n<RIBCL VERSION=\"2.23\">\r\n<RESPONSE\r\n    STATUS=\"0x{status:04X}\"\r\n    \
         MESSAGE='{message}'\r\n     />\r\n{data}</RIBCL>\r\n",
    );
}

async fn answer(State(bmc): State<Shared>, body: Bytes) -> Response {
    let mut out = String::new();
    document(&mut out, 0, "No error", "");
    match carry_out(&bmc, &body).await {
        Ok(data) => {
            for data in ["", &data, ""] {
                document(&mut out, 0, "No error", data);
            }
        }
        Err(Refusal(status, message)) => document(&mut out, status, message, ""),
    }
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/xml")], out).into_response()
}

async fn carry_out(bmc: &Shared, body: &[u8]) -> Result<String, Refusal> {
    let elements = parse(body).ok_or(SYNTAX)?;
    let at = elements.iter().position(|element| element.name == "LOGIN").ok_or(SYNTAX)?;
    let [login, tag, command, children @ ..] = &elements[at..] else { return Err(SYNTAX) };
    auth::log_on(bmc, login.get("USER_LOGIN"), login.get("PASSWORD").to_owned())
        .map_err(|_| Refusal(0x005F, "Login failed."))?;
    match (tag.name.as_str(), command.name.as_str()) {
        (
            "SERVER_INFO",
            "GET_PRODUCT_NAME" | "GET_HOST_POWER_STATUS" | "GET_EMBEDDED_HEALTH" | "GET_POWER_READINGS",
        )
        | ("RIB_INFO", "GET_FW_VERSION" | "GET_ALL_LICENSES") => Ok(describe(bmc, &command.name)),
        (
            "SERVER_INFO",
            name
            @ ("SET_HOST_POWER" | "RESET_SERVER" | "COLD_BOOT_SERVER" | "PRESS_PWR_BTN" | "HOLD_PWR_BTN"),
        ) => power(bmc, name, command).await,
        ("SERVER_INFO", name) if name.ends_with("_BOOT_MODE") => boot_mode(bmc, name, command).await,
        ("SERVER_INFO", name) if name.ends_with("_BOOT") => boot(bmc, name, command, children).await,
        ("RIB_INFO", name) if name.contains("VIRTUAL_MEDIA") || name.ends_with("VM_STATUS") => {
            virtual_media(bmc, name, command, children).await
        }
        ("RIB_INFO", "RESET_RIB") => {
            bmc.restart(RESET).await;
            Ok(String::new())
        }
        ("USER_INFO", "MOD_USER") => change_password(bmc, command, children),
        _ => Err(SYNTAX),
    }
}

fn describe(bmc: &Shared, command: &str) -> String {
    let (rules, machine, on) = (&bmc.profile().ribcl, &bmc.definition, bmc.handle.status().on);
    match command {
        "GET_PRODUCT_NAME" => format!(
            "<GET_PRODUCT_NAME>\r\n<PRODUCT_NAME VALUE=\"{}\"/>\r\n</GET_PRODUCT_NAME>\r\n",
            escape(&rules.product)
        ),
        "GET_HOST_POWER_STATUS" => {
            format!("<GET_HOST_POWER\r\n    HOST_POWER=\"{}\"\r\n/>\r\n", if on { "ON" } else { "OFF" })
        }
        "GET_FW_VERSION" => format!(
            "<GET_FW_VERSION\r\n    FIRMWARE_VERSION=\"{}\"\r\n    FIRMWARE_DATE=\"Feb 06 2023\"\r\n    \
             MANAGEMENT_PROCESSOR=\"iLO4\"\r\n    LICENSE_TYPE=\"{}\"/>\r\n",
            escape(&rules.firmware),
            escape(&rules.licence)
        ),
        "GET_ALL_LICENSES" => format!(
            "<GET_ALL_LICENSES>\r\n<LICENSE>\r\n<LICENSE_TYPE VALUE=\"{}\"/>\r\n<LICENSE_KEY VALUE=\"XXXXX-XXXXX-XXXXX-XXXXX-XXXXX\"/>\r\n\
             </LICENSE>\r\n</GET_ALL_LICENSES>\r\n",
            escape(&rules.licence)
        ),
        "GET_POWER_READINGS" => format!(
            "<GET_POWER_READINGS>\r\n<PRESENT_POWER_READING VALUE=\"{}\" UNIT=\"Watts\"/>\r\n</GET_POWER_READINGS>\r\n",
            if on { 180 } else { 12 }
        ),
        _ => {
            let disk = machine.disks.first().map_or(0, |disk| disk.size_bytes >> 30);
            format!(
                "<GET_EMBEDDED_HEALTH_DATA>\r\n<FANS>\r\n<FAN><LABEL VALUE=\"Fan 1\"/><ZONE VALUE=\"System\"/>\
                 <STATUS VALUE=\"OK\"/><SPEED VALUE=\"6\" UNIT=\"Percentage\"/></FAN>\r\n</FANS>\r\n<TEMPERATURE>\r\n<TEMP>\
                 <LABEL VALUE=\"01-Inlet Ambient\"/><LOCATION VALUE=\"Ambient\"/><STATUS VALUE=\"OK\"/>\
                 <CURRENTREADING VALUE=\"22\" UNIT=\"Celsius\"/></TEMP>\r\n</TEMPERATURE>\r\n<MEMORY>\r\n\
                 <MEMORY_DETAILS_SUMMARY><CPU_1><NUMBER_OF_SOCKETS VALUE=\"8\"/><TOTAL_MEMORY_SIZE VALUE=\"{} MB\"/></CPU_1>\
                 </MEMORY_DETAILS_SUMMARY>\r\n</MEMORY>\r\n<PROCESSORS>\r\n<PROCESSOR><LABEL VALUE=\"Proc 1\"/>\
                 <NAME VALUE=\"Lab Processor\"/><STATUS VALUE=\"OK\"/><SPEED VALUE=\"2400 MHz\"/>\
                 <EXECUTION_TECHNOLOGY VALUE=\"{}/{} cores; {} threads\"/></PROCESSOR>\r\n</PROCESSORS>\r\n<STORAGE>\r\n\
                 <CONTROLLER><LABEL VALUE=\"Controller on System Board\"/><STATUS VALUE=\"OK\"/><LOGICAL_DRIVE>\
                 <LABEL VALUE=\"01\"/><STATUS VALUE=\"OK\"/><CAPACITY VALUE=\"{} GB\"/><FAULT_TOLERANCE VALUE=\"RAID 0\"/>\
                 </LOGICAL_DRIVE></CONTROLLER>\r\n</STORAGE>\r\n<NIC_INFORMATION>\r\n<NIC><NETWORK_PORT VALUE=\"Port 1\"/>\
                 <PORT_DESCRIPTION VALUE=\"Lab Network Card\"/><LOCATION VALUE=\"Embedded\"/><MAC_ADDRESS VALUE=\"{}\"/>\
                 <STATUS VALUE=\"OK\"/></NIC>\r\n</NIC_INFORMATION>\r\n<FIRMWARE_INFORMATION>\r\n<INDEX_1>\
                 <FIRMWARE_NAME VALUE=\"iLO\"/><FIRMWARE_VERSION VALUE=\"{}\"/></INDEX_1>\r\n<INDEX_2>\
                 <FIRMWARE_NAME VALUE=\"HP ProLiant System ROM\"/><FIRMWARE_VERSION VALUE=\"02/17/2017\"/></INDEX_2>\r\n\
                 </FIRMWARE_INFORMATION>\r\n<HEALTH_AT_A_GLANCE>\r\n<FANS STATUS=\"OK\"/>\r\n<TEMPERATURE STATUS=\"OK\"/>\r\n\
                 </HEALTH_AT_A_GLANCE>\r\n</GET_EMBEDDED_HEALTH_DATA>\r\n",
                machine.memory_mib,
                machine.cpus,
                machine.cpus,
                machine.cpus,
                disk,
                machine.mac,
                escape(&rules.firmware)
            )
        }
    }
}

async fn power(bmc: &Shared, name: &str, command: &Element) -> Result<String, Refusal> {
    let on = bmc.handle.status().on;
    let change = match (name, command.get("HOST_POWER").to_uppercase().as_str()) {
        ("SET_HOST_POWER", "YES") => Power::On,
        ("SET_HOST_POWER", "NO") => Power::GracefulShutdown,
        ("RESET_SERVER" | "COLD_BOOT_SERVER", _) if !on => {
            return Err(Refusal(0x0005, "Server is currently powered off."));
        }
        ("RESET_SERVER" | "COLD_BOOT_SERVER", _) => Power::ForceRestart,
        ("PRESS_PWR_BTN", _) if on => Power::GracefulShutdown,
        ("HOLD_PWR_BTN", _) if on => Power::ForceOff,
        // TOGGLE=NO: a held button does nothing to a machine that is off.
        ("HOLD_PWR_BTN", _) if command.get("TOGGLE").eq_ignore_ascii_case("NO") => return Ok(String::new()),
        ("PRESS_PWR_BTN" | "HOLD_PWR_BTN", _) => Power::On,
        _ => return Err(SYNTAX),
    };
    done(bmc.handle.power(change).await)
}

fn done(result: Result<(), crate::lab::LabError>) -> Result<String, Refusal> {
    result.map(|()| String::new()).map_err(|_| Refusal(0x0006, "Internal error."))
}

async fn boot_mode(bmc: &Shared, name: &str, command: &Element) -> Result<String, Refusal> {
    if !bmc.profile().ribcl.boot_modes {
        return Err(NOT_SUPPORTED);
    }
    let status = bmc.handle.status();
    let word = |mode| if mode == BootMode::Uefi { "UEFI" } else { "LEGACY" };
    let shown = |name: &str, kind: &str, value: &str| {
        Ok(format!("<{name}>\r\n<{kind} VALUE=\"{value}\"/>\r\n</{name}>\r\n"))
    };
    match name {
        "GET_SUPPORTED_BOOT_MODE" => shown(name, "SUPPORTED_BOOT_MODE", "LEGACY_UEFI"),
        "GET_CURRENT_BOOT_MODE" => shown(name, "BOOT_MODE", word(status.mode_at_start)),
        "GET_PENDING_BOOT_MODE" => shown(name, "BOOT_MODE", word(status.mode)),
        "SET_PENDING_BOOT_MODE" => {
            let mode = match command.get("VALUE").to_uppercase().as_str() {
                "UEFI" => BootMode::Uefi,
                "LEGACY" => BootMode::Legacy,
                _ => return Err(SYNTAX),
            };
            done(bmc.handle.boot(None, Some(mode)).await)
        }
        _ => Err(SYNTAX),
    }
}

async fn boot(bmc: &Shared, name: &str, command: &Element, children: &[Element]) -> Result<String, Refusal> {
    let current = bmc.handle.status().boot;
    let chosen =
        |text: &str| ONE_TIME.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, t)| *t);
    let word =
        |target| ONE_TIME.iter().find(|(_, known)| Some(*known) == target).map_or("Normal", |(word, _)| word);
    match name {
        "GET_ONE_TIME_BOOT" => {
            let is_once = current.enabled == OverrideEnabled::Once;
            let kind = if is_once { word(current.target) } else { "Normal" };
            Ok(format!("<ONE_TIME_BOOT>\r\n<BOOT_TYPE VALUE=\"{kind}\"/>\r\n</ONE_TIME_BOOT>\r\n"))
        }
        "SET_ONE_TIME_BOOT" => {
            let text = command.get("VALUE");
            let wanted = if text.eq_ignore_ascii_case("NORMAL") {
                BootOverride::DISABLED
            } else {
                BootOverride { enabled: OverrideEnabled::Once, target: Some(chosen(text).ok_or(SYNTAX)?) }
            };
            done(bmc.handle.boot(Some(wanted), None).await)
        }
        "GET_PERSISTENT_BOOT" => {
            let first = if current.enabled == OverrideEnabled::Continuous {
                current.target
            } else {
                Some(BootTarget::Disk)
            };
            let mut order: Vec<_> =
                ONE_TIME.iter().map(|(word, target)| (Some(*target) != first, *word)).collect();
            order.sort_by_key(|(later, _)| *later);
            let devices: String =
                order.iter().map(|(_, word)| format!("<DEVICE VALUE=\"{word}\"/>\r\n")).collect();
            Ok(format!("<PERSISTENT_BOOT>\r\n{devices}</PERSISTENT_BOOT>\r\n"))
        }
        "SET_PERSISTENT_BOOT" => {
            let first = children.iter().find(|child| child.name == "DEVICE").ok_or(SYNTAX)?;
            let target = Some(chosen(first.get("VALUE")).ok_or(SYNTAX)?);
            done(
                bmc.handle
                    .boot(Some(BootOverride { enabled: OverrideEnabled::Continuous, target }), None)
                    .await,
            )
        }
        _ => Err(SYNTAX),
    }
}

async fn virtual_media(
    bmc: &Shared,
    name: &str,
    command: &Element,
    children: &[Element],
) -> Result<String, Refusal> {
    let device = command.get("DEVICE").to_uppercase();
    let slot = match device.as_str() {
        "CDROM" => Slot::Cd,
        "FLOPPY" => Slot::Second,
        _ => return Err(SYNTAX),
    };
    if bmc.profile().ribcl.licence.is_empty() && name != "GET_VM_STATUS" {
        return Err(LICENCE);
    }
    let status = bmc.handle.status();
    let inserted = if slot == Slot::Cd { status.cd } else { status.second };
    let waiting = bmc.state().ribcl_urls.get(&device).cloned();
    match name {
        "GET_VM_STATUS" => {
            let url = inserted.as_ref().map(|medium| medium.image.clone()).or(waiting).unwrap_or_default();
            let option = bmc.state().ribcl_options.get(&device).cloned().unwrap_or_else(|| "NO_BOOT".into());
            Ok(format!(
                "<GET_VM_STATUS\r\n    VM_APPLET=\"{}\"\r\n    DEVICE=\"{device}\"\r\n    BOOT_OPTION=\"{option}\"\r\n    \
                 WRITE_PROTECT=\"YES\"\r\n    IMAGE_INSERTED=\"{}\"\r\n    IMAGE_URL=\"{}\"\r\n/>\r\n",
                if inserted.is_some() { "CONNECTED" } else { "DISCONNECTED" },
                if url.is_empty() { "NO" } else { "YES" },
                escape(&url),
            ))
        }
        "INSERT_VIRTUAL_MEDIA" => {
            let url = Url::parse(command.get("IMAGE_URL"))
                .map_err(|_| Refusal(0x0058, "The image URL is not valid."))?;
            bmc.state().ribcl_urls.insert(device, url.into());
            Ok(String::new())
        }
        "EJECT_VIRTUAL_MEDIA" => {
            if waiting.is_none() && inserted.is_none() {
                return Err(Refusal(0x0054, "No image present in the Virtual Media drive."));
            }
            bmc.state().ribcl_urls.remove(&device);
            bmc.state().ribcl_options.remove(&device);
            done(bmc.handle.eject(slot).await)
        }
        "SET_VM_STATUS" => {
            let option =
                children.iter().find(|child| child.name == "VM_BOOT_OPTION").map(|child| child.get("VALUE"));
            let option = option.unwrap_or("NO_BOOT").to_uppercase();
            connect(bmc, &device, slot, &option, waiting).await
        }
        _ => Err(SYNTAX),
    }
}

/// The image is read when it is connected, not when its place is told.
async fn connect(
    bmc: &Shared,
    device: &str,
    slot: Slot,
    option: &str,
    url: Option<String>,
) -> Result<String, Refusal> {
    let enabled = match option {
        "CONNECT" => None,
        "BOOT_ONCE" => Some(OverrideEnabled::Once),
        "BOOT_ALWAYS" => Some(OverrideEnabled::Continuous),
        "DISCONNECT" | "NO_BOOT" => return done(bmc.handle.eject(slot).await),
        _ => return Err(SYNTAX),
    };
    let none = Refusal(0x0054, "No image present in the Virtual Media drive.");
    let url = url.and_then(|url| Url::parse(&url).ok()).ok_or(none)?;
    let result = media::insert_image(bmc, slot, device, &url, None).await;
    result.map_err(|_| Refusal(0x0059, "The image could not be read."))?;
    bmc.state().ribcl_options.insert(device.to_owned(), option.to_owned());
    if let (Some(enabled), Slot::Cd) = (enabled, slot) {
        return done(
            bmc.handle.boot(Some(BootOverride { enabled, target: Some(BootTarget::Cd) }), None).await,
        );
    }
    Ok(String::new())
}

fn change_password(bmc: &Shared, command: &Element, children: &[Element]) -> Result<String, Refusal> {
    let password = children.iter().find(|child| child.name == "PASSWORD").map(|child| child.get("VALUE"));
    let password =
        password.filter(|text| text.len() >= 8).ok_or(Refusal(0x0027, "Password is too short."))?;
    if command.get("USER_LOGIN") != bmc.state().credentials.user {
        return Err(Refusal(0x000A, "User login name was not found."));
    }
    actions::set_password(bmc, password);
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_whatever_its_case() {
        let script =
            b"<RIBCL VERSION=\"2.0\"><LOGIN USER_LOGIN=\"a\" PASSWORD=\"&lt;b\"><server_info mode=\"write\">\
                       <SET_ONE_TIME_BOOT value=\"CDROM\"/></server_info></LOGIN></RIBCL>";
        let elements = parse(script).unwrap();
        assert_eq!(elements.len(), 4);
        assert_eq!(elements[1].get("PASSWORD"), "<b");
        assert_eq!((elements[2].name.as_str(), elements[3].get("VALUE")), ("SERVER_INFO", "CDROM"));
        assert!(parse(b"<RIBCL").is_none_or(|elements| elements.is_empty()));
        assert!(parse("<a/>".repeat(100).as_bytes()).is_none(), "too many");
    }
}
