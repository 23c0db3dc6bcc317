//! The description of the API (OpenAPI 3.1), made from the tables of routes and fields that serve it.

use axum::{Json, Router, extract::State as Extract, routing::get};
use serde_json::{Map, Value, json};

use super::{
    AuthStrategy, State,
    access::{ROUTES, Route},
    fields::{ALLOCATION, Access, Field, NODE, PORT},
    resources,
    version::{MAXIMUM, MINIMUM},
};

pub(super) fn routes() -> Router<State> {
    Router::new().route("/v1/openapi.json", get(show))
}

async fn show(Extract(state): Extract<State>) -> Json<Value> {
    Json(description(&state))
}

fn description(state: &State) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let item =
            paths.entry(route.path).or_insert_with(|| json!({"parameters": path_parameters(route.path)}));
        item[route.method.to_lowercase()] = operation(route);
    }
    let security = match state.config.auth_strategy {
        AuthStrategy::Noauth => json!([]),
        AuthStrategy::HttpBasic => json!([{"basic": []}]),
        AuthStrategy::Keystone => json!([{"keystone": []}]),
    };
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bessemer: OpenStack Bare Metal (Ironic) API v1",
            "version": format!("1.{MAXIMUM}"),
            "description": format!(
                "Microversions 1.{MINIMUM} to 1.{MAXIMUM}, asked for by X-OpenStack-Ironic-API-Version. \
                 `x-since` is the version that a route came with, `x-policy` the rule it is under."
            ),
        },
        "servers": [{"url": "/"}],
        "security": security,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "keystone": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
            "parameters": {"version": {
                "name": "X-OpenStack-Ironic-API-Version", "in": "header", "required": false,
                "description": format!("1.{MINIMUM} to 1.{MAXIMUM}, or latest"),
                "schema": {"type": "string", "default": "latest", "examples": ["latest", format!("1.{MAXIMUM}")]},
            }},
            "schemas": {"Error": error(), "Patch": patch()},
        },
    })
}

// === one route ===

