//! Reaching the BMC, proving who asks, and surviving what it sends.

use rcgen::KeyPair;

use super::{mock::SYSTEM, *};
use crate::node::PowerState;

const LOGIN: &str = "POST /redfish/v1/SessionService/Sessions";

#[tokio::test]
async fn one_session_serves_all_and_is_ended() {
    let mock = Mock::start().await;
    for _ in 0..3 {
        assert_eq!(bmc(&mock).power.state().await.unwrap(), PowerState::Off);
    }
    let (first, second) = (bmc(&mock), bmc(&mock));
    let (one, two) = tokio::join!(first.power.state(), second.power.state());
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(mock.count(LOGIN), 1);
    close_sessions().await;
    assert!(mock.model().sessions.is_empty());
}

#[tokio::test]
async fn a_session_that_ended_is_made_anew() {
    let mock = Mock::start().await;
    let bmc = bmc(&mock);
    bmc.power.state().await.unwrap();
    mock.model().sessions.clear();
    bmc.power.state().await.unwrap();
    assert_eq!(mock.count(LOGIN), 2);
}

#[tokio::test]
async fn basic_authentication_when_the_bmc_has_no_sessions() {
    for status in [404, 405, 501, 503] {
        let mock = Mock::start().await;
        mock.instead(LOGIN, status, json!({}), 100);
        let bmc = bmc(&mock);
        bmc.power.state().await.unwrap();
        bmc.power.state().await.unwrap();
        assert_eq!(mock.count(LOGIN), 1, "{status}");
        let error = bmc_with(&mock, json!({"redfish_auth_type": "session"})).power.state().await.unwrap_err();
        assert!(matches!(&error, BmcError::Unsupported { .. }), "{error}");
    }
    let mock = Mock::start().await;
    mock.unset("/redfish/v1/", "/SessionService");
    mock.unset("/redfish/v1/", "/Links");
    bmc(&mock).power.state().await.unwrap();
    bmc_with(&mock, json!({"redfish_auth_type": "basic"})).power.state().await.unwrap();
    assert_eq!(mock.count(LOGIN), 0);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    for auth in ["auto", "session", "basic"] {
        let mock = Mock::start().await;
        let more = json!({"redfish_password": "hunter2", "redfish_auth_type": auth});
        for _ in 0..5 {
            let error = bmc_with(&mock, more.clone()).power.state().await.unwrap_err();
            assert!(matches!(&error, BmcError::Credentials { user, .. } if user == "root"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        let tries = mock.count(LOGIN) + mock.count("GET /redfish/v1/Systems");
        assert!(tries <= 1, "{auth}: tried {tries} times");
        // Another password is another matter.
        bmc(&mock).power.state().await.unwrap();
    }
}

#[tokio::test]
async fn a_login_refused_with_another_status_is_not_tried_again_by_basic_authentication() {
    for status in [400, 403] {
        let mock = Mock::start().await;
        mock.instead(
            LOGIN,
            status,
            json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "iLO.2.14.UnauthorizedLoginAttempt"}]}}),
            100,
        );
        let wrong = json!({"redfish_password": "hunter2"});
        for _ in 0..3 {
            let error = bmc_with(&mock, wrong.clone()).power.state().await.unwrap_err();
            assert!(matches!(&error, BmcError::Credentials { .. }), "{status}: {error}");
        }
        assert_eq!((mock.count(LOGIN), mock.count("GET /redfish/v1/Systems")), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn too_many_sessions_say_nothing_of_the_password() {
    for (status, id) in [
        (400, "Base.1.8.SessionLimitExceeded"),
        (403, "ACME.1.0.MaxSessionLimitReached"),
        (503, "Base.1.8.CreateLimitReachedForResource"),
    ] {
        let mock = Mock::start().await;
        mock.instead(LOGIN, status, json!({"error": {"@Message.ExtendedInfo": [{"MessageId": id}]}}), 100);
        bmc(&mock).power.state().await.unwrap();
        assert_eq!(mock.count(LOGIN), 1, "{id}");
    }
}

#[tokio::test]
async fn only_a_good_answer_proves_a_password() {
    let list = "GET /redfish/v1/Systems";
    let wrong = json!({"redfish_password": "hunter2", "redfish_auth_type": "basic"});
    // A gateway that is busy, a resource that is not there, a root that anyone may read: the next try still goes alone.
    for status in [404, 500] {
        let mock = Mock::start().await;
        mock.instead(list, status, json!({}), 4);
        let error = bmc_with(&mock, wrong.clone()).power.state().await.unwrap_err();
        assert!(!matches!(error, BmcError::Credentials { .. }), "{error}");
        mock.model().knobs.instead.clear();
        let before = mock.count(list);
        let bmcs = [0; 4].map(|_| bmc_with(&mock, wrong.clone()));
        let tried = futures_util::future::join_all(bmcs.iter().map(|bmc| bmc.power.state())).await;
        assert!(tried.iter().all(|one| matches!(one, Err(BmcError::Credentials { .. }))), "{tried:?}");
        assert_eq!(mock.count(list), before + 1, "{status}");
    }
    // 403 instead of 401.
    let mock = Mock::start().await;
    mock.instead(list, 403, json!({}), 100);
    let basic = json!({"redfish_auth_type": "basic"});
    for _ in 0..3 {
        let error = bmc_with(&mock, basic.clone()).power.state().await.unwrap_err();
        assert!(matches!(&error, BmcError::Credentials { .. }), "{error}");
    }
    assert_eq!(mock.count(list), 1);
    // A user without a privilege has the right password all the same.
    let mock = Mock::start().await;
    let lacks =
        json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.8.InsufficientPrivilege"}]}});
    mock.instead(list, 403, lacks, 1);
    let user = bmc_with(&mock, basic);
    assert!(!matches!(user.power.state().await.unwrap_err(), BmcError::Credentials { .. }));
    user.power.state().await.unwrap();
    mock.instead(&format!("GET {SYSTEM}"), 403, json!({}), 1);
    assert!(matches!(user.power.state().await.unwrap_err(), BmcError::Refused { status: 403, .. }));
    user.power.state().await.unwrap();
}

#[tokio::test]
async fn credentials_that_are_revoked_later_are_noticed_and_not_hammered() {
    let mock = Mock::start().await;
    let bmc = bmc_with(&mock, json!({"redfish_auth_type": "basic"}));
    bmc.power.state().await.unwrap();
    mock.instead(&format!("GET {SYSTEM}"), 401, json!({}), 100);
    for _ in 0..3 {
        assert!(matches!(bmc.power.state().await.unwrap_err(), BmcError::Credentials { .. }));
    }
    assert_eq!(mock.count(&format!("GET {SYSTEM}")), 2);
}

#[tokio::test]
async fn without_credentials_a_bmc_that_wants_some_says_so() {
    let mock = Mock::start().await;
    let info = json!({"redfish_address": mock.address});
    let bmc = open_with(info.as_object().unwrap(), fast()).unwrap();
    let error = bmc.power.state().await.unwrap_err();
    assert!(error.to_string().contains("redfish_username"), "{error}");
    mock.model().knobs.no_auth = true;
    bmc.power.state().await.unwrap();
}

#[tokio::test]
async fn reads_are_repeated_while_the_bmc_is_busy_changes_are_not() {
    let mock = Mock::start().await;
    mock.instead(&format!("GET {SYSTEM}"), 503, json!({}), 2);
    mock.instead("GET /redfish/v1/Systems", 429, json!({}), 1);
    bmc(&mock).power.state().await.unwrap();
    mock.instead(&format!("GET {SYSTEM}"), 500, json!({"error": {"message": "out of order"}}), 100);
    let error = bmc(&mock).power.state().await.unwrap_err();
    assert!(error.to_string().contains("status 500: out of order"), "{error}");

    let mock = Mock::start().await;
    let reset = format!("POST {SYSTEM}/Actions/ComputerSystem.Reset");
    mock.instead(&reset, 500, json!({}), 100);
    bmc(&mock).power.set(crate::bmc::PowerAction::On).await.unwrap_err();
    assert_eq!(mock.count(&reset), 1);
}

#[tokio::test]
async fn nobody_there_and_nobody_answering_end_in_time() {
    let info = json!({"redfish_address": "http://127.0.0.1:1"});
    let bmc = open_with(info.as_object().unwrap(), fast()).unwrap();
    let error = bmc.power.state().await.unwrap_err();
    assert!(matches!(&error, BmcError::Unreachable { .. }), "{error}");

    let mock = Mock::start().await;
    mock.model().knobs.slow = Some(Duration::from_secs(30));
    let started = std::time::Instant::now();
    let error = super::bmc(&mock).power.state().await.unwrap_err();
    assert!(matches!(&error, BmcError::Timeout { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_endless_answer_ends_at_the_bound() {
    let mock = Mock::start().await;
    mock.model().knobs.endless = true;
    let error = bmc(&mock).power.state().await.unwrap_err();
    assert!(error.to_string().contains("more than 4 MiB"), "{error}");
}

#[tokio::test]
async fn many_large_answers_end_at_the_bound_of_the_operation() {
    let mock = Mock::start().await;
    let path = |number: u32| format!("/redfish/v1/Systems/1/Storage/{number}");
    let members: Vec<_> = (0..32).map(|number| json!({"@odata.id": path(number)})).collect();
    mock.add(json!({"/redfish/v1/Systems/1/Storage": {"Members": members}}));
    mock.set(SYSTEM, "/Storage", json!({"@odata.id": "/redfish/v1/Systems/1/Storage"}));
    let ballast = "x".repeat(3 << 20);
    for number in 0..32 {
        mock.add(json!({path(number): {"Name": ballast}}));
    }
    let bmc = bmc(&mock);
    for error in [
        bmc.inventory.unwrap().look().await.map(drop).unwrap_err(),
        bmc.raid.unwrap().needs_restart(&[]).await.map(drop).unwrap_err(),
    ] {
        assert!(error.to_string().contains("more than 32 MiB in all"), "{error}");
    }
    let read = (0..32).map(|number| mock.count(&format!("GET {}", path(number)))).sum::<usize>();
    assert_eq!(read, 2 * 11);
    // The next operation begins anew.
    mock.unset(SYSTEM, "/Storage");
    super::bmc(&mock).inventory.unwrap().look().await.unwrap();
}

#[tokio::test]
async fn nonsense_is_an_error_and_not_a_crash() {
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    for body in [
        "",
        "null",
        "[]",
        "7",
        "{",
        "<html></html>",
        &deep,
        "{}",
        r#"{"PowerState":7}"#,
        r#"{"PowerState":{"On":[]}}"#,
    ] {
        let mock = Mock::start().await;
        mock.instead(&format!("GET {SYSTEM}"), 200, json!(body), 1);
        let error = bmc(&mock).power.state().await.unwrap_err();
        assert!(matches!(&error, BmcError::Malformed { .. }), "{body:.40}: {error}");
    }
}

#[tokio::test]
async fn links_to_other_hosts_are_not_followed() {
    let other = Mock::start().await;
    for link in [
        format!("{}{SYSTEM}", other.address),
        other.address.replace("http:", ""),
        "file:///etc/passwd".into(),
    ] {
        let mock = Mock::start().await;
        mock.set("/redfish/v1/", "/Systems", json!({"@odata.id": link}));
        let error = bmc(&mock).power.state().await.unwrap_err();
        assert!(matches!(&error, BmcError::Malformed { .. }), "{link}: {error}");
    }
    assert!(other.model().requests.is_empty(), "the other host was asked");
}

#[tokio::test]
async fn the_system_is_found_or_the_choice_is_named() {
    let mock = Mock::start().await;
    bmc_with(&mock, json!({"redfish_system_id": format!("{SYSTEM}/")})).power.state().await.unwrap();
    let error = bmc_with(&mock, json!({"redfish_system_id": "/redfish/v1/Systems/9"}))
        .power
        .state()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("redfish_system_id"), "{error}");
    let two = json!([{"@odata.id": SYSTEM}, {"@odata.id": "/redfish/v1/Systems/2"}]);
    mock.set("/redfish/v1/Systems", "/Members", two);
    let error = bmc(&mock).power.state().await.unwrap_err();
    assert!(error.to_string().contains("/redfish/v1/Systems/2"), "{error}");
    mock.set("/redfish/v1/Systems", "/Members", json!([]));
    assert!(matches!(bmc(&mock).power.state().await.unwrap_err(), BmcError::Unsupported { .. }));
}

/// A certificate that signed itself, without any name, as BMCs ship with; and the key.
fn own_certificate() -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap(), key)
}

fn server_config(certificate: &rcgen::Certificate, key: &KeyPair) -> rustls::ServerConfig {
    // BMCs are old: TLS 1.2 is all many of them have.
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap()
}

#[tokio::test]
async fn certificates_are_verified_pinned_or_waved_through() {
    let (certificate, key) = own_certificate();
    let mock = Mock::start_tls(server_config(&certificate, &key)).await;
    let error = bmc(&mock).power.state().await.unwrap_err();
    assert!(matches!(&error, BmcError::Certificate { .. }), "{error:?}");
    assert!(error.to_string().contains("redfish_verify_ca"), "{error}");
    bmc_with(&mock, json!({"redfish_verify_ca": false})).power.state().await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bmc.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    bmc_with(&mock, json!({"redfish_verify_ca": file})).power.state().await.unwrap();
    std::fs::write(&file, own_certificate().0.pem()).unwrap();
    let error = bmc_with(&mock, json!({"redfish_verify_ca": file})).power.state().await.unwrap_err();
    assert!(matches!(&error, BmcError::Certificate { .. }), "{error:?}");
}

#[tokio::test]
async fn an_own_authority_is_accepted_for_its_hosts_only() {
    let dir = tempfile::tempdir().unwrap();
    let authority = crate::agents::Authority::open(dir.path()).unwrap();
    for (host, accepted) in [("127.0.0.1", true), ("192.0.2.1", false)] {
        let identity = authority.issue_server(&[host.to_owned()]).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(identity.chain, identity.key)
                .unwrap();
        let mock = Mock::start_tls(config).await;
        let result =
            bmc_with(&mock, json!({"redfish_verify_ca": dir.path().join("ca.crt")})).power.state().await;
        assert_eq!(result.is_ok(), accepted, "{host}: {result:?}");
    }
}
