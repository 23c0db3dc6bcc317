//! XML from an iLO: a small tree, bounded in every direction. Document types and entities of their own are refused.

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

const MAX_DEPTH: usize = 32;
/// An iLO with many disks tells of some thousand things.
const MAX_ELEMENTS: usize = 50_000;
const MAX_ATTRIBUTES: usize = 64;
/// The root that some firmware closes at once by mistake: `<RIBCL VERSION="2.22"/>`.
const ROOT: &str = "RIBCL";

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    /// The text directly in it.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// An attribute without blanks around it: iLOs pad names. Upper and lower case are the same to them.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name.eq_ignore_ascii_case(name))
    }

    /// All children of that name.
    pub(super) fn children_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name.eq_ignore_ascii_case(name))
    }

    /// What lies below, by names.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The attribute `VALUE` of what lies below, unless it is empty.
    pub(super) fn value(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.attribute("VALUE").filter(|value| !value.is_empty())
    }
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Element, String> {
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    config.allow_dangling_amp = true;
    let mut tree = Tree::default();
    loop {
        let event = reader.read_event().map_err(|error| format!("no XML: {error}"))?;
        match event {
            Event::Start(tag) => tree.open(element(&tag)?)?,
            Event::Empty(tag) => {
                let element = element(&tag)?;
                let is_root = tree.is_empty() && element.name == ROOT;
                tree.open(element)?;
                tree.closed_at_once |= is_root;
                if !is_root {
                    tree.close();
                }
            }
            Event::End(tag) => tree.end(tag.name().0)?,
            Event::Text(text) => tree.add(&text.xml10_content()),
            Event::CData(text) => tree.add(&text.xml10_content()),
            Event::GeneralRef(reference) => tree.add(&character(&reference)?),
            Event::DocType(_) => return Err("a document type, which is refused".to_owned()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => return tree.finish(),
        }
    }
}

/// The tree while it grows.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
    count: usize,
    closed_at_once: bool,
}

impl Tree {
    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.root.is_none()
    }

    fn open(&mut self, element: Element) -> Result<(), String> {
        self.count += 1;
        if self.open.len() >= MAX_DEPTH || self.count > MAX_ELEMENTS {
            return Err("XML that is too deep or too long".to_owned());
        }
        self.open.push(element);
        Ok(())
    }

    fn close(&mut self) {
        let Some(done) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(parent) => parent.children.push(done),
            None => drop(self.root.get_or_insert(done)),
        }
    }

    fn end(&mut self, name: &str) -> Result<(), String> {
        match self.open.last() {
            Some(open) if open.name == name => self.close(),
            // The end of a root that was closed at once.
            None if name == ROOT => {}
            _ => return Err("XML whose tags do not match".to_owned()),
        }
        Ok(())
    }

    fn add(&mut self, text: &str) {
        if let Some(open) = self.open.last_mut() {
            open.text.push_str(text);
        }
    }

    fn finish(mut self) -> Result<Element, String> {
        // A root that was closed at once may never be closed again.
        if self.closed_at_once && self.open.len() == 1 {
            self.close();
        }
        match self.root {
            Some(root) if self.open.is_empty() => Ok(root),
            _ => Err("XML that ends too soon".to_owned()),
        }
    }
}

fn element(tag: &BytesStart<'_>) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in tag.attributes().with_checks(false).take(MAX_ATTRIBUTES) {
        let attribute = attribute.map_err(|error| format!("no XML: {error}"))?;
        // What is not properly escaped is taken as it is: messages hold bare ampersands.
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.unwrap_or_else(|_| attribute.value.clone()).into_owned();
        attributes.push((attribute.key.0.to_string(), value));
    }
    Ok(Element { name: tag.name().0.to_string(), attributes, ..Element::default() })
}

/// Only characters and the five names that XML itself has.
fn character(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, String> {
    if reference.is_char_ref() {
        let found = reference.resolve_char_ref().ok().flatten();
        return found.map(String::from).ok_or_else(|| "XML with a character that does not exist".to_owned());
    }
    let found = quick_xml::escape::resolve_xml_entity(&reference.xml10_content()).map(str::to_owned);
    found.ok_or_else(|| "XML with an entity of its own, which is refused".to_owned())
}
