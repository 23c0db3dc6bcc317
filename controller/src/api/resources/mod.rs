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

use super::{State, error::ApiError};
use crate::node::portgroup::Portgroup;

pub(super) use of_node::NodesWanted;

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
