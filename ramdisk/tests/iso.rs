//! Builds with Debian's real kernel (from `BESSEMER_CACHE`, or downloaded) and looks at the results with tools
//! that others wrote.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use bessemer_proto::{
    boot_parameters::{BootParameters, region},
    ids::{BootId, NodeId},
    secret::Secret,
};
use bessemer_ramdisk::{
    build::{self, BuildError, Built, KernelSource, Recipe},
    iso::{self, BootConfig},
    kernel::{self, Kernel},
    manifest::{Content, Manifest},
    medium::{self, MediumError},
    modules::{self, Source as _},
};
use tempfile::TempDir;

fn cache() -> PathBuf {
    env::var_os("BESSEMER_CACHE").map(PathBuf::from).or_else(kernel::default_cache).unwrap()
}

/// The smallest thing that is a static program; nothing here runs it.
fn agent(folder: &Path) -> PathBuf {
    let mut program = vec![0; 4096];
    program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, value) in [(16, 2), (18, 62), (20, 1), (32, 64), (52, 64), (54, 56), (56, 1), (64, 1)] {
        program[at] = value;
    }
    let path = folder.join("agent");
    fs::write(&path, program).unwrap();
    path
}

fn recipe(folder: &Path, modules: &str) -> Recipe {
    Recipe {
        agent: agent(folder),
        out: folder.join("out"),
        kernel: KernelSource::Debian(cache()),
        modules: modules.parse().unwrap(),
        additions: Vec::new(),
        boot: BootConfig::new(&["ttyS0,115200".to_owned()], "x-test=1").unwrap(),
        level: 3,
        epoch: 1_000_000_000,
    }
}

fn small_build() -> (TempDir, PathBuf, Built) {
    let folder = tempfile::tempdir().unwrap();
    let built = build::build(&recipe(folder.path(), "ahci\nefivarfs load\n")).unwrap();
    let iso = folder.path().join("out").join(build::ISO);
    (folder, iso, built)
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn parameters() -> BootParameters {
    BootParameters {
        controllers: vec!["192.0.2.1:6386".to_owned()],
        node: NodeId::random(),
        boot: BootId::random(),
        token: Secret::new("c2VjcmV0"),
        ca_certificates: vec![vec![1, 2, 3]],
        time_floor: None,
        ntp_servers: Vec::new(),
        network: Vec::new(),
        debug: false,
        vendor: BTreeMap::new(),
    }
}

#[test]
fn two_builds_in_different_places_give_the_same_bytes() {
    let build_default = || {
        let folder = tempfile::tempdir().unwrap();
        let built = build::build(&recipe(folder.path(), modules::DEFAULT)).unwrap();
        (folder, built)
    };
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(build_default);
        (build_default(), other.join().unwrap())
    });
    for name in [build::ISO, build::KERNEL, build::INITRAMFS, build::MANIFEST] {
        let read = |folder: &TempDir| fs::read(folder.path().join("out").join(name)).unwrap();
        assert!(read(&first.0) == read(&second.0), "{name} differs");
    }
    let size = first.1.manifest.files[build::INITRAMFS].bytes;
    assert!(size < 10 * 1024 * 1024, "the modules leave too little of 16 MiB for an agent: {size}");
    assert_eq!(fs::read_dir(first.0.path().join("out")).unwrap().count(), 4, "nothing else is left behind");
}

#[test]
fn the_manifest_tells_the_truth_and_the_iso_boots_in_all_ways() {
    let (folder, iso, built) = small_build();
    let out = folder.path().join("out");
    let manifest: Manifest = serde_json::from_slice(&fs::read(out.join(build::MANIFEST)).unwrap()).unwrap();
    assert_eq!(manifest, built.manifest);
    for (name, content) in &manifest.files {
        assert_eq!(&Content::of(&fs::read(out.join(name)).unwrap()), content, "{name}");
    }
    assert_eq!(manifest.load, ["efivarfs"]);
    let bytes = fs::read(&iso).unwrap();
    let on_iso = |path: &str| {
        let extents = iso::list(&iso).unwrap();
        let extent = extents.into_iter().find(|extent| extent.path == path).unwrap();
        bytes[extent.offset as usize..][..extent.bytes as usize].to_vec()
    };
    assert_eq!(Content::of(&on_iso(iso::KERNEL)), manifest.files[build::KERNEL]);
    assert_eq!(Content::of(&on_iso(iso::INITRAMFS)), manifest.files[build::INITRAMFS]);
    let text = String::from_utf8(on_iso("/isolinux/isolinux.cfg")).unwrap();
    assert!(text.contains(&manifest.kernel_arguments) && text.contains("x-test=1"), "{text}");
    let path = iso.to_str().unwrap();
    let boot = run("xorriso", &["-no_rc", "-indev", path, "-report_el_torito", "plain"]);
    assert!(boot.contains("BIOS  y   none") && boot.contains("UEFI  y   none"), "{boot}");
    let disk = run("xorriso", &["-no_rc", "-indev", path, "-report_system_area", "plain"]);
    assert!(disk.contains("MBR isohybrid") && disk.contains("GPT"), "{disk}");
}

