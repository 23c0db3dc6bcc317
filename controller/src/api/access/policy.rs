//! Who may do what: Ironic's default rules, action by action.
//!
//! A rule is a list of groups of clauses; one clause that fits is enough. An action without a rule is nobody's.

use super::identity::{Identity, Role};
use Role::{Admin, Manager, Member, Reader, Service};
use Who::{Any, Lessee, Owner, ServiceProject, System};

/// One reason to allow something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Who {
    /// That role for the whole system.
    System(Role),
    /// The role `service` in the project that services work in.
    ServiceProject,
    /// That role, wherever.
    Any(Role),
    /// That role in the project that owns the object.
    Owner(Role),
    /// That role in the project that the node is lent to.
    Lessee(Role),
}

/// Whose the object is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::api) struct Target {
    /// A project's id.
    pub(in crate::api) owner: Option<String>,
    /// A project's id; nodes only.
    pub(in crate::api) lessee: Option<String>,
}

type Rule = &'static [&'static [Who]];

// === groups ===

const SYSTEM_ADMIN: &[Who] = &[System(Admin)];
const SYSTEM_SERVICE: &[Who] = &[System(Service)];
const SYSTEM_MEMBER: &[Who] = &[System(Member), ServiceProject];
const SYSTEM_READER: &[Who] = &[System(Reader), System(Service), ServiceProject];
const PROJECT_SERVICE: &[Who] = &[Owner(Service)];
const PROJECT_READER: &[Who] = &[Owner(Reader), Lessee(Reader)];
const PROJECT_MEMBER: &[Who] = &[Owner(Member), Lessee(Member)];
const OWNER_READER: &[Who] = &[Owner(Reader)];
const OWNER_MEMBER: &[Who] = &[Owner(Member)];
const OWNER_ADMIN: &[Who] = &[Owner(Admin), Owner(Manager)];
const LESSEE_ADMIN: &[Who] = &[Lessee(Admin), Lessee(Manager)];
const ANY_READER: &[Who] = &[Any(Reader), Any(Service)];

// === rules for several actions ===

const ADMIN_ONLY: Rule = &[SYSTEM_ADMIN];
const SYSTEM_WRITES: Rule = &[SYSTEM_MEMBER];
const SYSTEM_READS: Rule = &[SYSTEM_READER];
/// Not for services that come with a project: Ironic has these in the system's scope only.
const IN_SYSTEM_READS: Rule = &[&[System(Reader), System(Service)]];
/// Whoever has a project sees what is of it; the listing is cut to that.
const LISTS: Rule = &[ANY_READER];
const NODE_READS: Rule = &[SYSTEM_READER, PROJECT_READER, PROJECT_SERVICE];
const OWNER_READS: Rule = &[SYSTEM_READER, SYSTEM_SERVICE, OWNER_READER, PROJECT_SERVICE];
const NODE_WRITES: Rule = &[SYSTEM_MEMBER, PROJECT_MEMBER, SYSTEM_SERVICE];
const OWNER_WRITES: Rule = &[SYSTEM_MEMBER, SYSTEM_SERVICE, OWNER_MEMBER, PROJECT_SERVICE];
const OWNER_ADMINISTERS: Rule = &[SYSTEM_MEMBER, SYSTEM_SERVICE, OWNER_ADMIN, PROJECT_SERVICE];
const OWNER_ENROLS: Rule = &[SYSTEM_ADMIN, SYSTEM_SERVICE, OWNER_ADMIN, PROJECT_SERVICE];
const OPERATES: Rule = &[SYSTEM_MEMBER, SYSTEM_SERVICE, OWNER_MEMBER, LESSEE_ADMIN, PROJECT_SERVICE];
const VOLUME_WRITES: Rule = &[SYSTEM_MEMBER, SYSTEM_SERVICE, OWNER_ADMIN, LESSEE_ADMIN, PROJECT_SERVICE];
const ALLOCATION_WRITES: Rule = &[SYSTEM_MEMBER, OWNER_MEMBER];
const RUNBOOK_WRITES: Rule = &[SYSTEM_MEMBER, &[Owner(Manager), Any(Service)]];

