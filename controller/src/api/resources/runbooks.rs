//! `/v1/runbooks` and `/v1/runbooks/X/traits`.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    super::{
        State,
        access::Viewer,
        error::ApiError,
        fields::{
            Access::{Create, Patch, Read},
            Field, field,
        },
        json::JsonBody,
        layers::since,
        links::Context,
        mask::masked_any,
        value::{Wrong, boolean, dictionary, logical_name, text, trait_name, uuid},
        version::Version,
    },
    frame::{self, Served},
};
use crate::{
    node::{runbook::Runbook, traits::MAX_TRAITS},
    store::Resource,
};

/// The version that runbooks have traits since; before, the name of a runbook was its trait.
const TRAITS_SINCE: u16 = 112;

pub(super) fn routes() -> Router<State> {
    frame::routes::<Runbook>()
        .route(
            "/v1/runbooks/{ident}/traits",
            since(TRAITS_SINCE, get(traits).put(replace_traits).delete(clear_traits)),
        )
        .route(
            "/v1/runbooks/{ident}/traits/{name}",
            since(TRAITS_SINCE, axum::routing::put(add_trait).delete(remove_trait)),
        )
}

impl Resource for Runbook {
    const KIND: &'static str = "runbook";
    const WHAT: &'static str = "Runbook";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
}

impl Served for Runbook {
    const PATH: &'static str = "runbooks";
    const LIST: &'static str = "runbooks";
    const BODY: &'static str = "runbook";
    const SINCE: u16 = 92;
    const OLD_WRITES_405: bool = true;
    const NAMED: bool = true;
    const FIELDS: &'static [Field] = &[
        field("uuid", 92, Create),
        field("created_at", 92, Read),
        field("updated_at", 92, Read),
        field("disable_ramdisk", 92, Patch),
        field("extra", 92, Patch),
        field("name", 92, Patch),
        field("owner", 92, Patch),
        field("public", 92, Patch),
        field("steps", 92, Patch),
        field("description", TRAITS_SINCE, Patch),
        field("traits", TRAITS_SINCE, Read),
        field("links", 92, Read),
    ];
    const DEFAULT: &'static [&'static str] = &["uuid", "name"];
    const UNSORTABLE: &'static [&'static str] = &["extra", "steps", "traits"];
    const REQUIRED: &'static [&'static str] = &["steps", "name"];

    fn blank() -> Self {
        Self {
            uuid: Uuid::new_v4(),
            name: String::new(),
            description: None,
            disable_ramdisk: false,
            public: false,
            owner: None,
            extra: Map::new(),
            traits: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn set(&mut self, field: &str, value: Value, version: Version) -> Result<(), Wrong> {
        match field {
            "uuid" => self.uuid = uuid(field, value)?.unwrap_or(self.uuid),
            "name" if version.has(TRAITS_SINCE) => self.name = logical_name(value)?.unwrap_or_default(),
            "name" => self.name = trait_name(&value)?,
            "description" => self.description = text(value, 255)?,
            "disable_ramdisk" => self.disable_ramdisk = boolean(field, &value)?.unwrap_or_default(),
            "public" => self.public = boolean(field, &value)?.unwrap_or_default(),
            "owner" => self.owner = text(value, 255)?,
            "extra" => self.extra = dictionary(value)?,
            "steps" => self.steps = Self::parse_steps(value).map_err(|error| error.to_string())?,
            _ => return Err(format!("{field} cannot be set.").into()),
        }
        Ok(())
    }

    fn is_shown(&self, viewer: &Viewer) -> bool {
        self.public || viewer.owns_or_sees_all("runbook", self.owner.as_deref())
    }

    fn belong_to(&mut self, viewer: &Viewer) {
        self.owner = viewer.owner_of_new(self.owner.take());
    }

    fn finish(_: &Context, document: &mut Map<String, Value>) {
        if let Some(steps) = document.get_mut("steps") {
            *steps = masked_any(steps);
        }
    }

    /// What becomes public belongs to nobody; what is public gets no owner.
    fn settle(&mut self, before: Option<&Self>) -> Result<(), ApiError> {
        let was_public = before.is_some_and(|before| before.public);
        if self.public && !was_public && before.is_some() {
            self.owner = None;
        }
        if self.public && self.owner.is_some() {
            return Err(ApiError::bad("There cannot be an owner for a public runbook"));
        }
        Ok(())
    }
}

// === traits ===

async fn traits(Extract(state): Extract<State>, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    let stored = frame::find::<Runbook>(&state.store, &ident).await?;
    Ok(Json(json!({"traits": stored.value.traits})))
}

async fn replace_traits(
    Extract(state): Extract<State>,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let wanted = wanted_traits(body.object()?)?;
    edit_traits(&state, &ident, move |traits| traits.clone_from(&wanted)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_traits(
    Extract(state): Extract<State>,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    edit_traits(&state, &ident, Vec::clear).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add_trait(
    Extract(state): Extract<State>,
    context: Context,
    Path((ident, name)): Path<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    if !body.is_null() {
        return Err(ApiError::bad("No body should be provided when adding a trait"));
    }
    let name = trait_name(&name.into()).map_err(|wrong| bad_trait(&String::from(wrong)))?;
    let location = context.url(&format!("runbooks/{ident}/traits/{name}"));
    edit_traits(&state, &ident, move |traits| {
        if !traits.contains(&name) {
            traits.push(name.clone());
            traits.sort_unstable();
        }
    })
    .await?;
    Ok((StatusCode::NO_CONTENT, [(header::LOCATION, location)]).into_response())
}

async fn remove_trait(
    Extract(state): Extract<State>,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    edit_traits(&state, &ident, move |traits| traits.retain(|held| *held != name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn edit_traits(
    state: &State,
    ident: &str,
    change: impl Fn(&mut Vec<String>) + Send,
) -> Result<(), ApiError> {
    frame::edit::<Runbook>(state, ident, |runbook| {
        change(&mut runbook.traits);
        match runbook.traits.len() {
            count if count > MAX_TRAITS => Err(ApiError::bad(format!(
                "Runbook {ident} cannot have {count} traits: there may be {MAX_TRAITS}."
            ))),
            _ => Ok(()),
        }
    })
    .await
    .map(drop)
}

/// The list of a body `{"traits": [...]}`, sorted, each once.
fn wanted_traits(mut body: Map<String, Value>) -> Result<Vec<String>, ApiError> {
    let Some(Value::Array(names)) = body.remove("traits") else {
        return Err(ApiError::bad(
            "A single runbook trait may be added via PUT /v1/runbooks/<runbook identifier>/traits/<trait> with no \
             body, or all runbook traits may be replaced via PUT /v1/runbooks/<runbook identifier>/traits with the \
             list of traits specified in the request body.",
        ));
    };
    let names: Result<Vec<_>, _> = names.iter().map(trait_name).collect();
    let mut names = names.map_err(|wrong| bad_trait(&String::from(wrong)))?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn bad_trait(problem: &str) -> ApiError {
    ApiError::bad(format!("Schema error for trait: {problem}"))
}
