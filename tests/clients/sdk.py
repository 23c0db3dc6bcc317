"""Calls openstacksdk's methods for every resource of its bare-metal proxy, and checks what comes back.

Where the API is and how to log in is said by the environment, as for the command line.
"""

import openstack
from openstack import exceptions

sdk = openstack.connect(load_envvars=True).baremetal
done = []


def check(what, holds):
    if not holds:
        raise SystemExit(f"not as expected: {what}")
    done.append(what)


def refuses(what, kind, call, *arguments, **keywords):
    try:
        call(*arguments, **keywords)
    except kind as error:
        return check(what, True) or error
    raise SystemExit(f"was not refused: {what}")


def drivers_and_conductors():
    names = {driver.name for driver in sdk.drivers()}
    check("drivers", {"fake-hardware", "redfish"} <= names)
    details = {driver.name: driver for driver in sdk.drivers(details=True)}
    check("drivers in detail", details["fake-hardware"].default_deploy_interface == "fake")
    check("driver", "fake" in sdk.get_driver("fake-hardware").enabled_power_interfaces)
    refuses("no driver", exceptions.NotFoundException, sdk.get_driver, "nope")
    sdk.list_driver_vendor_passthru("fake-hardware")
    hosts = [conductor.hostname for conductor in sdk.conductors()]
    check("conductors", len(hosts) == 1 and sdk.get_conductor(hosts[0]).hostname == hosts[0])
    check("conductor's drivers", "fake-hardware" in sdk.get_conductor(hosts[0]).drivers)


def chassis():
    one = sdk.create_chassis(description="rack", extra={"a": 1})
    check("chassis created", one.id and one.description == "rack")
    check("chassis listed", [c.id for c in sdk.chassis()] == [one.id])
    check("chassis listed in detail", [c.extra for c in sdk.chassis(details=True)] == [{"a": 1}])
    check("chassis updated", sdk.update_chassis(one, description="shelf").description == "shelf")
    check("chassis patched", sdk.patch_chassis(one, [{"op": "add", "path": "/extra/b", "value": 2}]).extra == {"a": 1, "b": 2})
    check("chassis found", sdk.find_chassis(one.id).id == one.id and sdk.find_chassis("nope") is None)
    return one


def nodes(chassis):
    node = sdk.create_node(driver="fake-hardware", name="sdk-1", chassis_id=chassis.id, resource_class="gold", properties={"cpus": 2})
    check("node created", node.provision_state == "enroll" and node.chassis_id == chassis.id)
    check("nodes listed", [n.name for n in sdk.nodes()] == ["sdk-1"])
    check("nodes in detail", [n.properties for n in sdk.nodes(details=True)] == [{"cpus": 2}])
    check("nodes filtered", [n.id for n in sdk.nodes(resource_class="gold", is_maintenance=False, provision_state="enroll")] == [node.id])
    check("no nodes filtered", list(sdk.nodes(provision_state="active")) == [])
    check("node fields", sdk.get_node("sdk-1", fields=["uuid", "name"]).driver is None)
    check("node found", sdk.find_node("sdk-1").id == node.id)
    check("node updated", sdk.update_node(node, extra={"k": "v"}).extra == {"k": "v"})
    check("node patched", sdk.patch_node(node, [{"op": "replace", "path": "/extra/k", "value": [1]}]).extra == {"k": [1]})
    # The proxy would try it again for half a minute.
    twice = sdk.post("/nodes", json={"driver": "fake-hardware", "name": "sdk-1"}, microversion="1.50", status_code_retries=0)
    check("a node twice", twice.status_code == 409)
    refuses("no node", exceptions.NotFoundException, sdk.get_node, "nope")
    second = sdk.create_node(driver="fake-hardware", name="sdk-2")
    check("nodes in pages", [n.name for n in sdk.nodes(limit=1)] == ["sdk-1", "sdk-2"])
    sdk.delete_node(second)
    return node


def states(node):
    check("validation", all(result.result for result in sdk.validate_node(node).values()))
    node = sdk.set_node_provision_state(node, "manage", wait=True, timeout=60)
    check("managed", node.provision_state == "manageable")
    sdk.set_node_power_state(node, "power on", wait=True, timeout=60)
    sdk.wait_for_node_power_state(node, "power on", timeout=60)
    sdk.set_node_power_state(node, "power off", wait=True, timeout=60)
    check("powered off", sdk.get_node(node).power_state == "power off")
    refuses("not while manageable", exceptions.BadRequestException, sdk.set_node_provision_state, node, "active")
    node = sdk.set_node_maintenance(node, "a reason")
    check("maintenance", sdk.get_node(node).is_maintenance and sdk.get_node(node).maintenance_reason == "a reason")
    node = sdk.unset_node_maintenance(node)
    check("no maintenance", not sdk.get_node(node).is_maintenance)
    node = sdk.set_node_provision_state(node, "inspect", wait=True, timeout=60)
    node = sdk.set_node_provision_state(node, "provide", wait=True, timeout=60)
    check("provided", node.provision_state == "available")
    node = sdk.set_node_provision_state(node, "active", config_drive={"meta_data": {"hostname": "sdk"}}, wait=True, timeout=60)
    check("deployed", node.provision_state == "active")
    node = sdk.set_node_provision_state(node, "rescue", rescue_password="secret", wait=True, timeout=60)
    node = sdk.set_node_provision_state(node, "unrescue")
    (node,) = sdk.wait_for_nodes_provision_state([node], "active", timeout=60)
    node = sdk.set_node_provision_state(node, "deleted", wait=True, timeout=60)
    check("undeployed", node.provision_state == "available")
    (gone,) = sdk.wait_for_nodes_provision_state([node], "available", timeout=30)
    check("waited", gone.id == node.id)
    return node