fn operation(route: &Route) -> Value {
    let id: String = route.path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let tag = route.path.split('/').nth(2).unwrap_or("versions");
    let mut operation = json!({
        "operationId": format!("{}{id}", route.method.to_lowercase()),
        "summary": route.summary,
        "tags": [tag],
        "parameters": parameters(route),
        "responses": {
            route.status.to_string(): success(route),
            "default": {
                "description": "What is wrong, in a sentence",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
        "x-since": format!("1.{}", route.since),
    });
    if route.action.is_empty() {
        operation["security"] = json!([]);
    } else {
        operation["x-policy"] = route.action.into();
    }
    if let Some(schema) = body(route) {
        operation["requestBody"] = json!({"content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn path_parameters(path: &str) -> Value {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .collect()
}

/// A listing of a kind of resource.
fn is_list(route: &Route) -> bool {
    route.method == "GET" && table(route.path).is_some() && !route.path.ends_with('}')
}

fn parameters(route: &Route) -> Value {
    let mut parameters = vec![json!({"$ref": "#/components/parameters/version"})];
    let fields = table(route.path).filter(|_| route.method == "GET");
    if let Some((_, fields)) = fields {
        let names: Vec<_> = fields.iter().map(|field| field.name).collect();
        let list = json!({"type": "array", "items": {"type": "string", "enum": names}});
        if !route.path.ends_with("/detail") {
            parameters.push(json!({
                "name": "fields", "in": "query", "required": false, "style": "form", "explode": false, "schema": list,
            }));
        }
    }
    let mut query = |name: &str, schema: Value| {
        parameters.push(json!({"name": name, "in": "query", "required": false, "schema": schema}));
    };
    if is_list(route) {
        query("limit", json!({"type": "integer", "minimum": 0}));
        query("marker", json!({"type": "string", "format": "uuid"}));
        query("sort_key", json!({"type": "string"}));
        query("sort_dir", json!({"type": "string", "enum": ["asc", "desc"]}));
    }
    match (route.method, route.path) {
        ("GET", "/v1/nodes" | "/v1/nodes/detail") => {
            for name in ["maintenance", "associated", "retired", "include_children"] {
                query(name, json!({"type": "boolean"}));
            }
            for name in NODE_FILTERS {
                query(name, json!({"type": "string"}));
            }
        }
        ("GET", "/v1/ports" | "/v1/ports/detail") => {
            for name in ["node", "node_uuid", "address"] {
                query(name, json!({"type": "string"}));
            }
        }
        ("PATCH", "/v1/nodes/{node}") => query("reset_interfaces", json!({"type": "boolean"})),
        ("GET", "/v1/lookup") => {
            query("addresses", json!({"type": "string"}));
            query("node_uuid", json!({"type": "string", "format": "uuid"}));
        }
        (_, path) if path.ends_with("/vendor_passthru") => query("method", json!({"type": "string"})),
        _ => {}
    }
    parameters.into()
}

const NODE_FILTERS: &[&str] = &[
    "instance_uuid",
    "provision_state",
    "driver",
    "resource_class",
    "fault",
    "conductor_group",
    "conductor",
    "owner",
    "lessee",
    "description_contains",
    "shard",
    "parent_node",
    "chassis_uuid",
    "instance_name",
];

/// The list's name in answers, and the fields of its items.
fn table(path: &str) -> Option<(&'static str, &'static [Field])> {
    let path = path.strip_suffix("/detail").unwrap_or(path);
    let kind = match path.rsplit_once('/')? {
        (parent, last) if last.starts_with('{') => parent,
        _ => path,
    };
    let kind = kind.strip_prefix("/v1/")?;
    match kind {
        "nodes" | "chassis/{chassis}/nodes" => Some(("nodes", NODE)),
        "allocations" => Some(("allocations", ALLOCATION)),
        "ports" | "nodes/{node}/ports" | "portgroups/{portgroup}/ports" => Some(("ports", PORT)),
        _ => resources::tables()
            .into_iter()
            .find(|(path, ..)| *path == kind)
            .map(|(_, list, fields)| (list, fields)),
    }
}

fn success(route: &Route) -> Value {
    if matches!(route.status, 202 | 204) {
        return json!({"description": route.summary});
    }
    if route.path == "/metrics" {
        let kind = crate::sensors::CONTENT_TYPE.split(';').next().unwrap_or_default();
        return json!({"description": route.summary, "content": {kind: {"schema": {"type": "string"}}}});
    }
    let schema = match table(route.path) {
        Some((list, fields)) if is_list(route) => json!({
            "type": "object", "required": [list],
            "properties": {
                list: {"type": "array", "items": item(fields, |_| true)},
                "next": {"type": "string"},
            },
        }),
        Some((_, fields)) => item(fields, |_| true),
        None => json!({}),
    };
    json!({"description": route.summary, "content": {"application/json": {"schema": schema}}})
}

fn body(route: &Route) -> Option<Value> {
    if route.path.contains("/vendor_passthru") && !matches!(route.method, "GET" | "DELETE") {
        return Some(json!({}));
    }
    if let Some((_, schema)) = BODIES.iter().find(|(path, _)| *path == (route.method, route.path)) {
        return serde_json::from_str(schema).ok();
    }
    match route.method {
        "PATCH" => Some(json!({"$ref": "#/components/schemas/Patch"})),
        "POST" => Some(match table(route.path) {
            Some((_, fields)) => item(fields, |field| field.access != Access::Read),
            None => json!({"type": "object"}),
        }),
        "PUT" if !route.path.ends_with('}') && !route.path.ends_with("/inject_nmi") => {
            Some(json!({"type": "object"}))
        }
        _ => None,
    }
}

/// Bodies that are no documents of resources.
#[rustfmt::skip]
const BODIES: &[((&str, &str), &str)] = &[
    (("PUT", "/v1/nodes/{node}/states/provision"), r#"{"type": "object", "required": ["target"], "properties": {
        "target": {"type": "string", "enum": ["active", "deleted", "rebuild", "manage", "provide", "inspect", "clean",
            "abort", "adopt", "rescue", "unrescue", "deploy", "undeploy", "unhold", "service"]},
        "configdrive": {}, "clean_steps": {"type": "array"}, "deploy_steps": {"type": "array"},
        "service_steps": {"type": "array"}, "rescue_password": {"type": "string"},
        "disable_ramdisk": {"type": "boolean"}, "runbook": {"type": "string"}}}"#),
    (("PUT", "/v1/nodes/{node}/states/power"), r#"{"type": "object", "required": ["target"], "properties": {
        "target": {"type": "string", "enum": ["power on", "power off", "rebooting", "soft power off",
            "soft rebooting"]}, "timeout": {"type": ["integer", "null"]}}}"#),
    (("PUT", "/v1/nodes/{node}/maintenance"), r#"{"type": "object", "properties": {
        "reason": {"type": ["string", "null"]}}}"#),
    (("PUT", "/v1/nodes/{node}/states/boot_mode"), r#"{"type": "object", "properties": {
        "target": {"type": "string", "enum": ["bios", "uefi"]}}}"#),
    (("PUT", "/v1/nodes/{node}/states/secure_boot"), r#"{"type": "object", "properties": {
        "target": {"type": "boolean"}}}"#),
    (("PUT", "/v1/nodes/{node}/states/console"), r#"{"type": "object", "properties": {
        "enabled": {"type": "boolean"}}}"#),
    (("PUT", "/v1/nodes/{node}/management/boot_device"), r#"{"type": "object", "properties": {
        "boot_device": {"type": "string"}, "persistent": {"type": "boolean"}}}"#),
    (("PUT", "/v1/nodes/{node}/management/indicators/{indicator}"), r#"{"type": "object", "properties": {
        "state": {"type": "string", "enum": ["ON", "OFF", "BLINKING"]}}}"#),
    (("PUT", "/v1/nodes/{node}/traits"), r#"{"type": "object", "properties": {
        "traits": {"type": "array", "items": {"type": "string"}}}}"#),
    (("POST", "/v1/nodes/{node}/vifs"), r#"{"type": "object", "required": ["id"], "properties": {
        "id": {"type": "string"}}}"#),
    (("POST", "/v1/nodes/{node}/vmedia"), r#"{"type": "object", "properties": {
        "device_type": {"type": "string", "enum": ["cdrom", "disk", "floppy"]}, "image_url": {"type": "string"},
        "image_download_source": {"type": "string", "enum": ["http", "local", "swift"]}}}"#),
];

