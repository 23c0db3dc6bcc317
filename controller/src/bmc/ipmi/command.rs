//! The commands that are used (IPMI 2.0, appendix G), and what completion codes mean.

use crate::bmc::BmcError;

/// A command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    pub(super) net_fn: u8,
    pub(super) lun: u8,
    pub(super) code: u8,
    /// As the standard calls it.
    pub(super) name: &'static str,
    /// Doing it twice is something else than doing it once.
    pub(super) once: bool,
}

const CHASSIS: u8 = 0x00;
const SENSOR: u8 = 0x04;
const APP: u8 = 0x06;
const STORAGE: u8 = 0x0a;

pub(super) const GET_CHASSIS_STATUS: Command = of(CHASSIS, 0x01, "Get Chassis Status");
pub(super) const CHASSIS_CONTROL: Command = once(CHASSIS, 0x02, "Chassis Control");
pub(super) const SET_BOOT_OPTIONS: Command = of(CHASSIS, 0x08, "Set System Boot Options");
pub(super) const GET_BOOT_OPTIONS: Command = of(CHASSIS, 0x09, "Get System Boot Options");
pub(super) const GET_SENSOR_READING: Command = of(SENSOR, 0x2d, "Get Sensor Reading");
pub(super) const GET_DEVICE_ID: Command = of(APP, 0x01, "Get Device ID");
pub(super) const COLD_RESET: Command = once(APP, 0x02, "Cold Reset");
pub(super) const SET_PRIVILEGE: Command = of(APP, 0x3b, "Set Session Privilege Level");
pub(super) const CLOSE_SESSION: Command = of(APP, 0x3c, "Close Session");
pub(super) const GET_USER_NAME: Command = of(APP, 0x46, "Get User Name");
pub(super) const SET_USER_PASSWORD: Command = of(APP, 0x47, "Set User Password");
pub(super) const ACTIVATE_PAYLOAD: Command = of(APP, 0x48, "Activate Payload");
pub(super) const DEACTIVATE_PAYLOAD: Command = of(APP, 0x49, "Deactivate Payload");
pub(super) const GET_PAYLOAD_INFO: Command = of(APP, 0x4b, "Get Payload Instance Info");
pub(super) const GET_FRU_INFO: Command = of(STORAGE, 0x10, "Get FRU Inventory Area Info");
pub(super) const READ_FRU: Command = of(STORAGE, 0x11, "Read FRU Data");
pub(super) const GET_SDR_INFO: Command = of(STORAGE, 0x20, "Get SDR Repository Info");
pub(super) const RESERVE_SDR: Command = of(STORAGE, 0x22, "Reserve SDR Repository");
pub(super) const GET_SDR: Command = of(STORAGE, 0x23, "Get SDR");
pub(super) const GET_SEL_INFO: Command = of(STORAGE, 0x40, "Get SEL Info");
pub(super) const RESERVE_SEL: Command = of(STORAGE, 0x42, "Reserve SEL");
pub(super) const GET_SEL_ENTRY: Command = of(STORAGE, 0x43, "Get SEL Entry");
pub(super) const CLEAR_SEL: Command = of(STORAGE, 0x47, "Clear SEL");
pub(super) const GET_SEL_TIME: Command = of(STORAGE, 0x48, "Get SEL Time");
pub(super) const SET_SEL_TIME: Command = of(STORAGE, 0x49, "Set SEL Time");

const fn of(net_fn: u8, code: u8, name: &'static str) -> Command {
    Command { net_fn, lun: 0, code, name, once: false }
}

const fn once(net_fn: u8, code: u8, name: &'static str) -> Command {
    Command { once: true, ..of(net_fn, code, name) }
}

/// Node busy, out of space for now, answer not ready, initialization in progress: another try may help.
pub(super) const BUSY: [u8; 3] = [0xc0, 0xc3, 0xd2];
/// Those that say that the command was not done.
pub(super) const NOT_DONE: [u8; 1] = [0xc0];
/// The reservation is gone: somebody else made one.
pub(super) const RESERVATION: u8 = 0xc5;
/// No such record, sensor or FRU.
pub(super) const ABSENT: [u8; 3] = [0xcb, 0xcc, 0xc9];

/// The error for a completion code.
pub(super) fn refused(address: &str, command: &Command, code: u8) -> BmcError {
    BmcError::Completion {
        address: address.to_owned(),
        what: command.name.to_owned(),
        code,
        meaning: meaning(code),
    }
}

pub(super) fn malformed(address: &str, command: &Command, problem: &str) -> BmcError {
    BmcError::Malformed {
        address: address.to_owned(),
        what: command.name.to_owned(),
        problem: problem.to_owned(),
    }
}

/// Table 5-2.
fn meaning(code: u8) -> &'static str {
    match code {
        0x80..=0xbe => "the command has its own reason for this",
        0xc0 => "it is busy",
        0xc1 => "it does not know the command",
        0xc2 => "it does not know the command for this LUN",
        0xc3 => "it took too long itself",
        0xc4 => "it has no space for it",
        0xc5 => "the reservation is gone",
        0xc6 => "the request is cut off",
        0xc7 => "the length of the request is wrong",
        0xc8 => "the request is too long",
        0xc9 => "a parameter is out of range",
        0xca => "it cannot return so much at once",
        0xcb => "there is no such sensor, record or data",
        0xcc => "a value of the request is invalid",
        0xcd => "the command cannot be used on this",
        0xce => "it could not answer",
        0xcf => "it sees a request that it has seen already",
        0xd0 => "its sensor records are being updated: try again later",
        0xd1 => "its firmware is being updated: try again later",
        0xd2 => "it is still starting: try again later",
        0xd3 => "the destination is not available",
        0xd4 => "the user may not do this: its privilege is too low, see ipmi_priv_level",
        0xd5 => "it cannot do this in its present state",
        0xd6 => "the command is disabled",
        _ => "it gives no reason",
    }
}
