//! RIBCL answers: several XML documents one after the other, each with a status, one of them with data.

use super::{
    table::{Trouble, trouble},
    xml::{self, Element},
};

const MAX_DOCUMENTS: usize = 64;
const MAX_SENTENCE_CHARS: usize = 300;
const DECLARATION: &str = "<?xml";

/// The iLO understood a command and refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u32,
    /// The iLO's own words, shortened.
    pub(super) message: String,
    pub(super) trouble: Trouble,
}

/// What came back.
pub(super) type Answer = Result<Option<Element>, Refusal>;

/// Reads an answer. `Err(_)`: it makes no sense.
pub(super) fn parse(bytes: &[u8]) -> Result<Answer, String> {
    let text = String::from_utf8_lossy(bytes);
    let start = text.find(DECLARATION).ok_or_else(|| "no XML".to_owned())?;
    let mut data = None;
    let mut refusal = None;
    let mut count = 0;
    for document in text[start..].split(DECLARATION).filter(|part| !part.trim().is_empty()) {
        // What is left of the declaration goes with it.
        let body = document.split_once("?>").ok_or_else(|| "an XML declaration without end".to_owned())?.1;
        if body.trim_matches(|c: char| c.is_whitespace() || c == '\0').is_empty() {
            continue;
        }
        count += 1;
        let root = xml::parse(body.trim_end_matches(|c: char| c.is_whitespace() || c == '\0'))?;
        if root.name != "RIBCL" {
            return Err(format!("an answer that is no RIBCL but {}", shortened(&root.name)));
        }
        if let Some(found) = refused(&root)? {
            refusal.get_or_insert(found);
        }
        let first =
            root.children.into_iter().find(|child| !matches!(child.name.as_str(), "RESPONSE" | "INFORM"));
        data = data.or(first);
    }
    if count == 0 {
        return Err("no XML".to_owned());
    }
    Ok(match refusal {
        Some(refusal) => Err(refusal),
        None => Ok(data),
    })
}

/// Counts documents before they are parsed, so that an answer of many tiny ones costs nothing.
pub(super) fn is_too_many(bytes: &[u8]) -> bool {
    bytes.windows(DECLARATION.len()).filter(|part| *part == DECLARATION.as_bytes()).count() > MAX_DOCUMENTS
}

fn refused(root: &Element) -> Result<Option<Refusal>, String> {
    for response in root.children_of("RESPONSE") {
        let status = response.attribute("STATUS").ok_or_else(|| "a response without STATUS".to_owned())?;
        let digits = status.trim_start_matches("0x").trim_start_matches("0X");
        let status = u32::from_str_radix(digits, 16).map_err(|_| "a STATUS that is no number".to_owned())?;
        if status != 0 {
            let message = shortened(response.attribute("MESSAGE").unwrap_or("it gave no reason"));
            return Ok(Some(Refusal { status, trouble: trouble(status, &message), message }));
        }
    }
    Ok(None)
}

/// One line, fit for a log.
fn shortened(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<_> = line.split_whitespace().collect();
    words.join(" ").chars().take(MAX_SENTENCE_CHARS).collect()
}