#[test]
fn an_isos_region_is_filled_and_nothing_else_changes() {
    let (folder, iso, built) = small_build();
    let fresh = medium::inspect(&iso).unwrap();
    assert!(!fresh.filled);
    assert_eq!(fresh.kernel_bytes, built.manifest.files[build::KERNEL].bytes);
    assert_eq!(fresh.initramfs_bytes, built.manifest.files[build::INITRAMFS].bytes);
    let before = fs::read(&iso).unwrap();
    let file = folder.path().join("parameters.txt");
    let wanted = parameters();
    fs::write(&file, wanted.to_text()).unwrap();
    medium::set_parameters(&iso, &file).unwrap();

    assert!(medium::inspect(&iso).unwrap().filled);
    let after = fs::read(&iso).unwrap();
    let start = fresh.region.offset as usize;
    let end = start + fresh.region.length as usize;
    assert!(before[..start] == after[..start] && before[end..] == after[end..]);
    let text = region::text(&after[start..end]).unwrap().unwrap();
    assert_eq!(BootParameters::parse(text).unwrap().parameters, wanted);
    run("xorriso", &["-no_rc", "-indev", iso.to_str().unwrap(), "-check_media", "--"]);
}

#[test]
fn parameters_that_an_agent_would_not_follow_do_not_reach_the_iso() {
    let (folder, iso, _) = small_build();
    let before = fs::read(&iso).unwrap();
    let file = folder.path().join("parameters.txt");
    fs::write(&file, parameters().to_text() + "bessemer-controler=10.0.0.1:6386\n").unwrap();
    let error = medium::set_parameters(&iso, &file).unwrap_err();
    assert!(matches!(error, MediumError::Ignored { .. }), "{error}");
    assert!(error.to_string().contains("bessemer-controler"), "{error}");
    fs::write(&file, "nonsense").unwrap();
    assert!(matches!(medium::set_parameters(&iso, &file), Err(MediumError::Parameters { .. })));
    fs::write(&file, "#".repeat(100_000)).unwrap();
    assert!(matches!(medium::set_parameters(&iso, &file), Err(MediumError::Parameters { .. })));
    assert!(before == fs::read(&iso).unwrap());
}

#[test]
fn what_is_no_iso_of_ours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("parameters.txt");
    fs::write(&file, parameters().to_text()).unwrap();
    let path = folder.path().join("x.iso");
    let mut foreign = vec![0; 18 * 2048];
    for damage in ["short", "not ISO 9660", "no pointer", "pointer past the end"] {
        match damage {
            "short" => fs::write(&path, "x").unwrap(),
            "not ISO 9660" => fs::write(&path, &foreign).unwrap(),
            "no pointer" => {
                foreign[16 * 2048..][..6].copy_from_slice(b"\x01CD001");
                fs::write(&path, &foreign).unwrap();
            }
            _ => {
                let region = region::Region { offset: 17 * 2048, length: region::REGION_BYTES as u64 };
                let mut descriptor = [0; region::DESCRIPTOR_BYTES];
                descriptor.copy_from_slice(&foreign[16 * 2048..][..2048]);
                region.write_pointer(&mut descriptor);
                foreign[16 * 2048..][..2048].copy_from_slice(&descriptor);
                fs::write(&path, &foreign).unwrap();
            }
        }
        let before = fs::read(&path).unwrap();
        assert!(matches!(medium::set_parameters(&path, &file), Err(MediumError::Region { .. })), "{damage}");
        assert!(matches!(medium::inspect(&path), Err(MediumError::Region { .. })), "{damage}");
        assert!(before == fs::read(&path).unwrap(), "{damage}");
    }
}

#[test]
fn a_dynamic_agent_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe { agent: env::current_exe().unwrap(), ..recipe(folder.path(), "ahci") };
    let error = build::build(&recipe).unwrap_err();
    assert!(matches!(error, BuildError::Agent { .. }), "{error}");
    assert!(error.to_string().contains("crt-static"), "{error}");
    assert!(!folder.path().join("out").exists());
}

