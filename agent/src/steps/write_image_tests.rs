use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    step::WriteImageReceipt,
};
use serde_json::json;
use sha2::Digest as _;

use super::*;
use crate::test_support::{
    disks::{MIB, TestDisk, assert_boot_area_is_zero, gpt_image, sha256},
    machine::Machine,
    server::{Reply, Server},
};

const SIZE: usize = 12 * MIB;

fn machine(disk: &TestDisk) -> Machine {
    let machine = Machine::empty();
    machine.add_disk("sdz", "SERIAL-1", &disk.path, SIZE as u64);
    machine
}

fn chain(error: StepError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

#[tokio::test]
async fn the_receipt_says_what_was_written_where() {
    let image = gpt_image(8 * MIB, 512);
    for disk in [Some(TestDisk::file(SIZE)), TestDisk::loop_device(SIZE, 512)].into_iter().flatten() {
        let machine = machine(&disk);
        let served = image.clone();
        let server = Server::start(move |_| Reply::ok(served.clone()));
        let (context, heard) = machine.context();
        let arguments = json!({
            "url": server.url("/disk.raw"),
            "digest": {"value": sha256(&image).to_string()},
            "root_device": {"serial": "serial-1"},
        });
        let receipt = WriteImage::default().run(arguments, context).await.unwrap();
        let receipt: WriteImageReceipt = serde_json::from_value(receipt).unwrap();
        assert_eq!(receipt.digest, sha256(&image));
        assert_eq!((receipt.device.name.as_str(), receipt.device.size), ("/dev/sdz", SIZE as u64));
        assert_eq!(receipt.device.serial.as_deref(), Some("SERIAL-1"));
        assert_eq!((receipt.bytes_received, receipt.bytes_written), (image.len() as u64, image.len() as u64));
        assert!(receipt.seconds >= receipt.seconds_to_first_byte && receipt.seconds_to_first_byte > 0.0);
        assert!(receipt.peak_memory_kib > 0);
        assert!(receipt.work.stages.iter().any(|stage| stage.name == "write" && stage.bytes > 0));
        assert!(receipt.choice[0].contains("chosen: it fits all hints"), "{:?}", receipt.choice);
        assert!(disk.content()[2 * MIB..7 * MIB] == image[2 * MIB..7 * MIB]);
        let progress = heard.progress.lock().unwrap();
        let last = progress.iter().rfind(|(stage, ..)| *stage == "writing").unwrap();
        assert_eq!(*last, ("writing", image.len() as u64, image.len() as u64));
        assert!(heard.warnings.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_checksum_file_can_say_what_the_image_must_be() {
    let image = gpt_image(8 * MIB, 512);
    let digest = Digest::from_bytes(DigestAlgorithm::Sha512, &sha2::Sha512::digest(&image)).unwrap();
    let sums = format!("{}  other.raw\n{}  disk.raw\n", "0".repeat(128), digest.hex());
    let server = Server::start(move |path| match path {
        "/SHA512SUMS" => Reply::ok(sums.clone()),
        "/disk.raw" => Reply::ok(image.clone()),
        _ => Reply::status("404 Not Found"),
    });
    let run = |sums: &str| {
        let disk = TestDisk::file(SIZE);
        let arguments = json!({
            "url": server.url("/disk.raw"),
            "digest": {"url": {"url": server.url(sums), "algorithm": "sha512"}},
            "root_device": {"name": "/dev/sdz"},
        });
        let machine = machine(&disk);
        async move {
            let before = disk.content();
            let result = WriteImage::default().run(arguments, machine.context().0).await;
            (result, disk.content() == before)
        }
    };
    let (result, _) = run("/SHA512SUMS").await;
    let receipt: WriteImageReceipt = serde_json::from_value(result.unwrap()).unwrap();
    assert_eq!(receipt.digest, digest);
    let (result, untouched) = run("/missing").await;
    let error = chain(result.unwrap_err());
    assert!(error.contains("checksum file") && error.contains("404"), "{error}");
    assert!(untouched, "nothing may be written before the digest is known");
}

#[tokio::test]
async fn a_wrong_digest_fails_the_step_and_leaves_no_table() {
    let image = gpt_image(8 * MIB, 512);
    let disk = TestDisk::file(SIZE);
    let machine = machine(&disk);
    let served = image.clone();
    let server = Server::start(move |_| Reply::ok(served.clone()));
    let arguments = json!({
        "url": server.url("/disk.raw"),
        "digest": {"value": "ab".repeat(32)},
        "root_device": {"name": "/dev/sdz"},
    });
    let error = chain(WriteImage::default().run(arguments, machine.context().0).await.unwrap_err());
    assert!(error.contains(&sha256(&image).hex()) && error.contains(&"ab".repeat(32)), "{error}");
    assert_boot_area_is_zero(&disk.content());
}

#[tokio::test]
async fn what_cannot_work_is_said_before_anything_is_fetched() {
    let disk = TestDisk::file(SIZE);
    let machine = machine(&disk);
    let server = Server::start(|_| Reply::status("500 Internal Server Error"));
    let arguments = |hints: Value, ca: Option<&str>| json!({"url": server.url("/d"), "digest": {"value": "ab".repeat(32)}, "root_device": hints, "ca_pem": ca});
    let step = WriteImage::default();
    let run = |value: Value| step.run(value, machine.context().0);
    let error = chain(run(arguments(json!({"colour": "red"}), None)).await.unwrap_err());
    assert!(error.contains("unknown root-device hint"), "{error}");
    let error = chain(run(arguments(json!({"name": "/dev/sdz"}), Some("nonsense"))).await.unwrap_err());
    assert!(error.contains("CA certificates"), "{error}");
    let wrong = run(json!({"url": "http://x/", "digest": {"value": "xyz"}})).await;
    assert!(matches!(wrong, Err(StepError::Arguments(_))));
    let unknown = run(json!({"url": "http://x/", "digest": {"value": "ab".repeat(32)}, "extra": 1})).await;
    assert!(matches!(unknown, Err(StepError::Arguments(_))));
    assert!(server.requests().is_empty());
    assert!(disk.content().iter().all(|byte| *byte == 0xa5), "the disk was touched");
    let error = chain(run(arguments(json!({"name": "/dev/sdz"}), None)).await.unwrap_err());
    assert!(error.contains("500"), "{error}");
    assert!(disk.content().iter().all(|byte| *byte == 0xa5), "the disk was touched");
}

#[tokio::test]
async fn waiting_for_a_disk_ends_when_it_comes_or_the_step_is_cancelled() {
    let machine = Machine::empty();
    let (context, heard) = machine.context();
    let cancel = context.cancel.clone();
    let step = tokio::spawn(async move {
        let arguments = json!({"url": "http://127.0.0.1:1/", "digest": {"value": "ab".repeat(32)}});
        WriteImage::default().run(arguments, context).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cancel.cancel();
    assert!(matches!(step.await.unwrap(), Err(StepError::Cancelled)));
    assert_eq!(heard.progress.lock().unwrap()[0].0, "waiting for the disk");
}
