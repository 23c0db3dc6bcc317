//! RIBCL requests: `RIBCL > LOGIN > class of commands > command`, without an XML declaration.

use bessemer_proto::secret::Secret;
use quick_xml::escape::escape;

use crate::bmc::redfish::Credentials;

/// The class of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The machine.
    Server,
    /// The iLO.
    Rib,
    /// Its users.
    User,
}

/// A command. Its attributes may hold a password.
#[derive(Clone)]
pub(super) struct Command {
    class: Class,
    writes: bool,
    /// As messages show it.
    pub(super) name: &'static str,
    attributes: Vec<(&'static str, String)>,
    /// Children with their only attribute.
    children: Vec<(&'static str, &'static str, String)>,
}

impl Command {
    /// One that asks.
    pub(super) fn read(class: Class, name: &'static str) -> Self {
        Self { class, writes: false, name, attributes: Vec::new(), children: Vec::new() }
    }

    /// One that changes something.
    pub(super) fn write(class: Class, name: &'static str) -> Self {
        Self { writes: true, ..Self::read(class, name) }
    }

    pub(super) fn with(mut self, attribute: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((attribute, value.into()));
        self
    }

    /// Adds `<name VALUE="value"/>`.
    pub(super) fn child(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.children.push((name, "VALUE", value.into()));
        self
    }

    /// Whether asking twice does no harm.
    pub(super) fn is_read(&self) -> bool {
        !self.writes
    }

    /// The whole request, which holds the password.
    pub(super) fn document(&self, who: &Credentials) -> Secret {
        let class = match self.class {
            Class::Server => "SERVER_INFO",
            Class::Rib => "RIB_INFO",
            Class::User => "USER_INFO",
        };
        let mode = if self.writes { "write" } else { "read" };
        let mut command = format!("<{}", self.name);
        for (name, value) in &self.attributes {
            command.push_str(&format!(" {name}=\"{}\"", escape(value.as_str())));
        }
        let mut lines = vec![
            "<RIBCL VERSION=\"2.0\">".to_owned(),
            format!(
                "<LOGIN USER_LOGIN=\"{}\" PASSWORD=\"{}\">",
                escape(who.user.as_str()),
                escape(who.password.reveal())
            ),
            format!("<{class} MODE=\"{mode}\">"),
        ];
        if self.children.is_empty() {
            lines.push(command + "/>");
        } else {
            lines.push(command + ">");
            let child = |(name, attribute, value): &(&str, &str, String)| {
                format!("<{name} {attribute}=\"{}\"/>", escape(value.as_str()))
            };
            lines.extend(self.children.iter().map(child));
            lines.push(format!("</{}>", self.name));
        }
        lines.extend([format!("</{class}>"), "</LOGIN>".to_owned(), "</RIBCL>".to_owned(), String::new()]);
        Secret::new(lines.join("\r\n"))
    }
}
