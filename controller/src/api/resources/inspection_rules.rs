//! `/v1/inspection_rules`.

use axum::Router;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    super::{
        State,
        error::ApiError,
        fields::{
            Access::{Create, Patch, Read},
            Field, field,
        },
        links::Context,
        query::Query,
        value::{Wrong, boolean, shortened, text, uuid},
        version::Version,
    },
    frame::{self, Filter, Served},
};
use crate::{
    node::inspection_rule::{InspectionRule, MAX_PRIORITY, PHASE},
    store::{Resource, Stored},
};

pub(super) fn routes() -> Router<State> {
    frame::routes::<InspectionRule>()
}

impl Resource for InspectionRule {
    const KIND: &'static str = "inspection_rule";
    const WHAT: &'static str = "Rule";

    fn uuid(&self) -> Uuid {
        self.uuid
    }
}

impl Served for InspectionRule {
    const PATH: &'static str = "inspection_rules";
    const LIST: &'static str = "inspection_rules";
    const BODY: &'static str = "inspection_rule";
    const SINCE: u16 = 96;
    const OLD_WRITES_405: bool = true;
    const FIELDS: &'static [Field] = &[
        field("uuid", 96, Create),
        field("created_at", 96, Read),
        field("updated_at", 96, Read),
        field("description", 96, Patch),
        field("priority", 96, Patch),
        field("sensitive", 96, Patch),
        field("phase", 96, Patch),
        field("conditions", 96, Patch),
        field("actions", 96, Patch),
        field("links", 96, Read),
    ];
    const DEFAULT: &'static [&'static str] = &["uuid", "priority", "phase", "description"];
    const UNSORTABLE: &'static [&'static str] = &["actions", "conditions"];
    const REQUIRED: &'static [&'static str] = &["actions"];

    fn blank() -> Self {
        Self {
            uuid: Uuid::new_v4(),
            description: None,
            priority: 0,
            sensitive: false,
            phase: PHASE.to_owned(),
            conditions: Vec::new(),
            actions: Vec::new(),
        }
    }

    fn set(&mut self, field: &str, value: Value, _: Version) -> Result<(), Wrong> {
        match field {
            "uuid" => self.uuid = uuid(field, value)?.unwrap_or(self.uuid),
            "description" => self.description = text(value, 255)?,
            "priority" => self.priority = priority(&value)?,
            "sensitive" => self.sensitive = boolean(field, &value)?.unwrap_or_default(),
            "phase" => self.phase = phase(value)?,
            "conditions" => self.conditions = Self::parse_conditions(value)?,
            "actions" => self.actions = Self::parse_actions(value)?,
            _ => return Err(format!("{field} cannot be set.").into()),
        }
        Ok(())
    }

    fn finish(_: &Context, document: &mut Map<String, Value>) {
        if document.get("sensitive") == Some(&Value::Bool(true)) {
            document.insert("conditions".into(), Value::Null);
            document.insert("actions".into(), Value::Null);
        }
    }

    fn settle(&mut self, before: Option<&Self>) -> Result<(), ApiError> {
        if before.is_some_and(|before| before.sensitive) && !self.sensitive {
            return Err(ApiError::bad("Inspection rules cannot have the sensitive flag unset."));
        }
        Ok(())
    }

    async fn filter(_: &State, _: &Context, query: &mut Query) -> Result<Filter<Self>, ApiError> {
        let phase = query.text("phase");
        Ok(Box::new(move |row: &Stored<Self>| phase.as_ref().is_none_or(|phase| *phase == row.value.phase)))
    }
}

fn priority(value: &Value) -> Result<i64, String> {
    match value {
        Value::Null => Ok(0),
        value => value
            .as_i64()
            .filter(|number| (0..=MAX_PRIORITY).contains(number))
            .ok_or_else(|| format!("Priority must be between 0 and {MAX_PRIORITY} for user-defined rules.")),
    }
}

fn phase(value: Value) -> Result<String, String> {
    match text(value, 255)? {
        None => Ok(PHASE.to_owned()),
        Some(phase) if phase == PHASE => Ok(phase),
        Some(other) => Err(format!("Invalid phase: {}. Valid phases are: {PHASE}", shortened(&other))),
    }
}
