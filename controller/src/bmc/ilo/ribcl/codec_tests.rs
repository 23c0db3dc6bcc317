//! Bytes in and out, without an iLO.

use bessemer_proto::secret::Secret;
use proptest::prelude::*;

use super::{
    answer::{is_too_many, parse},
    request::{Class, Command},
    table::Trouble,
    xml,
};
use crate::bmc::redfish::Credentials;

fn who(user: &str, password: &str) -> Credentials {
    Credentials { user: user.to_owned(), password: Secret::new(password) }
}

fn answer(documents: &[&str]) -> Vec<u8> {
    let wrapped = documents.iter().map(|inside| {
        format!("<?xml version=\"1.0\"?>\r\n<RIBCL VERSION=\"2.23\">\r\n{inside}\r\n</RIBCL>\r\n")
    });
    wrapped.collect::<String>().into_bytes()
}

const OK: &str = "<RESPONSE\n  STATUS=\"0x0000\"\n  MESSAGE='No error'\n  />";

#[test]
fn requests_are_wrapped_and_escaped() {
    let command = Command::write(Class::Rib, "SET_VM_STATUS")
        .with("DEVICE", "CDROM")
        .child("VM_BOOT_OPTION", "CONNECT");
    let text = command.document(&who("Admin", "a\"<&>'b"));
    let expected = "<RIBCL VERSION=\"2.0\">\r\n<LOGIN USER_LOGIN=\"Admin\" PASSWORD=\"a&quot;&lt;&amp;&gt;&apos;b\">\r\n\
        <RIB_INFO MODE=\"write\">\r\n<SET_VM_STATUS DEVICE=\"CDROM\">\r\n<VM_BOOT_OPTION VALUE=\"CONNECT\"/>\r\n\
        </SET_VM_STATUS>\r\n</RIB_INFO>\r\n</LOGIN>\r\n</RIBCL>\r\n";
    assert_eq!(text.reveal(), expected);
}

#[test]
fn the_data_of_several_documents_is_found() {
    let bytes = answer(&[
        OK,
        &format!(
            "{OK}<GET_PRODUCT_NAME><PRODUCT_NAME VALUE =\"ProLiant DL380p Gen8 &amp; more \"/></GET_PRODUCT_NAME>"
        ),
        "<RESPONSE STATUS=\"0x0000\" MESSAGE=\"A new firmware is there\"/><INFORM>be informed</INFORM>",
    ]);
    let data = parse(&bytes).unwrap().unwrap().unwrap();
    assert_eq!(data.value(&["PRODUCT_NAME"]), Some("ProLiant DL380p Gen8 & more"));
    assert_eq!(parse(&answer(&[OK])).unwrap(), Ok(None));
}

#[test]
fn firmware_that_closes_its_root_at_once_is_understood() {
    let text = format!("<?xml version=\"1.0\"?><RIBCL VERSION=\"2.22\"/>{OK}<A><B VALUE=\"1\"/></A></RIBCL>");
    assert_eq!(parse(text.as_bytes()).unwrap().unwrap().unwrap().value(&["B"]), Some("1"));
}

#[test]
fn refusals_are_sorted_by_status_and_words() {
    let trouble = |status: &str, message: &str| {
        let response = format!("<RESPONSE STATUS=\"{status}\" MESSAGE='{message}'/>");
        parse(&answer(&[OK, &response])).unwrap().unwrap_err().trouble
    };
    for (status, message, expected) in [
        ("0x005F", "Login failed.", Trouble::Login),
        ("0x000A", "User login name was not found.", Trouble::NoUser),
        ("0x0001", "Login credentials rejected.", Trouble::Login),
        (
            "0x0001",
            "Syntax error: Line #3: syntax error near \"GET_PENDING_BOOT_MODE\" in the line",
            Trouble::Unsupported,
        ),
        ("0x003C", "Feature not supported.", Trouble::Unsupported),
        ("0x003E", "This feature requires an installed license key.", Trouble::Licence),
        ("0x0023", "User does NOT have correct privilege for action.", Trouble::Privilege),
        ("0x0004", "Host power is already ON.", Trouble::Already),
        ("0x00ff", "Something else", Trouble::Other),
    ] {
        assert_eq!(trouble(status, message), expected, "{message}");
    }
}

#[test]
fn hostile_answers_are_refused_not_followed() {
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY a \"aaaa\">]><RIBCL><X V=\"1\">&a;</X></RIBCL>";
    assert!(parse(bomb.as_bytes()).unwrap_err().contains("document type"));
    let entity = "<?xml version=\"1.0\"?><RIBCL><X>&file;</X></RIBCL>";
    assert!(parse(entity.as_bytes()).unwrap_err().contains("entity"));
    let deep = format!("<?xml version=\"1.0\"?><RIBCL>{}{}</RIBCL>", "<A>".repeat(5000), "</A>".repeat(5000));
    assert!(parse(deep.as_bytes()).unwrap_err().contains("too deep"));
    let wide = format!("<?xml version=\"1.0\"?><RIBCL>{}</RIBCL>", "<A/>".repeat(60_000));
    assert!(parse(wide.as_bytes()).unwrap_err().contains("too long"));
    assert!(is_too_many("<?xml ".repeat(65).as_bytes()));
    for odd in ["", "<html>", "<?xml", "<?xml ?><RIBCL>", "<?xml ?><RIBCL><A></B></RIBCL>", "<?xml ?><HTML/>"]
    {
        assert!(parse(odd.as_bytes()).is_err(), "{odd}");
    }
    assert!(parse(&answer(&["<RESPONSE STATUS=\"soup\"/>"])).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let mut answer = b"<?xml version=\"1.0\"?><RIBCL>".to_vec();
        answer.extend(&bytes);
        parse(&answer).ok();
        parse(&bytes).ok();
    }

    #[test]
    fn markup_in_any_order_makes_no_panic(parts in proptest::collection::vec(0_usize..12, 0..64)) {
        const PARTS: [&str; 12] = [
            "<?xml version=\"1.0\"?>", "<RIBCL>", "</RIBCL>", "<RIBCL/>", "<A B=\"", "\"/>", "&amp;", "&#x0;", "<![CDATA[",
            "]]>", "<!--", "<RESPONSE STATUS=\"0x1\" MESSAGE='",
        ];
        let text: String = parts.into_iter().map(|part| PARTS[part]).collect();
        parse(text.as_bytes()).ok();
    }

    #[test]
    fn what_is_escaped_is_read_as_it_was(user in "[ -~äß€]{1,40}", password in "[ -~äß€]{1,40}") {
        let text = Command::read(Class::Server, "GET_PRODUCT_NAME").document(&who(&user, &password));
        let root = xml::parse(text.reveal().trim()).unwrap();
        let login = root.child("LOGIN").unwrap();
        prop_assert_eq!(login.attribute("USER_LOGIN"), Some(user.trim()));
        prop_assert_eq!(login.attribute("PASSWORD"), Some(password.trim()));
    }
}
