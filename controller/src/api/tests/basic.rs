//! HTTP basic authentication against files of real bcrypt hashes.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::StatusCode;
use tempfile::TempDir;

use super::{Answer, Controller};
use crate::api::{
    self, AuthStrategy,
    access::{AccessError, Gate, PasswordFileError, SystemRole},
};

/// The password "secret" as `htpasswd -nbB` hashes it, and as crypt(3) does in two other dialects of bcrypt.
const USERS: &str = "\
ann:$2y$05$CDRFhqfU0xSweoyoaGuc7exSRPPIHvkkc89HYoC3xYXi.Rr57bgSq
# a comment

bob:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a
cat:$2a$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a
";

struct Users {
    controller: Controller,
    gate: Gate,
    dir: TempDir,
}

fn open(dir: &Path) -> Result<Gate, AccessError> {
    let config = api::Config {
        auth_strategy: AuthStrategy::HttpBasic,
        http_basic_user_roles: [("cat".to_owned(), SystemRole::Reader)].into(),
        audit_log: "".into(),
        ..api::Config::default()
    };
    Gate::open(&config, &api::access::keystone::Config::default(), dir)
}

impl Users {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("htpasswd"), USERS).unwrap();
        let gate = open(dir.path()).unwrap();
        Self { controller: Controller::start().await, gate, dir }
    }

    /// A request with that `Authorization` header.
    async fn ask(&self, method: &str, path: &str, header: Option<String>) -> Answer {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("X-OpenStack-Ironic-API-Version", "1.115");
        if let Some(header) = header {
            request = request.header("Authorization", header);
        }
        let mut state = self.controller.state.clone();
        state.gate = self.gate.clone();
        Controller::answer_of(api::router(state), request.body("{}".into()).unwrap()).await
    }

    async fn login(&self, user: &str, password: &str) -> Answer {
        self.ask("GET", "/v1/nodes", Some(basic(user, password))).await
    }

    fn write(&self, text: &str) {
        fs::write(self.dir.path().join("htpasswd"), text).unwrap();
        self.gate.look_now();
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn refuses_as_recorded() {
    let users = Users::start().await;
    let answer = users.ask("GET", "/v1/nodes", None).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"Baremetal API\"");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.body.to_string(),
        serde_json::json!({"error": {"message": "Authorization required", "code": 401}}).to_string()
    );
    assert!(answer.header("openstack-request-id").starts_with("req-"));
    assert_eq!(answer.header("x-openstack-ironic-api-version"), "");
    for (user, password) in
        [("ann", "wrong"), ("nobody", "secret"), ("ann", ""), ("", "secret"), ("# a comment", "x")]
    {
        let answer = users.login(user, password).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{user}");
        assert_eq!(answer.body["error"]["message"], "Incorrect username or password");
    }
    for header in ["Basic", "Basic !!!", "Basic YW5u", "Bearer abc", "Basic /////w=="] {
        let answer = users.ask("GET", "/v1/nodes", Some(header.to_owned())).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{header}");
    }
}

#[tokio::test]
async fn lets_the_users_of_the_file_in_with_their_roles() {
    let users = Users::start().await;
    for user in ["ann", "bob", "cat", "ann"] {
        assert_eq!(users.login(user, "secret").await.status, StatusCode::OK, "{user}");
    }
    assert_eq!(users.login("ann", "secret2").await.status, StatusCode::UNAUTHORIZED);
    // An administrator's empty node is a bad request, a reader's is forbidden.
    let created = users.ask("POST", "/v1/nodes", Some(basic("ann", "secret"))).await;
    assert_eq!(created.status, StatusCode::BAD_REQUEST);
    let refused = users.ask("POST", "/v1/nodes", Some(basic("cat", "secret"))).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn public_paths_need_nobody_and_all_others_somebody() {
    let users = Users::start().await;
    for path in ["/", "/v1", "/v1/"] {
        assert_eq!(users.ask("GET", path, None).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/v1/nodes/", "/nodes", "//v1/nodes", "/v1/nodes/detail", "/v1/drivers", "/v1/nope", "/nope"]
    {
        assert_eq!(users.ask("GET", path, None).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_changed_file_counts_at_once_and_a_broken_one_lets_nobody_in() {
    let users = Users::start().await;
    assert_eq!(users.login("ann", "secret").await.status, StatusCode::OK);
    users.write(&USERS.replace("ann:", "dan:"));
    assert_eq!(users.login("ann", "secret").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(users.login("dan", "secret").await.status, StatusCode::OK);
    users.write("dan:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n");
    assert_eq!(users.login("dan", "secret").await.status, StatusCode::SERVICE_UNAVAILABLE);
    users.write(USERS);
    assert_eq!(users.login("ann", "secret").await.status, StatusCode::OK);
    fs::remove_file(users.dir.path().join("htpasswd")).unwrap();
    users.gate.look_now();
    assert_eq!(users.login("ann", "secret").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_file_that_cannot_be_used_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(open(dir.path()).unwrap_err(), AccessError::Passwords(PasswordFileError::Read { .. })));
    let costly = USERS.replace("$05$", "$31$");
    for bad in ["ann", ":$2y$05$x", "ann:secret", "ann:$2y$05$short", "ann:$1$abc$def", costly.as_str()] {
        fs::write(dir.path().join("htpasswd"), format!("\n{bad}\n")).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(
            matches!(error, AccessError::Passwords(PasswordFileError::Line { line: 2, .. })),
            "{bad}: {error}"
        );
        assert!(!error.to_string().contains("secret"));
    }
}

#[test]
fn a_role_for_nobody_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    // `cat` has a role in the configuration; a misspelt line would make an administrator of her.
    fs::write(dir.path().join("htpasswd"), USERS.replace("cat:", "kat:")).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, AccessError::Passwords(PasswordFileError::NoSuchUser { user, .. }) if user == "cat"),
        "{error}"
    );
    fs::write(dir.path().join("htpasswd"), USERS).unwrap();
    assert!(open(dir.path()).is_ok());
}
