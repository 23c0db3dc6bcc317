//! `/v1/deploy_templates`.

use axum::Router;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    super::{
        State,
        fields::{
            Access::{Create, Patch, Read},
            Field, field,
        },
        links::Context,
        mask::masked_any,
        value::{Wrong, dictionary, text, trait_name, uuid},
        version::Version,
    },
    frame::{self, Served},
};
use crate::{node::deploy_template::DeployTemplate, store::Resource};

pub(super) fn routes() -> Router<State> {
    frame::routes::<DeployTemplate>()
}

impl Resource for DeployTemplate {
    const KIND: &'static str = "deploy_template";
    const WHAT: &'static str = "Deploy template";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
}

impl Served for DeployTemplate {
    const PATH: &'static str = "deploy_templates";
    const LIST: &'static str = "deploy_templates";
    const BODY: &'static str = "template";
    const SINCE: u16 = 55;
    const OLD_WRITES_405: bool = true;
    const NAMED: bool = true;
    const FIELDS: &'static [Field] = &[
        field("uuid", 55, Create),
        field("created_at", 55, Read),
        field("updated_at", 55, Read),
        field("name", 55, Patch),
        field("extra", 55, Patch),
        field("description", 55, Patch),
        field("steps", 55, Patch),
        field("links", 55, Read),
    ];
    const DEFAULT: &'static [&'static str] = &["uuid", "name"];
    const UNSORTABLE: &'static [&'static str] = &["extra", "steps"];
    const QUIET: &'static [&'static str] = &["description"];
    const REQUIRED: &'static [&'static str] = &["steps", "name"];

    fn blank() -> Self {
        Self {
            uuid: Uuid::new_v4(),
            name: String::new(),
            description: None,
            extra: Map::new(),
            steps: Vec::new(),
        }
    }

    fn set(&mut self, field: &str, value: Value, _: Version) -> Result<(), Wrong> {
        match field {
            "uuid" => self.uuid = uuid(field, value)?.unwrap_or(self.uuid),
            "name" => self.name = trait_name(&value)?,
            "description" => self.description = text(value, 255)?,
            "extra" => self.extra = dictionary(value)?,
            "steps" => self.steps = Self::parse_steps(value).map_err(|error| error.to_string())?,
            _ => return Err(format!("{field} cannot be set.").into()),
        }
        Ok(())
    }

    fn finish(_: &Context, document: &mut Map<String, Value>) {
        if let Some(steps) = document.get_mut("steps") {
            *steps = masked_any(steps);
        }
    }
}
