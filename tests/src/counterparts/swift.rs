//! OpenStack Swift: one proxy, one of each server behind it, one copy of everything, temporary URLs. Nobody here wrote it.
//!
//! It runs in namespaces of its own, and nothing is left behind however the test ends. Needs root, and a folder whose
//! file system has extended attributes.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use reqwest::{Client, Method, RequestBuilder, Response};
use url::Url;

use super::{
    CounterpartError,
    namespace::{Namespace, free_port},
};

const NAME: &str = "swift-proxy-server";
const SCRIPT: &str = include_str!("swift.sh");
const START_LIMIT: Duration = Duration::from_secs(60);
const CONTAINER: &str = "images";
/// With it temporary URLs are signed.
const KEY: &str = "key-of-temporary-urls";

/// A running Swift with an empty container.
#[derive(Debug)]
pub struct Swift {
    namespace: Namespace,
    client: Client,
    /// The account.
    storage: Url,
    token: String,
}

impl Swift {
    /// Starts it with its files in a new folder `swift` of `folder`.
    pub async fn start(folder: &Path) -> Result<Self, CounterpartError> {
        let folder = folder.join("swift");
        fs::create_dir(&folder).map_err(CounterpartError::file("create", &folder))?;
        let folder = folder.canonicalize().map_err(CounterpartError::file("find", &folder))?;
        let port = write_configuration(&folder)?;
        let mut namespace = Namespace::start(NAME, SCRIPT, &folder, &[])?;
        namespace.wait_for((Ipv4Addr::LOCALHOST, port).into(), START_LIMIT).await?;
        // Somebody may have set one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::new();
        let (storage, token) = log_in(&client, port).await?;
        let swift = Self { namespace, client, storage, token };
        swift.set_key().await?;
        let container = swift.request(Method::PUT, &swift.object("")?);
        swift.send("making a container", container).await?;
        Ok(swift)
    }

    /// The proxy answers before the servers behind it do, with 503 until they are there.
    async fn set_key(&self) -> Result<(), CounterpartError> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let key = self.request(Method::POST, &self.storage).header("X-Account-Meta-Temp-Url-Key", KEY);
            match key.send().await {
                Ok(answer) if answer.status().is_server_error() && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                answer => return self.judge("setting the key", answer),
            }
        }
    }

    /// Puts a file there.
    pub async fn upload(&self, name: &str, file: &Path) -> Result<(), CounterpartError> {
        let content = fs::read(file).map_err(CounterpartError::file("read", file))?;
        let put = self.request(Method::PUT, &self.object(name)?).body(content);
        self.send("an upload", put).await
    }

    /// A URL that anybody may read the object with for so long; `Duration::ZERO`: could have. Signed by `openssl`, so
    /// that nobody here says what is right.
    pub fn temporary_url(&self, name: &str, valid: Duration) -> Result<Url, CounterpartError> {
        let mut url = self.object(name)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = match valid.as_secs() {
            0 => now.as_secs() - 60,
            seconds => now.as_secs() + seconds,
        };
        let message = format!("GET\n{expires}\n{}", url.path());
        let script = r#"printf %s "$1" | openssl dgst -sha256 -hmac "$2" | sed 's/.* //'"#;
        let output = std::process::Command::new("sh").args(["-c", script, "sh", &message, KEY]).output();
        let output =
            output.map_err(|source| CounterpartError::Start { program: "openssl".into(), source })?;
        let signature = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        url.set_query(Some(&format!("temp_url_sig={signature}&temp_url_expires={expires}")));
        Ok(url)
    }

    fn object(&self, name: &str) -> Result<Url, CounterpartError> {
        let text = format!("{}/{CONTAINER}/{name}", self.storage);
        Url::parse(text.trim_end_matches('/')).map_err(|_| wrong("URL", text))
    }

    fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        self.client.request(method, url.clone()).header("X-Auth-Token", &self.token)
    }

    async fn send(&self, what: &'static str, request: RequestBuilder) -> Result<(), CounterpartError> {
        self.judge(what, request.send().await)
    }

    fn judge(&self, what: &'static str, answer: reqwest::Result<Response>) -> Result<(), CounterpartError> {
        let answer = answer.and_then(Response::error_for_status);
        let problem = |error: reqwest::Error| CounterpartError::NotUp {
            program: NAME,
            problem: format!("refused {what}: {error}"),
            log: self.namespace.log(),
        };
        answer.map(|_| ()).map_err(problem)
    }
}

fn wrong(expected: &'static str, output: String) -> CounterpartError {
    CounterpartError::Output { program: NAME, expected, output }
}

/// The account's URL and a token.
async fn log_in(client: &Client, port: u16) -> Result<(Url, String), CounterpartError> {
    let request = client.get(format!("http://127.0.0.1:{port}/auth/v1.0"));
    let request = request.header("X-Auth-User", "admin:admin").header("X-Auth-Key", "admin");
    let answer = request.send().await.map_err(|error| wrong("token", error.to_string()))?;
    let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
    let (storage, token) = (header("X-Storage-Url"), header("X-Auth-Token"));
    let storage = storage.as_deref().and_then(|url| Url::parse(url).ok());
    storage.zip(token).ok_or_else(|| wrong("token", answer.status().to_string()))
}

/// Says at which port the proxy will listen.
fn write_configuration(folder: &Path) -> Result<u16, CounterpartError> {
    let write = |name: String, text: String| {
        let path: PathBuf = folder.join(name);
        fs::write(&path, text).map_err(CounterpartError::file("write", &path))
    };
    let common = |port: u16| {
        let folder = folder.display();
        // No workers: the server itself answers.
        format!(
            "[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nuser = root\nswift_dir = {folder}\n\
             devices = {folder}/node\nmount_check = false\nlog_address = {folder}/no-syslog\n"
        )
    };
    write(
        "swift.conf".into(),
        "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n".into(),
    )?;
    for part in ["object", "container", "account"] {
        let app = format!(
            "[pipeline:main]\npipeline = {part}-server\n[app:{part}-server]\nuse = egg:swift#{part}\n"
        );
        write(format!("{part}-server.conf"), format!("{}{app}[{part}-replicator]\n", common(free_port()?)))?;
    }
    let port = free_port()?;
    let filters = "[pipeline:main]\npipeline = catch_errors gatekeeper cache tempurl tempauth proxy-server\n\
         [app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n\
         [filter:catch_errors]\nuse = egg:swift#catch_errors\n[filter:gatekeeper]\nuse = egg:swift#gatekeeper\n\
         [filter:tempurl]\nuse = egg:swift#tempurl\n\
         [filter:tempauth]\nuse = egg:swift#tempauth\nuser_admin_admin = admin .admin .reseller_admin\n\
         storage_url_scheme = http\n[filter:cache]\nuse = egg:swift#memcache\n";
    let cache = format!("memcache_servers = 127.0.0.1:{}\n", free_port()?);
    write("proxy-server.conf".into(), format!("{}{filters}{cache}", common(port)))?;
    File::create(folder.join("no-syslog")).map_err(CounterpartError::file("create", folder))?;
    Ok(port)
}
