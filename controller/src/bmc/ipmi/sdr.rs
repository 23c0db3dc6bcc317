//! Sensor data records: which sensors there are, and how their readings are meant (IPMI 2.0, sections 33 and 43.1).

use super::{
    Client,
    command::{GET_SDR, GET_SDR_INFO, RESERVATION, RESERVE_SDR},
};
use crate::bmc::{BmcError, SensorKind};

/// Records that are read at most.
const MAX_RECORDS: usize = 1024;
/// How often reading begins anew because somebody else reads too.
const MAX_RESERVATIONS: u32 = 8;
/// Bytes at once: every BMC can do as many.
const CHUNK: usize = 16;
const HEADER: usize = 5;
const LAST: u16 = 0xffff;
const FULL_SENSOR: u8 = 0x01;
/// Owner of the sensors that the BMC itself reads.
const BMC: u8 = 0x20;

/// A sensor with a reading.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) number: u8,
    pub(super) lun: u8,
    pub(super) name: String,
    pub(super) kind: SensorKind,
    pub(super) unit: &'static str,
    factors: Factors,
    /// Raw, with the names of Ironic's notifications.
    thresholds: Vec<(&'static str, u8)>,
}

/// How a raw reading becomes a value (section 36.3).
#[derive(Clone, Copy, Debug)]
struct Factors {
    m: i32,
    b: i32,
    b_exponent: i32,
    r_exponent: i32,
    linearization: u8,
    signed: Sign,
    /// Celsius from what the sensor measures.
    convert: fn(f64) -> f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    None,
    OnesComplement,
    TwosComplement,
}

/// All sensors with readings.
pub(super) async fn read(client: &Client) -> Result<Vec<Described>, BmcError> {
    let mut sensors = Vec::new();
    let mut reservation = reserve(client).await?;
    let mut reservations = 1;
    let (mut id, mut seen) = (0, 0);
    while id != LAST && seen < MAX_RECORDS {
        match record(client, reservation, id).await? {
            Read::Record(next, bytes) => {
                sensors.extend(Described::parse(&bytes));
                (id, seen) = (next, seen + 1);
            }
            Read::End => break,
            Read::Reserve if reservations < MAX_RESERVATIONS => {
                reservation = reserve(client).await?;
                reservations += 1;
            }
            Read::Reserve => {
                let problem = "its reservation is lost each time: who else reads its sensors?";
                return Err(client.malformed(&GET_SDR, problem));
            }
        }
    }
    Ok(sensors)
}

/// Changes when the records change.
pub(super) async fn generation(client: &Client) -> Result<[u8; 14], BmcError> {
    client.ask(&GET_SDR_INFO, &[]).await
}

async fn reserve(client: &Client) -> Result<[u8; 2], BmcError> {
    client.ask(&RESERVE_SDR, &[]).await
}

enum Read {
    /// The id of the next one, and this one.
    Record(u16, Vec<u8>),
    End,
    Reserve,
}

async fn record(client: &Client, reservation: [u8; 2], id: u16) -> Result<Read, BmcError> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut next = LAST;
    let mut length = HEADER;
    while bytes.len() < length {
        let wanted = (length - bytes.len()).min(CHUNK);
        let [id_low, id_high] = id.to_le_bytes();
        let offset = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        let count = u8::try_from(wanted).unwrap_or(u8::MAX);
        let request = [reservation[0], reservation[1], id_low, id_high, offset, count];
        let (code, data) = client.exchange(&GET_SDR, &request).await?;
        match code {
            0 => {}
            RESERVATION => return Ok(Read::Reserve),
            // An empty repository.
            code if super::command::ABSENT.contains(&code) && id == 0 => return Ok(Read::End),
            code => return Err(super::command::refused(&client.address, &GET_SDR, code)),
        }
        let Some(([low, high], part)) = data.split_first_chunk::<2>().filter(|(_, part)| !part.is_empty())
        else {
            return Err(client.malformed(&GET_SDR, "it is too short"));
        };
        next = u16::from_le_bytes([*low, *high]);
        bytes.extend(part.iter().take(wanted));
        if bytes.len() >= HEADER && length == HEADER {
            length += usize::from(bytes[HEADER - 1]);
        }
        // Offsets have one byte.
        length = length.min(usize::from(u8::MAX));
    }
    Ok(Read::Record(next, bytes))
}

// === impl Described ===

impl Described {
    /// From a full sensor record (section 43.1); `None` for what has no reading that people understand.
    pub(super) fn parse(record: &[u8]) -> Option<Self> {
        // As the standard counts: from 1.
        let at = |byte: usize| record.get(byte - 1).copied();
        if at(4)? != FULL_SENSOR {
            return None;
        }
        // The number of a sensor of another controller means another sensor here; commands are not bridged to it.
        if at(6)? != BMC {
            return None;
        }
        let units = at(21)?;
        let signed = match units >> 6 {
            0 => Sign::None,
            1 => Sign::OnesComplement,
            2 => Sign::TwosComplement,
            _ => return None,
        };
        // Rates and products of units have no name here.
        if units & 0x3e != 0 {
            return None;
        }
        let (kind, unit, convert) = measure(at(13)?, at(22)?, units & 1 != 0)?;
        let exponents = at(30)?;
        let factors = Factors {
            m: ten_bits(at(25)?, at(26)?),
            b: ten_bits(at(27)?, at(28)?),
            b_exponent: four_bits(exponents & 0x0f),
            r_exponent: four_bits(exponents >> 4),
            linearization: at(24)? & 0x7f,
            signed,
            convert,
        };
        let readable = at(19)?;
        let thresholds = THRESHOLDS
            .iter()
            .filter(|(bit, ..)| readable & bit != 0)
            .filter_map(|(_, byte, name)| Some((*name, at(*byte)?)))
            .collect();
        let name = string(at(48)?, record.get(48..)?);
        let name = if name.is_empty() { format!("Sensor {}", at(8)?) } else { name };
        Some(Self { number: at(8)?, lun: at(7)? & 3, name, kind, unit, factors, thresholds })
    }

