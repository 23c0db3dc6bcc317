//! The image server: nginx with a configuration of its own, on free ports of this machine.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::measure::clean;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running server. It ends with this value.
pub(crate) struct Server {
    child: Child,
    http: u16,
    https: u16,
    /// What to trust for https.
    pub(crate) certificate: PathBuf,
}

impl Server {
    /// Serves the files of `root`; keeps its own in `folder`.
    pub(crate) fn start(folder: &Path, root: &Path) -> Result<Self> {
        let certificate = folder.join("server.crt");
        let made = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()])?;
        fs::write(&certificate, made.cert.pem())?;
        fs::write(folder.join("server.key"), made.signing_key.serialize_pem())?;
        // Both are held until both are known, so that they differ.
        let ports =
            [TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?];
        let [http, https] = [port(&ports[0])?, port(&ports[1])?];
        drop(ports);
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, self::configuration(folder, root, http, https))?;
        let child = clean(&mut Command::new("nginx"))
            .arg("-p")
            .arg(folder)
            .arg("-e")
            .arg(folder.join("error.log"))
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .spawn()
            .context("nginx cannot be started; `make setup` installs it")?;
        let server = Self { child, http, https, certificate };
        server.wait_until_ready(folder)?;
        Ok(server)
    }

    fn wait_until_ready(&self, folder: &Path) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.https)).is_err() {
            ensure!(
                started.elapsed() < READY_WITHIN,
                "nginx does not listen: {}",
                fs::read_to_string(folder.join("error.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Where a file of the root is.
    pub(crate) fn url(&self, tls: bool, path: &str) -> String {
        let (scheme, port) = if tls { ("https", self.https) } else { ("http", self.http) };
        format!("{scheme}://{}:{port}/{path}", Ipv4Addr::LOCALHOST)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn port(listener: &TcpListener) -> Result<u16> {
    Ok(listener.local_addr()?.port())
}

fn configuration(folder: &Path, root: &Path, http: u16, https: u16) -> String {
    let (folder, root, localhost) = (folder.display(), root.display(), Ipv4Addr::LOCALHOST);
    // Workers of another user might not be let into the folder.
    let user = if geteuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off;
{user}
worker_processes auto;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {localhost}:{http};
        listen {localhost}:{https} ssl;
        ssl_certificate {folder}/server.crt;
        ssl_certificate_key {folder}/server.key;
        root {root};
    }}
}}
"
    )
}
