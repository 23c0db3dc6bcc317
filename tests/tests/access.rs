//! Who may use the API: a real Keystone, a file of `htpasswd`, TLS; unmodified command lines log in.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bessemer_tests::{
    counterparts::{keystone::Keystone, script::run_program},
    harness::Controller,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(100);
const VERSION: (&str, &str) = ("X-OpenStack-Ironic-API-Version", "1.115");

async fn start(folder: &Path, extra: &str) -> Controller {
    let deploy_iso = folder.join("deploy.iso");
    std::fs::write(&deploy_iso, [0; 2048]).unwrap();
    Controller::start(folder, &deploy_iso, extra).await.unwrap()
}

// === Keystone ===

/// Somebody with a token.
struct Person<'a> {
    controller: &'a Controller,
    client: Client,
    token: String,
}

impl<'a> Person<'a> {
    fn new(controller: &'a Controller, token: String) -> Self {
        Self { controller, client: Client::builder().no_proxy().build().unwrap(), token }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = self.client.request(method, format!("{}{path}", self.controller.api().base()));
        let request = request.header(VERSION.0, VERSION.1).header("X-Auth-Token", &self.token);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        request.send().await.unwrap()
    }

    async fn status(&self, method: Method, path: &str, body: Option<Value>) -> u16 {
        self.ask(method, path, body).await.status().as_u16()
    }

    async fn names(&self) -> Vec<String> {
        let nodes: Value = self.ask(Method::GET, "/v1/nodes", None).await.json().await.unwrap();
        let nodes = nodes["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until listing is answered so.
    async fn is_answered(&self, status: u16) {
        let deadline = Instant::now() + SOON;
        loop {
            let answered = self.status(Method::GET, "/v1/nodes", None).await;
            if answered == status {
                return;
            }
            assert!(Instant::now() < deadline, "{answered} instead of {status}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn with_keystone() -> (TempDir, Keystone, Controller) {
    let folder = tempfile::tempdir().unwrap();
    // Keystone's catalog names the controller's port, and the controller's configuration Keystone's.
    let mut keystone = Keystone::prepare(folder.path(), 3600).unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, Keystone::PASSWORD).unwrap();
    let extra = format!(
        "[api]\nauth_strategy = \"keystone\"\n[keystone]\nauth_url = \"{}\"\nusername = \"service\"\nproject_name = \"services\"\n\
         password_file = \"{}\"\ntoken_cache_time = 1\n",
        keystone.url(),
        password.display(),
    );
    let controller = start(folder.path(), &extra).await;
    keystone.start(controller.api().base()).await.unwrap();
    (folder, keystone, controller)
}

#[tokio::test]
async fn keystone_says_who_may_do_what() {
    let (_folder, mut keystone, controller) = with_keystone().await;
    let nobody = Person::new(&controller, "not-a-token".into());
    assert_eq!(nobody.status(Method::GET, "/v1/nodes", None).await, 401);
    assert_eq!(nobody.status(Method::GET, "/v1", None).await, 200, "what clients begin with is public");
    roles_over_all_nodes(&keystone, &controller).await;
    roles_of_a_project(&keystone, &controller).await;
    command_lines_log_in(&keystone).await;
    tokens_end(&mut keystone, &controller).await;
    assert_eq!(nobody.status(Method::GET, "/v1", None).await, 200);
}

async fn roles_over_all_nodes(keystone: &Keystone, controller: &Controller) {
    let admin = Person::new(controller, keystone.token("boss", None).await.unwrap());
    let reader = Person::new(controller, keystone.token("reader", None).await.unwrap());
    let node = |name: &str| Some(json!({ "driver": "fake-hardware", "name": name }));
    assert_eq!(admin.status(Method::POST, "/v1/nodes", node("one")).await, 201);
    assert_eq!(admin.status(Method::POST, "/v1/nodes", node("two")).await, 201);
    assert_eq!(reader.names().await, ["one", "two"]);
    assert_eq!(reader.status(Method::POST, "/v1/nodes", node("three")).await, 403);
    assert_eq!(reader.status(Method::DELETE, "/v1/nodes/one", None).await, 403);
    let project = keystone.project("demo").await.unwrap();
    let owned = Some(json!([{ "op": "add", "path": "/owner", "value": project }]));
    assert_eq!(admin.status(Method::PATCH, "/v1/nodes/one", owned).await, 200);
}

async fn roles_of_a_project(keystone: &Keystone, controller: &Controller) {
    let describe = || Some(json!([{ "op": "add", "path": "/description", "value": "ours" }]));
    for (user, project, names, patched, shut) in [
        ("member", "demo", vec!["one"], 200, 202),
        ("reader", "demo", vec!["one"], 403, 403),
        ("stranger", "other", vec![], 404, 404),
    ] {
        let person = Person::new(controller, keystone.token(user, Some(project)).await.unwrap());
        assert_eq!(person.names().await, names, "{user}");
        assert_eq!(person.status(Method::GET, "/v1/nodes/two", None).await, 404, "{user}");
        assert_eq!(person.status(Method::PATCH, "/v1/nodes/one", describe()).await, patched, "{user}");
        let reason = Some(json!({ "reason": "x" }));
        assert_eq!(person.status(Method::PUT, "/v1/nodes/one/maintenance", reason).await, shut, "{user}");
    }
}

async fn command_lines_log_in(keystone: &Keystone) {
    let list = ["baremetal", "node", "list", "-f", "json"];
    let listed = run_program("openstack", &list, &keystone.environment("member"), LONG).await.unwrap();
    assert!(
        listed.success() && listed.stdout.contains("\"one\"") && !listed.stdout.contains("\"two\""),
        "{listed}"
    );
    let delete = ["baremetal", "node", "delete", "one"];
    let refused = run_program("openstack", &delete, &keystone.environment("reader"), LONG).await.unwrap();
    assert!(!refused.success() && refused.stderr.contains("403"), "{refused}");
}

/// Somebody whose token is good for seconds, and still is. A slow machine wants more of them.
async fn short_lived<'a>(keystone: &mut Keystone, controller: &'a Controller) -> Person<'a> {
    for seconds in [4, 15, 60] {
        keystone.set_token_lifetime(seconds).await.unwrap();
        let person = Person::new(controller, keystone.token("reader", Some("demo")).await.unwrap());
        if person.status(Method::GET, "/v1/nodes", None).await == 200 {
            return person;
        }
    }
    panic!("a token of a minute is not taken");
}

/// Taken back, too old, and nobody there to ask.
async fn tokens_end(keystone: &mut Keystone, controller: &Controller) {
    let member = Person::new(controller, keystone.token("member", Some("demo")).await.unwrap());
    let stranger = Person::new(controller, keystone.token("stranger", Some("other")).await.unwrap());
    member.is_answered(200).await;
    keystone.revoke(&member.token).await.unwrap();
    member.is_answered(401).await;
    let short = short_lived(keystone, controller).await;
    short.is_answered(401).await;
    keystone.stop().await;
    stranger.is_answered(503).await;
    keystone.set_token_lifetime(3600).await.unwrap();
    let again = Person::new(controller, keystone.token("boss", None).await.unwrap());
    again.is_answered(200).await;
}

// === htpasswd ===

fn htpasswd(user: &str, password: &str) -> String {
    let made = Command::new("htpasswd").args(["-nbB", user, password]).output().unwrap();
    assert!(made.status.success());
    String::from_utf8(made.stdout).unwrap()
}

#[tokio::test]
async fn a_file_of_htpasswd_says_who_may_come_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("htpasswd");
    std::fs::write(&file, htpasswd("admin", "secret")).unwrap();
    let extra = format!(
        "[api]\nauth_strategy = \"http_basic\"\nhttp_basic_auth_user_file = \"{}\"\n",
        file.display()
    );
    let controller = start(folder.path(), &extra).await;
    let base = controller.api().base().to_owned();
    let client = Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(&base).send().await.unwrap().status(), 200, "the root is public");
    let nodes = format!("{base}/v1/nodes");
    let said = |password: Option<&'static str>| {
        let request = client.get(&nodes);
        let request =
            if let Some(password) = password { request.basic_auth("admin", Some(password)) } else { request };
        async {
            let answer = request.send().await.unwrap();
            let asked =
                answer.headers().get("WWW-Authenticate").map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), asked, answer.json::<Value>().await.unwrap())
        }
    };
    let realm = Some("Basic realm=\"Baremetal API\"".to_owned());
    let refused =
        |message: &str| (401, realm.clone(), json!({ "error": { "message": message, "code": 401 } }));
    assert_eq!(said(None).await, refused("Authorization required"));
    assert_eq!(said(Some("wrong")).await, refused("Incorrect username or password"));
    assert_eq!(said(Some("secret")).await.0, 200);
    let settings = |password: &str| -> Vec<(String, String)> {
        let all = [
            ("OS_AUTH_TYPE", "http_basic"),
            ("OS_USERNAME", "admin"),
            ("OS_PASSWORD", password),
            ("OS_ENDPOINT", base.as_str()),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let list = ["driver", "list", "-f", "json"];
    let answer = run_program("baremetal", &list, &settings("secret"), LONG).await.unwrap();
    assert!(answer.success() && answer.stdout.contains("fake-hardware"), "{answer}");
    let answer = run_program("baremetal", &list, &settings("wrong"), LONG).await.unwrap();
    assert!(!answer.success() && answer.stderr.contains("401"), "{answer}");
}

// === TLS ===

/// A certificate for the loopback address by an authority of its own: files of the authority, certificate and key.
fn certificate(folder: &Path) -> [String; 3] {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "a test's authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    [("authority.pem", authority.pem()), ("certificate.pem", made.pem()), ("key.pem", key.serialize_pem())]
        .map(|(name, text)| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        })
}

