//! Lost packets, packets that come twice, BMCs that end sessions, are busy, refuse passwords, are not there.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    super::{crypto::Suite, settings::Settings},
    bmc::{Bmc, Fate},
    machine, pace, settings,
};
use crate::{
    bmc::{BmcError, Changed, Console as _, Manager as _, Nmi as _, Power as _, PowerAction, Raw as _},
    node::PowerState,
};

#[tokio::test]
async fn both_cipher_suites_work_and_the_better_one_is_tried_first() {
    for (suite, opened) in [(Suite::Sha256, 1), (Suite::Sha1, 2)] {
        let bmc = Bmc::start(suite).await;
        let machine = machine(settings(bmc.address, json!({})), pace());
        assert_eq!(machine.state().await.unwrap(), PowerState::Off);
        assert_eq!(machine.set(PowerAction::On).await.unwrap(), Changed::Yes);
        assert_eq!(machine.set(PowerAction::On).await.unwrap(), Changed::Already);
        machine.inject().await.unwrap();
        assert_eq!(bmc.state.lock().unwrap().opened, opened, "one session for all of it");
    }
}

#[tokio::test]
async fn a_suite_that_the_bmc_lacks_is_named() {
    let bmc = Bmc::start(Suite::Sha1).await;
    let machine = machine(settings(bmc.address, json!({"ipmi_cipher_suite": 17})), pace());
    let error = machine.state().await.unwrap_err().to_string();
    assert!(error.contains("ipmi_cipher_suite"), "{error}");
}

/// The simulator has no suite 17: ipmitool shows that ours speaks it as others do.
#[tokio::test]
async fn ipmitool_understands_the_bmc_of_these_tests() {
    for (suite, number) in [(Suite::Sha256, "17"), (Suite::Sha1, "3")] {
        let bmc = Bmc::start(suite).await;
        let port = bmc.address.port().to_string();
        let arguments = ["-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-U", "admin", "-E", "-C", number];
        let output = tokio::process::Command::new("ipmitool")
            .args(arguments)
            .args(["chassis", "power", "on"])
            .env("IPMI_PASSWORD", "secret")
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(std::time::Duration::from_secs(60), output).await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(bmc.state.lock().unwrap().is_on);
    }
}

#[tokio::test]
async fn lost_and_doubled_packets_change_nothing() {
    use Fate::{AnswerLost, Answered, Doubled, Lost};
    let bmc = Bmc::start(Suite::Sha256).await;
    bmc.expect(&[Lost, Answered, AnswerLost, Doubled, Lost, Doubled, Lost, Doubled, AnswerLost, Doubled]);
    let machine = machine(settings(bmc.address, json!({"ipmi_cipher_suite": 17})), pace());
    for _ in 0..3 {
        assert_eq!(machine.state().await.unwrap(), PowerState::Off);
    }
    assert!(bmc.state.lock().unwrap().fates.is_empty());
}

#[tokio::test]
async fn a_session_that_the_bmc_ended_is_replaced() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), pace());
    machine.state().await.unwrap();
    bmc.expect(&[Fate::EndsSession]);
    assert_eq!(machine.set(PowerAction::On).await.unwrap(), Changed::Yes);
    assert_eq!(bmc.state.lock().unwrap().opened, 2);
}

#[tokio::test]
async fn a_busy_bmc_is_asked_again_and_a_refusal_is_explained() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), pace());
    machine.state().await.unwrap();
    bmc.state.lock().unwrap().codes = [0xc0, 0xc3].into();
    assert_eq!(machine.state().await.unwrap(), PowerState::Off);
    bmc.state.lock().unwrap().codes = [0xd4].into();
    let error = machine.state().await.unwrap_err();
    assert!(matches!(error, BmcError::Completion { code: 0xd4, .. }), "{error}");
    assert!(error.to_string().contains("ipmi_priv_level"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_the_bmc_is_not_told() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let wrong = |more| machine(settings(bmc.address, more), pace());
    for more in [json!({"ipmi_password": "wrong"}), json!({"ipmi_username": "nobody"})] {
        let machine = wrong(more);
        let error = machine.state().await.unwrap_err();
        assert!(matches!(error, BmcError::Credentials { .. }), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
        let opened = bmc.state.lock().unwrap().opened;
        assert!(matches!(machine.state().await, Err(BmcError::Credentials { .. })));
        assert_eq!(bmc.state.lock().unwrap().opened, opened, "it is not tried again");
    }
    // The right one is not held up by that.
    wrong(json!({})).state().await.unwrap();
}

#[tokio::test]
async fn a_user_without_the_privilege_is_told_which_key_says_it() {
    let bmc = Bmc::start(Suite::Sha256).await;
    bmc.state.lock().unwrap().codes = [0x81].into();
    let error = machine(settings(bmc.address, json!({})), pace()).state().await.unwrap_err().to_string();
    assert!(error.contains("Set Session Privilege Level") && error.contains("ipmi_priv_level"), "{error}");
}

#[tokio::test]
async fn a_bmc_that_is_not_there_is_unreachable_or_silent() {
    const WAITS: &[std::time::Duration] = &[std::time::Duration::from_millis(20); 2];
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let quick = super::Pace { waits: WAITS, ..pace() };
    let silent = machine(settings(nobody.local_addr().unwrap(), json!({})), quick);
    assert!(matches!(silent.state().await, Err(BmcError::Timeout { .. })));
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let gone = machine(settings(address, json!({})), quick);
    assert!(matches!(gone.state().await, Err(BmcError::Unreachable { .. })));
}

#[tokio::test]
async fn the_bmc_comes_back_after_its_reset() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), pace());
    machine.state().await.unwrap();
    bmc.expect(&[Fate::Answered, Fate::EndsSession, Fate::Lost, Fate::Lost, Fate::Lost]);
    machine.reset().await.unwrap();
    let commands = bmc.state.lock().unwrap().commands.clone();
    assert!(commands.contains(&(0x06, 0x02, vec![])), "{commands:?}");
}

#[tokio::test]
async fn raw_commands_are_sent_as_they_are() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), pace());
    assert_eq!(machine.send(&[0x06, 0x01]).await.unwrap()[..2], [0x20, 1]);
    for bad in [&[][..], &[6], &[7, 1], &[0x40, 1]] {
        assert!(matches!(machine.send(bad).await, Err(BmcError::DriverInfo(_))), "{bad:?}");
    }
}

#[tokio::test]
async fn nothing_typed_or_shown_is_lost_or_doubled_on_a_bad_line() {
    use Fate::{Doubled, Lost};
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({"ipmi_cipher_suite": 17})), pace());
    let mut line = machine.serial().await.unwrap();
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
    let quick = super::Pace {
        sol: std::time::Duration::from_millis(5),
        alive: std::time::Duration::from_millis(20),
        ..pace()
    };
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), quick);
    let mut line = machine.serial().await.unwrap();
    drop(bmc);
    let error = line.read_u8().await.unwrap_err().to_string();
    assert!(error.contains("has not answered on the serial console"), "{error}");
}

#[tokio::test]
async fn a_password_that_is_too_long_is_refused_before_anything_is_sent() {
    let long = bessemer_proto::secret::Secret::new("123456789012345678901");
    assert!(Settings::password(&long).is_err());
}
