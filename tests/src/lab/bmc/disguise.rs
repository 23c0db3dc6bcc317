//! The plain BMC in a profile's dress: ids on the way in and out, overlays, pages, slashes.

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{Bmc, Shared, error::RedfishError, profile::Overlay, tasks};
use crate::lab::{BootMode, Post};

const ROOT: &str = "/redfish/v1/";
const ANSWER_LIMIT: usize = 1 << 20;

/// The plain name of a collection and the id that stands for `1` in it.
fn ids(bmc: &Bmc) -> [(&'static str, String); 3] {
    let ids = &bmc.profile().ids;
    let fill = |id: &str| fill(bmc, id, None);
    [("Systems", fill(&ids.system)), ("Managers", fill(&ids.manager)), ("Chassis", fill(&ids.chassis))]
}

/// The plain path of a client's path; `None`: there is no such resource.
pub(super) fn plain(bmc: &Bmc, path: &str) -> Option<String> {
    let Some(rest) = path.strip_prefix(ROOT) else { return Some(path.to_owned()) };
    let mut segments: Vec<&str> = rest.split('/').collect();
    for (collection, id) in ids(bmc) {
        if let [first, second, ..] = segments.as_mut_slice()
            && *first == collection
            && !second.is_empty()
        {
            *second = if *second == id {
                "1"
            } else if *second == "1" {
                return None;
            } else {
                second
            };
        }
    }
    Some(format!("{ROOT}{}", segments.join("/")))
}

/// The path that clients see.
pub(super) fn dressed(bmc: &Bmc, path: &str) -> String {
    let Some(rest) = path.strip_prefix(ROOT) else { return path.to_owned() };
    let (body, fragment) = rest.split_once('#').map_or((rest, None), |(body, rest)| (body, Some(rest)));
    let mut segments: Vec<String> = body.split('/').map(str::to_owned).collect();
    for (collection, id) in ids(bmc) {
        if let [first, second, ..] = segments.as_mut_slice()
            && first == collection
            && second == "1"
        {
            *second = id;
        }
    }
    let mut path = format!("{ROOT}{}", segments.join("/"));
    let is_resource = !body.is_empty() && !body.contains("/Actions/") && !body.contains('$');
    if bmc.profile().answers.slashes && is_resource && !path.ends_with('/') {
        path.push('/');
    }
    match fragment {
        Some(fragment) => format!("{path}#{fragment}"),
        None => path,
    }
}

fn fill(bmc: &Bmc, text: &str, overlay: Option<&Overlay>) -> String {
    let (machine, status) = (&bmc.definition, bmc.handle.status());
    let words = overlay.and_then(|overlay| overlay.post.as_ref());
    let post = words.map_or("", |[off, running, finished]| match status.post {
        Post::Off => off,
        Post::Running => running,
        Post::Finished => finished,
    });
    let mode = if status.mode == BootMode::Uefi { "Uefi" } else { "Legacy" };
    text.replace("@name@", &machine.name)
        .replace("@uuid@", &machine.uuid.to_string())
        .replace("@post@", post)
        .replace("@power@", if status.on { "On" } else { "Off" })
        .replace("@mode@", mode)
}

/// The change of a resource that a profile makes; `None` without one.
fn overlay(bmc: &Bmc, path: &str) -> Option<Value> {
    let mut all = Value::Null;
    // Clients write the root with a slash.
    let path = path.trim_end_matches('/');
    for overlay in bmc.profile().overlay.iter().filter(|overlay| fits(&overlay.path, path)) {
        let text = fill(bmc, &overlay.merge, Some(overlay));
        merge(&mut all, serde_json::from_str(&text).unwrap_or(Value::Null), true);
    }
    (!all.is_null()).then_some(all)
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut left, mut right) = (pattern.split('/'), path.split('/'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "*" => {}
            _ => return false,
        }
    }
}

/// RFC 7396; a patch that is kept for later keeps its nulls.
pub(super) fn merge(into: &mut Value, patch: Value, keep_nulls: bool) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let Some(object) = into.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() && !keep_nulls {
            object.remove(&key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value, keep_nulls);
        }
    }
}

/// A resource that only the profile has.
pub(super) fn made(bmc: &Bmc, path: &str) -> Option<Value> {
    overlay(bmc, path).filter(|body| body.get("@odata.type").is_some() || body.get("Type").is_some())
}

/// The outermost layer of Redfish.
pub(super) async fn dress(State(bmc): State<Shared>, mut request: Request, next: Next) -> Response {
    let seen = request.uri().path().to_owned();
    let is_silent = bmc.profile().ribcl.no_redfish && seen.starts_with("/redfish");
    // What came before Redfish is not spoken, which a client learns without a password.
    if is_silent || seen.starts_with("/rest/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let rules = &bmc.profile().answers;
    if rules.redirects && request.method() == Method::GET && seen.starts_with(ROOT) && !seen.ends_with('/') {
        let place = HeaderValue::from_str(&format!("{seen}/")).unwrap_or(HeaderValue::from_static("/"));
        return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, place)]).into_response();
    }
    let trimmed = if seen.len() > ROOT.len() { seen.trim_end_matches('/') } else { &seen };
    let Some(mut path) = plain(&bmc, trimmed) else {
        return RedfishError::missing("resource", &seen).into_response();
    };
    if bmc.profile().is_missing(&path) {
        return RedfishError::missing("resource", &seen).into_response();
    }
    if let Some(alias) = bmc.profile().alias.iter().find(|alias| alias.path == path).cloned() {
        path = alias.to;
        if let Some(property) = alias.property {
            request = match rename(request, &property).await {
                Ok(request) => request,
                Err(error) => return error.into_response(),
            };
        }
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    *request.uri_mut() = format!("{path}?{query}").parse().unwrap_or(Uri::from_static("/redfish"));
    let method = request.method().clone();
    let mut response = next.run(request).await;
    if method == Method::POST && bmc.profile().answers.tasks.iter().any(|end| path.ends_with(end)) {
        response = as_task(&bmc, response).await;
    }
    present(&bmc, &method, &path, &query, response).await
}

