//! Allocations: a request for any node that fits, and the rules of what fits. No I/O.

use bessemer_proto::ids::NodeId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Dictionary, Node, ProvisionState, words};

/// One request for a node, with Ironic's fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// `uuid`; becomes the node's `instance_uuid`.
    pub uuid: Uuid,
    /// `name`, unique.
    pub name: Option<String>,
    /// `state`.
    pub state: AllocationState,
    /// `resource_class` that the node must have; only a backfilled one may be without.
    pub resource_class: Option<String>,
    /// `traits` that the node must have.
    #[serde(default)]
    pub traits: Vec<String>,
    /// `candidate_nodes`: only one of these; empty means any.
    #[serde(default)]
    pub candidate_nodes: Vec<NodeId>,
    /// `owner`: only a node of this project.
    pub owner: Option<String>,
    /// `extra`.
    #[serde(default)]
    pub extra: Dictionary,
    /// `last_error`.
    pub last_error: Option<String>,
    /// `node_uuid`: the node it got.
    pub node: Option<NodeId>,
}

/// `state` of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllocationState {
    /// A node is looked for.
    #[serde(rename = "allocating")]
    Allocating,
    /// It has its node.
    #[serde(rename = "active")]
    Active,
    /// There was none.
    #[serde(rename = "error")]
    Error,
}

words!(AllocationState { Allocating = "allocating", Active = "active", Error = "error" });

// === impl Allocation ===

impl Allocation {
    /// The nodes that fit, in the order they were given; a sentence when there is none.
    pub fn candidates(&self, nodes: Vec<Node>) -> Result<Vec<Node>, String> {
        let nodes: Vec<_> = nodes.into_iter().filter(|node| self.is_free_and_asked_for(node)).collect();
        let class = self.resource_class.as_deref().unwrap_or_default();
        if nodes.is_empty() && self.candidate_nodes.is_empty() {
            return Err(format!("no available nodes match the resource class {class}"));
        }
        if nodes.is_empty() {
            return Err(format!(
                "none of the requested nodes are available and match the resource class {class}"
            ));
        }
        let nodes: Vec<_> = nodes.into_iter().filter(|node| self.has_traits(node)).collect();
        if nodes.is_empty() {
            return Err(format!("no suitable nodes have the requested traits {}", self.traits.join(", ")));
        }
        Ok(nodes)
    }

    /// Whether the node may be taken.
    #[must_use]
    pub fn fits(&self, node: &Node) -> bool {
        self.is_free_and_asked_for(node) && self.has_traits(node)
    }

    fn is_free_and_asked_for(&self, node: &Node) -> bool {
        let is_of =
            |project: &String| [&node.owner, &node.lessee].into_iter().flatten().any(|p| p == project);
        node.provision_state == ProvisionState::Available
            && node.instance_uuid.is_none()
            && node.allocation_uuid.is_none()
            && node.power_state.is_some()
            && !node.maintenance
            && !node.retired
            && node.resource_class == self.resource_class
            && (self.candidate_nodes.is_empty() || self.candidate_nodes.contains(&node.uuid))
            && self.owner.as_ref().is_none_or(is_of)
    }

    fn has_traits(&self, node: &Node) -> bool {
        self.traits.iter().all(|wanted| node.traits.contains(wanted))
    }

    /// Why an active node cannot be given to this allocation afterwards.
    #[must_use]
    pub fn backfill_problems(&self, node: &Node) -> Vec<String> {
        let mut problems = Vec::new();
        if node.provision_state != ProvisionState::Active {
            problems.push(format!(
                "Node must be in the \"active\" state, but the current state is \"{}\"",
                node.provision_state
            ));
        }
        if self.resource_class.is_some() && node.resource_class != self.resource_class {
            problems.push(format!(
                "Resource class {} does not match the requested resource class {}",
                node.resource_class.as_deref().unwrap_or("None"),
                self.resource_class.as_deref().unwrap_or_default()
            ));
        }
        if !self.has_traits(node) {
            problems.push(format!(
                "List of traits {} does not match the requested traits {}",
                node.traits.join(", "),
                self.traits.join(", ")
            ));
        }
        if !self.candidate_nodes.is_empty() && !self.candidate_nodes.contains(&node.uuid) {
            problems.push("Candidate nodes must be empty or contain the target node".to_owned());
        }
        problems
    }

