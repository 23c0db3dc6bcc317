//! Bytes from outside never panic, and never pass for what they are not.

use proptest::prelude::*;

use super::super::{
    crypto::{Keys, Suite},
    fru::Fru,
    log,
    packet::{Kind, Message, Packet},
    sdr::{Described, text},
    sol::SolPacket,
};
use crate::bmc::SensorKind;

fn suites() -> impl Strategy<Value = Suite> {
    prop_oneof![Just(Suite::Sha1), Just(Suite::Sha256)]
}

fn packet(payload: Vec<u8>) -> Packet {
    Packet { kind: Kind::Message, session: 7, sequence: 9, payload }
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), suite in suites()) {
        let keys = Keys::new(suite, b"key");
        Packet::parse(&bytes, None);
        prop_assert_eq!(Packet::parse(&bytes, Some(&keys)), None);
        let mut rmcp = vec![6, 0, 0xff, 7, 6];
        rmcp.extend(&bytes);
        Packet::parse(&rmcp, None);
        prop_assert_eq!(Packet::parse(&rmcp, Some(&keys)), None);
        keys.decrypt(&bytes).ok();
        Message::parse(&bytes);
        SolPacket::parse(&bytes);
        Described::parse(&bytes);
        Fru::parse(&bytes);
        for code in 0..4 {
            text(code, &bytes);
        }
        if let Some(record) = bytes.first_chunk() {
            log::entry(record);
        }
    }

    #[test]
    fn what_is_signed_is_read_and_what_was_changed_is_not(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        suite in suites(),
        at in any::<prop::sample::Index>(),
        bit in 0u32..8,
    ) {
        let keys = Keys::new(suite, b"key");
        let sent = packet(payload);
        let mut bytes = sent.bytes(Some(&keys));
        prop_assert_eq!(bytes.len() % 4, 0);
        prop_assert_eq!(Packet::parse(&bytes, Some(&keys)), Some(sent));
        prop_assert_eq!(Packet::parse(&bytes, Some(&Keys::new(suite, b"other"))), None);
        prop_assert_eq!(Packet::parse(&bytes[..bytes.len() - 1], Some(&keys)), None);
        // All but the header of RMCP itself is signed.
        let at = 4 + at.index(bytes.len() - 4);
        bytes[at] ^= 1u8 << bit;
        prop_assert_eq!(Packet::parse(&bytes, Some(&keys)), None);
    }

    #[test]
    fn messages_come_back(net_fn in 0u8..64, lun in 0u8..4, sequence in 0u8..64, command: u8, data: Vec<u8>) {
        let message = Message { net_fn, lun, sequence, command, data };
        prop_assert_eq!(Message::parse(&message.bytes()), Some(message));
    }

    #[test]
    fn a_hostile_fru_has_bounded_fields(mut bytes in prop::collection::vec(any::<u8>(), 64..512)) {
        bytes[..8].copy_from_slice(&[1, 0, 0, 1, 2, 0, 0, 0xfc]);
        let found = Fru::parse(&bytes);
        for field in [found.manufacturer, found.product, found.serial].into_iter().flatten() {
            // 63 bytes, four letters in three of them.
            prop_assert!(field.chars().count() <= 126 && !field.chars().any(char::is_control), "{field:?}");
        }
    }
}

/// A full sensor record: 8-bit unsigned, Celsius, y = (m * x + b * 10^be) * 10^re.
pub(super) fn temperature(number: u8, name: &str, m: u8, exponents: u8) -> Vec<u8> {
    let mut record = vec![0; 48];
    record[0] = number;
    record[2] = 0x51;
    record[3] = 1;
    record[5] = 0x20;
    record[7] = number;
    // Type temperature, threshold event; readable and settable thresholds upper critical and non-critical.
    record[12] = 1;
    record[13] = 1;
    record[18] = 0x18;
    record[20] = 0;
    record[21] = 1;
    record[24] = m;
    record[26] = 10;
    record[29] = exponents;
    record[37] = 100;
    record[38] = 90;
    record[47] = 0xc0 | u8::try_from(name.len()).unwrap();
    record.extend(name.bytes());
    record[4] = u8::try_from(record.len() - 5).unwrap();
    record
}

#[test]
fn readings_are_converted() {
    // (2 * x + 10 * 10^1) * 10^-1
    let sensor = Described::parse(&temperature(3, "CPU", 2, 0xf1)).unwrap();
    assert_eq!((sensor.name.as_str(), sensor.kind, sensor.unit), ("CPU", SensorKind::Temperature, "Celsius"));
    assert_eq!(sensor.value(50), Some(20.0));
    let limits: Vec<_> = sensor.limits().collect();
    assert_eq!(limits, [("upper_threshold_critical", 30.0), ("upper_threshold_non_critical", 28.0)]);
    let mut negative = temperature(3, "inlet", 1, 0);
    negative[20] = 0x80;
    negative[26] = 0;
    assert_eq!(Described::parse(&negative).unwrap().value(0xff), Some(-1.0));
    // Which modifier it would be, if there were one.
    negative[22] = 5;
    assert_eq!(Described::parse(&negative).unwrap().value(1), Some(1.0));
    let mut foreign = temperature(3, "CPU", 2, 0xf1);
    foreign[5] = 0x2c;
    assert!(Described::parse(&foreign).is_none(), "the BMC has another sensor 3");
    negative[23] = 7;
    assert_eq!(Described::parse(&negative).unwrap().value(0), None, "1 / 0 is no reading");
}

#[test]
fn text_in_all_codes() {
    assert_eq!(text(3, b" Fan 1 "), "Fan 1");
    assert_eq!(text(1, &[0x21, 0xb3]), "123-");
    assert_eq!(text(2, &[0x29, 0xdc, 0xa6]), "IPMI");
    assert_eq!(text(3, b"\x1b[31mred\0"), "[31mred");
}

#[test]
fn entries_of_the_log_say_what_happened() {
    let entry = |record| log::entry(&record);
    let hot = entry([5, 0, 2, 0, 0, 0, 0x60, 0x20, 0, 4, 1, 0x30, 0x01, 0x59, 0x63, 0x5f]);
    assert_eq!(hot.id, "5");
    assert_eq!(hot.at.unwrap().to_rfc3339(), "2021-01-14T08:25:36+00:00");
    assert_eq!(hot.severity.as_deref(), Some("Critical"));
    assert!(
        hot.message.starts_with("Temperature (sensor 0x30): above the upper critical threshold"),
        "{hot:?}"
    );
    let cool = entry([6, 0, 2, 9, 0, 0, 0, 0x20, 0, 4, 1, 0x30, 0x81, 0x59, 0x63, 0x5f]);
    assert_eq!((cool.at, cool.severity.as_deref()), (None, Some("OK")), "the BMC does not know the time");
    let oem = entry([7, 0, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    assert_eq!(oem.message, "record of type 0xf0: 0102030405060708090a0b0c0d");
}
