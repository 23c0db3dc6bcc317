//! What messages say. Documented in docs/notifications.md; nothing here may hold a secret.

use serde_json::{Value, json};

use crate::{
    node::{Node, events},
    store::HistoryEvent,
};

/// The type of the message about an event.
pub(super) fn kind_of(event: &HistoryEvent) -> String {
    if event.from != event.to {
        let outcome = if event.error.is_some() { "error" } else { "changed" };
        return format!("node.provision_state.{outcome}");
    }
    match event.details.event_type.as_str() {
        events::POWER => "node.power".to_owned(),
        other => format!("node.{other}"),
    }
}

/// The body of the message: the event, and the node as it is after it.
pub(super) fn body_of(kind: &str, node: &Node, event: &HistoryEvent) -> Value {
    json!({
        "type": kind,
        "timestamp": event.time,
        "data": {
            "node": {
                "uuid": node.uuid,
                "name": node.name,
                "driver": node.driver,
                "resource_class": node.resource_class,
                "conductor_group": node.conductor_group,
                "owner": node.owner,
                "lessee": node.lessee,
                "instance_uuid": node.instance_uuid,
                "allocation_uuid": node.allocation_uuid,
                "provision_state": node.provision_state,
                "target_provision_state": node.target_provision_state,
                "power_state": node.power_state,
                "target_power_state": node.target_power_state,
                "maintenance": node.maintenance,
                "maintenance_reason": node.maintenance_reason,
                "fault": node.fault,
                "last_error": node.last_error,
            },
            "event": {
                "uuid": event.details.uuid,
                "event_type": event.details.event_type,
                "severity": if event.error.is_some() { "ERROR" } else { "INFO" },
                "event": event.text(),
                "previous_provision_state": event.from,
                "conductor": event.details.conductor,
                "user": event.details.user,
                "project": event.details.project,
                "duration_seconds": event.details.duration_seconds,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::ProvisionState;

    #[test]
    fn says_what_happened_and_no_secret() {
        let mut node = Node::new("redfish");
        node.driver_info.insert("redfish_password".into(), json!("geheim"));
        node.instance_info.insert("configdrive".into(), json!("geheim"));
        node.driver_internal_info.insert("agent_secret_token".into(), json!("geheim"));
        let event = HistoryEvent::moved(&node, ProvisionState::Verifying, None).by("c1");
        let kind = kind_of(&event);
        assert_eq!(kind, "node.provision_state.changed");
        let body = body_of(&kind, &node, &event);
        assert!(!body.to_string().contains("geheim"), "{body}");
        assert_eq!(body["data"]["event"]["previous_provision_state"], "enroll");
        let failed = HistoryEvent::moved(&node, ProvisionState::Verifying, Some("why".into()));
        assert_eq!(kind_of(&failed), "node.provision_state.error");
        let power = HistoryEvent::noted(&node, events::POWER, "on".to_owned());
        assert_eq!(kind_of(&power), "node.power");
        let maintenance = HistoryEvent::noted(&node, events::MAINTENANCE, "set".to_owned());
        assert_eq!(kind_of(&maintenance), "node.maintenance");
    }
}