#[tokio::test]
async fn the_api_is_served_with_the_operators_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let [authority, certificate, key] = certificate(folder.path());
    let extra = format!("[api]\ntls_certificate = \"{certificate}\"\ntls_key = \"{key}\"\n");
    let deploy_iso = folder.path().join("deploy.iso");
    std::fs::write(&deploy_iso, [0; 2048]).unwrap();
    let controller =
        Controller::start_tls(folder.path(), &deploy_iso, &extra, Path::new(&authority)).await.unwrap();
    let base = controller.api().base().to_owned();
    assert!(base.starts_with("https://"));
    let settings = |more: &[(&str, &str)]| -> Vec<(String, String)> {
        let all = [("OS_AUTH_TYPE", "none"), ("OS_ENDPOINT", base.as_str())]
            .into_iter()
            .chain(more.iter().copied());
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let list = ["driver", "list", "-f", "json"];
    let answer =
        run_program("baremetal", &list, &settings(&[("OS_CACERT", &authority)]), LONG).await.unwrap();
    assert!(answer.success() && answer.stdout.contains("fake-hardware"), "{answer}");
    let answer = run_program("baremetal", &list, &settings(&[]), LONG).await.unwrap();
    assert!(!answer.success() && answer.stderr.to_lowercase().contains("certificate"), "{answer}");
    let links: Value = controller.api().get("/v1/drivers").await.unwrap();
    let link = links["drivers"][0]["links"][0]["href"].as_str().unwrap();
    assert!(link.starts_with(&base), "{link}");
}
