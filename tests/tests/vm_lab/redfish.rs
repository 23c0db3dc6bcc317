//! The BMC's manners, with the machine off.

use std::{path::Path, time::Duration};

use bessemer_tests::lab::{
    Firmware, Lab, Machine, MachineDefinition, MediaLocation, SecondMedium,
    bmc::{Fault, FaultKind},
    image_server::{ImageFault, ImageServer},
};
use reqwest::{Method, Response};
use serde_json::{Value, json};

const SYSTEM: &str = "/redfish/v1/Systems/1";
const CD: &str = "/redfish/v1/Systems/1/VirtualMedia/Cd";

/// A client with the right password.
pub(crate) struct Redfish {
    client: reqwest::Client,
    base: String,
    user: String,
    password: String,
}

impl Redfish {
    pub(crate) fn new(machine: &Machine) -> Self {
        let mut builder = reqwest::Client::builder().no_proxy();
        if let Some(pem) = machine.bmc_certificate() {
            let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
            builder = builder.tls_certs_only([certificate]);
        }
        Self {
            client: builder.build().unwrap(),
            base: machine.bmc_url().as_str().trim_end_matches('/').into(),
            user: machine.credentials().user.clone(),
            password: machine.credentials().password.reveal().into(),
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).timeout(Duration::from_secs(60))
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = self.request(method, path).basic_auth(&self.user, Some(&self.password));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.send(Method::GET, path, None).await;
        assert_eq!(response.status(), 200, "GET {path}");
        response.json().await.unwrap()
    }

    /// Sends and expects no content.
    pub(crate) async fn done(&self, method: Method, path: &str, body: Value) {
        let response = self.send(method.clone(), path, Some(body)).await;
        let status = response.status();
        assert_eq!(status, 204, "{method} {path}: {}", response.text().await.unwrap());
    }

    /// Sends and expects this error.
    async fn refused(&self, method: Method, path: &str, body: Value, expected: (u16, &str)) -> String {
        let response = self.send(method.clone(), path, Some(body)).await;
        let status = response.status().as_u16();
        let answer: Value = response.json().await.unwrap();
        let id = answer["error"]["@Message.ExtendedInfo"][0]["MessageId"].as_str().unwrap();
        assert_eq!((status, id.rsplit('.').next().unwrap()), expected, "{method} {path}: {answer}");
        answer["error"]["message"].as_str().unwrap().into()
    }
}

async fn lab(folder: &Path, change: impl FnOnce(&mut MachineDefinition)) -> Lab {
    let mut machine = MachineDefinition::new("m", Firmware::OvmfSecureBoot);
    change(&mut machine);
    Lab::start(folder, vec![machine]).await.unwrap()
}

#[tokio::test]
async fn without_credentials_only_the_root_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), |machine| machine.bmc.tls = true).await;
    let redfish = Redfish::new(lab.machine("m"));
    for open in ["/redfish", "/redfish/v1/", "/redfish/v1", "/redfish/v1/odata", "/redfish/v1/$metadata"] {
        assert_eq!(redfish.request(Method::GET, open).send().await.unwrap().status(), 200, "{open}");
    }
    let closed = redfish.request(Method::GET, SYSTEM);
    let answer = closed.try_clone().unwrap().send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"Redfish\"");
    let wrong = closed.try_clone().unwrap().basic_auth("admin", Some("wrong")).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert_eq!(redfish.get(SYSTEM).await["PowerState"], "Off");
    lab.machine("m").faults().refuse_credentials(true);
    assert_eq!(redfish.send(Method::GET, SYSTEM, None).await.status(), 401);
}

#[tokio::test]
async fn a_session_opens_is_limited_and_closes() {
    const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), |machine| machine.bmc.session_limit = 1).await;
    let redfish = Redfish::new(lab.machine("m"));
    let log_in = |password: &str| {
        redfish.request(Method::POST, SESSIONS).json(&json!({ "UserName": "admin", "Password": password }))
    };
    assert_eq!(log_in("wrong").send().await.unwrap().status(), 401);
    let session = log_in(&redfish.password).send().await.unwrap();
    assert_eq!(session.status(), 201);
    let (token, location) =
        (&session.headers()["x-auth-token"], session.headers()["location"].to_str().unwrap());
    let with_token = redfish.request(Method::GET, SYSTEM).header("x-auth-token", token);
    assert_eq!(with_token.try_clone().unwrap().send().await.unwrap().status(), 200);
    assert_eq!(log_in(&redfish.password).send().await.unwrap().status(), 503, "one session only");
    redfish.done(Method::DELETE, location, json!({})).await;
    assert_eq!(with_token.send().await.unwrap().status(), 401, "deleted");
    assert_eq!(redfish.get(SESSIONS).await["Members@odata.count"], 0);
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), |_| {}).await;
    let redfish = Redfish::new(lab.machine("m"));
    let boot = |target: &str| json!({ "Boot": { "BootSourceOverrideTarget": target } });
    let reset = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    let list = (400, "PropertyValueNotInList");
    redfish.refused(Method::PATCH, SYSTEM, boot("Moon"), list).await;
    redfish.refused(Method::PATCH, SYSTEM, json!({ "Colour": 1 }), (400, "PropertyUnknown")).await;
    redfish.refused(Method::PATCH, SYSTEM, json!([]), (400, "MalformedJSON")).await;
    redfish.refused(Method::POST, reset, json!({ "ResetType": "Explode" }), list).await;
    redfish.refused(Method::POST, reset, json!({}), (400, "PropertyMissing")).await;
    redfish.refused(Method::GET, "/redfish/v1/Moon", json!({}), (404, "ResourceMissingAtURI")).await;
    redfish.refused(Method::DELETE, SYSTEM, json!({}), (405, "GeneralError")).await;
    let huge = json!({ "Boot": "x".repeat(100_000) });
    assert_eq!(redfish.send(Method::PATCH, SYSTEM, Some(huge)).await.status(), 413);
}

