//! Lost packets, packets that come twice, BMCs that end sessions, are busy, refuse passwords, are not there.

use std::time::Duration;

use serde_json::json;

use super::{
    super::{crypto::Suite, settings::Settings},
    bmc::{Bmc, Fate},
    machine, pace, quick, settings,
};
use crate::{
    bmc::{BmcError, Changed, Manager as _, Nmi as _, Power as _, PowerAction, Raw as _, SystemLog as _},
    node::PowerState,
};

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
        let output = tokio::time::timeout(Duration::from_secs(60), output).await.unwrap().unwrap();
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
async fn a_bmc_that_is_not_there_is_unreachable_or_silent() {
    const WAITS: &[Duration] = &[Duration::from_millis(20); 2];
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
async fn what_must_not_be_done_twice_is_not() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let patient = machine(settings(bmc.address, json!({})), quick());
    let resets = || {
        let state = bmc.state.lock().unwrap();
        state.commands.iter().filter(|command| (command.0, command.1) == (0, 2)).count()
    };
    patient.set(PowerAction::On).await.unwrap();
    assert_eq!(resets(), 1);
    // The answers to the reset are lost: nobody knows whether it was done, so it is not done in another session.
    bmc.expect(&[&[Fate::Answered][..], &[Fate::AnswerLost; 6]].concat());
    let error = patient.set(PowerAction::ForceRestart).await.unwrap_err();
    assert!(matches!(error, BmcError::Timeout { .. }), "{error}");
    assert_eq!(resets(), 7, "the packets of one session are one reset, by their number");
    assert_eq!(bmc.state.lock().unwrap().opened, 1);
    // "Took too long" may mean that it was done; "busy" means that it was not.
    patient.state().await.unwrap();
    bmc.state.lock().unwrap().codes = [0, 0xc3].into();
    let error = patient.set(PowerAction::ForceRestart).await.unwrap_err();
    assert!(matches!(error, BmcError::Completion { code: 0xc3, .. }), "{error}");
    bmc.state.lock().unwrap().codes = [0, 0xc0].into();
    patient.set(PowerAction::ForceRestart).await.unwrap();
    assert_eq!(resets(), 8);
}

#[tokio::test]
async fn a_session_that_may_have_ended_is_proved_before_such_a_command() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), super::Pace { fresh: Duration::ZERO, ..quick() });
    machine.state().await.unwrap();
    bmc.expect(&[Fate::EndsSession]);
    machine.inject().await.unwrap();
    let state = bmc.state.lock().unwrap();
    assert_eq!(state.opened, 2);
    assert_eq!(state.commands.last().unwrap(), &(0, 2, vec![4]));
}

#[tokio::test]
async fn a_reset_ends_when_the_bmc_was_gone_and_is_back() {
    use Fate::{Answered, EndsSession, Lost};
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), quick());
    machine.state().await.unwrap();
    // Is it there, the reset, still there twice; gone.
    bmc.expect(&[
        Answered,
        Answered,
        Answered,
        Answered,
        EndsSession,
        Lost,
        Lost,
        Lost,
        Lost,
        Lost,
        Lost,
        Lost,
    ]);
    machine.reset().await.unwrap();
    let state = bmc.state.lock().unwrap();
    assert!(state.fates.is_empty() && state.opened == 2, "{:?}", state.fates);
    assert!(state.commands.contains(&(0x06, 0x02, vec![])), "{:?}", state.commands);
    assert_eq!(state.commands.last().unwrap(), &(0x06, 0x01, vec![]));
}

#[tokio::test]
async fn a_reset_that_does_not_happen_is_no_success() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let stubborn = super::Pace { down: Duration::from_millis(50), ..pace() };
    let error = machine(settings(bmc.address, json!({})), stubborn).reset().await.unwrap_err();
    assert!(error.to_string().contains("goes on answering"), "{error}");
}

#[tokio::test]
async fn a_new_password_is_that_of_the_next_session() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), quick());
    let new = bessemer_proto::secret::Secret::new("another one");
    assert_eq!(machine.change_password(&new).await.unwrap(), Changed::Yes);
    bmc.expect(&[Fate::EndsSession]);
    assert_eq!(machine.change_password(&new).await.unwrap(), Changed::Already);
    let state = bmc.state.lock().unwrap();
    assert_eq!((state.opened, state.failed), (2, 0));
}

#[tokio::test]
async fn a_log_without_reservations_is_cleared_without_one() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({})), pace());
    assert_eq!(machine.clear().await.unwrap(), Changed::Yes);
    let state = bmc.state.lock().unwrap();
    let erase = (0x0a, 0x47, vec![0, 0, b'C', b'L', b'R', 0xaa]);
    assert!(state.commands.contains(&erase), "{:?}", state.commands);
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
async fn a_password_that_is_too_long_is_refused_before_anything_is_sent() {
    let long = bessemer_proto::secret::Secret::new("123456789012345678901");
    assert!(Settings::password(&long).is_err());
}
