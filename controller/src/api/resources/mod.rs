//! Small resources of the API: each is a table of fields and how to set them, all of them share one frame.

pub(super) mod chassis;
mod deploy_templates;
mod frame;
mod runbooks;

use axum::Router;

use super::State;

/// Paths of all small resources.
pub(super) fn routes() -> Router<State> {
    Router::new().merge(chassis::routes()).merge(deploy_templates::routes()).merge(runbooks::routes())
}