/// Parses modules.dep into each module's needs, in the order of the line.
fn parse_dep(text: &str) -> BTreeMap<String, Vec<String>> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(path, needs)| (path.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
        .collect()
}

#[test]
fn the_module_index_agrees_with_depmod() {
    let kernel = Kernel::open(&kernel::download(&cache()).unwrap().root).unwrap();
    let set = modules::select(&kernel, &modules::DEFAULT.parse().unwrap()).unwrap();
    assert_eq!(set.warnings, Vec::<String>::new(), "the default list fits Debian's kernel");
    let staging = tempfile::tempdir().unwrap();
    let base = staging.path().join("lib/modules").join(kernel.release());
    for module in set.modules.values() {
        let path = base.join(&module.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &module.bytes).unwrap();
    }
    run("depmod", &["-b", staging.path().to_str().unwrap(), kernel.release()]);
    let read = |name: &str| fs::read_to_string(base.join(name)).unwrap();

    let (theirs, ours) = (parse_dep(&read("modules.dep")), parse_dep(&set.dep()));
    assert!(theirs.keys().eq(ours.keys()));
    let mut more = BTreeSet::new();
    for (path, needs) in &ours {
        for needed in &theirs[path] {
            assert!(needs.contains(needed), "{path} lacks {needed}");
        }
        more.extend(needs.iter().filter(|needed| !theirs[path].contains(needed)).cloned());
        for (position, needed) in needs.iter().enumerate() {
            let later = &needs[position + 1..];
            assert!(
                ours[needed].iter().all(|deeper| later.contains(deeper)),
                "{path}: {needed} is too early"
            );
        }
    }
    // What depmod leaves to modules.softdep, and what only our list knows.
    let more: Vec<&str> = more.iter().filter_map(|path| path.rsplit('/').next()).collect();
    for name in ["realtek.ko", "ehci-pci.ko", "crc32c_generic.ko", "nls_cp437.ko", "nls_ascii.ko"] {
        assert!(more.contains(&name), "{name} is missing in {more:?}");
    }

    let aliases = |text: &str| -> BTreeSet<String> {
        text.lines().filter(|line| line.starts_with("alias ")).map(str::to_owned).collect()
    };
    let (theirs, ours) = (aliases(&read("modules.alias")), aliases(&set.alias()));
    assert!(theirs.is_subset(&ours));
    let companions: BTreeSet<&str> =
        ours.difference(&theirs).filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(companions.into_iter().collect::<Vec<_>>(), ["ipmi_devintf", "mlx4_en"]);
}

#[test]
fn modules_and_additions_are_in_the_ramdisk_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let firmware = folder.path().join("firmware");
    fs::create_dir_all(firmware.join("rtl_nic")).unwrap();
    fs::write(firmware.join("rtl_nic/rtl8125a-3.fw"), "blob").unwrap();
    let mut recipe = recipe(folder.path(), "r8169");
    recipe.additions.push(format!("{}:/lib/firmware", firmware.display()).parse().unwrap());
    let built = build::build(&recipe).unwrap();
    let files = unpack(&folder.path().join("out").join(build::INITRAMFS));
    let kernel = Kernel::open(&kernel::download(&cache()).unwrap().root).unwrap();
    let base = format!("lib/modules/{}", kernel.release());
    for name in built.manifest.modules.keys() {
        let path = kernel.path(name).unwrap();
        assert!(files[&format!("{base}/{path}")] == kernel.read(path).unwrap(), "{name}");
    }
    assert!(built.manifest.modules.contains_key("realtek"), "{:?}", built.manifest.modules);
    assert_eq!(files["lib/firmware/rtl_nic/rtl8125a-3.fw"], b"blob");
    assert_eq!(files["init"], fs::read(&recipe.agent).unwrap());
    let missing = &built.manifest.firmware_not_included["r8169"];
    assert!(!missing.is_empty() && !missing.contains(&"rtl_nic/rtl8125a-3.fw".to_owned()), "{missing:?}");
    let release = String::from_utf8(files["bessemer-release"].clone()).unwrap();
    assert!(release.contains(&format!("KERNEL={}\n", kernel.release())), "{release}");
}

fn unpack(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = std::io::Cursor::new(zstd::decode_all(&*fs::read(path).unwrap()).unwrap());
    let mut files = BTreeMap::new();
    loop {
        let mut reader = cpio::NewcReader::new(archive).unwrap();
        if reader.entry().is_trailer() {
            return files;
        }
        let name = reader.entry().name().to_owned();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        files.insert(name, bytes);
        archive = reader.finish().unwrap();
    }
}
