//! The routes of the API, and which rule each is under. What is not here is not served.

use Object::{
    Allocation, Connector, List, NewAllocation, NewNode, NewRunbook, Node, NodeAllocation, NodeDelete,
    NodePatch, OnNode, Port, Portgroup, Provision, Public, QueryNode, Runbook, RunbookPatch, System,
    VolumeTarget,
};

/// What a rule is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Object {
    /// Nothing: everybody may, also without authentication.
    Public,
    /// Nothing: who asks decides.
    System,
    /// A listing, cut to what the asking project may see.
    List,
    /// The node of the path.
    Node,
    /// The node of the path, and each field that a patch touches.
    NodePatch,
    /// The node of the path, which its owner's admin may delete too.
    NodeDelete,
    /// The node of the path, and what the body asks to be done with it.
    Provision,
    /// The node that the argument `node` names.
    QueryNode,
    /// The allocation of the node of the path.
    NodeAllocation,
    /// A node that is to be; a project's admin may enrol nodes that the project owns.
    NewNode,
    /// The node that the body names by `node_uuid`.
    OnNode,
    /// The node of the port.
    Port,
    /// The node of the port group.
    Portgroup,
    /// The node of the volume connector.
    Connector,
    /// The node of the volume target.
    VolumeTarget,
    /// An allocation.
    Allocation,
    /// An allocation that is to be.
    NewAllocation,
    /// A runbook; a public one may be seen and used by everybody.
    Runbook,
    /// A runbook that is to be.
    NewRunbook,
    /// A runbook, and each field that a patch touches.
    RunbookPatch,
}

/// One method of one path.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Route {
    pub(in crate::api) method: &'static str,
    pub(in crate::api) path: &'static str,
    /// Key into the rules; empty for public routes.
    pub(in crate::api) action: &'static str,
    pub(in crate::api) object: Object,
    /// Status of success.
    pub(in crate::api) status: u16,
    /// Minor version that it came with.
    pub(in crate::api) since: u16,
    /// What it does.
    pub(in crate::api) summary: &'static str,
}

#[expect(clippy::too_many_arguments, reason = "the columns of the table below")]
const fn route(
    method: &'static str,
    path: &'static str,
    action: &'static str,
    object: Object,
    status: u16,
    since: u16,
    summary: &'static str,
) -> Route {
    Route { method, path, action, object, status, since, summary }
}

