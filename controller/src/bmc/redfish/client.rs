//! Reads and changes of resources.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use serde_json::Value;

use super::{
    Pace,
    document::Document,
    messages::{self, Message, error_sentence},
    pool::{self, Shared},
    settings::Settings,
    transport::{self, Answer, Call, Transport},
};
use crate::bmc::{BmcError, queue};

/// Speaks with one BMC.
pub(in crate::bmc) struct Client {
    pub(in crate::bmc) settings: Settings,
    pub(in crate::bmc) transport: Transport,
    pub(in crate::bmc) shared: Arc<Shared>,
    pub(in crate::bmc) root: tokio::sync::OnceCell<Document>,
}

/// The BMC understood a change and refused it.
#[derive(Debug)]
pub(in crate::bmc) struct Refusal {
    pub(in crate::bmc) status: StatusCode,
    pub(in crate::bmc) messages: Vec<Message>,
    pub(in crate::bmc) error: Box<BmcError>,
}

impl Refusal {
    /// Whether one of its messages has that id.
    pub(in crate::bmc) fn says(&self, id: &str) -> bool {
        self.messages.iter().any(|message| message.id == id)
    }
}

impl From<Refusal> for BmcError {
    fn from(refusal: Refusal) -> Self {
        *refusal.error
    }
}

impl Client {
    pub(in crate::bmc) fn new(settings: Settings, pace: Pace) -> Result<Self, BmcError> {
        let shared = pool::shared(&settings, &pace)?;
        let transport = Transport {
            http: shared.http.clone(),
            queue: Arc::clone(&shared.queue),
            origin: settings.origin.clone(),
            address: settings.address(),
            pace,
            names: settings.names,
        };
        Ok(Self { settings, transport, shared, root: tokio::sync::OnceCell::new() })
    }

    /// Reads a resource.
    pub(in crate::bmc) async fn get(&self, link: &str) -> Result<Document, BmcError> {
        let call = Call { method: &Method::GET, link, body: None, if_match: None };
        let answer = self.send(call).await?;
        if answer.status.is_success() {
            self.document(&call, &answer)
        } else {
            Err(self.refusal(&call, &answer).into())
        }
    }

    /// Reads a resource that need not be there.
    pub(in crate::bmc) async fn find(&self, link: &str) -> Result<Option<Document>, BmcError> {
        match self.get(link).await {
            Ok(document) => Ok(Some(document)),
            Err(BmcError::Refused { status: 404 | 405 | 410 | 501, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Posts to an action and waits for the task that the BMC may make of it. `Ok(Err(_))`: the BMC refused.
    pub(in crate::bmc) async fn post(
        &self,
        link: &str,
        body: &Value,
    ) -> Result<Result<(), Refusal>, BmcError> {
        let call = Call { method: &Method::POST, link, body: Some(body), if_match: None };
        let answer = self.send(call).await?;
        self.finish(&call, answer).await
    }

    /// Changes properties of a resource. Sends its entity tag when the BMC insists.
    pub(in crate::bmc) async fn patch(
        &self,
        link: &str,
        body: &Value,
    ) -> Result<Result<(), Refusal>, BmcError> {
        let call = Call { method: &Method::PATCH, link, body: Some(body), if_match: None };
        let answer = self.send(call).await?;
        if !wants_tag(answer.status) {
            return self.finish(&call, answer).await;
        }
        let Some(tag) = self.get(link).await?.etag else { return self.finish(&call, answer).await };
        let tagged = Call { if_match: Some(&tag), ..call };
        let answer = self.send(tagged).await?;
        match tag.strip_prefix("W/") {
            // Some BMCs hand out weak tags and only take strong ones.
            Some(strong) if wants_tag(answer.status) => {
                let tagged = Call { if_match: Some(strong), ..call };
                let answer = self.send(tagged).await?;
                self.finish(&tagged, answer).await
            }
            _ => self.finish(&tagged, answer).await,
        }
    }

    /// Replaces a resource.
    pub(in crate::bmc) async fn put(
        &self,
        link: &str,
        body: &Value,
    ) -> Result<Result<(), Refusal>, BmcError> {
        let call = Call { method: &Method::PUT, link, body: Some(body), if_match: None };
        let answer = self.send(call).await?;
        self.finish(&call, answer).await
    }

    /// Removes a resource and waits until it is gone. One that is not there is gone.
    pub(in crate::bmc) async fn delete(&self, link: &str) -> Result<Result<(), Refusal>, BmcError> {
        let call = Call { method: &Method::DELETE, link, body: None, if_match: None };
        let answer = self.send(call).await?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(Ok(()));
        }
        self.finish(&call, answer).await
    }

    /// Whether the BMC takes requests of that kind for a resource: `None` when it does not say.
    pub(in crate::bmc) async fn allows(&self, link: &str, method: &Method) -> Result<Option<bool>, BmcError> {
        let answer = self.send(Call { method: &Method::GET, link, body: None, if_match: None }).await?;
        let allowed = answer.header(header::ALLOW);
        Ok(allowed.map(|list| list.split(',').any(|word| word.trim().eq_ignore_ascii_case(method.as_str()))))
    }

    /// Ends what takes several requests and pauses, in time and before it fills the memory.
    pub(in crate::bmc) async fn whole<T>(
        &self,
        what: &str,
        operation: impl Future<Output = Result<T, BmcError>>,
    ) -> Result<T, BmcError> {
        let bounded = transport::bounded(operation);
        queue::within(&self.transport.address, what, self.transport.pace.operation, bounded).await
    }

    async fn finish(&self, call: &Call<'_>, answer: Answer) -> Result<Result<(), Refusal>, BmcError> {
        if answer.status == StatusCode::ACCEPTED {
            return self.wait_for_task(call, &answer).await.map(Ok);
        }
        if answer.status.is_success() {
            return Ok(Ok(()));
        }
        Ok(Err(self.refusal(call, &answer)))
    }

    pub(in crate::bmc) fn document(&self, call: &Call<'_>, answer: &Answer) -> Result<Document, BmcError> {
        let malformed = |problem: &str| BmcError::Malformed {
            address: self.transport.address.clone(),
            what: call.what(),
            problem: problem.to_owned(),
        };
        let value: Value = serde_json::from_slice(&answer.body).map_err(|_| malformed("no JSON"))?;
        if !value.is_object() {
            return Err(malformed("no JSON object"));
        }
        let tag = answer.header(header::ETAG).or_else(|| value.get("@odata.etag")?.as_str());
        let etag = tag.map(str::to_owned);
        Ok(Document { path: call.link.to_owned(), address: self.transport.address.clone(), etag, value })
    }

    pub(in crate::bmc) fn refusal(&self, call: &Call<'_>, answer: &Answer) -> Refusal {
        Refusal {
            status: answer.status,
            messages: messages::in_error(&answer.body),
            error: Box::new(BmcError::Refused {
                address: self.transport.address.clone(),
                what: call.what(),
                status: answer.status.as_u16(),
                message: self.masked(error_sentence(&answer.body)),
            }),
        }
    }

    pub(in crate::bmc) fn unsupported(&self, what: impl Into<String>) -> BmcError {
        BmcError::Unsupported { address: self.transport.address.clone(), what: what.into() }
    }
}

fn wants_tag(status: StatusCode) -> bool {
    matches!(status, StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED)
}
