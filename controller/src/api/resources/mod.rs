//! Small resources of the API: each is a table of fields and how to set them, all of them share one frame.

pub(super) mod chassis;
mod deploy_templates;
mod frame;
mod inspection_rules;
mod of_node;
mod portgroups;
mod runbooks;
mod volume;

use axum::Router;

use super::{State, error::ApiError, fields::Field};
use crate::node::{
    chassis::Chassis,
    deploy_template::DeployTemplate,
    inspection_rule::InspectionRule,
    portgroup::Portgroup,
    runbook::Runbook,
    volume::{VolumeConnector, VolumeTarget},
};
use frame::Served;

pub(super) use of_node::NodesWanted;

/// Path below `/v1/`, name of the list and fields of each.
pub(super) fn tables() -> Vec<(&'static str, &'static str, &'static [Field])> {
    fn table<R: Served>() -> (&'static str, &'static str, &'static [Field]) {
        (R::PATH, R::LIST, R::FIELDS)
    }
    vec![
        table::<Chassis>(),
        table::<DeployTemplate>(),
        table::<InspectionRule>(),
        table::<Portgroup>(),
        table::<Runbook>(),
        table::<VolumeConnector>(),
        table::<VolumeTarget>(),
    ]
}

/// Paths of all small resources.
pub(super) fn routes() -> Router<State> {
    Router::new()
        .merge(chassis::routes())
        .merge(deploy_templates::routes())
        .merge(inspection_rules::routes())
        .merge(portgroups::routes())
        .merge(runbooks::routes())
        .merge(volume::routes())
}

/// The port group of that UUID or name.
pub(super) async fn find_portgroup(state: &State, ident: &str) -> Result<Portgroup, ApiError> {
    Ok(frame::find::<Portgroup>(&state.store, ident).await?.value)
}
