//! Against OpenIPMI's simulator, ipmitool, and a BMC of our own that misbehaves on demand.

pub(crate) mod bmc;
mod boot;
mod hostile;
mod login;
mod misbehaviour;
mod simulator;
mod sol;

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use super::{Client, Machine, Pace, Settings};
use crate::node::BootMode;

/// Patient enough for a busy machine, and no longer: what is lost is sent again soon.
fn pace() -> Pace {
    const WAITS: &[Duration] = &[Duration::from_millis(250); 24];
    Pace {
        waits: WAITS,
        command: Duration::from_secs(30),
        idle: Duration::from_secs(30),
        fresh: Duration::from_secs(5),
        down: Duration::from_secs(20),
        doubt: Duration::from_secs(600),
        busy: Duration::from_millis(5),
        poll: Duration::from_millis(5),
        start: Duration::from_secs(20),
        sol: Duration::from_millis(200),
        alive: Duration::from_secs(1),
    }
}

/// For answers that never come.
fn quick() -> Pace {
    const WAITS: &[Duration] = &[Duration::from_millis(150); 6];
    Pace { waits: WAITS, ..pace() }
}

fn settings(address: SocketAddr, more: Value) -> Settings {
    let mut info = json!({
        "ipmi_address": address.ip().to_string(), "ipmi_port": address.port(),
        "ipmi_username": "admin", "ipmi_password": "secret",
    });
    let (Value::Object(info), Value::Object(more)) = (&mut info, more) else { panic!() };
    info.extend(more);
    Settings::from_driver_info(info).unwrap()
}

fn machine(settings: Settings, pace: Pace) -> Machine {
    Machine { client: Client::new(settings, pace), boot_mode: Ok(BootMode::Uefi) }
}
