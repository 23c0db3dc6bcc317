use proptest::prelude::*;

use super::{region::Region, *};

fn sample() -> BootParameters {
    BootParameters {
        controllers: vec!["10.0.0.1:6386".into(), "[fd00::1]:6386".into()],
        node: NodeId::random(),
        boot: BootId::random(),
        token: Secret::new("c2VjcmV0"),
        ca_certificates: vec![vec![1, 2, 3], vec![4, 5]],
        time_floor: Some(1_800_000_000),
        ntp_servers: vec!["ntp.example.org".into()],
        network: vec![InterfaceParameters {
            interface: InterfaceMatch::Mac("52:54:00:aa:bb:01".into()),
            addresses: vec![("10.0.0.5".parse().unwrap(), 24), ("fd00::5".parse().unwrap(), 64)],
            gateway: Some("10.0.0.1".parse().unwrap()),
            dns: vec!["10.0.0.2".parse().unwrap()],
        }],
        debug: true,
        vendor: BTreeMap::from([("x-acme-mode".to_owned(), "7".to_owned())]),
    }
}

#[test]
fn text_and_back() {
    let parsed = BootParameters::parse(sample().to_text().as_bytes()).unwrap();
    assert_eq!(parsed.warnings, Vec::<String>::new());
    assert_eq!(parsed.parameters.to_text().lines().count(), sample().to_text().lines().count());
    assert_eq!(parsed.parameters.network, sample().network);
}

#[test]
fn command_line_and_back() {
    let mut parameters = sample();
    parameters.vendor.clear();
    let line = format!("quiet console=ttyS0 {} panic=1", parameters.to_command_line());
    assert!(BootParameters::on_command_line(&line));
    assert_eq!(BootParameters::parse_command_line(&line).unwrap().parameters, parameters);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let text = format!("{}bessemer-tokn=x\n", sample().to_text());
    let warnings = BootParameters::parse(text.as_bytes()).unwrap().warnings;
    assert_eq!(warnings, ["unknown boot parameter bessemer-tokn is ignored: did you mean bessemer-token?"]);
}

#[test]
fn a_missing_key_is_named() {
    let text: String = sample()
        .to_text()
        .lines()
        .filter(|l| !l.starts_with("bessemer-token"))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(BootParameters::parse(text.as_bytes()), Err(ParameterError::Missing("bessemer-token")));
}

#[test]
fn errors_and_debug_do_not_repeat_the_token() {
    let text = format!("{}bessemer-token=other\n", sample().to_text());
    let error = BootParameters::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error, ParameterError::Twice("bessemer-token".into()));
    assert!(!format!("{:?}", sample()).contains("c2VjcmV0"));
}

#[test]
fn a_region_carries_its_text() {
    let bytes = region::fill("a=b\nc=d").unwrap();
    assert_eq!(region::text(&bytes), Ok(Some(&b"a=b\nc=d"[..])));
    assert_eq!(region::text(&region::fill("").unwrap()), Ok(None));
    assert!(region::fill(&"x".repeat(region::REGION_BYTES)).is_err());
}

#[test]
fn a_region_is_found_through_the_volume_descriptor() {
    let mut descriptor = [0; region::DESCRIPTOR_BYTES];
    descriptor[..6].copy_from_slice(b"\x01CD001");
    assert_eq!(Region::from_descriptor(&descriptor), Err(region::RegionError::NoRegion));
    let region = Region { offset: 1 << 20, length: region::REGION_BYTES as u64 };
    region.write_pointer(&mut descriptor);
    assert_eq!(Region::from_descriptor(&descriptor), Ok(region));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        BootParameters::parse(&bytes).ok();
        Region::from_descriptor(&bytes).ok();
        region::text(&bytes).ok();
    }

    #[test]
    fn hostile_values_never_panic(value in "[ -~]{0,80}") {
        for key in KEYS {
            BootParameters::parse(format!("{}{key}={value}\n", sample().to_text()).as_bytes()).ok();
            BootParameters::parse(format!("{key}={value}\n").as_bytes()).ok();
        }
    }
}
