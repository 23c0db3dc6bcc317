use std::process::Command;

use serde_json::json;

use super::*;
use crate::test_support::{
    disks::{MIB, TestDisk, gpt_image, sha256},
    machine::Machine,
    server::{Reply, Server},
};

const DISK: usize = 96 * MIB;
const IMAGE: usize = 6 * MIB;

/// As much of an ISO as is looked at, and a body.
fn iso(label: &str) -> Vec<u8> {
    let mut iso = vec![0x5a; 400_000];
    iso[32768..32774].copy_from_slice(b"\x01CD001");
    iso[32808..32840].copy_from_slice(format!("{label:32}").as_bytes());
    iso
}

/// A written disk, on a loop device where there are any.
fn disk(sector: u32) -> TestDisk {
    let disk = TestDisk::file(DISK);
    let mut content = disk.content();
    content[..IMAGE].copy_from_slice(&gpt_image(IMAGE, sector.into()));
    std::fs::write(&disk.path, content).unwrap();
    disk
}

fn machine(disk: &TestDisk, size: usize) -> Machine {
    let machine = Machine::empty();
    machine.add_disk("sdz", "SERIAL-1", &disk.path, size as u64);
    machine
}

fn step() -> WriteConfigDrive {
    WriteConfigDrive { resolver: None, pause: Some(Duration::from_millis(1)) }
}

async fn run(machine: &Machine, content: &[u8], digest: &Digest) -> Result<WriteConfigDriveResult, String> {
    let served = content.to_vec();
    let server = Server::start(move |_| Reply::ok(served.clone()));
    let arguments = json!({
        "device": {"name": "/dev/sdz", "serial": "SERIAL-1", "wwn": null, "model": null, "size": 1},
        "url": format!("{}?key=hush", server.url("/drive")),
        "digest": digest.to_string(),
    });
    let result = step().run(arguments, machine.context().0).await;
    result
        .map(|value| serde_json::from_value(value).unwrap())
        .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

#[tokio::test]
async fn a_config_drive_is_put_behind_the_image_and_replaced_by_the_next() {
    for sector in [512, 4096] {
        let plain = (sector == 512).then(|| disk(sector));
        for disk in [plain, disk(sector).attached(sector)].into_iter().flatten() {
            let machine = machine(&disk, DISK);
            let first = iso("config-2");
            let result = run(&machine, &first, &sha256(&first)).await.unwrap();
            assert_eq!((result.partition, result.partition_size, result.reused), (3, 64 << 20, false));
            let start = result.partition_offset as usize;
            let content = disk.content();
            assert!(content[start..start + first.len()] == first);
            assert!(content[start + first.len()..start + (64 << 20)].iter().all(|byte| *byte == 0));
            assert!(content[2 * MIB..5 * MIB] == gpt_image(IMAGE, sector.into())[2 * MIB..5 * MIB]);
            let offset = result.partition_offset.to_string();
            let blkid = Command::new("blkid").args(["-p", "-O", &offset]).arg(&disk.path).output().unwrap();
            let said = String::from_utf8_lossy(&blkid.stdout);
            assert!(said.contains("LABEL=\"config-2\"") && said.contains("iso9660"), "{said}");
            let name = disk.path.file_name().unwrap().to_str().unwrap();
            // Kernels of small machines know no GPT.
            if let Ok(known) = std::fs::read_to_string(format!("/sys/block/{name}/{name}p3/start")) {
                assert_eq!(known.trim().parse::<usize>().unwrap() * 512, start);
            }
            let second = iso("CONFIG-2")[..100_000].to_vec();
            let result = run(&machine, &second, &sha256(&second)).await.unwrap();
            assert!(result.reused && result.partition == 3 && result.partition_offset as usize == start);
            let content = disk.content();
            assert!(content[start..start + second.len()] == second);
            assert!(content[start + second.len()..start + (64 << 20)].iter().all(|byte| *byte == 0));
        }
    }
}

#[tokio::test]
async fn what_is_wrong_leaves_the_disk_untouched() {
    let disk = disk(512);
    let before = disk.content();
    let machine = machine(&disk, DISK);
    let good = iso("config-2");
    let error = run(&machine, &good, &sha256(b"x")).await.unwrap_err();
    assert!(error.contains("was changed on its way"), "{error}");
    let error = run(&machine, b"not a file system", &sha256(b"not a file system")).await.unwrap_err();
    assert!(error.contains("neither ISO 9660 nor FAT"), "{error}");
    let mut large = good.clone();
    large.resize(config_drive::MAX_BYTES + 1, 0);
    let error = run(&machine, &large, &sha256(&large)).await.unwrap_err();
    assert!(error.contains("larger than 67108864 bytes") && !error.contains("hush"), "{error}");
    assert!(disk.content() == before);

    let small = TestDisk::file(IMAGE);
    std::fs::write(&small.path, gpt_image(IMAGE, 512)).unwrap();
    let machine = self::machine(&small, IMAGE);
    let error = run(&machine, &good, &sha256(&good)).await.unwrap_err();
    assert!(error.contains("/dev/sdz has no place") && error.contains("no room"), "{error}");
    assert!(small.content() == gpt_image(IMAGE, 512));
}

#[tokio::test]
async fn a_controller_that_is_starting_is_asked_again_and_one_that_has_nothing_is_not_believed_for_ever() {
    let disk = disk(512);
    let machine = machine(&disk, DISK);
    let content = iso("other");
    let (digest, served) = (sha256(&content), content.clone());
    let asked = std::sync::atomic::AtomicU32::new(0);
    let server = Server::start(move |path| match path {
        "/gone" => Reply::status("404 Not Found"),
        _ if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 => {
            Reply::status("503 Service Unavailable")
        }
        _ => Reply::ok(served.clone()),
    });
    let arguments = |path| {
        json!({"device": {"name": "/dev/sdz", "serial": "SERIAL-1", "wwn": null, "model": null, "size": 1},
            "url": server.url(path), "digest": digest.to_string()})
    };
    let (context, heard) = machine.context();
    step().run(arguments("/drive"), context.clone()).await.unwrap();
    assert_eq!(server.requests().len(), 3);
    assert!(heard.warnings.lock().unwrap()[0].contains("labelled \"other\""));
    let error =
        format!("{:#}", anyhow::Error::from(step().run(arguments("/gone"), context).await.unwrap_err()));
    assert!(error.contains("404"), "{error}");
    assert_eq!(server.requests().len(), 3 + FETCH_ATTEMPTS as usize);
}
