use std::io::{Cursor, Write as _};

use bessemer_proto::{
    boot_parameters::region::{self, DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, REGION_BYTES, Region},
    ids::{BootId, NodeId},
    secret::Secret,
};
use proptest::prelude::*;
use std::time::Duration;

use super::*;
use crate::steps::Roots;

fn sample(controller: &str) -> BootParameters {
    BootParameters {
        controllers: vec![controller.into()],
        node: NodeId::random(),
        boot: BootId::random(),
        token: Secret::new("token"),
        ca_certificates: vec![vec![1, 2, 3]],
        time_floor: Some(1_800_000_000),
        ntp_servers: vec![],
        network: vec![],
        debug: false,
        vendor: Default::default(),
    }
}

fn fat_image(label: &str, file: Option<&str>) -> Vec<u8> {
    let mut padded = [b' '; 11];
    padded[..label.len()].copy_from_slice(label.as_bytes());
    let mut image = Cursor::new(vec![0; 1_474_560]);
    fatfs::format_volume(&mut image, fatfs::FormatVolumeOptions::new().volume_label(padded)).unwrap();
    if let Some(text) = file {
        let filesystem = fatfs::FileSystem::new(&mut image, fatfs::FsOptions::new()).unwrap();
        filesystem.root_dir().create_file("parameters.txt").unwrap().write_all(text.as_bytes()).unwrap();
    }
    image.into_inner()
}

fn iso_image(text: &str) -> Vec<u8> {
    let offset = DESCRIPTOR_OFFSET as usize + 64 * 2048;
    let mut image = vec![0; offset + REGION_BYTES];
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    descriptor[0] = 1;
    descriptor[1..6].copy_from_slice(b"CD001");
    Region { offset: offset as u64, length: REGION_BYTES as u64 }.write_pointer(&mut descriptor);
    image[DESCRIPTOR_OFFSET as usize..][..DESCRIPTOR_BYTES].copy_from_slice(&descriptor);
    image[offset..].copy_from_slice(&region::fill(text).unwrap());
    image
}

/// A machine made of folders and files.
struct Machine {
    root: tempfile::TempDir,
    roots: Roots,
}

impl Machine {
    fn new(command_line: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let roots = Roots { sys: at("sys"), proc: at("proc"), dev: at("dev") };
        std::fs::create_dir_all(roots.sys.join("class/block")).unwrap();
        std::fs::create_dir_all(&roots.proc).unwrap();
        std::fs::create_dir_all(&roots.dev).unwrap();
        std::fs::write(roots.proc.join("cmdline"), command_line).unwrap();
        Self { root, roots }
    }

    /// `path` below sys/devices, such as `pci0000:00/usb1/block/sda` or `.../sda/sda1`.
    fn disk(&self, path: &str, removable: bool, content: &[u8]) {
        let sys = self.roots.sys.join("devices").join(path);
        std::fs::create_dir_all(&sys).unwrap();
        let name = sys.file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::write(sys.join("size"), (content.len() / 512).to_string()).unwrap();
        std::fs::write(sys.join("removable"), if removable { "1\n" } else { "0\n" }).unwrap();
        if sys.parent().unwrap().join("size").exists() {
            std::fs::write(sys.join("partition"), "1\n").unwrap();
        }
        std::os::unix::fs::symlink(&sys, self.roots.sys.join("class/block").join(&name)).unwrap();
        std::fs::write(self.roots.dev.join(&name), content).unwrap();
    }

    async fn find(&self) -> Result<Found, FindError> {
        let patience = Patience {
            deadline: Duration::from_millis(600),
            iso_grace: Duration::from_millis(100),
            command_line_grace: Duration::from_millis(200),
            round: Duration::from_millis(10),
            device: Duration::from_millis(300),
        };
        find(&self.roots, &patience).await
    }

    fn node(&self, name: &str) -> PathBuf {
        self.root.path().join("dev").join(name)
    }
}

const USB: &str = "pci0000:00/0000:00:04.0/usb1/1-1/host2/block";

#[tokio::test]
async fn the_medium_wins_over_the_iso_and_the_iso_over_the_command_line() {
    let machine = Machine::new(&format!("quiet {}", sample("line:1").to_command_line()));
    let found = machine.find().await.unwrap();
    assert_eq!(
        (found.source, found.parsed.parameters.controllers),
        (Source::CommandLine, vec!["line:1".into()])
    );
    machine.disk("pci0000:00/ata1/block/sr0", true, &iso_image(&sample("iso:1").to_text()));
    let found = machine.find().await.unwrap();
    assert_eq!(found.source, Source::Iso(machine.node("sr0")));
    machine.disk(
        "platform/floppy.0/block/fd0",
        true,
        &fat_image("IR-VFD-DEV", Some(&sample("fat:1").to_text())),
    );
    // The kernel does not know a floppy's size before it is opened.
    std::fs::write(machine.roots.sys.join("class/block/fd0/size"), "0\n").unwrap();
    let found = machine.find().await.unwrap();
    assert_eq!(found.source, Source::Medium(machine.node("fd0")));
    assert_eq!(found.parsed.parameters.controllers, ["fat:1"]);
}

#[tokio::test]
async fn a_usb_stick_that_appears_late_is_found() {
    let machine = Machine::new("quiet");
    let text = sample("late:1").to_text();
    let (found, ()) = tokio::join!(machine.find(), async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        machine.disk(&format!("{USB}/sda"), false, &fat_image("ir-vfd-dev", Some(&text)));
    });
    assert_eq!(found.unwrap().source, Source::Medium(machine.node("sda")));
}

