//! Who made the machine: its FRU inventory (IPMI 2.0, section 34; FRU Information Storage Definition 1.0).

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Client, Machine,
    command::{self, GET_DEVICE_ID, GET_FRU_INFO, READ_FRU},
    packet::checksum,
    sdr::text,
};
use crate::bmc::{BmcError, Found, Health, Inventory, Overview};

/// The machine's own inventory is always the first.
const BUILT_IN: u8 = 0;
const CHUNK: u16 = 16;
/// Longest inventory that is read.
const MAX: u16 = 2048;
/// Offsets are in units of eight bytes.
const UNIT: usize = 8;
const END: u8 = 0xc1;
const MAX_FIELDS: usize = 16;

/// Who is behind the numbers that BMCs tell (enterprise numbers of the IANA): only those of machines.
const MAKERS: &[(u32, &str)] = &[
    (2, "IBM"),
    (11, "Hewlett-Packard"),
    (343, "Intel"),
    (674, "Dell"),
    (2011, "Huawei"),
    (2623, "ASUSTeK"),
    (5771, "Cisco"),
    (10368, "Fujitsu"),
    (10876, "Supermicro"),
    (15370, "Gigabyte"),
    (19046, "Lenovo"),
    (47196, "HPE"),
];

/// What an inventory says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fru {
    pub(super) manufacturer: Option<String>,
    pub(super) product: Option<String>,
    pub(super) serial: Option<String>,
}

#[async_trait]
impl Overview for Machine {
    async fn vendor(&self) -> Result<Option<String>, BmcError> {
        if let Some(manufacturer) = fru(&self.client).await?.manufacturer {
            return Ok(Some(manufacturer));
        }
        Ok(maker(&self.client).await?.map(str::to_owned))
    }

    async fn health(&self) -> Result<Option<Health>, BmcError> {
        self.chassis_health().await.map(Some)
    }
}

#[async_trait]
impl Inventory for Machine {
    async fn look(&self) -> Result<Found, BmcError> {
        let fru = fru(&self.client).await?;
        let mut found = Found::default();
        if let Some(product) = &fru.product {
            found.capabilities.insert("server_model".to_owned(), product.clone());
        }
        let value = |text: Option<String>| text.map_or(Value::Null, Value::String);
        found.inventory.insert(
            "system_vendor".to_owned(),
            json!({
                "manufacturer": value(fru.manufacturer),
                "product_name": value(fru.product),
                "serial_number": value(fru.serial),
            }),
        );
        Ok(found)
    }
}

/// Who made the BMC.
pub(super) async fn maker(client: &Client) -> Result<Option<&'static str>, BmcError> {
    let [_, _, _, _, _, _, m0, m1, m2]: [u8; 9] = client.ask(&GET_DEVICE_ID, &[]).await?;
    let number = u32::from_le_bytes([m0, m1, m2 & 0x0f, 0]);
    Ok(MAKERS.iter().find(|(known, _)| *known == number).map(|(_, name)| *name))
}

/// The built-in inventory; empty where there is none.
async fn fru(client: &Client) -> Result<Fru, BmcError> {
    let (code, data) = client.exchange(&GET_FRU_INFO, &[BUILT_IN]).await?;
    let (size, in_words) = match (code, data.as_slice()) {
        (0, [low, high, access, ..]) => (u16::from_le_bytes([*low, *high]), access & 1 != 0),
        (0, _) => return Err(client.malformed(&GET_FRU_INFO, "it is too short")),
        (code, _) if command::ABSENT.contains(&code) || code == 0xc1 => return Ok(Fru::default()),
        (code, _) => return Err(command::refused(&client.address, &GET_FRU_INFO, code)),
    };
    let mut bytes: Vec<u8> = Vec::new();
    while let at = u16::try_from(bytes.len()).unwrap_or(MAX)
        && at < size.min(MAX)
    {
        let unit = if in_words { 2 } else { 1 };
        let [low, high] = (at / unit).to_le_bytes();
        let count = CHUNK.min(size - at);
        let request = [BUILT_IN, low, high, u8::try_from(count.div_ceil(unit)).unwrap_or(1)];
        let (code, data) = client.exchange(&READ_FRU, &request).await?;
        match (code, data.split_first()) {
            (0, Some((_, part))) if !part.is_empty() => {
                bytes.extend(part.iter().take(usize::from(count)));
            }
            // What cannot be read says nothing; the rest may still be enough.
            _ => break,
        }
    }
    Ok(Fru::parse(&bytes))
}

// === impl Fru ===

impl Fru {
    /// The product area wins, as it is about the machine; else the board area.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let Some((header, _)) = bytes.split_first_chunk::<UNIT>() else { return Self::default() };
        if header[0] & 0x0f != 1 || checksum(header) != 0 {
            return Self::default();
        }
        let area = |offset: u8| bytes.get(usize::from(offset) * UNIT..).filter(|_| offset != 0);
        // Format, length, language (and a date), then fields.
        let board = area(header[3]).map(|area| fields(area, 6)).unwrap_or_default();
        let product = area(header[4]).map(|area| fields(area, 3)).unwrap_or_default();
        let pick = |product_at: usize, board_at: usize| {
            let product = product.get(product_at).filter(|text| !text.is_empty());
            product.or_else(|| board.get(board_at).filter(|text| !text.is_empty())).cloned()
        };
        Self { manufacturer: pick(0, 0), product: pick(1, 1), serial: pick(4, 2) }
    }
}

/// The strings of an area.
fn fields(area: &[u8], start: usize) -> Vec<String> {
    let Some(length) = area.get(1).map(|units| usize::from(*units) * UNIT) else { return Vec::new() };
    let area = area.get(..length).unwrap_or(area);
    let mut rest = area.get(start..).unwrap_or_default();
    let mut fields = Vec::new();
    while let Some((head, after)) = rest.split_first()
        && *head != END
        && fields.len() < MAX_FIELDS
    {
        let length = usize::from(head & 0x3f);
        let Some((field, after)) = after.split_at_checked(length) else { break };
        fields.push(text(head >> 6, field));
        rest = after;
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(head: &[u8], texts: &[&str]) -> Vec<u8> {
        let mut area = head.to_vec();
        for text in texts {
            area.push(0xc0 | u8::try_from(text.len()).unwrap());
            area.extend(text.bytes());
        }
        area.push(END);
        area.resize(area.len().next_multiple_of(UNIT), 0);
        area[1] = u8::try_from(area.len() / UNIT).unwrap();
        area
    }

    #[test]
    fn the_product_wins_over_the_board() {
        let board = area(&[1, 0, 25, 0, 0, 0], &["Board maker", "Board", "B1", "part"]);
        let product = area(&[1, 0, 25], &["Maker", "Product X", "part", "version", ""]);
        let at = u8::try_from(1 + board.len() / UNIT).unwrap();
        let mut bytes = vec![1, 0, 0, 1, at, 0, 0];
        bytes.push(checksum(&bytes));
        bytes.extend(&board);
        bytes.extend(&product);
        let found = Fru::parse(&bytes);
        assert_eq!(found.manufacturer.as_deref(), Some("Maker"));
        assert_eq!(found.product.as_deref(), Some("Product X"));
        assert_eq!(found.serial.as_deref(), Some("B1"), "the product has none");
        bytes[7] ^= 1;
        assert_eq!(Fru::parse(&bytes), Fru::default());
    }
}
