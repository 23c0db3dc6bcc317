//! Serial consoles by SSH.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    super::console,
    mock::{Mock, SYSTEM},
    sshd::{Manner, Sshd},
    *,
};
use crate::{
    bmc::{Claim, Console},
    node::Node,
};

async fn console_of(mock: &Mock, sshd: &Sshd, host_key: Option<&str>, more: Value) -> Arc<dyn Console> {
    let mut ssh = json!({"ServiceEnabled": true, "Port": sshd.address.port()});
    ssh.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    mock.set(SYSTEM, "/SerialConsole", json!({"SSH": ssh}));
    let mut node = Node::new("redfish");
    node.driver_info = info(mock, json!({"redfish_ssh_host_key": host_key}));
    node.interfaces.insert("console".into(), "redfish-ssh".into());
    console::by_ssh(bmc(mock), &node).unwrap().console.unwrap()
}

async fn refused(console: &dyn Console) -> BmcError {
    console.serial(Claim::Take).await.err().unwrap()
}

#[tokio::test]
async fn what_is_typed_reaches_the_machine_in_both_ways_to_log_in() {
    for asks in [false, true] {
        let (mock, sshd) = (Mock::start().await, Sshd::start(asks).await);
        let key = sshd.fingerprint.clone();
        let console = console_of(&mock, &sshd, Some(&key), json!({})).await;
        let mut line = console.serial(Claim::Take).await.unwrap();
        line.write_all(b"root").await.unwrap();
        let mut shown = [0; 4];
        line.read_exact(&mut shown).await.unwrap();
        assert_eq!(shown, *b"ROOT");
        // A command line of the BMC is left by the command that the BMC names.
        let shared = json!({"SharedWithManagerCLI": true, "ConsoleEntryCommand": "start console"});
        let console = console_of(&mock, &sshd, Some(&key), shared).await;
        let mut line = console.serial(Claim::Take).await.unwrap();
        let mut shown = [0; 14];
        line.read_exact(&mut shown).await.unwrap();
        assert_eq!(shown, *b"START CONSOLE\r");
    }
}

#[tokio::test]
async fn nobody_gets_the_password_whose_host_key_is_not_known() {
    let (mock, sshd) = (Mock::start().await, Sshd::start(false).await);
    let other = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
    for host_key in [None, Some(other)] {
        let console = console_of(&mock, &sshd, host_key, json!({})).await;
        let error = refused(&*console).await;
        assert!(matches!(&error, BmcError::DriverInfo(text) if text.contains(&sshd.fingerprint)), "{error}");
        assert!(error.to_string().contains("redfish_ssh_host_key"), "{error}");
    }
    assert_eq!(sshd.seen.lock().unwrap().tries, 0);
}

#[tokio::test]
async fn a_password_that_ssh_refuses_is_tried_once_and_locks_nobody_else_out() {
    let (mock, sshd) = (Mock::start().await, Sshd::start(false).await);
    sshd.seen.lock().unwrap().is_locked = true;
    let key = sshd.fingerprint.clone();
    for _ in 0..2 {
        let console = console_of(&mock, &sshd, Some(&key), json!({})).await;
        let error = refused(&*console).await;
        assert!(matches!(error, BmcError::Credentials { .. }), "{error}");
    }
    assert_eq!(sshd.seen.lock().unwrap().tries, 1);
    bmc(&mock).power.state().await.unwrap();
}

#[tokio::test]
async fn a_password_that_was_given_counts_unless_the_answer_is_yes() {
    for (asks, manner) in [(false, Manner::HangsUp), (true, Manner::HangsUp), (true, Manner::AsksAgain)] {
        let (mock, sshd) = (Mock::start().await, Sshd::start(asks).await);
        sshd.seen.lock().unwrap().manner = manner;
        let console = console_of(&mock, &sshd, Some(&sshd.fingerprint), json!({})).await;
        for _ in 0..2 {
            let error = refused(&*console).await;
            assert!(matches!(error, BmcError::Credentials { .. }), "{manner:?}: {error}");
        }
        assert_eq!(sshd.seen.lock().unwrap().tries, 1, "{manner:?}");
    }
}

#[tokio::test]
async fn a_password_that_nobody_waits_for_any_longer_counts() {
    for asks in [false, true] {
        let (mock, sshd) = (Mock::start().await, Sshd::start(asks).await);
        sshd.seen.lock().unwrap().manner = Manner::Silent;
        let console = console_of(&mock, &sshd, Some(&sshd.fingerprint), json!({})).await;
        let given = async {
            while sshd.seen.lock().unwrap().tries == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // As the time limit does.
        tokio::select! {
            opened = console.serial(Claim::Take) => panic!("it was answered: {:?}", opened.err()),
            () = given => {}
        }
        let error = refused(&*console).await;
        assert!(matches!(error, BmcError::Credentials { .. }), "{error}");
        assert_eq!(sshd.seen.lock().unwrap().tries, 1);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_password_is_no_refusal() {
    for asks in [false, true] {
        let (mock, sshd) = (Mock::start().await, Sshd::start(asks).await);
        sshd.seen.lock().unwrap().manner = Manner::Leaves;
        let console = console_of(&mock, &sshd, Some(&sshd.fingerprint), json!({})).await;
        let error = refused(&*console).await;
        assert!(matches!(error, BmcError::Unreachable { .. }), "{error}");
        sshd.seen.lock().unwrap().manner = Manner::Answers;
        console.serial(Claim::Take).await.unwrap();
    }
}

#[tokio::test]
async fn what_asks_nothing_is_heard_and_two_questions_get_nothing() {
    let (mock, sshd) = (Mock::start().await, Sshd::start(true).await);
    let console = console_of(&mock, &sshd, Some(&sshd.fingerprint), json!({})).await;
    sshd.seen.lock().unwrap().manner = Manner::AsksTwo;
    let error = refused(&*console).await;
    assert!(matches!(error, BmcError::Unsupported { .. }), "{error}");
    assert_eq!(sshd.seen.lock().unwrap().tries, 0);
    sshd.seen.lock().unwrap().manner = Manner::Talks;
    console.serial(Claim::Take).await.unwrap();
    assert_eq!(sshd.seen.lock().unwrap().tries, 1);
}

#[tokio::test]
async fn a_bmc_without_it_is_told_what_there_is_instead() {
    let (mock, sshd) = (Mock::start().await, Sshd::start(false).await);
    let console = console_of(&mock, &sshd, None, json!({"ServiceEnabled": false})).await;
    let error = refused(&*console).await;
    assert!(matches!(&error, BmcError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("ipmitool-socat"), "{error}");
    // Commands of a BMC are one line of text.
    for entry in ["start\nreboot", &"x".repeat(1000)] {
        let shared = json!({"SharedWithManagerCLI": true, "ConsoleEntryCommand": entry});
        let console = console_of(&mock, &sshd, Some(&sshd.fingerprint), shared).await;
        assert!(matches!(refused(&*console).await, BmcError::Malformed { .. }));
    }
}