/// The actions, under Ironic's names.
pub(in crate::api) const RULES: &[(&str, Rule)] = &[
    ("baremetal:node:create", &[SYSTEM_ADMIN, SYSTEM_SERVICE]),
    ("baremetal:node:create:self_owned_node", &[&[Any(Admin), Any(Service)]]),
    ("baremetal:node:list", LISTS),
    ("baremetal:node:list_all", SYSTEM_READS),
    ("baremetal:node:get", NODE_READS),
    ("baremetal:node:get:last_error", OWNER_READS),
    ("baremetal:node:get:reservation", OWNER_READS),
    ("baremetal:node:get:driver_internal_info", OWNER_READS),
    ("baremetal:node:get:driver_info", OWNER_READS),
    ("baremetal:node:update", NODE_WRITES),
    ("baremetal:node:update_extra", NODE_WRITES),
    ("baremetal:node:update_instance_info", OPERATES),
    ("baremetal:node:update_owner_provisioned", ADMIN_ONLY),
    ("baremetal:node:update:driver_info", OWNER_WRITES),
    ("baremetal:node:update:properties", OWNER_WRITES),
    ("baremetal:node:update:chassis_uuid", ADMIN_ONLY),
    ("baremetal:node:update:instance_uuid", OWNER_WRITES),
    ("baremetal:node:update:lessee", OWNER_WRITES),
    ("baremetal:node:update:owner", SYSTEM_WRITES),
    ("baremetal:node:update:driver_interfaces", OWNER_ADMINISTERS),
    ("baremetal:node:update:network_data", OWNER_WRITES),
    ("baremetal:node:update:conductor_group", SYSTEM_WRITES),
    ("baremetal:node:update:name", OWNER_WRITES),
    ("baremetal:node:update:retired", OWNER_WRITES),
    ("baremetal:node:update:shard", ADMIN_ONLY),
    ("baremetal:node:update:parent_node", SYSTEM_WRITES),
    ("baremetal:node:update:disable_power_off", ADMIN_ONLY),
    ("baremetal:node:disable_cleaning", ADMIN_ONLY),
    ("baremetal:node:delete", ADMIN_ONLY),
    ("baremetal:node:delete:self_owned_node", &[&[Owner(Admin)]]),
    ("baremetal:node:validate", OPERATES),
    ("baremetal:node:set_maintenance", OPERATES),
    ("baremetal:node:clear_maintenance", OPERATES),
    ("baremetal:node:get_boot_device", OWNER_ADMINISTERS),
    ("baremetal:node:set_boot_device", OWNER_ADMINISTERS),
    ("baremetal:node:get_indicator_state", NODE_READS),
    ("baremetal:node:set_indicator_state", OWNER_WRITES),
    ("baremetal:node:inject_nmi", OWNER_ADMINISTERS),
    ("baremetal:node:get_states", NODE_READS),
    ("baremetal:node:set_power_state", NODE_WRITES),
    ("baremetal:node:set_boot_mode", NODE_WRITES),
    ("baremetal:node:set_secure_boot", NODE_WRITES),
    ("baremetal:node:set_provision_state", OPERATES),
    ("baremetal:node:set_provision_state:clean_steps", OPERATES),
    ("baremetal:node:set_provision_state:service_steps", OPERATES),
    ("baremetal:node:set_raid_state", OWNER_WRITES),
    ("baremetal:node:get_console", OWNER_WRITES),
    ("baremetal:node:set_console_state", OWNER_WRITES),
    ("baremetal:node:vif:list", NODE_READS),
    ("baremetal:node:vif:attach", OPERATES),
    ("baremetal:node:vif:detach", OPERATES),
    ("baremetal:node:traits:list", NODE_READS),
    ("baremetal:node:traits:set", OWNER_ADMINISTERS),
    ("baremetal:node:traits:delete", OWNER_ADMINISTERS),
    ("baremetal:node:bios:get", NODE_READS),
    ("baremetal:node:firmware:get", NODE_READS),
    ("baremetal:node:history:get", OWNER_READS),
    ("baremetal:node:inventory:get", OWNER_READS),
    ("baremetal:node:vmedia:attach", NODE_WRITES),
    ("baremetal:node:vmedia:detach", NODE_WRITES),
    ("baremetal:node:vmedia:get", NODE_READS),
    ("baremetal:node:vendor_passthru", ADMIN_ONLY),
    // Not Ironic's: the log of a node's agents tells of its owner's hardware.
    ("bessemer:node:logs:get", OWNER_READS),
    ("bessemer:metrics:get", SYSTEM_READS),
    ("bessemer:bmc:quirks:get", SYSTEM_READS),
    ("bessemer:bmc:quirks:reload", ADMIN_ONLY),
    ("baremetal:port:list", LISTS),
    ("baremetal:port:list_all", SYSTEM_READS),
    ("baremetal:port:get", NODE_READS),
    ("baremetal:port:create", OWNER_ENROLS),
    ("baremetal:port:delete", OWNER_ENROLS),
    ("baremetal:port:update", OWNER_ADMINISTERS),
    ("baremetal:portgroup:list", LISTS),
    ("baremetal:portgroup:list_all", SYSTEM_READS),
    ("baremetal:portgroup:get", NODE_READS),
    ("baremetal:portgroup:create", OWNER_ENROLS),
    ("baremetal:portgroup:delete", OWNER_ENROLS),
    ("baremetal:portgroup:update", OWNER_ADMINISTERS),
    ("baremetal:volume:list", LISTS),
    ("baremetal:volume:list_all", SYSTEM_READS),
    ("baremetal:volume:get", NODE_READS),
    ("baremetal:volume:create", VOLUME_WRITES),
    ("baremetal:volume:delete", VOLUME_WRITES),
    ("baremetal:volume:update", OWNER_WRITES),
    ("baremetal:volume:view_target_properties", &[SYSTEM_READER, &[Any(Admin)]]),
    ("baremetal:allocation:list", LISTS),
    ("baremetal:allocation:list_all", SYSTEM_READS),
    ("baremetal:allocation:get", &[SYSTEM_READER, OWNER_READER]),
    ("baremetal:allocation:create", &[SYSTEM_MEMBER, &[Any(Member)]]),
    ("baremetal:allocation:create_restricted", SYSTEM_WRITES),
    ("baremetal:allocation:delete", ALLOCATION_WRITES),
    ("baremetal:allocation:update", ALLOCATION_WRITES),
    ("baremetal:runbook:list", LISTS),
    ("baremetal:runbook:list_all", SYSTEM_READS),
    ("baremetal:runbook:get", &[SYSTEM_READER, OWNER_READER, &[Any(Service)]]),
    ("baremetal:runbook:create", &[SYSTEM_MEMBER, &[Any(Manager), Any(Service)]]),
    ("baremetal:runbook:delete", RUNBOOK_WRITES),
    ("baremetal:runbook:update", RUNBOOK_WRITES),
    ("baremetal:runbook:update:public", SYSTEM_WRITES),
    ("baremetal:runbook:update:owner", SYSTEM_WRITES),
    ("baremetal:runbook:use", RUNBOOK_WRITES),
    ("baremetal:chassis:get", IN_SYSTEM_READS),
    ("baremetal:chassis:create", ADMIN_ONLY),
    ("baremetal:chassis:update", &[&[System(Member)]]),
    ("baremetal:chassis:delete", ADMIN_ONLY),
    ("baremetal:driver:get", IN_SYSTEM_READS),
    ("baremetal:driver:get_properties", IN_SYSTEM_READS),
    ("baremetal:driver:get_raid_logical_disk_properties", IN_SYSTEM_READS),
    ("baremetal:driver:vendor_passthru", ADMIN_ONLY),
    ("baremetal:conductor:get", SYSTEM_READS),
    ("baremetal:shards:get", SYSTEM_READS),
    ("baremetal:events:post", ADMIN_ONLY),
    ("baremetal:deploy_template:get", SYSTEM_READS),
    ("baremetal:deploy_template:create", ADMIN_ONLY),
    ("baremetal:deploy_template:update", ADMIN_ONLY),
    ("baremetal:deploy_template:delete", ADMIN_ONLY),
    ("baremetal:inspection_rule:get", SYSTEM_READS),
    ("baremetal:inspection_rule:list_all", SYSTEM_READS),
    ("baremetal:inspection_rule:create", ADMIN_ONLY),
    ("baremetal:inspection_rule:update", ADMIN_ONLY),
    ("baremetal:inspection_rule:delete", ADMIN_ONLY),
];

