use proptest::prelude::*;

use super::{
    version::{Range, Version},
    *,
};

fn identity(vendor: &str, model: &str, firmware: &str) -> Identity {
    Identity {
        vendor: Some(vendor.into()),
        model: Some(model.into()),
        bmc: None,
        firmware: Some(firmware.into()),
    }
}

fn operator(text: &str) -> Result<Library, String> {
    let mut library = Library::built_in().unwrap();
    library.add(text, &Source::File("/etc/own.toml".into())).map_err(|error| error.to_string())?;
    Ok(library)
}

#[test]
fn vendors_of_the_tree_are_known_in_the_ways_they_write_themselves() {
    let library = Library::built_in().unwrap();
    let quirks = |vendor: &str| library.of(&identity(vendor, "X", "1.0")).quirks;
    for ami in ["AMI", "American Megatrends International LLC", "ASRockRack"] {
        assert!(quirks(ami).full_boot_request, "{ami}");
    }
    assert!(
        quirks("Supermicro").always_send_enabled
            && quirks("Super Micro Computer, Inc. (Supermicro)").always_send_enabled
    );
    assert!(quirks("Supermicro").full_boot_request && quirks("Supermicro").virtual_cd_is_usb);
    assert!(!library.of(&identity("Supermicro", "ARS-111GL-NHR", "1.0")).quirks.virtual_cd_is_usb);
    assert!(quirks("Lenovo").no_persistent_disk_in_uefi);
    for other in ["HPE", "Miami Computers", ""] {
        assert_eq!(quirks(other), Quirks::default(), "{other}");
    }
    assert_eq!(library.of(&Identity::default()), Matched::default());
}

#[test]
fn generations_of_a_vendor_are_told_apart_by_their_bmc_and_its_firmware() {
    let library = Library::built_in().unwrap();
    let quirks = |bmc: &str, firmware: &str| {
        let dell = identity("Dell Inc.", "PowerEdge R640", firmware);
        library.of(&Identity { bmc: Some(bmc.into()), ..dell }).quirks
    };
    let attributes = quirks("14G Monolithic", "4.00.00.00").virtual_cd_attributes.unwrap();
    assert_eq!(attributes.values.get("ServerBoot.1.FirstBootDevice").map(String::as_str), Some("VCD-DVD"));
    assert_eq!(quirks("16G Monolithic", "7.00.30.00"), Quirks::default());
    assert_eq!(quirks("13G Monolithic", "2.81.81.81"), Quirks::default());
    assert_eq!(quirks("17G Monolithic", "1.20.50.50").cd_slots, Some(vec!["1".to_owned()]));
}

#[test]
fn an_operator_adds_rules_for_a_range_of_firmware_and_takes_others_back() {
    let library = operator(
        r#"
        [[quirk]]
        name = "site-acme"
        about = "Ticket 17."
        match = { vendor = ["ACME*"], model = ["Server 1*"], firmware = ">=2.10, <3" }
        set = { full_boot_request = true }
        [[quirk]]
        name = "site-lenovo"
        about = "Mended in 9.1."
        match = { vendor = ["lenovo"], firmware = ">=9.1" }
        set = { no_persistent_disk_in_uefi = false }
        "#,
    )
    .unwrap();
    let full = |model: &str, firmware: &str| {
        library.of(&identity("acme corp", model, firmware)).quirks.full_boot_request
    };
    assert!(full("Server 10", "2.10") && full("Server 1", "ACME BMC v2.99.1"));
    assert!(
        !full("Server 1", "2.9")
            && !full("Server 1", "3.0")
            && !full("Server 2", "2.10")
            && !full("Server 1", "?")
    );
    assert!(library.of(&identity("Lenovo", "", "9.0.7")).quirks.no_persistent_disk_in_uefi);
    let mended = library.of(&identity("Lenovo", "", "9.10"));
    assert!(!mended.quirks.no_persistent_disk_in_uefi);
    assert_eq!(mended.rules.last().map(String::as_str), Some("site-lenovo"));
}

#[test]
fn a_rule_of_the_same_name_takes_the_place_of_ours() {
    let ours = Library::built_in().unwrap();
    let name = ours.of(&identity("Lenovo", "", "1")).rules.first().cloned().unwrap();
    let library = operator(&format!(
        "[[quirk]]\nname = \"{name}\"\nabout = \"\"\nmatch = {{ vendor = [\"nobody\"] }}\nset = {{}}"
    ))
    .unwrap();
    assert_eq!(library.of(&identity("Lenovo", "", "1")), Matched::default());
}

