//! Maintenance and faults: what of them goes into the history.

use super::error::RequestError;
use crate::{
    drivers,
    node::{Node, ProvisionState, Verb, events},
    store::HistoryEvent,
};

/// What maintenance and absent interfaces forbid, besides what each verb needs.
pub(super) fn check_verb(node: &Node, verb: Verb) -> Result<(), RequestError> {
    let (operation, interface) = match verb {
        Verb::Provide => (Some("providing"), None),
        Verb::Inspect => (None, Some("inspect")),
        Verb::Rescue => (Some("rescuing"), Some("rescue")),
        Verb::Unrescue => (Some("unrescuing"), Some("rescue")),
        Verb::Abort if node.provision_state == ProvisionState::ServiceFailed && node.maintenance => {
            return Err(RequestError::InUse(format!(
                "Can not abort service on node \"{}\" while it is in maintenance mode. Take it out of maintenance first.",
                node.uuid
            )));
        }
        _ => return Ok(()),
    };
    if let (Some(operation), true) = (operation, node.maintenance) {
        return Err(RequestError::Maintenance { operation, node: node.uuid });
    }
    match interface {
        Some(kind) if node.interfaces.get(kind).is_none_or(|name| drivers::is_absent(name)) => {
            Err(RequestError::Unsupported { driver: node.driver.clone(), what: kind.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The line of history when maintenance was set or unset, or its reason changed.
pub(super) fn changed(before: &Node, after: &Node) -> Option<HistoryEvent> {
    let text = match (before.maintenance, after.maintenance) {
        (_, true)
            if (before.maintenance, &before.maintenance_reason) != (true, &after.maintenance_reason) =>
        {
            match &after.maintenance_reason {
                Some(reason) => format!("Maintenance set: {reason}"),
                None => "Maintenance set".to_owned(),
            }
        }
        (true, false) => "Maintenance unset".to_owned(),
        _ => return None,
    };
    Some(HistoryEvent::noted(after, events::MAINTENANCE, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_of_maintenance_are_told() {
        let before = Node::new("redfish");
        let mut after = Node { maintenance: true, maintenance_reason: Some("disk".into()), ..before.clone() };
        assert_eq!(changed(&before, &after).unwrap().text(), "Maintenance set: disk");
        assert!(changed(&after, &after).is_none());
        assert_eq!(changed(&after, &before).unwrap().text(), "Maintenance unset");
        let told = after.clone();
        after.description = Some("x".into());
        assert!(changed(&told, &after).is_none());
    }
}