/// Whether `identity` may do `action` to an object of `target`. Without a target only what holds for every object. The
/// administrator of the system may do everything, also with a token that does not list the roles this implies.
pub(in crate::api) fn allows(identity: &Identity, action: &str, target: Option<&Target>) -> bool {
    let rule = RULES.iter().find(|(name, _)| *name == action);
    let is_administrator = identity.system && identity.has(Admin);
    rule.is_some_and(|(_, rule)| {
        is_administrator || rule.iter().copied().flatten().any(|who| who.fits(identity, target))
    })
}

impl Who {
    fn fits(self, identity: &Identity, target: Option<&Target>) -> bool {
        let is_of = |project: Option<&String>| project.is_some() && project == identity.project_id.as_ref();
        match self {
            System(role) => identity.system && identity.has(role),
            ServiceProject => identity.in_service_project && identity.has(Service),
            Any(role) => identity.has(role),
            Owner(role) => identity.has(role) && is_of(target.and_then(|target| target.owner.as_ref())),
            Lessee(role) => identity.has(role) && is_of(target.and_then(|target| target.lessee.as_ref())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::access::{
        identity::SystemRole,
        routes::{Object, ROUTES},
    };

    #[test]
    fn every_route_has_a_rule_and_no_rule_is_written_twice() {
        for route in ROUTES {
            let known = RULES.iter().any(|(name, _)| *name == route.action);
            assert_eq!(known, route.object != Object::Public, "{} {}", route.method, route.path);
            if route.object == Object::List {
                let all = format!("{}_all", route.action);
                assert!(RULES.iter().any(|(name, _)| *name == all), "{all}");
            }
        }
        let names: BTreeSet<_> = RULES.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), RULES.len());
        let routes: BTreeSet<_> = ROUTES.iter().map(|route| (route.method, route.path)).collect();
        assert_eq!(routes.len(), ROUTES.len());
    }

    #[test]
    fn what_has_no_rule_is_nobodys_and_an_object_of_nobody_is_not_everybodys() {
        let admin = Identity::system(None, SystemRole::Admin);
        assert!(!allows(&admin, "baremetal:node:nope", None));
        // Neither a project nor an owner: the same nothing must not count as the same project.
        let nobody = Identity { roles: admin.roles.clone(), ..Identity::default() };
        let free = Target::default();
        assert!(!allows(&nobody, "baremetal:node:get", Some(&free)));
        let reader = Identity::system(None, SystemRole::Reader);
        for (action, _) in RULES {
            let owned_only = action.ends_with(":self_owned_node");
            assert!(owned_only || allows(&admin, action, Some(&free)), "{action}");
            assert!(!action.contains("update") || !allows(&reader, action, Some(&free)), "{action}");
        }
    }
}
