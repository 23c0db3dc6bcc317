//! Maintenance and faults: what of them goes into the history.

use crate::{
    node::{Node, events},
    store::HistoryEvent,
};

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