/// All of them.
#[rustfmt::skip]
pub(in crate::api) const ROUTES: &[Route] = &[
    route("GET", "/", "", Public, 200, 1, "Which versions of the API there are"),
    route("GET", "/v1", "", Public, 200, 1, "Which resources there are"),
    route("GET", "/v1/openapi.json", "", Public, 200, 1, "This description"),
    route("GET", "/v1/nodes", "baremetal:node:list", List, 200, 1, "Nodes"),
    route("POST", "/v1/nodes", "baremetal:node:create", NewNode, 201, 1, "Enrols a node"),
    route("GET", "/v1/nodes/detail", "baremetal:node:list", List, 200, 1, "Nodes with all fields"),
    route("GET", "/v1/nodes/validate", "baremetal:node:validate", QueryNode, 200, 1, "Whether the interfaces of a node (argument `node`) can work"),
    route("GET", "/v1/nodes/{node}", "baremetal:node:get", Node, 200, 1, "A node"),
    route("PATCH", "/v1/nodes/{node}", "baremetal:node:update", NodePatch, 200, 1, "Changes a node"),
    route("DELETE", "/v1/nodes/{node}", "baremetal:node:delete", NodeDelete, 204, 1, "Removes a node"),
    route("GET", "/v1/nodes/{node}/validate", "baremetal:node:validate", Node, 200, 1, "Whether the interfaces of a node can work"),
    route("PUT", "/v1/nodes/{node}/maintenance", "baremetal:node:set_maintenance", Node, 202, 1, "Puts a node into maintenance"),
    route("DELETE", "/v1/nodes/{node}/maintenance", "baremetal:node:clear_maintenance", Node, 202, 1, "Takes a node out of maintenance"),
    route("GET", "/v1/nodes/{node}/states", "baremetal:node:get_states", Node, 200, 1, "What a node is in"),
    route("PUT", "/v1/nodes/{node}/states/provision", "baremetal:node:set_provision_state", Provision, 202, 1, "Asks for another provision state"),
    route("PUT", "/v1/nodes/{node}/states/power", "baremetal:node:set_power_state", Node, 202, 1, "Asks for another power state"),
    route("PUT", "/v1/nodes/{node}/states/raid", "baremetal:node:set_raid_state", Node, 204, 12, "Sets the wanted RAID configuration"),
    route("PUT", "/v1/nodes/{node}/states/boot_mode", "baremetal:node:set_boot_mode", Node, 202, 76, "Asks for another boot mode"),
    route("PUT", "/v1/nodes/{node}/states/secure_boot", "baremetal:node:set_secure_boot", Node, 202, 76, "Turns Secure Boot on or off"),
    route("GET", "/v1/nodes/{node}/states/console", "baremetal:node:get_console", Node, 200, 1, "The console of a node"),
    route("PUT", "/v1/nodes/{node}/states/console", "baremetal:node:set_console_state", Node, 202, 1, "Turns the console of a node on or off"),
    route("GET", "/v1/nodes/{node}/console", "", Public, 101, 1, "The serial console of a node as a WebSocket; `ticket` is in the URL of `console_info`"),
    route("GET", "/v1/nodes/{node}/management/boot_device", "baremetal:node:get_boot_device", Node, 200, 1, "What a node boots from"),
    route("PUT", "/v1/nodes/{node}/management/boot_device", "baremetal:node:set_boot_device", Node, 204, 1, "Sets what a node boots from"),
    route("GET", "/v1/nodes/{node}/management/boot_device/supported", "baremetal:node:get_boot_device", Node, 200, 1, "What a node can boot from"),
    route("PUT", "/v1/nodes/{node}/management/inject_nmi", "baremetal:node:inject_nmi", Node, 204, 29, "Injects a non-maskable interrupt"),
    route("GET", "/v1/nodes/{node}/management/indicators", "baremetal:node:get_indicator_state", Node, 200, 63, "Indicators of a node"),
    route("GET", "/v1/nodes/{node}/management/indicators/{indicator}", "baremetal:node:get_indicator_state", Node, 200, 63, "State of an indicator"),
    route("PUT", "/v1/nodes/{node}/management/indicators/{indicator}", "baremetal:node:set_indicator_state", Node, 204, 63, "Sets an indicator"),
    route("GET", "/v1/nodes/{node}/vifs", "baremetal:node:vif:list", Node, 200, 28, "Network attachments of a node"),
    route("POST", "/v1/nodes/{node}/vifs", "baremetal:node:vif:attach", Node, 204, 28, "Attaches a network"),
    route("DELETE", "/v1/nodes/{node}/vifs/{vif}", "baremetal:node:vif:detach", Node, 204, 28, "Detaches a network"),
    route("GET", "/v1/nodes/{node}/traits", "baremetal:node:traits:list", Node, 200, 37, "Traits of a node"),
    route("PUT", "/v1/nodes/{node}/traits", "baremetal:node:traits:set", Node, 204, 37, "Replaces the traits of a node"),
    route("DELETE", "/v1/nodes/{node}/traits", "baremetal:node:traits:delete", Node, 204, 37, "Removes all traits of a node"),
    route("PUT", "/v1/nodes/{node}/traits/{trait}", "baremetal:node:traits:set", Node, 204, 37, "Adds a trait"),
    route("DELETE", "/v1/nodes/{node}/traits/{trait}", "baremetal:node:traits:delete", Node, 204, 37, "Removes a trait"),
    route("GET", "/v1/nodes/{node}/bios", "baremetal:node:bios:get", Node, 200, 40, "BIOS settings of a node"),
    route("GET", "/v1/nodes/{node}/bios/{setting}", "baremetal:node:bios:get", Node, 200, 40, "A BIOS setting"),
    route("GET", "/v1/nodes/{node}/firmware", "baremetal:node:firmware:get", Node, 200, 86, "Firmware of a node"),
    route("GET", "/v1/nodes/{node}/history", "baremetal:node:history:get", Node, 200, 78, "What happened to a node"),
    route("GET", "/v1/nodes/{node}/history/{event}", "baremetal:node:history:get", Node, 200, 78, "An event of a node"),
    route("GET", "/v1/nodes/{node}/inventory", "baremetal:node:inventory:get", Node, 200, 81, "Hardware of a node"),
    route("GET", "/v1/nodes/{node}/vmedia", "baremetal:node:vmedia:get", Node, 200, 93, "Virtual media of a node"),
    route("POST", "/v1/nodes/{node}/vmedia", "baremetal:node:vmedia:attach", Node, 204, 89, "Inserts a virtual medium"),
    route("DELETE", "/v1/nodes/{node}/vmedia", "baremetal:node:vmedia:detach", Node, 204, 89, "Ejects virtual media"),
    route("GET", "/v1/nodes/{node}/children", "baremetal:node:get", Node, 200, 83, "Children of a node"),
    route("GET", "/v1/nodes/{node}/allocation", "baremetal:allocation:get", NodeAllocation, 200, 52, "The allocation of a node"),
    route("DELETE", "/v1/nodes/{node}/allocation", "baremetal:allocation:delete", NodeAllocation, 204, 52, "Ends the allocation of a node"),
    route("GET", "/v1/nodes/{node}/ports", "baremetal:port:get", Node, 200, 1, "Ports of a node"),
    route("GET", "/v1/nodes/{node}/ports/detail", "baremetal:port:get", Node, 200, 1, "Ports of a node with all fields"),
    route("GET", "/v1/nodes/{node}/portgroups", "baremetal:portgroup:get", Node, 200, 24, "Port groups of a node"),
    route("GET", "/v1/nodes/{node}/portgroups/detail", "baremetal:portgroup:get", Node, 200, 24, "Port groups of a node with all fields"),
    route("GET", "/v1/nodes/{node}/volume", "baremetal:volume:get", Node, 200, 32, "Volume resources of a node"),
    route("GET", "/v1/nodes/{node}/volume/connectors", "baremetal:volume:get", Node, 200, 32, "Volume connectors of a node"),
    route("GET", "/v1/nodes/{node}/volume/targets", "baremetal:volume:get", Node, 200, 32, "Volume targets of a node"),
    route("GET", "/v1/nodes/{node}/vendor_passthru/methods", "baremetal:node:vendor_passthru", Node, 200, 1, "Vendor methods of a node"),
    route("GET", "/v1/nodes/{node}/vendor_passthru", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("POST", "/v1/nodes/{node}/vendor_passthru", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("PUT", "/v1/nodes/{node}/vendor_passthru", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("PATCH", "/v1/nodes/{node}/vendor_passthru", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("DELETE", "/v1/nodes/{node}/vendor_passthru", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("GET", "/v1/nodes/{node}/vendor_passthru/{method}", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("POST", "/v1/nodes/{node}/vendor_passthru/{method}", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("PUT", "/v1/nodes/{node}/vendor_passthru/{method}", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("PATCH", "/v1/nodes/{node}/vendor_passthru/{method}", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("DELETE", "/v1/nodes/{node}/vendor_passthru/{method}", "baremetal:node:vendor_passthru", Node, 200, 1, "Calls a vendor method"),
    route("GET", "/v1/nodes/{node}/logs", "bessemer:node:logs:get", Node, 200, 1, "Log of a node's agents"),
    route("GET", "/v1/ports", "baremetal:port:list", List, 200, 1, "Ports"),
    route("POST", "/v1/ports", "baremetal:port:create", OnNode, 201, 1, "Adds a port"),
    route("GET", "/v1/ports/detail", "baremetal:port:list", List, 200, 1, "Ports with all fields"),
    route("GET", "/v1/ports/{port}", "baremetal:port:get", Port, 200, 1, "A port"),
    route("PATCH", "/v1/ports/{port}", "baremetal:port:update", Port, 200, 1, "Changes a port"),
    route("DELETE", "/v1/ports/{port}", "baremetal:port:delete", Port, 204, 1, "Removes a port"),
    route("GET", "/v1/portgroups", "baremetal:portgroup:list", List, 200, 23, "Port groups"),
    route("POST", "/v1/portgroups", "baremetal:portgroup:create", OnNode, 201, 23, "Adds a port group"),
    route("GET", "/v1/portgroups/detail", "baremetal:portgroup:list", List, 200, 23, "Port groups with all fields"),
    route("GET", "/v1/portgroups/{portgroup}", "baremetal:portgroup:get", Portgroup, 200, 23, "A port group"),
    route("PATCH", "/v1/portgroups/{portgroup}", "baremetal:portgroup:update", Portgroup, 200, 23, "Changes a port group"),
    route("DELETE", "/v1/portgroups/{portgroup}", "baremetal:portgroup:delete", Portgroup, 204, 23, "Removes a port group"),
    route("GET", "/v1/portgroups/{portgroup}/ports", "baremetal:port:get", Portgroup, 200, 24, "Ports of a port group"),
    route("GET", "/v1/portgroups/{portgroup}/ports/detail", "baremetal:port:get", Portgroup, 200, 24, "Ports of a port group with all fields"),
    route("GET", "/v1/chassis", "baremetal:chassis:get", System, 200, 1, "Chassis"),
    route("POST", "/v1/chassis", "baremetal:chassis:create", System, 201, 1, "Adds a chassis"),
    route("GET", "/v1/chassis/detail", "baremetal:chassis:get", System, 200, 1, "Chassis with all fields"),
    route("GET", "/v1/chassis/{chassis}", "baremetal:chassis:get", System, 200, 1, "A chassis"),
    route("PATCH", "/v1/chassis/{chassis}", "baremetal:chassis:update", System, 200, 1, "Changes a chassis"),
    route("DELETE", "/v1/chassis/{chassis}", "baremetal:chassis:delete", System, 204, 1, "Removes a chassis"),
    route("GET", "/v1/chassis/{chassis}/nodes", "baremetal:chassis:get", System, 200, 1, "Nodes of a chassis"),
    route("GET", "/v1/chassis/{chassis}/nodes/detail", "baremetal:chassis:get", System, 200, 1, "Nodes of a chassis with all fields"),
    route("GET", "/v1/drivers", "baremetal:driver:get", System, 200, 1, "Hardware types"),
    route("GET", "/v1/drivers/{driver}", "baremetal:driver:get", System, 200, 1, "A hardware type"),
    route("GET", "/v1/drivers/{driver}/properties", "baremetal:driver:get_properties", System, 200, 1, "What driver_info may say"),
    route("GET", "/v1/drivers/{driver}/raid/logical_disk_properties", "baremetal:driver:get_raid_logical_disk_properties", System, 200, 12, "What a RAID configuration may say"),
    route("GET", "/v1/drivers/{driver}/vendor_passthru/methods", "baremetal:driver:vendor_passthru", System, 200, 1, "Vendor methods of a driver"),
    route("GET", "/v1/drivers/{driver}/vendor_passthru", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("POST", "/v1/drivers/{driver}/vendor_passthru", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("PUT", "/v1/drivers/{driver}/vendor_passthru", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("PATCH", "/v1/drivers/{driver}/vendor_passthru", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("DELETE", "/v1/drivers/{driver}/vendor_passthru", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("GET", "/v1/drivers/{driver}/vendor_passthru/{method}", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("POST", "/v1/drivers/{driver}/vendor_passthru/{method}", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("PUT", "/v1/drivers/{driver}/vendor_passthru/{method}", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("PATCH", "/v1/drivers/{driver}/vendor_passthru/{method}", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("DELETE", "/v1/drivers/{driver}/vendor_passthru/{method}", "baremetal:driver:vendor_passthru", System, 200, 1, "Calls a vendor method"),
    route("GET", "/metrics", "bessemer:metrics:get", System, 200, 1, "Sensors of machines and traffic with BMCs, for Prometheus"),
    route("GET", "/v1/bmc/quirks", "bessemer:bmc:quirks:get", System, 200, 1, "Rules about BMCs that differ from their standard"),
    route("PUT", "/v1/bmc/quirks", "bessemer:bmc:quirks:reload", System, 200, 1, "Reads the folder of such rules again"),
    route("GET", "/v1/conductors", "baremetal:conductor:get", System, 200, 49, "Controllers"),
    route("GET", "/v1/conductors/{hostname}", "baremetal:conductor:get", System, 200, 49, "A controller"),
    route("GET", "/v1/shards", "baremetal:shards:get", System, 200, 82, "How many nodes each shard has"),
    route("POST", "/v1/events", "baremetal:events:post", System, 204, 54, "Takes events of other services"),
    route("GET", "/v1/allocations", "baremetal:allocation:list", List, 200, 52, "Allocations"),
    route("POST", "/v1/allocations", "baremetal:allocation:create", NewAllocation, 201, 52, "Asks for a node"),
    route("GET", "/v1/allocations/{allocation}", "baremetal:allocation:get", Allocation, 200, 52, "An allocation"),
    route("PATCH", "/v1/allocations/{allocation}", "baremetal:allocation:update", Allocation, 200, 57, "Changes an allocation"),
    route("DELETE", "/v1/allocations/{allocation}", "baremetal:allocation:delete", Allocation, 204, 52, "Ends an allocation"),
    route("GET", "/v1/deploy_templates", "baremetal:deploy_template:get", System, 200, 55, "Deploy templates"),
    route("POST", "/v1/deploy_templates", "baremetal:deploy_template:create", System, 201, 55, "Adds a deploy template"),
    route("GET", "/v1/deploy_templates/{template}", "baremetal:deploy_template:get", System, 200, 55, "A deploy template"),
    route("PATCH", "/v1/deploy_templates/{template}", "baremetal:deploy_template:update", System, 200, 55, "Changes a deploy template"),
    route("DELETE", "/v1/deploy_templates/{template}", "baremetal:deploy_template:delete", System, 204, 55, "Removes a deploy template"),
    route("GET", "/v1/runbooks", "baremetal:runbook:list", List, 200, 92, "Runbooks"),
    route("POST", "/v1/runbooks", "baremetal:runbook:create", NewRunbook, 201, 92, "Adds a runbook"),
    route("GET", "/v1/runbooks/{runbook}", "baremetal:runbook:get", Runbook, 200, 92, "A runbook"),
    route("PATCH", "/v1/runbooks/{runbook}", "baremetal:runbook:update", RunbookPatch, 200, 92, "Changes a runbook"),
    route("DELETE", "/v1/runbooks/{runbook}", "baremetal:runbook:delete", Runbook, 204, 92, "Removes a runbook"),
    route("GET", "/v1/runbooks/{runbook}/traits", "baremetal:runbook:get", Runbook, 200, 112, "Traits of a runbook"),
    route("PUT", "/v1/runbooks/{runbook}/traits", "baremetal:runbook:update", Runbook, 204, 112, "Replaces the traits of a runbook"),
    route("DELETE", "/v1/runbooks/{runbook}/traits", "baremetal:runbook:update", Runbook, 204, 112, "Removes all traits of a runbook"),
    route("PUT", "/v1/runbooks/{runbook}/traits/{trait}", "baremetal:runbook:update", Runbook, 204, 112, "Adds a trait to a runbook"),
    route("DELETE", "/v1/runbooks/{runbook}/traits/{trait}", "baremetal:runbook:update", Runbook, 204, 112, "Removes a trait of a runbook"),
    route("GET", "/v1/inspection_rules", "baremetal:inspection_rule:list_all", System, 200, 96, "Inspection rules"),
    route("POST", "/v1/inspection_rules", "baremetal:inspection_rule:create", System, 201, 96, "Adds an inspection rule"),
    route("GET", "/v1/inspection_rules/{rule}", "baremetal:inspection_rule:get", System, 200, 96, "An inspection rule"),
    route("PATCH", "/v1/inspection_rules/{rule}", "baremetal:inspection_rule:update", System, 200, 96, "Changes an inspection rule"),
    route("DELETE", "/v1/inspection_rules/{rule}", "baremetal:inspection_rule:delete", System, 204, 96, "Removes an inspection rule"),
    route("GET", "/v1/volume", "baremetal:volume:list", System, 200, 32, "Volume resources"),
    route("GET", "/v1/volume/connectors", "baremetal:volume:list", List, 200, 32, "Volume connectors"),
    route("POST", "/v1/volume/connectors", "baremetal:volume:create", OnNode, 201, 32, "Adds a volume connector"),
    route("GET", "/v1/volume/connectors/{connector}", "baremetal:volume:get", Connector, 200, 32, "A volume connector"),
    route("PATCH", "/v1/volume/connectors/{connector}", "baremetal:volume:update", Connector, 200, 32, "Changes a volume connector"),
    route("DELETE", "/v1/volume/connectors/{connector}", "baremetal:volume:delete", Connector, 204, 32, "Removes a volume connector"),
    route("GET", "/v1/volume/targets", "baremetal:volume:list", List, 200, 32, "Volume targets"),
    route("POST", "/v1/volume/targets", "baremetal:volume:create", OnNode, 201, 32, "Adds a volume target"),
    route("GET", "/v1/volume/targets/{target}", "baremetal:volume:get", VolumeTarget, 200, 32, "A volume target"),
    route("PATCH", "/v1/volume/targets/{target}", "baremetal:volume:update", VolumeTarget, 200, 32, "Changes a volume target"),
    route("DELETE", "/v1/volume/targets/{target}", "baremetal:volume:delete", VolumeTarget, 204, 32, "Removes a volume target"),
    route("GET", "/v1/lookup", "", Public, 200, 22, "Tells a ramdisk which node it runs on"),
    route("POST", "/v1/heartbeat/{node}", "", Public, 202, 22, "Takes a sign of life of a ramdisk"),
    route("POST", "/v1/continue_inspection", "", Public, 202, 84, "Takes what a ramdisk found out"),
];

/// What the table says of a request.
#[derive(Debug)]
pub(in crate::api) enum Found {
    /// That route.
    Route(&'static Route),
    /// The path is known, the method is not.
    OtherMethod,
    /// No such path.
    Nothing,
}

/// The route of a method and a path of the router, whatever it calls its parameters.
pub(in crate::api) fn find(method: &str, path: &str) -> Found {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut known = false;
    for route in ROUTES.iter().filter(|route| same_path(route.path, path)) {
        if route.method == method {
            return Found::Route(route);
        }
        known = true;
    }
    if known { Found::OtherMethod } else { Found::Nothing }
}

fn same_path(a: &str, b: &str) -> bool {
    let is_parameter = |segment: &str| segment.starts_with('{');
    let mut pairs = a.split('/').zip(b.split('/'));
    a.matches('/').count() == b.matches('/').count()
        && pairs.all(|(a, b)| a == b || (is_parameter(a) && is_parameter(b)))
}

/// Whether a path of a request needs no authentication.
pub(in crate::api) fn is_public(path: &str) -> bool {
    ROUTES.iter().filter(|route| route.object == Public).any(|route| {
        let mut pairs = route.path.split('/').zip(path.split('/'));
        route.path.matches('/').count() == path.matches('/').count()
            && pairs.all(|(wanted, segment)| wanted == segment || wanted.starts_with('{'))
    })
}