#[tokio::test]
async fn a_change_meant_for_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), |_| {}).await;
    let redfish = Redfish::new(lab.machine("m"));
    let seen = redfish.send(Method::GET, SYSTEM, None).await;
    let etag = seen.headers()["etag"].clone();
    assert_eq!(seen.json::<Value>().await.unwrap()["@odata.etag"], etag.to_str().unwrap());
    let change = |method| redfish.request(method, SYSTEM).basic_auth("admin", Some(&redfish.password));
    let same = change(Method::GET).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(same.status(), 304);
    let body = json!({ "Boot": { "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe" } });
    let patch = change(Method::PATCH).header("if-match", etag).json(&body);
    assert_eq!(patch.try_clone().unwrap().send().await.unwrap().status(), 204);
    assert_eq!(patch.send().await.unwrap().status(), 412, "the first change made a new version");
}

#[tokio::test]
async fn boot_mode_and_secure_boot_are_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), |machine| machine.secure_boot = false).await;
    let redfish = Redfish::new(lab.machine("m"));
    let secure_boot = format!("{SYSTEM}/SecureBoot");
    redfish.done(Method::PATCH, &secure_boot, json!({ "SecureBootEnable": true })).await;
    let now = redfish.get(&secure_boot).await;
    assert_eq!((&now["SecureBootEnable"], &now["SecureBootCurrentBoot"]), (&json!(true), &json!("Disabled")));
    assert_eq!(redfish.get(SYSTEM).await["Boot"]["BootSourceOverrideMode"], "UEFI");
    let legacy = json!({ "Boot": { "BootSourceOverrideMode": "Legacy" } });
    redfish.done(Method::PATCH, SYSTEM, legacy).await;
    let boot = redfish.get(SYSTEM).await["Boot"].clone();
    assert_eq!(
        (&boot["BootSourceOverrideMode"], &boot["BootSourceOverrideEnabled"]),
        (&json!("Legacy"), &json!("Disabled"))
    );
}

#[tokio::test]
async fn an_image_that_cannot_be_had_whole_is_not_inserted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.iso"), vec![7; 300_000]).unwrap();
    let images = ImageServer::start(folder.path(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let lab = lab(&folder.path().join("lab"), |machine| {
        machine.second_medium = Some(SecondMedium::UsbStick);
        machine.bmc.profile.media.location = MediaLocation::Both;
    })
    .await;
    let redfish = Redfish::new(lab.machine("m"));
    let insert = format!("{CD}/Actions/VirtualMedia.InsertMedia");
    let post = |url: String| json!({ "Image": url, "Inserted": true, "WriteProtected": true });
    let general = (400, "GeneralError");
    redfish.refused(Method::POST, &insert, post(images.url("missing.iso")), general).await;
    images.fault("a.iso", ImageFault { truncate_at: Some(100_000), times: Some(1), ..ImageFault::default() });
    let said = redfish.refused(Method::POST, &insert, post(images.url("a.iso")), general).await;
    assert!(said.starts_with("The image broke off after"), "{said}");
    let nobody = (400, "CouldNotEstablishConnection");
    redfish.refused(Method::POST, &insert, post("http://127.0.0.1:1/a.iso".into()), nobody).await;
    let protocol = (400, "SourceDoesNotSupportProtocol");
    redfish.refused(Method::POST, &insert, post("nfs://host/a.iso".into()), protocol).await;
    assert_eq!(redfish.get(CD).await["Inserted"], false);
    let media = lab.machine("m").folder().join("media");
    assert_eq!(std::fs::read_dir(&media).unwrap().count(), 0, "no remains");

    redfish.done(Method::POST, &insert, post(images.url("a.iso"))).await;
    redfish.refused(Method::POST, &insert, post(images.url("a.iso")), (409, "ResourceInUse")).await;
    let shown = redfish.get("/redfish/v1/Managers/1/VirtualMedia/Cd").await;
    assert_eq!(shown["Image"], images.url("a.iso"), "the same slot below the manager");
    redfish.done(Method::POST, &format!("{CD}/Actions/VirtualMedia.EjectMedia"), json!({})).await;
    assert_eq!(redfish.get(CD).await["Image"], Value::Null);
    assert_eq!(std::fs::read_dir(&media).unwrap().count(), 0);
}

#[tokio::test]
async fn faults_hit_what_they_name_and_wear_off() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), |_| {}).await;
    let redfish = Redfish::new(lab.machine("m"));
    let kind = FaultKind::Status(503);
    lab.machine("m").faults().arm(Fault {
        method: Some(Method::GET),
        path: "Systems/1".into(),
        times: 2,
        kind,
    });
    assert_eq!(redfish.get("/redfish/v1/Managers/1").await["Id"], "1");
    for expected in [503, 503, 200] {
        assert_eq!(redfish.send(Method::GET, SYSTEM, None).await.status(), expected);
    }
}