    /// Why it cannot be taken away from its node now.
    #[must_use]
    pub fn release_problem(&self, node: &Node) -> Option<String> {
        let why = if node.maintenance {
            return None;
        } else if node.provision_state == ProvisionState::Active {
            "because the node is active (and maintenance mode is off)".to_owned()
        } else if !node.provision_state.patch_allowed() {
            format!(
                "because the node is in state {} where updates are not allowed (and maintenance mode is off)",
                node.provision_state
            )
        } else {
            return None;
        };
        Some(format!("Cannot remove allocation {} for node {}, {why}", self.uuid, node.uuid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node {
            name: Some(name.into()),
            provision_state: ProvisionState::Available,
            power_state: Some(crate::node::PowerState::Off),
            resource_class: Some("baremetal".into()),
            traits: vec!["CUSTOM_GOLD".into(), "CUSTOM_NVME".into()],
            owner: Some("p1".into()),
            ..Node::new("fake-hardware")
        }
    }

    fn allocation() -> Allocation {
        Allocation {
            uuid: Uuid::new_v4(),
            name: None,
            state: AllocationState::Allocating,
            resource_class: Some("baremetal".into()),
            traits: vec!["CUSTOM_GOLD".into()],
            candidate_nodes: Vec::new(),
            owner: None,
            extra: Dictionary::new(),
            last_error: None,
            node: None,
        }
    }

    #[test]
    fn only_a_free_node_of_the_class_with_all_traits_fits() {
        assert!(allocation().fits(&node("n")));
        let no: &[fn(&mut Node)] = &[
            |n| n.provision_state = ProvisionState::Manageable,
            |n| n.instance_uuid = Some("x".into()),
            |n| n.allocation_uuid = Some(Uuid::nil()),
            |n| n.power_state = None,
            |n| n.maintenance = true,
            |n| n.retired = true,
            |n| n.resource_class = None,
            |n| n.resource_class = Some("other".into()),
            |n| n.traits = vec!["CUSTOM_NVME".into()],
        ];
        for (at, change) in no.iter().enumerate() {
            let mut changed = node("n");
            change(&mut changed);
            assert!(!allocation().fits(&changed), "change {at}");
        }
    }

    #[test]
    fn candidates_and_owner_narrow_and_lessees_count() {
        let (a, b) = (node("a"), Node { owner: None, lessee: Some("p2".into()), ..node("b") });
        let of = |owner: &str| Allocation { owner: Some(owner.into()), ..allocation() };
        assert!(of("p1").fits(&a) && !of("p1").fits(&b) && of("p2").fits(&b));
        let only_a = Allocation { candidate_nodes: vec![a.uuid], ..allocation() };
        assert!(only_a.fits(&a) && !only_a.fits(&b));
    }

    #[test]
    fn says_what_was_missing_in_ironics_words() {
        let no_class = allocation().candidates(vec![]).unwrap_err();
        assert_eq!(no_class, "no available nodes match the resource class baremetal");
        let only = Allocation { candidate_nodes: vec![NodeId::random()], ..allocation() };
        assert!(only.candidates(vec![node("a")]).unwrap_err().starts_with("none of the requested nodes"));
        let traits = Allocation { traits: vec!["CUSTOM_X".into()], ..allocation() };
        let sentence = traits.candidates(vec![node("a")]).unwrap_err();
        assert_eq!(sentence, "no suitable nodes have the requested traits CUSTOM_X");
    }

    #[test]
    fn an_active_node_keeps_its_allocation_unless_in_maintenance() {
        let at = |provision_state, maintenance| Node { provision_state, maintenance, ..node("n") };
        let problem = |node: &Node| allocation().release_problem(node);
        assert!(problem(&at(ProvisionState::Active, false)).unwrap().contains("is active"));
        assert!(problem(&at(ProvisionState::Deploying, false)).unwrap().contains("state deploying"));
        assert_eq!(problem(&at(ProvisionState::Active, true)), None);
        assert_eq!(problem(&at(ProvisionState::Available, false)), None);
        assert_eq!(problem(&at(ProvisionState::DeployFailed, false)), None);
    }

    #[test]
    fn backfill_names_every_problem() {
        let active = Node { provision_state: ProvisionState::Active, ..node("n") };
        assert!(allocation().backfill_problems(&active).is_empty());
        let other = Allocation {
            resource_class: Some("x".into()),
            traits: vec!["CUSTOM_X".into()],
            candidate_nodes: vec![NodeId::random()],
            ..allocation()
        };
        assert_eq!(other.backfill_problems(&node("n")).len(), 4);
    }
}
