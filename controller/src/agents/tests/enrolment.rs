use tonic::Code;

use super::*;

#[tokio::test]
async fn a_token_makes_one_identity_and_the_answer_may_be_asked_for_again() {
    let world = World::new().await;
    let _log = world.log.collect();
    let node = world.node().await;
    let ticket = world.ticket(node).await;
    assert_eq!(ticket.controllers, [world.address.to_string()]);
    assert_eq!(ticket.ca_certificates, [world.authority.certificate().to_vec()]);
    let key = KeyPair::generate().unwrap();
    world.enroll(&ticket, &key).await.unwrap();
    let again = world.enroll(&ticket, &key).await.unwrap();
    let named = bessemer_proto::identity::node_of_certificate(&again.certificate_der).unwrap();
    assert_eq!(named, node);

    let other = world.enroll(&ticket, &KeyPair::generate().unwrap()).await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied);
    assert!(other.message().contains("used already by another key"), "{other}");
    let text = world.log.text();
    let line = text.lines().find(|l| l.contains("enrolment refused")).expect("no line in the log");
    assert!(line.contains("used by another key") && line.contains(&node.to_string()), "{line}");
    assert!(line.contains(&ticket.boot.to_string()) && line.contains("peer=127.0.0.1"), "{line}");
    assert!(!text.contains(ticket.token.reveal()), "the token is in the log");
}

#[tokio::test]
async fn wrong_tokens_and_unknown_boots_cannot_be_told_apart() {
    let world = World::new().await;
    let _log = world.log.collect();
    let ticket = world.ticket(world.node().await).await;
    let key = KeyPair::generate().unwrap();
    let mut client = world.client(None).await;
    let mut answers = Vec::new();
    for (boot, token) in [
        (ticket.boot, "x".repeat(43)),
        (ticket.boot, String::new()),
        (ticket.boot, "x".repeat(100_000)),
        (BootId::random(), ticket.token.reveal().to_owned()),
    ] {
        let status = client.enroll(enroll_request(boot, &token, &key)).await.unwrap_err();
        answers.push((status.code(), status.message().to_owned()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, Code::Unauthenticated);
    assert!(world.log.text().contains("wrong join token"));
    assert!(world.log.text().contains("no such boot"));
    // The token still works: failed attempts of others do not use it up.
    world.enroll(&ticket, &key).await.unwrap();
}

#[tokio::test]
async fn expired_tokens_and_closed_boots_are_refused_with_the_reason() {
    let world = World::new().await;
    let _log = world.log.collect();
    let key = KeyPair::generate().unwrap();
    let node = world.node().await;
    let expired = world.fleet.issue_ticket(node, Duration::ZERO).await.unwrap();
    let status = world.enroll(&expired, &key).await.unwrap_err();
    assert!(status.message().contains("expired"), "{status}");
    world.log.wait_for("the join token has expired").await;

    let older = world.ticket(node).await;
    world.ticket(node).await;
    let status = world.enroll(&older, &key).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("boot is over"), "{status}");
    world.log.wait_for("reason=the boot is over").await;
}

#[tokio::test]
async fn a_bad_request_does_not_use_the_token_up() {
    let world = World::new().await;
    let ticket = world.ticket(world.node().await).await;
    let key = KeyPair::generate().unwrap();
    let mut request = enroll_request(ticket.boot, ticket.token.reveal(), &key);
    request.csr_der.truncate(50);
    let status = world.client(None).await.enroll(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    world.enroll(&ticket, &key).await.unwrap();
}

#[tokio::test]
async fn who_fails_too_often_has_to_wait() {
    let world = World::new().await;
    let ticket = world.ticket(world.node().await).await;
    let key = KeyPair::generate().unwrap();
    let mut client = world.client(None).await;
    for _ in 0..20 {
        let status = client.enroll(enroll_request(ticket.boot, "no", &key)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    let status = client.enroll(enroll_request(ticket.boot, "no", &key)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_wrong_clock_does_not_matter_and_is_named() {
    let world = World::new().await;
    let _log = world.log.collect();
    let ticket = world.ticket(world.node().await).await;
    for time in [0, i64::MIN, i64::MAX] {
        let mut request = enroll_request(ticket.boot, ticket.token.reveal(), &KeyPair::generate().unwrap());
        request.agent_time_ms = time;
        let ticket = world.ticket(world.node().await).await;
        request.boot_id = ticket.boot.to_string();
        request.join_token = ticket.token.reveal().to_owned();
        world.client(None).await.enroll(request).await.unwrap();
    }
    assert_eq!(world.log.text().matches("the machine's clock is wrong").count(), 3);
}
