//! How sessions begin: cipher suites, passwords, lost and late packets.

use std::time::Duration;

use serde_json::json;

use super::{
    super::crypto::Suite,
    bmc::{Bmc, Fate},
    machine, pace, quick, settings,
};
use crate::{
    bmc::{BmcError, Changed, Nmi as _, Power as _, PowerAction},
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

#[tokio::test]
async fn a_user_without_the_privilege_is_told_which_key_says_it() {
    let bmc = Bmc::start(Suite::Sha256).await;
    bmc.state.lock().unwrap().codes = [0x81].into();
    let error = machine(settings(bmc.address, json!({})), pace()).state().await.unwrap_err().to_string();
    assert!(error.contains("Set Session Privilege Level") && error.contains("ipmi_priv_level"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_the_bmc_is_not_told() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let wrong = |more| machine(settings(bmc.address, more), pace());
    let counted = || {
        let state = bmc.state.lock().unwrap();
        (state.opened, state.proofs, state.failed)
    };
    // A user that it does not know it may count.
    for (more, seen) in
        [(json!({"ipmi_password": "wrong"}), (1, 0, 0)), (json!({"ipmi_username": "nobody"}), (2, 0, 1))]
    {
        let machine = wrong(more);
        for _ in 0..2 {
            let error = machine.state().await.unwrap_err();
            assert!(matches!(error, BmcError::Credentials { .. }), "{error}");
            assert!(!error.to_string().contains("wrong"), "{error}");
            assert_eq!(counted(), seen, "it is not tried again");
        }
    }
    // The right one is not held up by that.
    wrong(json!({})).state().await.unwrap();
}

#[tokio::test]
async fn an_answer_of_before_makes_no_right_password_wrong() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({"ipmi_cipher_suite": 17})), quick());
    // RAKP 1 is sent again; what answers the first one is proved, when the BMC wants the second one proved.
    bmc.expect(&[Fate::Answered, Fate::Late]);
    assert_eq!(machine.state().await.unwrap(), PowerState::Off);
    let state = bmc.state.lock().unwrap();
    assert_eq!((state.opened, state.proofs, state.failed), (2, 2, 1));
}

#[tokio::test]
async fn a_bmc_that_always_wants_another_proof_counts_few_failed_logins() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({"ipmi_cipher_suite": 17})), pace());
    bmc.state.lock().unwrap().is_slow = true;
    for _ in 0..5 {
        let error = machine.state().await.unwrap_err();
        assert!(matches!(error, BmcError::Credentials { .. }) && !error.passing(), "{error}");
    }
    {
        let mut state = bmc.state.lock().unwrap();
        assert_eq!((state.opened, state.failed), (3, 3), "each of them is a wrong password for the BMC");
        state.is_slow = false;
    }
    // It is tried again when the time is over.
    let mut limits = machine.client.queue.limits();
    limits.lockout = Duration::ZERO;
    machine.client.queue.set_limits(limits);
    assert_eq!(machine.state().await.unwrap(), PowerState::Off);
}

#[tokio::test]
async fn a_refused_proof_counts_also_when_the_next_ones_fail_otherwise() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({"ipmi_cipher_suite": 17})), pace());
    // A proof that is refused, the end of its session, and two sessions that are forgotten.
    let refused = [Fate::Answered, Fate::Late, Fate::Answered, Fate::Answered, Fate::Answered];
    let forgotten = [Fate::Answered, Fate::Forgotten].repeat(2);
    bmc.expect(&[&refused[..], &forgotten[..]].concat());
    for _ in 0..2 {
        let error = machine.state().await.unwrap_err();
        assert!(matches!(error, BmcError::Credentials { .. }), "{error}");
    }
    let state = bmc.state.lock().unwrap();
    assert_eq!((state.opened, state.failed), (3, 1));
}

#[tokio::test]
async fn a_lost_end_of_the_beginning_begins_anew_and_leaves_no_session_behind() {
    let bmc = Bmc::start(Suite::Sha256).await;
    let machine = machine(settings(bmc.address, json!({"ipmi_cipher_suite": 17})), quick());
    bmc.expect(&[Fate::Answered, Fate::Answered, Fate::AnswerLost]);
    assert_eq!(machine.state().await.unwrap(), PowerState::Off);
    {
        let state = bmc.state.lock().unwrap();
        assert_eq!((state.opened, state.closed), (2, 1));
    }
    // A BMC that always forgets is asked three times, and then at another time again.
    let forgetful = Bmc::start(Suite::Sha256).await;
    let machine = super::machine(settings(forgetful.address, json!({"ipmi_cipher_suite": 17})), quick());
    forgetful.expect(&[Fate::Answered, Fate::Forgotten].repeat(3));
    let error = machine.state().await.unwrap_err();
    assert!(matches!(error, BmcError::Completion { code: 0x02, .. }) && error.passing(), "{error}");
    assert_eq!(forgetful.state.lock().unwrap().opened, 3);
    machine.state().await.unwrap();
}

#[tokio::test]
async fn a_wrong_kg_is_told_from_a_wrong_password_and_can_be_corrected_at_once() {
    let bmc = Bmc::start(Suite::Sha256).await;
    bmc.state.lock().unwrap().kg = Some(vec![0xab; 20]);
    for more in [json!({}), json!({"ipmi_hex_kg_key": "cd".repeat(20)})] {
        let error = machine(settings(bmc.address, more), pace()).state().await.unwrap_err();
        assert!(matches!(&error, BmcError::DriverInfo(text) if text.contains("ipmi_hex_kg_key")), "{error}");
    }
    let right = settings(bmc.address, json!({"ipmi_hex_kg_key": "ab".repeat(20)}));
    assert_eq!(machine(right, pace()).state().await.unwrap(), PowerState::Off);
    assert_eq!(bmc.state.lock().unwrap().failed, 0);
}

#[tokio::test]
async fn lost_packets_choose_the_weaker_suite_for_a_while_only() {
    let bmc = Bmc::start(Suite::Sha1).await;
    bmc.state.lock().unwrap().is_shy = true;
    let opened = || bmc.state.lock().unwrap().opened;
    let doubtful = super::Pace { doubt: Duration::ZERO, ..quick() };
    // 17 is offered twice, then 3; and again, because silence proves nothing.
    for offers in [3, 6] {
        machine(settings(bmc.address, json!({})), doubtful).state().await.unwrap();
        assert_eq!(opened(), offers);
    }
    machine(settings(bmc.address, json!({})), quick()).state().await.unwrap();
    machine(settings(bmc.address, json!({})), quick()).state().await.unwrap();
    assert_eq!(opened(), 10, "remembered for a while");
    // A BMC that says no is believed.
    let honest = Bmc::start(Suite::Sha1).await;
    for _ in 0..2 {
        machine(settings(honest.address, json!({})), doubtful).state().await.unwrap();
    }
    assert_eq!(honest.state.lock().unwrap().opened, 3);
}

#[tokio::test]
async fn a_bmc_that_is_slow_to_begin_is_waited_for() {
    let bmc = Bmc::start(Suite::Sha256).await;
    bmc.expect(&[Fate::Lost; 5]);
    assert_eq!(machine(settings(bmc.address, json!({})), quick()).state().await.unwrap(), PowerState::Off);
}