#[tokio::test]
async fn a_labelled_whole_disk_wins_over_its_bogus_partition() {
    let machine = Machine::new("");
    let image = fat_image("IR-VFD-DEV", Some(&sample("whole:1").to_text()));
    machine.disk(&format!("{USB}/sda"), false, &image);
    machine.disk(&format!("{USB}/sda/sda1"), false, &fat_image("IR-VFD-DEV", Some("garbage")));
    assert_eq!(machine.find().await.unwrap().source, Source::Medium(machine.node("sda")));
}

#[tokio::test]
async fn a_partition_of_a_stick_is_read_too() {
    let machine = Machine::new("");
    machine.disk(&format!("{USB}/sda"), false, &[0; 4096]);
    machine.disk(
        &format!("{USB}/sda/sda1"),
        false,
        &fat_image("IR-VFD-DEV", Some(&sample("part:1").to_text())),
    );
    assert_eq!(machine.find().await.unwrap().source, Source::Medium(machine.node("sda1")));
}

#[tokio::test]
async fn an_internal_disk_is_never_believed() {
    let machine = Machine::new("");
    let image = fat_image("IR-VFD-DEV", Some(&sample("evil:1").to_text()));
    machine.disk("pci0000:00/ata1/host0/block/sda", false, &image);
    machine.disk("pci0000:00/ata1/host0/block/sda/sda1", false, &image);
    machine.disk("pci0000:00/virtio0/block/vda", false, &iso_image(&sample("evil:1").to_text()));
    let error = machine.find().await.unwrap_err();
    assert!(matches!(error, FindError::Nothing { .. }), "{error:?}");
}

#[tokio::test]
async fn an_unfilled_iso_and_other_media_are_passed_over() {
    let machine = Machine::new("");
    machine.disk("pci0000:00/ata1/block/sr0", true, &iso_image(""));
    machine.disk("pci0000:00/ata1/block/sr1", true, &[0; 100]);
    machine.disk(&format!("{USB}/sdb"), true, &fat_image("HOLIDAY", Some("hello")));
    assert!(matches!(machine.find().await, Err(FindError::Nothing { .. })));
}

#[tokio::test]
async fn broken_parameters_are_the_reason_unless_something_else_works() {
    let machine = Machine::new("");
    machine.disk(&format!("{USB}/sda"), true, &fat_image("IR-VFD-DEV", Some("bessemer-node=x\n")));
    let error = machine.find().await.unwrap_err();
    let FindError::Unusable { source_name, source: ReadError::Parameters(_) } = error else {
        panic!("{error:?}")
    };
    assert_eq!(source_name, Source::Medium(machine.node("sda")));
    machine.disk("pci0000:00/ata1/block/sr0", true, &iso_image(&sample("iso:1").to_text()));
    assert_eq!(machine.find().await.unwrap().source, Source::Iso(machine.node("sr0")));
}

#[tokio::test]
async fn a_drive_that_never_answers_does_not_stop_the_search() {
    let machine = Machine::new("");
    machine.disk("platform/floppy.0/block/fd0", true, &[0; 512]);
    std::fs::remove_file(machine.node("fd0")).unwrap();
    // Opening a FIFO that nobody writes to blocks for ever.
    nix::unistd::mkfifo(&machine.node("fd0"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    machine.disk("pci0000:00/ata1/block/sr0", true, &iso_image(&sample("iso:1").to_text()));
    let found = machine.find().await;
    // Lets the blocked thread go, or the test's runtime would wait for it.
    std::fs::OpenOptions::new().read(true).write(true).open(machine.node("fd0")).unwrap();
    assert_eq!(found.unwrap().source, Source::Iso(machine.node("sr0")));
}

#[test]
fn a_file_for_an_ordinary_process_must_be_flawless() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parameters.txt");
    std::fs::write(&path, sample("file:1").to_text()).unwrap();
    assert_eq!(from_file(&path).unwrap().controllers, ["file:1"]);
    std::fs::write(&path, sample("file:1").to_text() + "bessemer-debgu=1\n").unwrap();
    let text = from_file(&path).unwrap_err().to_string();
    assert!(text.contains("did you mean bessemer-debug?"), "{text}");
    std::fs::write(&path, vec![b'a'; 10 * MAX_BYTES]).unwrap();
    assert!(matches!(
        from_file(&path),
        Err(FindError::Unusable { source: ReadError::Parameters(ParameterError::TooLong), .. })
    ));
    assert!(matches!(
        from_file(Path::new("/nonexistent")),
        Err(FindError::Unusable { source: ReadError::Io(_), .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..Default::default() })]

    /// Damage to a medium may hide its content; it must not hang the reader. A panic inside the FAT library is
    /// caught by the search.
    #[test]
    fn a_damaged_medium_never_hangs(damage in proptest::collection::vec((0_usize..40_000, any::<u8>()), 1..40)) {
        let mut image = fat_image("IR-VFD-DEV", Some(&sample("fat:1").to_text()));
        for (at, byte) in damage {
            image[at] = byte;
        }
        let read = std::panic::catch_unwind(|| fat::read(Cursor::new(image)));
        if let Ok(Ok(Some(bytes))) = read {
            prop_assert!(bytes.len() <= MAX_BYTES + 1);
        }
    }

    #[test]
    fn a_damaged_iso_is_an_error_at_worst(damage in proptest::collection::vec((32_768_usize..34_816, any::<u8>()), 1..20)) {
        let mut image = iso_image("bessemer-debug=1");
        for (at, byte) in damage {
            image[at] = byte;
        }
        iso::read(Cursor::new(image)).ok();
    }
}
