//! The serial console: bad lines, BMCs that take little, nothing, or the console away.

use std::{io, time::Duration};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    super::crypto::Suite,
    bmc::{Bmc, Ear, Fate},
    machine, pace, settings,
};
use crate::bmc::{Claim, Console as _, Taken};

const NACK: u8 = 0x40;
const UNAVAILABLE: u8 = 0x20;

#[tokio::test]
async fn nothing_typed_or_shown_is_lost_or_doubled_on_a_bad_line() {
    use Fate::{Doubled, Lost};
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({"ipmi_cipher_suite": 17})), pace());
    let mut line = machine.serial(Claim::Take).await.unwrap();
    bmc.expect(&[Lost, Doubled, Doubled, Lost, Lost, Doubled]);
    let text: String = (0..40).map(|n| format!("line number {n}\n")).collect();
    line.write_all(text.as_bytes()).await.unwrap();
    let mut shown = vec![0; text.len()];
    line.read_exact(&mut shown).await.unwrap();
    assert_eq!(String::from_utf8(shown).unwrap(), text.to_ascii_uppercase());
    assert_eq!(String::from_utf8(bmc.state.lock().unwrap().typed.clone()).unwrap(), text);
}

#[tokio::test]
async fn a_console_whose_bmc_is_gone_says_so() {
    let quick = super::Pace { sol: Duration::from_millis(5), alive: Duration::from_millis(20), ..pace() };
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), quick);
    let mut line = machine.serial(Claim::Take).await.unwrap();
    drop(bmc);
    let error = line.read_u8().await.unwrap_err().to_string();
    assert!(error.contains("has not answered on the serial console"), "{error}");
    assert!(error.contains("UDP port 623"), "the BMC said that it is there: {error}");
}

#[tokio::test]
async fn a_bmc_that_takes_little_at_once_gets_all() {
    for flags in [0, NACK, UNAVAILABLE] {
        let bmc = Bmc::start(Suite::Sha256).await;
        bmc.state.lock().unwrap().ear = Ear::Some(3, flags);
        let machine = machine(settings(bmc.address, json!({})), pace());
        let mut line = machine.serial(Claim::Take).await.unwrap();
        let text = "a paste of many more characters than ten tries can carry, three at a time";
        line.write_all(text.as_bytes()).await.unwrap();
        let mut shown = vec![0; text.len()];
        line.read_exact(&mut shown).await.unwrap();
        assert_eq!(bmc.typed(), text, "{flags}");
    }
}

#[tokio::test]
async fn a_machine_that_is_off_drops_keys_and_keeps_the_console() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let quick = super::Pace { sol: Duration::from_millis(5), ..pace() };
    let machine = machine(settings(bmc.address, json!({})), quick);
    let mut line = machine.serial(Claim::Take).await.unwrap();
    bmc.state.lock().unwrap().ear = Ear::Some(0, NACK | UNAVAILABLE);
    let refused = async {
        loop {
            if let Err(error) = line.write_all(b"x").await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy, "{refused}");
    bmc.state.lock().unwrap().ear = Ear::All;
    // What waited may still come; then all is as before.
    let typed = async {
        loop {
            match line.write_all(b"y").await {
                Ok(()) => return,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ResourceBusy),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), typed).await.unwrap();
    while line.read_u8().await.unwrap() != b'Y' {}
    assert_eq!(bmc.state.lock().unwrap().consoles, 1);
}

#[tokio::test]
async fn a_bmc_that_accepts_none_without_a_reason_has_taken_all() {
    let bmc = Bmc::start(Suite::Sha256).await;
    bmc.state.lock().unwrap().ear = Ear::Mute;
    let machine = machine(settings(bmc.address, json!({})), pace());
    let mut line = machine.serial(Claim::Take).await.unwrap();
    line.write_all(b"once").await.unwrap();
    let mut shown = [0; 4];
    line.read_exact(&mut shown).await.unwrap();
    line.write_all(b".").await.unwrap();
    line.read_u8().await.unwrap();
    assert_eq!(bmc.typed(), "once.");
}

/// Two threads, so that the end may be seen before the reason, if that is possible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_the_console_is_told_so_and_does_not_take_it_back() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), pace());
    let mut line = machine.serial(Claim::Take).await.unwrap();
    bmc.state.lock().unwrap().ear = Ear::Taken;
    line.write_all(b"x").await.unwrap();
    let error = line.read_u8().await.unwrap_err();
    assert!(error.get_ref().unwrap().is::<Taken>(), "{error}");
    {
        let mut state = bmc.state.lock().unwrap();
        (state.is_taken, state.ear) = (true, Ear::All);
    }
    let error = machine.serial(Claim::Wait).await.err().unwrap().to_string();
    assert!(error.contains("somebody else opened"), "{error}");
    assert!(bmc.state.lock().unwrap().is_taken, "it was left to them");
    machine.serial(Claim::Take).await.unwrap();
    assert!(!bmc.state.lock().unwrap().is_taken);
}

#[tokio::test]
async fn the_end_of_a_line_is_told_to_the_bmc_before_it_is_over() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), pace());
    let mut line = machine.serial(Claim::Take).await.unwrap();
    line.shutdown().await.unwrap();
    drop(line);
    // The next one is opened after both packets came in.
    machine.serial(Claim::Wait).await.unwrap();
    let state = bmc.state.lock().unwrap();
    let of = |code| state.commands.iter().position(|command| (command.0, command.1) == (6, code));
    assert!(of(0x49).is_some() && of(0x49) < of(0x3c), "{:?}", state.commands);
}

#[tokio::test]
async fn more_than_can_be_acknowledged_at_once_is_shown_once() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let long: String = (0..100).map(|n| format!("{n:03}")).collect();
    bmc.state.lock().unwrap().flood = long.clone().into_bytes();
    let machine = machine(settings(bmc.address, json!({})), pace());
    let mut line = machine.serial(Claim::Take).await.unwrap();
    line.write_all(b"x").await.unwrap();
    let mut shown = vec![0; long.len()];
    line.read_exact(&mut shown).await.unwrap();
    assert_eq!(String::from_utf8(shown).unwrap(), long);
    line.write_all(b"y").await.unwrap();
    assert_eq!(line.read_u8().await.unwrap(), b'Y', "nothing came twice");
}
