//! sushy-tools really boots a machine from virtual media, and DMTF's validator really finds fault with it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{path::Path, process::Command, time::Duration};

use bessemer_tests::counterparts::{redfish_validator, sushy::SushyLab};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SAYS: &str = "BESSEMER-BOOTED-FROM-CD";

/// An ISO whose GRUB says a line on the serial port and powers off. UEFI only.
fn make_iso(folder: &Path) {
    let script = r#"
        set -eu
        cd "$1"
        printf 'serial --unit=0 --speed=115200\nterminal_output console serial\necho %s\nsleep 1\nhalt\n' "$2" > grub.cfg
        mkdir -p iso/boot/grub iso/.disk
        cp grub.cfg iso/boot/grub/
        echo test > iso/.disk/info
        truncate -s 8M iso/boot/grub/efi.img
        mformat -i iso/boot/grub/efi.img -v ESP -T 16384 -h 2 -s 32 -H 0 ::
        mmd -i iso/boot/grub/efi.img ::/EFI ::/EFI/BOOT
        mcopy -i iso/boot/grub/efi.img /usr/lib/shim/shimx64.efi.signed ::/EFI/BOOT/BOOTX64.EFI
        mcopy -i iso/boot/grub/efi.img /usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed ::/EFI/BOOT/grubx64.efi
        xorriso -as mkisofs -quiet -V TEST -r -J -o test.iso -e boot/grub/efi.img -no-emul-boot iso
    "#;
    let made = Command::new("sh").args(["-c", script, "sh"]).arg(folder).arg(SAYS).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Serves `bytes` at `/test.iso`; returns the URL.
async fn serve(bytes: Vec<u8>) -> String {
    let bytes = axum::body::Bytes::from(bytes);
    let router =
        axum::Router::new().route("/test.iso", axum::routing::get(move || std::future::ready(bytes.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/test.iso", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

struct Redfish {
    client: reqwest::Client,
    system: String,
}

impl Redfish {
    fn new(lab: &SushyLab) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        let system = format!("{}/redfish/v1/Systems/{}", lab.redfish_url(), lab.system_uuid());
        Self { client, system }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (StatusCode, String) {
        let url = format!("{}{path}", self.system);
        let answer = self.client.request(method, &url).json(&body).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, text) = self.ask(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// sushy-tools fails with 500 when it is asked in the moment in which the machine powers itself off.
    async fn is_off(&self) -> bool {
        let (status, text) = self.ask(Method::GET, "", json!({})).await;
        assert!(status.is_success() || status.is_server_error(), "{status} {text}");
        serde_json::from_str::<Value>(&text).unwrap_or_default()["PowerState"] == "Off"
    }

    async fn power_state(&self) -> Value {
        self.call(Method::GET, "", json!({})).await["PowerState"].clone()
    }
}

#[tokio::test]
async fn boots_an_iso_from_virtual_media() {
    let folder = tempfile::tempdir().unwrap();
    make_iso(folder.path());
    let image = serve(std::fs::read(folder.path().join("test.iso")).unwrap()).await;
    let lab = SushyLab::start(folder.path()).await.unwrap();
    let redfish = Redfish::new(&lab);
    assert_eq!(redfish.power_state().await, "Off");

    let insert = "/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia";
    redfish.call(Method::POST, insert, json!({ "Image": image, "Inserted": true })).await;
    let boot = json!({ "Boot": { "BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once" } });
    redfish.call(Method::PATCH, "", boot).await;
    let reset = "/Actions/ComputerSystem.Reset";
    redfish.call(Method::POST, reset, json!({ "ResetType": "On" })).await;

    let deadline = std::time::Instant::now() + Duration::from_secs(180);
    let serial =
        || String::from_utf8_lossy(&std::fs::read(lab.serial_log()).unwrap_or_default()).into_owned();
    while !(serial().contains(SAYS) && redfish.is_off().await) {
        assert!(std::time::Instant::now() < deadline, "serial: {}\nlog: {}", serial(), lab.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn validator_runs_offline_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let lab = SushyLab::start(folder.path()).await.unwrap();
    let report =
        redfish_validator::validate(lab.redfish_url(), "user", "password", folder.path()).await.unwrap();
    // sushy-tools is known to break the schemas in places, so a report without a complaint would be a wrong one.
    assert!(report.passed > 100 && report.failed > 0, "{report:#?}");
    let failures = report.complaints.iter().filter(|complaint| complaint.contains(": FAIL - ")).count();
    assert_eq!(failures, report.failed as usize, "{report:#?}");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let lab = SushyLab::start(folder.path()).await.unwrap();
    let redfish = Redfish::new(&lab);
    redfish.call(Method::POST, "/Actions/ComputerSystem.Reset", json!({ "ResetType": "On" })).await;
    let disk = lab.disk_path();
    let users = || {
        let pattern = format!("file.*{}", disk.display());
        Command::new("pgrep").args(["-f", &pattern]).output().unwrap().stdout.len()
    };
    assert!(users() > 0, "no QEMU has the disk");
    drop(lab);
    assert_eq!(users(), 0, "a QEMU is left");
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(folder.path().to_str().unwrap()), "a mount is left: {mounts}");
}
