use std::{fs, os::unix::fs::PermissionsExt as _};

use bessemer_proto::identity::node_of_certificate;
use rcgen::CertificateParams;

use super::*;

fn request(key: &KeyPair, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    CertificateParams::new(names).unwrap().serialize_request(key).unwrap().der().to_vec()
}

#[test]
fn survives_a_restart_and_keeps_its_key_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    let first = Authority::open(&ca).unwrap();
    let again = Authority::open(&ca).unwrap();
    assert_eq!(first.certificate(), again.certificate());
    let mode = fs::metadata(ca.join("authority.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::metadata(&ca).unwrap().permissions().mode() & 0o777, 0o700);
    let left: Vec<_> = fs::read_dir(&ca).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "drafts were left behind: {left:?}");
}

#[test]
fn damaged_files_are_an_error_and_never_a_new_authority() {
    let dir = tempfile::tempdir().unwrap();
    Authority::open(dir.path()).unwrap();
    let path = dir.path().join("authority.pem");
    let good = fs::read_to_string(&path).unwrap();
    let other = tempfile::tempdir().unwrap();
    Authority::open(other.path()).unwrap();
    let foreign = fs::read_to_string(other.path().join("authority.pem")).unwrap();
    let certificate_at = |pem: &str| pem.find("-----BEGIN CERTIFICATE").unwrap();
    let swapped = format!("{}{}", &good[..certificate_at(&good)], &foreign[certificate_at(&foreign)..]);
    let half = good[..good.len() / 2].to_owned();
    for bad in [String::new(), half, swapped, "garbage".to_owned(), good.replace('A', "B")] {
        fs::write(&path, &bad).unwrap();
        let error = Authority::open(dir.path()).err().expect("damage was accepted");
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad, "the file was overwritten");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Authority::open(dir.path()).unwrap();
    fs::set_permissions(dir.path().join("authority.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    let error = Authority::open(dir.path()).err().unwrap();
    assert!(matches!(error, AuthorityError::Keystore(KeystoreError::Exposed { .. })));
}

#[test]
fn an_agents_certificate_takes_nothing_but_the_key_from_its_request() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path()).unwrap();
    let (node, boot) = (NodeId::random(), BootId::random());
    let pair = KeyPair::generate().unwrap();
    let der = request(&pair, &["controller.bessemer.internal", "evil.example"]);
    let key = RequestedKey::from_request(&der).unwrap();
    let issued = authority.issue_agent(node, boot, &key, Duration::from_secs(3600)).unwrap();

    assert_eq!(node_of_certificate(&issued.der).unwrap(), node);
    let (_, parsed) = x509_parser::parse_x509_certificate(&issued.der).unwrap();
    assert_eq!(parsed.public_key().raw, pair.subject_public_key_info());
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 1, "{names:?}");
    let usage = parsed.extended_key_usage().unwrap().unwrap().value.clone();
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert!(!parsed.is_ca());
}

#[test]
fn a_request_is_proof_of_possession() {
    let der = request(&KeyPair::generate().unwrap(), &[]);
    assert!(RequestedKey::from_request(&der).is_ok());
    let mut broken = der.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(RequestedKey::from_request(&broken).err(), Some(RequestError::Invalid));
    assert_eq!(RequestedKey::from_request(&der[..100]).err(), Some(RequestError::Invalid));
    assert_eq!(RequestedKey::from_request(&vec![0x30; 20_000]).err(), Some(RequestError::TooLong));
}
