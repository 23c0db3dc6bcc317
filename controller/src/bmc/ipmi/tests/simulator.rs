//! Against OpenIPMI's `ipmi_sim`, which nobody here wrote.

use std::{
    fmt::Write as _, fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    process::{Child, Command},
};

use super::{super::Machine, hostile::temperature, machine, pace, settings};
use crate::{
    bmc::{
        BmcError, BootDevice as _, BootSource, Changed, Claim, Console as _, Health, Inventory as _,
        Manager as _, Overview as _, Power as _, PowerAction, Sensors as _, SystemLog as _,
    },
    node::{BootMode, PowerState},
};

/// What the simulator calls to switch its machine; the state is files beside it.
const CHASSIS: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
case "$1 $2" in
"get power") echo "power:$(cat power 2>/dev/null || echo 0)" ;;
"set power") echo "$3" > power ;;
"get boot") echo "boot:$(cat boot 2>/dev/null || echo none)" ;;
"set boot") echo "$3" > boot ;;
esac
"#;

struct Simulator {
    address: SocketAddr,
    /// Where it connects to for the serial port of its machine.
    serial: TcpListener,
    folder: tempfile::TempDir,
    process: Child,
}

impl Simulator {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let serial = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        fs::create_dir(folder.path().join("state")).unwrap();
        let chassis = folder.path().join("chassis");
        fs::write(&chassis, CHASSIS).unwrap();
        fs::set_permissions(&chassis, fs::Permissions::from_mode(0o700)).unwrap();
        let serial_port = serial.local_addr().unwrap().port();
        fs::write(folder.path().join("lan.conf"), lan(port, serial_port, &chassis)).unwrap();
        fs::write(folder.path().join("sim.emu"), commands()).unwrap();
        let process = Command::new("ipmi_sim")
            .args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("ipmi_sim of the Debian package openipmi");
        Self { address, serial, folder, process }
    }

    fn machine(&self) -> Machine {
        machine(settings(self.address, json!({})), pace())
    }
}

fn lan(port: u16, serial_port: u16, chassis: &Path) -> String {
    let chassis = chassis.display();
    format!(
        "name \"bmc\"\nset_working_mc 0x20\nstartlan 1\n addr 127.0.0.1 {port}\n priv_limit admin\n \
         allowed_auths_admin md5\n guid a123456789abcdefa123456789abcdef\nendlan\n\
         chassis_control \"{chassis}\"\nsol \"tcp:127.0.0.1:{serial_port}\" 115200\n\
         user 2 true \"admin\" \"secret\" admin 10 md5\nuser 3 true \"op\" \"secret\" operator 10 md5\n"
    )
}

fn commands() -> String {
    let mut text = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x2a7c 0xf02\nsel_enable 0x20 1000 0x0a\n\
                    sensor_add 0x20 0 3 1 1\nsensor_set_value 0x20 0 3 50 0\n\
                    sensor_set_event_support 0x20 0 3 enable scanning per-state 000000000000000 000000000000000 \
                    000000000000000 000000000000000\nmain_sdr_add 0x20"
        .to_owned();
    for byte in temperature(3, "CPU Temp", 2, 0xf1) {
        write!(text, " {byte:#04x}").unwrap();
    }
    text += "\nsel_add 0x20 2 0 0 0 0x60 0x20 0 4 1 3 1 0x59 0x63 0x5f\nmc_enable 0x20\n";
    text
}