#[test]
fn what_cannot_be_used_is_named() {
    let rule = |matches: &str, set: &str| {
        operator(&format!("\n[[quirk]]\nname = \"x\"\nabout = \"\"\nmatch = {matches}\nset = {set}"))
            .unwrap_err()
    };
    let error = rule("{ vendor = [\"a\"] }", "{ always_send_enable = true }");
    assert!(
        error.contains("/etc/own.toml")
            && error.contains("always_send_enable")
            && error.contains("rule \"x\""),
        "{error}"
    );
    assert!(rule("{ vendor = [\"a\"] }", "{ always_send_enabled = 3 }").contains("rule \"x\""));
    assert!(rule("{}", "{}").contains("matches everything"));
    assert!(rule("{ vendor = [\"acme\", \"*\"] }", "{}").contains("matches everything"));
    assert!(rule("{ bmc = [\" ** \"] }", "{}").contains("matches everything"));
    assert!(rule("{ bmc = [\"\"] }", "{}").contains("matches everything"));
    assert!(rule("{ vendor = [\"a\"] }", "{ concurrency = 0 }").contains("from 1 to 12, not 0"));
    assert!(rule("{ vendor = [\"a\"] }", "{ concurrency = 13 }").contains("not 13"));
    assert!(rule("{ vendor = [\"a\"] }", "{ spacing_ms = 60001 }").contains("at most 60000"));
    assert!(rule("{ vendor = [\"a\"] }", "{ ipmi_uefi_disk = 16 }").contains("at most 15"));
    assert!(rule("{ vendor = [\"a\"], firmware = \"2.0\" }", "{}").contains("\"2.0\" is no bound"));
    assert!(rule("{ vendr = [\"a\"] }", "{}").contains("line 5"));
    assert!(
        operator("[[quirk]]\nname = 'a b'\nabout = ''\nmatch = {vendor=['a']}\nset = {}")
            .unwrap_err()
            .contains("a name has")
    );
    let twice = "[[quirk]]\nname = 'a'\nabout = ''\nmatch = {vendor=['a']}\nset = {}\n".repeat(2);
    assert!(operator(&twice).unwrap_err().contains("twice"));
}

#[test]
fn a_pipe_in_the_folder_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
    let error = Library::default().add_folder(folder.path()).unwrap_err();
    assert!(error.to_string().contains("x.toml"), "{error}");
}

#[test]
fn a_folder_is_read_in_the_order_of_names_and_a_bad_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: bool| {
        let text = format!(
            "[[quirk]]\nname = \"{name}\"\nabout = \"\"\nmatch = {{ vendor = [\"acme\"] }}\nset = {{ full_boot_request = {value} }}"
        );
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    };
    write("20-no", false);
    write("10-yes", true);
    std::fs::write(folder.path().join("notes.txt"), "nothing").unwrap();
    let before = stamp(folder.path());
    let mut library = Library::built_in().unwrap();
    library.add_folder(folder.path()).unwrap();
    assert_eq!(library.of(&identity("acme", "", "")).rules, ["10-yes", "20-no"]);
    assert!(!library.of(&identity("acme", "", "")).quirks.full_boot_request);
    write("30-yes", true);
    assert_ne!(stamp(folder.path()), before);
    std::fs::write(folder.path().join("40.toml"), vec![b' '; 300_000]).unwrap();
    assert!(
        Library::default()
            .add_folder(folder.path())
            .unwrap_err()
            .to_string()
            .contains("more than 262144 bytes")
    );
    assert!(Library::default().add_folder(&folder.path().join("none")).is_ok());
}

#[test]
fn versions_are_found_in_what_vendors_write() {
    let range = |text: &str| Range::parse(text).unwrap();
    for (text, within) in [
        ("iLO 5 v2.44", ">=2.44, <2.45"),
        ("2.44.44.44", ">2.44, <=2.44.44.44"),
        ("1.73.12", "=1.73.12"),
        ("U32 v2.10 (05/17/2021)", ">=2.1"),
        ("7", "=7.0.0"),
    ] {
        assert!(range(within).holds(&Version::find(text).unwrap()), "{text} {within}");
    }
    assert!(range("<10").holds(&Version::find("9.99").unwrap()));
    assert_eq!(Version::find("unknown"), None);
}

proptest! {
    #[test]
    fn whatever_a_bmc_says_of_itself_is_only_text(vendor in ".{0,300}", model in ".{0,300}", firmware in ".{0,300}") {
        let library = operator(
            "[[quirk]]\nname='a'\nabout=''\nmatch={vendor=['*a*b*'],model=['*'],firmware='>=1'}\nset={}",
        ).unwrap();
        drop(library.of(&identity(&vendor, &model, &firmware)));
    }

    #[test]
    fn whatever_is_in_a_file_is_at_worst_an_error(text in ".{0,400}") {
        operator(&text).ok();
    }
}
