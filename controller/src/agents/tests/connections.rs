use bessemer_proto::v1::{HeartbeatRequest, LookupRequest, RenewRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use super::*;

#[tokio::test]
async fn a_plaintext_client_is_refused() {
    let world = World::new().await;
    let _log = world.log.collect();
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address)).unwrap();
    let refused = match endpoint.connect().await {
        Err(_) => true,
        Ok(channel) => AgentClient::new(channel).lookup(LookupRequest::default()).await.is_err(),
    };
    assert!(refused);
    world.log.wait_for("the client does not speak TLS").await;
    assert!(world.log.text().contains("peer=127.0.0.1:"));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let world = World::new().await;
    let _log = world.log.collect();
    let identity = world.enrolled().await;
    let dir = tempfile::tempdir().unwrap();
    let foreign = Authority::open(dir.path()).unwrap();
    let key = KeyPair::generate().unwrap();
    let request = authority::RequestedKey::from_request(&signing_request(&key)).unwrap();
    let hour = Duration::from_secs(3600);
    let forged = foreign.issue_agent(identity.node, identity.boot, &request, hour).unwrap();
    let forged = (vec![forged.der.into()], key.serialize_der());
    assert!(lookup_fails(&world, forged).await);
    world.log.wait_for("issued by another authority").await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let short = Config { certificate_lifetime: NonZeroU32::MIN, ..Config::default() };
    let world = World::with(short).await;
    let _log = world.log.collect();
    let identity = world.enrolled().await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert!(lookup_fails(&world, (identity.chain.clone(), identity.key.serialize_der())).await);
    world.log.wait_for("the client certificate has expired").await;
}

#[tokio::test]
async fn a_controllers_certificate_is_no_agents() {
    let world = World::new().await;
    let _log = world.log.collect();
    let server = world.authority.issue_server(&[]).unwrap();
    assert!(lookup_fails(&world, (server.chain, server.key.secret_der().to_vec())).await);
    world.log.wait_for("not one for clients").await;
}

async fn lookup_fails(world: &World, identity: (Vec<CertificateDer<'static>>, Vec<u8>)) -> bool {
    match dial(world.address, world.authority.certificate(), Some(identity)).await {
        Err(_) => true,
        Ok(mut client) => client.lookup(LookupRequest::default()).await.is_err(),
    }
}

#[tokio::test]
async fn a_client_of_another_authority_does_not_trust_this_controller() {
    let world = World::new().await;
    let _log = world.log.collect();
    let dir = tempfile::tempdir().unwrap();
    let foreign = Authority::open(dir.path()).unwrap();
    assert!(dial(world.address, foreign.certificate(), None).await.is_err());
    world.log.wait_for("the client refuses this controller's certificate").await;
}

#[tokio::test]
async fn every_call_but_enroll_needs_a_certificate() {
    let world = World::new().await;
    let _log = world.log.collect();
    let mut client = world.client(None).await;
    let lookup = client.lookup(LookupRequest::default()).await.unwrap_err();
    let heartbeat = client.heartbeat(HeartbeatRequest::default()).await.unwrap_err();
    let renew = client.renew(RenewRequest::default()).await.unwrap_err();
    let (_events, stream) = mpsc::channel(1);
    let session = open(&mut client, stream).await.map(drop).unwrap_err();
    for status in [lookup, heartbeat, renew, session] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    }
    assert_eq!(world.log.text().matches("no client certificate").count(), 4);
}

#[tokio::test]
async fn lookup_tells_the_node_and_renewal_goes_on_with_a_fresh_key() {
    let world = World::new().await;
    let mut identity = world.enrolled().await;
    let mut client = world.client(Some(&identity)).await;
    let found = client.lookup(LookupRequest::default()).await.unwrap().into_inner();
    assert_eq!(found.node_uuid, identity.node.to_string());
    assert_eq!(found.heartbeat_interval_seconds, 60);
    assert_eq!(found.controller_endpoints, [world.address.to_string()]);

    let key = KeyPair::generate().unwrap();
    let renewed = client.renew(RenewRequest { csr_der: signing_request(&key) }).await.unwrap().into_inner();
    identity.chain = vec![renewed.certificate_der.into()];
    identity.key = key;
    let _agent = world.session(&identity).await;
}

#[tokio::test]
async fn a_boot_that_is_over_or_a_node_that_is_gone_may_do_nothing() {
    let world = World::new().await;
    let _log = world.log.collect();
    let over = world.enrolled().await;
    let mut client = world.client(Some(&over)).await;
    world.fleet.close(over.node).await.unwrap();
    let status = client.lookup(LookupRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "this boot is over"));
    let csr_der = signing_request(&over.key);
    let status = client.renew(RenewRequest { csr_der }).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);

    let gone = world.enrolled().await;
    let mut client = world.client(Some(&gone)).await;
    world.store.delete_node(gone.node).await.unwrap();
    let status = client.lookup(LookupRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(world.log.text().contains("does not exist any more"));
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_out() {
    let world = World::new().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(world.address).await.unwrap());
    }
    silent[0].write_all(&[0x16, 0x03]).await.unwrap();
    let identity = world.enrolled().await;
    let _agent = world.session(&identity).await;
    // None of them was answered or closed meanwhile: they only wait for their deadline.
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_millis(50), silent[1].read(&mut byte)).await;
    assert!(read.is_err());
}