#[tokio::test]
async fn power_and_boot_device() {
    let simulator = Simulator::start().await;
    // It says that it is a Supermicro, and does not know their disk of UEFI.
    let machine = Machine { boot_mode: Ok(BootMode::Bios), ..simulator.machine() };
    assert_eq!(machine.state().await.unwrap(), PowerState::Off);
    assert_eq!(machine.set(PowerAction::On).await.unwrap(), Changed::Yes);
    machine.wait_for(PowerState::On, pace().start).await.unwrap();
    assert_eq!(machine.set(PowerAction::On).await.unwrap(), Changed::Already);
    assert_eq!(machine.set(PowerAction::ForceOff).await.unwrap(), Changed::Yes);
    machine.wait_for(PowerState::Off, pace().start).await.unwrap();
    let refused = machine.set(PowerAction::GracefulRestart).await;
    assert!(matches!(refused, Err(BmcError::Unsupported { .. })));

    for (source, file) in [(BootSource::Cd, "cdrom"), (BootSource::Pxe, "pxe"), (BootSource::Disk, "default")]
    {
        assert_eq!(machine.boot_once(source).await.unwrap(), Changed::Yes, "{source}");
        let chosen = fs::read_to_string(simulator.folder.path().join("boot")).unwrap();
        assert_eq!(chosen.trim(), file);
    }
    assert!(matches!(machine.boot_once(BootSource::UefiHttp).await, Err(BmcError::Unsupported { .. })));
}

#[tokio::test]
async fn sensors_log_clock_and_maker() {
    let simulator = Simulator::start().await;
    let machine = simulator.machine();
    let sensors = machine.sensors().await.unwrap();
    let [sensor] = sensors.as_slice() else { panic!("{sensors:?}") };
    assert_eq!((sensor.name.as_str(), sensor.reading, sensor.unit), ("CPU Temp", Some(20.0), "Celsius"));
    assert_eq!(sensor.more["upper_threshold_critical"], json!(30.0));
    // The second time the records are remembered.
    assert_eq!(machine.sensors().await.unwrap().len(), 1);

    let log = machine.entries(10).await.unwrap();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].message.contains("above the upper critical threshold"), "{log:?}");
    assert_eq!(machine.clear().await.unwrap(), Changed::Yes);
    assert_eq!(machine.clear().await.unwrap(), Changed::Already);
    assert!(machine.entries(10).await.unwrap().is_empty());

    let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    machine.set_clock(now).await.unwrap();
    let clock = machine.clock().await.unwrap().unwrap();
    assert!((clock - now).num_seconds() < 60, "{clock}");
    assert_eq!(machine.vendor().await.unwrap().as_deref(), Some("Supermicro"));
    assert_eq!(machine.health().await.unwrap(), Some(Health::Ok));
    assert!(machine.look().await.unwrap().inventory.contains_key("system_vendor"));
}

#[tokio::test]
async fn a_wrong_password_another_user_and_a_dead_bmc() {
    let mut simulator = Simulator::start().await;
    simulator.machine().state().await.unwrap();
    let wrong = machine(settings(simulator.address, json!({"ipmi_password": "wrong"})), pace());
    assert!(matches!(wrong.state().await, Err(BmcError::Credentials { .. })));
    let operator = json!({"ipmi_username": "op", "ipmi_priv_level": "OPERATOR"});
    machine(settings(simulator.address, operator), pace()).state().await.unwrap();
    let alive = simulator.machine();
    alive.state().await.unwrap();
    simulator.process.kill().await.unwrap();
    let error = alive.state().await.unwrap_err();
    assert!(matches!(error, BmcError::Unreachable { .. } | BmcError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn the_serial_console_leads_to_the_serial_port() {
    let simulator = Simulator::start().await;
    let machine = simulator.machine();
    let mut line = machine.serial(Claim::Take).await.unwrap();
    let (mut port, _) = simulator.serial.accept().await.unwrap();
    line.write_all(b"root\r").await.unwrap();
    let mut typed = [0; 5];
    port.read_exact(&mut typed).await.unwrap();
    assert_eq!(typed, *b"root\r");
    let boot: String = (0..500).map(|n| format!("[{n:4}] the kernel says something\r\n")).collect();
    port.write_all(boot.as_bytes()).await.unwrap();
    let mut shown = vec![0; boot.len()];
    line.read_exact(&mut shown).await.unwrap();
    assert_eq!(String::from_utf8(shown).unwrap(), boot);
    // Who comes later gets the console, as an operator expects whose other terminal still has it.
    let mut second = machine.serial(Claim::Take).await.unwrap();
    assert!(line.read_u8().await.is_err());
    port.write_all(b"login: ").await.unwrap();
    let mut prompt = [0; 7];
    second.read_exact(&mut prompt).await.unwrap();
    assert_eq!(prompt, *b"login: ");
}
