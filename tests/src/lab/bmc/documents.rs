//! Resources that are kept as they are shown: hardware, services, tasks, and what clients create.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Shared, actions, auth, disguise, error,
    error::RedfishError,
    reply::{self, Allow},
};

/// One resource.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) body: Value,
    /// Properties that a PATCH may change.
    pub(super) writable: &'static [&'static str],
    pub(super) deletable: bool,
    /// A collection that takes new members.
    pub(super) grows: bool,
}

impl Document {
    pub(super) fn new(body: Value) -> Self {
        Self { body, writable: &[], deletable: false, grows: false }
    }

    pub(super) fn writable(self, writable: &'static [&'static str]) -> Self {
        Self { writable, ..self }
    }

    fn allow(&self) -> Allow {
        match (self.writable.is_empty(), self.deletable, self.grows) {
            (_, true, _) => Allow::Delete,
            (_, _, true) => Allow::Post,
            (false, ..) => Allow::Patch,
            _ => Allow::Read,
        }
    }
}

/// All of them, by path.
#[derive(Default)]
pub(super) struct Documents {
    all: Mutex<BTreeMap<String, Document>>,
    next: AtomicU64,
}

impl Documents {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Document>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a resource under its own `@odata.id`.
    pub(super) fn put(&self, document: Document) {
        if let Some(path) = document.body.get("@odata.id").and_then(Value::as_str) {
            self.all().insert(path.to_owned(), document.clone());
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn get(&self, path: &str) -> Option<Document> {
        self.all().get(path).cloned()
    }

    /// As it is shown: a collection lists what is below it.
    pub(super) fn shown(&self, path: &str) -> Option<Value> {
        let all = self.all();
        let mut body = all.get(path)?.body.clone();
        let is_collection =
            body.get("@odata.type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("Collection"));
        if let (true, Some(object)) = (is_collection, body.as_object_mut()) {
            let below = format!("{path}/");
            let direct = all
                .range(below.clone()..)
                .take_while(|(key, _)| key.starts_with(&below))
                .filter(|(key, _)| !key[below.len()..].contains('/'));
            let members: Vec<Value> = direct.map(|(key, _)| json!({ "@odata.id": key })).collect();
            object.insert("Members@odata.count".into(), members.len().into());
            object.insert("Members".into(), members.into());
        }
        Some(body)
    }

    pub(super) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) -> bool {
        self.all().get_mut(path).map(|document| change(&mut document.body)).is_some()
    }

    /// Removes what is there and below.
    pub(super) fn remove(&self, path: &str) {
        let below = format!("{path}/");
        self.all().retain(|key, _| key != path && !key.starts_with(&below));
    }

    /// Removes the members of a collection.
    pub(super) fn clear(&self, path: &str) {
        let below = format!("{path}/");
        self.all().retain(|key, _| !key.starts_with(&below));
    }
}

/// All requests that no handler of its own takes.
pub(super) async fn handle(
    State(bmc): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RedfishError> {
    auth::check(&bmc, &headers)?;
    let path = uri.path();
    actions::settle(&bmc).await;
    if method == Method::POST {
        return actions::post(&bmc, path, &body).await;
    }
    if let Some(answer) = actions::monitor(&bmc, &method, path) {
        return Ok(answer);
    }
    let missing = || RedfishError::missing("resource", path);
    let Some(document) = bmc.documents.get(path) else {
        let made = disguise::made(&bmc, path).ok_or_else(missing)?;
        if bmc.profile().boot.attributes.as_ref().is_some_and(|rules| rules.path == path)
            && method == Method::PATCH
        {
            return actions::boot_attributes(&bmc, &body).await;
        }
        if method != Method::GET && method != Method::HEAD {
            return Err(error::not_allowed(&method, path));
        }
        return Ok(reply::resource(&headers, made, Allow::Read));
    };
    let shown = bmc.documents.shown(path).ok_or_else(missing)?;
    match method {
        Method::GET | Method::HEAD => Ok(reply::resource(&headers, shown, document.allow())),
        Method::PATCH if !document.writable.is_empty() => {
            reply::check_if_match(&bmc, &headers, &shown)?;
            let change = reply::object(&body)?;
            if let Some(name) = change.keys().find(|name| !document.writable.contains(&name.as_str())) {
                return Err(RedfishError::unknown_property(name));
            }
            actions::before_change(&bmc, path, &change).await?;
            bmc.documents.change(path, |body| disguise::merge(body, Value::Object(change), false));
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Method::DELETE if document.deletable => {
            bmc.documents.remove(path);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        other => Err(error::not_allowed(&other, path)),
    }
}