    /// A raw reading as a value.
    pub(super) fn value(&self, raw: u8) -> Option<f64> {
        self.factors.value(raw)
    }

    /// Thresholds as values.
    pub(super) fn limits(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.thresholds.iter().filter_map(|(name, raw)| Some((*name, self.value(*raw)?)))
    }
}

/// Bit of the readable ones, byte of the record, name.
const THRESHOLDS: &[(u8, usize, &str)] = &[
    (0x20, 37, "upper_threshold_fatal"),
    (0x10, 38, "upper_threshold_critical"),
    (0x08, 39, "upper_threshold_non_critical"),
    (0x04, 40, "lower_threshold_fatal"),
    (0x02, 41, "lower_threshold_critical"),
    (0x01, 42, "lower_threshold_non_critical"),
];

type Measure = (SensorKind, &'static str, fn(f64) -> f64);

/// Sensor type (table 42-3) and unit (section 43.17).
fn measure(sensor_type: u8, unit: u8, percent: bool) -> Option<Measure> {
    const SAME: fn(f64) -> f64 = |value| value;
    let fan = sensor_type == 0x04;
    Some(match unit {
        _ if percent && fan => (SensorKind::Fan, "Percent", SAME),
        _ if percent => return None,
        1 => (SensorKind::Temperature, "Celsius", SAME),
        2 => (SensorKind::Temperature, "Celsius", |fahrenheit| (fahrenheit - 32.0) / 1.8),
        3 => (SensorKind::Temperature, "Celsius", |kelvin| kelvin - 273.15),
        4 => (SensorKind::Voltage, "Volts", SAME),
        5 => (SensorKind::Current, "Amps", SAME),
        6 => (SensorKind::Power, "Watts", SAME),
        18 => (SensorKind::Fan, "RPM", SAME),
        _ => return None,
    })
}

impl Factors {
    fn value(&self, raw: u8) -> Option<f64> {
        let raw = match self.signed {
            Sign::None => i32::from(raw),
            Sign::TwosComplement => i32::from(raw.cast_signed()),
            Sign::OnesComplement if raw & 0x80 != 0 => -i32::from(!raw),
            Sign::OnesComplement => i32::from(raw),
        };
        let scaled = f64::from(self.m) * f64::from(raw) + f64::from(self.b) * 10f64.powi(self.b_exponent);
        let linear = scaled * 10f64.powi(self.r_exponent);
        let value = match self.linearization {
            0 => linear,
            1 => linear.ln(),
            2 => linear.log10(),
            3 => linear.log2(),
            4 => linear.exp(),
            5 => 10f64.powf(linear),
            6 => linear.exp2(),
            7 => linear.recip(),
            8 => linear * linear,
            9 => linear.powi(3),
            10 => linear.sqrt(),
            11 => linear.cbrt(),
            // The factors of such sensors depend on the reading.
            _ => return None,
        };
        let value = (self.convert)(value);
        // No sensor is more exact, and no number is longer than it must be.
        value.is_finite().then(|| (value * 1000.0).round() / 1000.0)
    }
}

/// Ten bits, the upper two of them in the other byte, as two's complement.
fn ten_bits(low: u8, high: u8) -> i32 {
    let bits = i32::from(high >> 6) << 8 | i32::from(low);
    if bits >= 0x200 { bits - 0x400 } else { bits }
}

fn four_bits(bits: u8) -> i32 {
    let bits = i32::from(bits);
    if bits >= 8 { bits - 16 } else { bits }
}

/// A string with its type and length before it (section 43.15).
pub(super) fn string(type_and_length: u8, bytes: &[u8]) -> String {
    let length = usize::from(type_and_length & 0x1f);
    text(type_and_length >> 6, bytes.get(..length).unwrap_or(bytes))
}

/// Text in one of the four codes.
pub(super) fn text(code: u8, bytes: &[u8]) -> String {
    const BCD: &[u8; 16] = b"0123456789 -.:,_";
    let text: String = match code {
        1 => bytes.iter().flat_map(|b| [b & 0x0f, b >> 4]).map(|n| char::from(BCD[usize::from(n)])).collect(),
        2 => bytes.chunks(3).flat_map(six_bits).collect(),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let printable = text.chars().filter(|c| !c.is_control());
    printable.collect::<String>().trim().to_owned()
}

/// Four letters in three bytes.
fn six_bits(bytes: &[u8]) -> impl Iterator<Item = char> {
    let all = bytes.iter().rev().fold(0u32, |all, byte| all << 8 | u32::from(*byte));
    let letters = bytes.len() * 8 / 6;
    (0..letters).map(move |at| char::from(u8::try_from(all >> (6 * at) & 0x3f).unwrap_or_default() + b' '))
}