def on_a_node(node):
    sdk.add_node_trait(node, "CUSTOM_A")
    sdk.set_node_traits(node, ["CUSTOM_A", "CUSTOM_B"])
    sdk.remove_node_trait(node, "CUSTOM_B")
    check("traits", sdk.get_node(node).traits == ["CUSTOM_A"])
    check("boot device", sdk.get_node_boot_device(node)["boot_device"] == "pxe")
    sdk.set_node_boot_device(node, "pxe", persistent=True)
    check("boot devices", "pxe" in sdk.get_node_supported_boot_devices(node)["supported_boot_devices"])
    sdk.set_node_boot_mode(node, "uefi")
    sdk.set_node_secure_boot(node, False)
    refuses("NMI", exceptions.BadRequestException, sdk.inject_nmi_to_node, node)
    check("console", sdk.get_node_console(node)["console_enabled"] is False)
    sdk.enable_node_console(node)
    sdk.disable_node_console(node)
    check("settled", sdk.wait_for_node_reservation(node, timeout=30).reservation is None)
    check("firmware", sdk.list_node_firmware(node)["firmware"] == [])
    sdk.attach_vmedia_to_node(node, "cdrom", "http://127.0.0.1/a.iso")
    sdk.detach_vmedia_from_node(node)
    answer = sdk.call_node_vendor_passthru(node, "POST", "third_method_sync", {"bar": "meow"})
    check("vendor method called", answer.status_code == 200)
    check("vendor methods", "second_method" in sdk.list_node_vendor_passthru(node))
    check("BIOS settings", sdk.get_node(node).bios_interface == "fake")
    refuses("no inventory", exceptions.NotFoundException, sdk.get_node_inventory, node)
    sdk.attach_vif_to_node(node, "9ba7b810-9dad-11d1-80b4-00c04fd430c8", retry_on_conflict=False)
    sdk.list_node_vifs(node)
    sdk.detach_vif_from_node(node, "9ba7b810-9dad-11d1-80b4-00c04fd430c8")


def ports(node):
    port = sdk.create_port(address="52:54:00:00:00:11", node_id=node.id, pxe_enabled=True)
    check("port created", port.address == "52:54:00:00:00:11" and port.node_id == node.id)
    check("ports listed", [p.id for p in sdk.ports(node="sdk-1")] == [port.id])
    check("ports in detail", [p.is_pxe_enabled for p in sdk.ports(details=True)] == [True])
    check("port updated", sdk.update_port(port, extra={"a": 1}).extra == {"a": 1})
    check("port found", sdk.find_port(port.id).id == port.id and sdk.get_port(port).address == port.address)
    check("port patched", sdk.patch_port(port, [{"op": "remove", "path": "/extra/a"}]).extra == {})
    group = sdk.create_port_group(node_id=node.id, name="bond", address="52:54:00:00:00:12")
    check("group created", group.name == "bond")
    check("groups listed", [g.id for g in sdk.port_groups()] == [group.id])
    check("group updated", sdk.update_port_group(group, mode="802.3ad").mode == "802.3ad")
    check("group patched", sdk.patch_port_group(group, [{"op": "add", "path": "/extra/a", "value": 1}]).extra == {"a": 1})
    check("group found", sdk.find_port_group("bond").id == group.id)
    sdk.delete_port_group(group)
    refuses("no group", exceptions.NotFoundException, sdk.get_port_group, group.id)
    sdk.delete_port(port)
    check("no ports", list(sdk.ports()) == [])


def volumes(node):
    connector = sdk.create_volume_connector(node_id=node.id, type="iqn", connector_id="iqn.a")
    check("connectors", [c.connector_id for c in sdk.volume_connectors(details=True)] == ["iqn.a"])
    check("connector", sdk.get_volume_connector(connector).type == "iqn")
    check("connector found", sdk.find_volume_connector(connector.id).id == connector.id)
    check("connector patched", sdk.patch_volume_connector(connector, [{"op": "add", "path": "/extra/b", "value": 2}]).extra == {"b": 2})
    check("connector updated", sdk.update_volume_connector(connector, connector_id="iqn.c").connector_id == "iqn.c")
    sdk.delete_volume_connector(connector)
    target = sdk.create_volume_target(node_id=node.id, volume_type="iscsi", boot_index=0, volume_id="v")
    check("targets", [t.boot_index for t in sdk.volume_targets(details=True)] == [0])
    check("target found", sdk.find_volume_target(target.id).id == target.id and sdk.get_volume_target(target).volume_id == "v")
    check("target updated", sdk.update_volume_target(target, extra={"a": 1}).extra == {"a": 1})
    check("target patched", sdk.patch_volume_target(target, [{"op": "replace", "path": "/boot_index", "value": 1}]).boot_index == 1)
    sdk.delete_volume_target(target)
    check("no targets", list(sdk.volume_targets()) == [])


