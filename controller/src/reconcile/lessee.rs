//! Automatic lessees: who deploys a node becomes its lessee for that long.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::node::Node;

/// In `driver_internal_info`: the lessee was set by us and goes with the instance.
const MARK: &str = "automatic_lessee";
const MAX_PROJECT: usize = 255;

/// Where an automatic lessee comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LesseeSource {
    /// There are none.
    None,
    /// `project_id` in `instance_info`.
    #[default]
    Instance,
}

/// When a deploy is asked for.
pub(super) fn set(node: &mut Node, source: LesseeSource) {
    if node.lessee.is_some() || source == LesseeSource::None {
        return;
    }
    let Some(Value::String(project)) = node.instance_info.get("project_id") else { return };
    if project.is_empty() || project.chars().count() > MAX_PROJECT {
        return;
    }
    node.lessee = Some(project.clone());
    node.driver_internal_info.insert(MARK.to_owned(), json!(true));
}

/// When somebody edited the node: a lessee that is set by hand stays.
pub(super) fn changed(before: &Node, node: &mut Node) {
    if node.lessee != before.lessee {
        node.driver_internal_info.remove(MARK);
    }
}

/// When the instance is gone.
pub(super) fn forget(node: &mut Node) {
    if node.driver_internal_info.remove(MARK).is_some() {
        node.lessee = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_and_goes_with_the_instance_and_leaves_others_alone() {
        let mut node = Node::new("redfish");
        node.instance_info.insert("project_id".into(), json!("p1"));
        set(&mut node, LesseeSource::None);
        assert_eq!(node.lessee, None);
        set(&mut node, LesseeSource::Instance);
        assert_eq!(node.lessee.as_deref(), Some("p1"));
        forget(&mut node);
        assert_eq!(node.lessee, None);
        node.lessee = Some("p2".into());
        set(&mut node, LesseeSource::Instance);
        forget(&mut node);
        assert_eq!(node.lessee.as_deref(), Some("p2"));
    }
}