/// The end of an action as the end of a task, which is what the client is told at first.
async fn as_task(bmc: &Shared, response: Response) -> Response {
    let (parts, body) = bytes(response).await;
    let end = if parts.status.is_success() {
        Ok(())
    } else {
        Err(serde_json::from_slice(&body).unwrap_or_default())
    };
    tasks::accepted(bmc, tasks::begin(bmc, "Action", Some(end)))
}

async fn rename(request: Request, property: &super::profile::AliasProperty) -> Result<Request, RedfishError> {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, super::BODY_LIMIT).await.map_err(|_| RedfishError::malformed())?;
    let mut object = super::reply::object(&body)?;
    if let Some(Value::String(value)) = object.remove(&property.name) {
        let known = property.values.iter().find(|(from, _)| *from == value);
        let (_, to) = known.ok_or_else(|| RedfishError::bad_value(&property.name, &value.clone().into()))?;
        object.insert(property.becomes.clone(), to.clone().into());
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Request::from_parts(parts, Body::from(Value::Object(object).to_string())))
}

/// The answer as clients see it.
async fn present(bmc: &Bmc, method: &Method, path: &str, query: &str, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    for name in [header::LOCATION, header::ETAG] {
        let Some(old) = parts.headers.get(&name).and_then(|value| value.to_str().ok()) else { continue };
        let new = if name == header::ETAG { etag(bmc, old) } else { dressed(bmc, old) };
        if let Ok(new) = HeaderValue::from_str(&new) {
            parts.headers.insert(name, new);
        }
    }
    let is_json = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !is_json {
        return Response::from_parts(parts, body);
    }
    let bytes = to_bytes(body, ANSWER_LIMIT).await.unwrap_or_default();
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    if parts.status == StatusCode::OK && matches!(*method, Method::GET | Method::HEAD) {
        if let Some(change) = overlay(bmc, path) {
            merge(&mut value, change, false);
        }
        page(bmc, path, query, &mut value);
    }
    walk(bmc, &mut value);
    let headers = without_length(parts.headers);
    (parts.status, headers, Json(value)).into_response()
}

fn without_length(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(header::CONTENT_LENGTH);
    headers
}

fn etag(bmc: &Bmc, tag: &str) -> String {
    if bmc.profile().answers.strong_etags { tag.trim_start_matches("W/").to_owned() } else { tag.to_owned() }
}

fn walk(bmc: &Bmc, value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with(ROOT) => *text = dressed(bmc, text),
        Value::Array(all) => {
            all.retain(|one| {
                let link = one.get("@odata.id").and_then(Value::as_str);
                !link.is_some_and(|link| bmc.profile().is_missing(link))
            });
            all.iter_mut().for_each(|one| walk(bmc, one));
        }
        Value::Object(object) => {
            object.retain(|_, one| {
                let link = one.get("@odata.id").and_then(Value::as_str);
                !link.is_some_and(|link| bmc.profile().is_missing(link))
            });
            let own = object.get("@odata.id").and_then(Value::as_str).map(str::to_owned);
            for (collection, id) in ids(bmc) {
                if own.as_deref() == Some(&format!("{ROOT}{collection}/1")) && object.contains_key("Id") {
                    object.insert("Id".into(), id.into());
                }
            }
            for (key, one) in object.iter_mut() {
                if let (Value::String(tag), "@odata.etag") = (&mut *one, key.as_str()) {
                    *tag = etag(bmc, tag);
                }
                walk(bmc, one);
            }
            if let Some(count) = object.get("Members").and_then(Value::as_array).map(Vec::len)
                && !object.contains_key("Members@odata.nextLink")
                && !object.contains_key("@paged")
            {
                object.insert("Members@odata.count".into(), count.into());
            }
            object.remove("@paged");
        }
        _ => {}
    }
}

/// One page of a collection, or all of its members' content.
fn page(bmc: &Bmc, path: &str, query: &str, value: &mut Value) {
    let rules = &bmc.profile().answers;
    let Some(object) = value.as_object_mut() else { return };
    let Some(members) = object.get("Members").and_then(Value::as_array).cloned() else { return };
    let skip = query.split('&').find_map(|pair| pair.strip_prefix("$skip=")?.parse().ok()).unwrap_or(0);
    let size = if rules.page == 0 { usize::MAX } else { rules.page };
    let mut shown: Vec<Value> = members.iter().skip(skip).take(size).cloned().collect();
    if rules.expanded {
        for one in &mut shown {
            let link = one.get("@odata.id").and_then(Value::as_str).unwrap_or_default().to_owned();
            if let Some(content) = bmc.documents.shown(&link) {
                *one = content;
            }
        }
    }
    if skip.saturating_add(size) < members.len() {
        let next = format!("{}?$skip={}", dressed(bmc, path), skip + size);
        object.insert("Members@odata.nextLink".into(), next.into());
    }
    object.insert("Members@odata.count".into(), members.len().into());
    object.insert("Members".into(), json!(shown));
    if rules.page != 0 {
        object.insert("@paged".into(), true.into());
    }
}

/// The bytes of a body, whatever they are.
pub(super) async fn bytes(response: Response) -> (axum::http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    (parts, to_bytes(body, ANSWER_LIMIT).await.unwrap_or_default())
}