def templates():
    steps = [{"interface": "bios", "step": "factory_reset", "args": {}, "priority": 150}]
    template = sdk.create_deploy_template(name="CUSTOM_SDK", steps=steps)
    check("templates", [t.name for t in sdk.deploy_templates()] == ["CUSTOM_SDK"])
    check("template", sdk.get_deploy_template("CUSTOM_SDK").steps == steps)
    check("template found", sdk.find_deploy_template("CUSTOM_SDK").id == template.id)
    check("template updated", sdk.update_deploy_template(template, extra={"a": 1}).extra == {"a": 1})
    check("template patched", sdk.patch_deploy_template(template, [{"op": "remove", "path": "/extra/a"}]).extra == {})
    sdk.delete_deploy_template(template)
    steps = [{"interface": "bios", "step": "factory_reset", "args": {}, "order": 1}]
    runbook = sdk.create_runbook(name="CUSTOM_SDK", steps=steps)
    check("runbooks", [r.name for r in sdk.runbooks()] == ["CUSTOM_SDK"])
    check("runbook", sdk.get_runbook("CUSTOM_SDK").steps == steps)
    check("runbook updated", sdk.update_runbook(runbook, extra={"a": 1}).extra == {"a": 1})
    check("runbook patched", sdk.patch_runbook(runbook, [{"op": "remove", "path": "/extra/a"}]).extra == {})
    sdk.add_runbook_trait(runbook, "CUSTOM_A")
    sdk.set_runbook_traits(runbook, ["CUSTOM_A", "CUSTOM_B"])
    sdk.remove_runbook_trait(runbook, "CUSTOM_B")
    check("runbook's traits", sdk.get_runbook(runbook.id).traits == ["CUSTOM_A"])
    sdk.delete_runbook(runbook)
    actions = [{"op": "set-attribute", "args": ["/extra/seen", "yes"]}]
    rule = sdk.create_inspection_rule(description="mark it", actions=actions, conditions=[])
    check("rules", [r.description for r in sdk.inspection_rules()] == ["mark it"])
    check("rule", sdk.get_inspection_rule(rule.id).description == "mark it")
    check("rule updated", sdk.update_inspection_rule(rule, description="mark").description == "mark")
    patch = [{"op": "replace", "path": "/description", "value": "m"}]
    check("rule patched", sdk.patch_inspection_rule(rule, patch).description == "m")
    sdk.delete_inspection_rule(rule)
    check("no rules", list(sdk.inspection_rules()) == [])


def allocations(node):
    wanted = sdk.create_allocation(resource_class="gold", name="sdk-a", traits=["CUSTOM_A"])
    wanted = sdk.wait_for_allocation(wanted, timeout=30)
    check("allocated", wanted.state == "active" and wanted.node_id == node.id)
    check("allocations", [a.name for a in sdk.allocations(state="active")] == ["sdk-a"])
    check("allocation", sdk.get_allocation("sdk-a").id == wanted.id)
    check("node's allocation", sdk.get_node(node).allocation_id == wanted.id)
    check("allocation updated", sdk.update_allocation(wanted, extra={"a": 1}).extra == {"a": 1})
    check("allocation patched", sdk.patch_allocation(wanted, [{"op": "replace", "path": "/name", "value": "sdk-b"}]).name == "sdk-b")
    sdk.delete_allocation("sdk-b")
    nothing = sdk.create_allocation(resource_class="none", name="sdk-c")
    error = refuses("no node for it", exceptions.ResourceFailure, sdk.wait_for_allocation, nothing, timeout=30)
    check("its reason", "no available nodes match the resource class none" in str(error))
    check("it waits without raising", sdk.wait_for_allocation(nothing, timeout=30, ignore_error=True).state == "error")
    sdk.delete_allocation(nothing)


def main():
    drivers_and_conductors()
    shelf = chassis()
    node = nodes(shelf)
    node = states(node)
    on_a_node(node)
    ports(node)
    volumes(node)
    templates()
    allocations(node)
    sdk.set_node_provision_state(node, "manage", wait=True, timeout=30)
    sdk.delete_node(node)
    check("node deleted", list(sdk.nodes()) == [])
    sdk.delete_chassis(shelf)
    refuses("no chassis", exceptions.NotFoundException, sdk.get_chassis, shelf.id)
    print(f"{len(done)} checks")


if __name__ == "__main__":
    main()
