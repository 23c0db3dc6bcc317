//! One command after the other.

use std::sync::Arc;

use tracing::debug;

use super::{
    answer::{self, Answer, Refusal},
    request::{Class, Command},
    table::Trouble,
    xml::Element,
};
use crate::bmc::{BmcError, ilo::Link};

const PATH: &str = "ribcl";
/// A command about a user: a name that is not found may be that one's.
const ABOUT_USERS: &str = "MOD_USER";
const MAX_NOT_NOW: u32 = 6;

/// Speaks with one iLO.
pub(super) struct Client {
    pub(super) link: Arc<Link>,
}

impl Client {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// The data that a command answers with; a refusal is an error.
    pub(super) async fn ask(&self, command: &Command) -> Result<Element, BmcError> {
        let data = self.try_ask(command).await?.map_err(|refusal| self.refused(command, &refusal))?;
        Ok(data)
    }

    /// The same, when the caller knows what a refusal means.
    pub(super) async fn try_ask(&self, command: &Command) -> Result<Result<Element, Refusal>, BmcError> {
        match self.run(command).await? {
            Ok(Some(data)) => Ok(Ok(data)),
            Ok(None) => Err(self.malformed(command, "no data")),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Changes something; what is so already is no error.
    pub(super) async fn tell(&self, command: &Command) -> Result<(), BmcError> {
        match self.run(command).await? {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.trouble == Trouble::Already => Ok(()),
            Err(refusal) => Err(self.refused(command, &refusal)),
        }
    }

    /// Asks the iLO's server for its name, which every firmware knows.
    pub(super) async fn product(&self) -> Result<String, BmcError> {
        let command = Command::read(Class::Server, "GET_PRODUCT_NAME");
        let data = self.ask(&command).await?;
        let name = data.value(&["PRODUCT_NAME"]).map(|name| name.chars().take(128).collect());
        name.ok_or_else(|| self.malformed(&command, "no PRODUCT_NAME"))
    }

    /// Runs a command. One that the iLO does not take now is tried again for a while.
    pub(super) async fn run(&self, command: &Command) -> Result<Answer, BmcError> {
        let mut pause = self.link.pace.poll_max;
        for _ in 0..MAX_NOT_NOW {
            match self.once(command).await? {
                Err(refusal) if refusal.trouble == Trouble::NotNow => {
                    debug!(bmc = self.link.address, command = command.name, "the iLO does not take it now");
                }
                answer => return Ok(answer),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.link.pace.longest);
        }
        self.once(command).await
    }

    async fn once(&self, command: &Command) -> Result<Answer, BmcError> {
        let attempt = self.link.guard().await?;
        let document = command.document(&self.link.settings.credentials);
        let what = what(command);
        let (status, body) = self.link.post_xml(PATH, &what, &document, command.is_read()).await?;
        match status {
            200..300 => {}
            401 | 403 => return Err(attempt.refused()),
            404 | 405 | 501 => {
                return Err(self.link.unsupported("speak RIBCL: it is switched off or not there"));
            }
            _ => return Err(self.link.refused(&what, status, "a status that RIBCL does not have")),
        }
        if answer::is_too_many(&body) {
            return Err(self.malformed(command, "far too many documents"));
        }
        let answer = answer::parse(&body).map_err(|problem| self.malformed(command, &problem))?;
        match answer.as_ref().err().map(|refusal| refusal.trouble) {
            Some(Trouble::Login) => return Err(attempt.refused()),
            Some(Trouble::NoUser) if command.name != ABOUT_USERS => return Err(attempt.refused()),
            // Who of the two is not known is not said.
            Some(Trouble::NoUser) => drop(attempt),
            _ => attempt.accepted(),
        }
        Ok(answer)
    }

    /// A refusal as an error.
    pub(super) fn refused(&self, command: &Command, refusal: &Refusal) -> BmcError {
        let message = self.link.masked(&refusal.message);
        match refusal.trouble {
            Trouble::Licence => BmcError::Licence {
                address: self.link.address.clone(),
                feature: "what was asked for",
                licence: "an iLO Advanced licence",
            },
            Trouble::Unsupported => {
                self.link.unsupported(format!("do RIBCL command {}: {message}", command.name))
            }
            _ => {
                self.link.refused(&what(command), u16::try_from(refusal.status).unwrap_or(u16::MAX), &message)
            }
        }
    }

    pub(super) fn malformed(&self, command: &Command, problem: &str) -> BmcError {
        self.link.malformed(&what(command), problem)
    }
}

fn what(command: &Command) -> String {
    format!("RIBCL command {}", command.name)
}