// === schemas ===

fn item(fields: &[Field], wanted: impl Fn(&Field) -> bool) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .filter(|field| wanted(field))
        .map(|field| {
            let mut schema = kind(field.name);
            schema["x-since"] = format!("1.{}", field.since).into();
            (field.name.to_owned(), schema)
        })
        .collect();
    json!({"type": "object", "properties": properties})
}

/// What a field holds. Every field may be null where a resource has no value for it.
fn kind(name: &str) -> Value {
    match name {
        "uuid" => json!({"type": "string", "format": "uuid"}),
        "driver_info"
        | "instance_info"
        | "properties"
        | "extra"
        | "driver_internal_info"
        | "network_data"
        | "raid_config"
        | "target_raid_config"
        | "clean_step"
        | "deploy_step"
        | "service_step"
        | "internal_info"
        | "local_link_connection" => json!({"type": ["object", "null"]}),
        "maintenance"
        | "console_enabled"
        | "protected"
        | "retired"
        | "secure_boot"
        | "automated_clean"
        | "pxe_enabled"
        | "is_smartnic"
        | "disable_power_off"
        | "public"
        | "disable_ramdisk"
        | "available_for_dynamic_portgroup"
        | "standalone_ports_supported" => json!({"type": ["boolean", "null"]}),
        "traits" | "links" | "ports" | "states" | "portgroups" | "volume" | "steps" | "nodes"
        | "candidate_nodes" => json!({"type": ["array", "null"]}),
        _ if name.ends_with("_at") => json!({"type": ["string", "null"], "format": "date-time"}),
        "name" | "driver" | "owner" | "lessee" | "description" | "power_state" | "provision_state"
        | "resource_class" | "address" => json!({"type": ["string", "null"]}),
        _ if name.ends_with("_uuid") || name.ends_with("_interface") => json!({"type": ["string", "null"]}),
        _ => json!({}),
    }
}

fn error() -> Value {
    json!({
        "type": "object",
        "description": "error_message holds JSON in JSON: {faultcode, faultstring, debuginfo} or {code, title, \
                        description}. Refused authentication is {error: {code, message}}.",
        "properties": {
            "error_message": {"type": "string"},
            "error": {"type": "object", "properties": {"code": {"type": "integer"}, "message": {"type": "string"}}},
        },
    })
}

fn patch() -> Value {
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["op", "path"],
            "properties": {
                "op": {"type": "string", "enum": ["add", "replace", "remove"]},
                "path": {"type": "string", "pattern": "^(/[^/]+)+$"},
                "value": {},
            },
        },
    })
}
