//! Where the controller does not answer as the recording does, and why.

use bessemer_tests::recorded::{Command, Difference, Exchange};

/// A difference that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Words of the command, one of those between `|`.
    pub(crate) command: &'static str,
    /// How the request starts: `GET /v1/nodes`; with `$` at its end the whole of it; empty: any.
    pub(crate) request: &'static str,
    /// What differs.
    pub(crate) what: What,
    /// Why.
    pub(crate) why: &'static str,
}

/// What is done before a command, so that the controller is where Ironic was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preparation {
    /// Words of the command.
    pub(crate) command: &'static str,
    /// Method, path and body of the requests. After each it is waited until the node has come to rest.
    pub(crate) requests: &'static [(&'static str, &'static str, &'static str)],
    /// Why it is not there by itself.
    pub(crate) why: &'static str,
}

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The request is not sent: it belongs to something that is not part of the product.
    NotSent,
    /// The answer has this status, whatever its body.
    Status(u16),
    /// These parts of the answer; `*` is any one key or index, and what is below is meant, too.
    Parts(&'static [&'static str]),
    /// These parts are null in the recording and known here.
    Filled(&'static [&'static str]),
}

impl Known {
    /// Whether this request is meant.
    pub(crate) fn is_about(&self, command: &Command, exchange: &Exchange) -> bool {
        let request = format!("{} {}", exchange.method, exchange.path);
        let is_asked = match self.request.strip_suffix('$') {
            Some(whole) => request == whole,
            None => request.starts_with(self.request),
        };
        is_asked && self.command.split('|').any(|words| command.text.contains(words))
    }
}

impl What {
    /// Whether an answer may differ so.
    pub(crate) fn covers(&self, difference: &Difference) -> bool {
        let parts = match self {
            Self::Parts(parts) => parts,
            Self::Filled(parts) if difference.what.starts_with("recorded: null; ") => parts,
            _ => return false,
        };
        parts.iter().any(|part| {
            let (part, at): (Vec<_>, Vec<_>) =
                (part.split('/').collect(), difference.at.split('/').collect());
            at.len() >= part.len() && part.iter().zip(at).all(|(part, at)| *part == "*" || *part == at)
        })
    }
}

const fn known(command: &'static str, request: &'static str, what: What, why: &'static str) -> Known {
    Known { command, request, what, why }
}

const fn before(
    command: &'static str,
    requests: &'static [(&'static str, &'static str, &'static str)],
    why: &'static str,
) -> Preparation {
    Preparation { command, requests, why }
}

/// The machine with a BMC.
const MACHINE: &str = "rf-0|22222222-2222-4222-8222-222222222222";
const PROVISION: &str = "/v1/nodes/22222222-2222-4222-8222-222222222222/states/provision";
const INSPECTION: &str =
    "in-band inspection is not there yet, and is refused as an interface that is not enabled";
const RAMDISK: &str = "this machine's agent is another one, which does not speak so";

/// All of them. One that no command needs any more fails the test.
pub(crate) const PREPARATIONS: &[Preparation] = &[
    before(
        "allocation create --resource-class baremetal --name alloc-0",
        &[("PUT", "/v1/nodes/node-0/maintenance", "{}")],
        "Ironic does not know the power state of its fake machine, and therefore does not allocate it",
    ),
    before("node deploy node-0", &[("DELETE", "/v1/nodes/node-0/maintenance", "")], "the same"),
    before(
        "agent simulator: lookup+heartbeat for rf-0",
        &[
            ("PUT", PROVISION, r#"{"target": "manage"}"#),
            ("PUT", PROVISION, r#"{"target": "adopt"}"#),
            (
                "PATCH",
                "/v1/nodes/rf-0",
                r#"[{"op": "add", "path": "/instance_info/configdrive", "value": "H4sIAAAAAAAA"},
                    {"op": "add", "path": "/instance_info/image_url", "value": "******"}]"#,
            ),
        ],
        "instead of the deployment, which vm_* tests do",
    ),
    before(
        r#"--service-steps [{"step":"hold""#,
        &[("PUT", "/v1/nodes/node-2/states/power", r#"{"target": "power off"}"#)],
        "Ironic did not run power_on",
    ),
    before(
        "node passthru call node-2 first_method",
        &[("PUT", "/v1/nodes/node-2/states/provision", r#"{"target": "unhold"}"#)],
        "Ironic did not run hold",
    ),
    before(
        "node show node-2 --fields provision_state target_provision_state clean_step",
        &[("PUT", "/v1/nodes/node-2/states/provision", r#"{"target": "unhold"}"#)],
        "Ironic did not run hold",
    ),
    before(
        "node deploy node-3",
        &[
            (
                "POST",
                "/v1/nodes",
                r#"{"driver": "fake-hardware", "name": "node-3", "uuid": "44444444-aaaa-4444-8444-444444444444",
                    "properties": {"cpu_arch": "x86_64"}, "driver_info": {"fake_deploy_delay": 3600}}"#,
            ),
            (
                "POST",
                "/v1/ports",
                r#"{"node_uuid": "44444444-aaaa-4444-8444-444444444444", "address": "52:54:00:00:00:33"}"#,
            ),
            ("PUT", "/v1/nodes/node-3/states/provision", r#"{"target": "manage"}"#),
            ("PUT", "/v1/nodes/node-3/states/provision", r#"{"target": "provide"}"#),
            (
                "PATCH",
                "/v1/nodes/node-3",
                r#"[{"op": "add", "path": "/instance_info", "value": {
                    "image_source": "http://127.0.0.1:8080/img.raw", "image_os_hash_algo": "sha256",
                    "image_os_hash_value": "67be4210ef12e818ed319fbc57d839a5fcbf0a1bc4c2fd55cdd54dab2e77a104",
                    "image_disk_format": "raw", "image_type": "whole-disk", "root_gb": 4, "image_url": "******"}}]"#,
            ),
        ],
        "the recording begins with the deployment of this node",
    ),
    before(
        "node unhold node-3",
        &[("PUT", "/v1/nodes/node-3/states/provision", r#"{"target": "abort"}"#)],
        "Ironic's deployment failed at a boot device",
    ),
];

/// All of them. One that is not met any more fails the test.
pub(crate) const DIFFERENCES: &[Known] = &[
    // --- known defects of Ironic
    known(
        "fields=nope",
        "GET /v1/nodes",
        What::Status(400),
        "Ironic answers 500 to an unknown field of a list",
    ),
    known("node rebuild node-2", "PUT", What::Status(202), "Ironic 39.0.0 answers 500 to every rebuild"),
    known(
        "node service node-2",
        "GET /v1/nodes/node-2",
        What::Parts(&["/power_state", "/instance_info/configdrive"]),
        "Ironic did not run the steps power_off and power_on; its rebuild failed",
    ),
    known(
        "node rescue node-2|node unrescue node-2|node service node-2",
        "GET /v1/nodes/node-2",
        What::Parts(&["/instance_info/rescue_password", "/instance_info/hashed_rescue_password"]),
        "Ironic keeps a rescue password as it was given, and after the rescue",
    ),
    known(
        "node unset node-0b --retired",
        "PATCH",
        What::Parts(&["/retired"]),
        "Ironic answers null once, and false from then on",
    ),
    // --- what differs by design
    known("", "GET /v1/drivers", What::Parts(&["/drivers"]), "the product has other hardware types"),
    known("conductor show", "GET", What::Parts(&["/drivers"]), "the product has other hardware types"),
    known(
        "driver show",
        "GET",
        What::Parts(&[
            "/enabled_boot_interfaces",
            "/enabled_deploy_interfaces",
            "/enabled_inspect_interfaces",
            "/enabled_raid_interfaces",
            "/enabled_rescue_interfaces",
        ]),
        "interfaces of Ironic's boot loaders and its agent",
    ),
    known(
        "driver property list",
        "GET",
        What::Parts(&[
            "/deploy_kernel",
            "/deploy_ramdisk",
            "/rescue_kernel",
            "/force_persistent_boot_device",
        ]),
        "one ISO boots every machine, once",
    ),
    known(
        "driver property list",
        "GET",
        What::Parts(&[
            "/firmware_update_unresponsive_bmc_wait",
            "/redfish_tls_minimum_version",
            "/redfish_tls_ciphers",
        ]),
        "firmware is not updated; TLS is 1.2 or newer with strong ciphers only",
    ),
    known("passthru list", "GET", What::Parts(&["/*/description"]), "in other words"),
    known(
        "",
        "",
        What::Parts(&["/reservation"]),
        "Ironic shows its own lock of the moment; the engine's is held while a node is worked on",
    ),
    known(
        "",
        "",
        What::Parts(&["/driver_internal_info", "/node/driver_internal_info"]),
        "Ironic's own notes",
    ),
    known(
        "",
        "",
        What::Filled(&[
            "/power_state",
            "/boot_mode",
            "/secure_boot",
            "/nodes/*/power_state",
            "/nodes/*/boot_mode",
            "/nodes/*/secure_boot",
        ]),
        "Ironic's fake machines know it only once they were told",
    ),
    known(
        "rf-0",
        "",
        What::Filled(&["/health"]),
        "Ironic asks for the health some seconds after the machine was found",
    ),
    known("history list", "GET", What::Parts(&["/history"]), "what happened is told in other words"),
    known(
        "inventory",
        "GET",
        What::Parts(&["/error_message"]),
        "Ironic names the number of a row of its database",
    ),
    known("", "GET /$", What::Parts(&["/description"]), "it says what it is"),
    known(
        "",
        "GET /v1$",
        What::Parts(&["/links/1"]),
        "what describes the API is its OpenAPI description, not a page about Ironic",
    ),
    known("", "GET /v1/$", What::Parts(&["/links/1"]), "the same"),
    known(
        r#"{"driver":"nope"}"#,
        "POST",
        What::Parts(&["/error_message"]),
        "the message goes on with the drivers that there are",
    ),
    known(
        "curl -X DELETE",
        "DELETE",
        What::Parts(&["/error_message"]),
        "the states it names are not in the order of a Python set",
    ),
    // --- what the machine of the lab is
    known(
        MACHINE,
        "",
        What::Parts(&["/power_state", "/nodes/1/power_state"]),
        "this machine was adopted, not deployed: it is off",
    ),
    known(
        "OpenStack-API-Version: baremetal 1.80",
        "GET /v1/nodes$",
        What::Parts(&["/nodes/1/power_state"]),
        "the same",
    ),
    known(
        r#"{"target":"bogus"}"#,
        "PUT",
        What::Parts(&["/error_message"]),
        "the same: it names the power state",
    ),
    known(MACHINE, "", What::Parts(&["/secure_boot"]), "it has no Secure Boot"),
    known(MACHINE, "GET", What::Parts(&["/*/media_types", "/supported_boot_devices"]), "as its BMC has them"),
    known("/firmware", "GET", What::Parts(&["/firmware"]), "as its BMC has them"),
    known("/bios", "GET", What::Parts(&["/bios"]), "as its BMC has them"),
    // --- what is not there, and is answered as an interface that is not enabled
    known(
        "node deploy rf-0",
        "PUT",
        What::NotSent,
        "vm_* tests deploy real machines; this one has no disk image",
    ),
    known("agent simulator", "GET /v1/lookup", What::NotSent, RAMDISK),
    known("agent simulator", "POST /v1/heartbeat", What::NotSent, RAMDISK),
    known(
        "--automated-clean",
        "PATCH /v1/nodes/22222222",
        What::Status(400),
        "there are no clean steps for it: who asks for cleaning is told that nothing would be erased",
    ),
    known("node manage 22222222", "GET", What::Parts(&["/automated_clean"]), "the same"),
    known("--inspect-interface agent", "PATCH", What::Status(400), INSPECTION),
    known("node inspect 22222222", "PUT", What::NotSent, INSPECTION),
    known("continue_inspection", "POST", What::NotSent, INSPECTION),
    known("--fields provision_state last_error", "GET", What::Parts(&["/provision_state"]), INSPECTION),
    known(
        "/v1/ports/detail",
        "GET",
        What::Parts(&["/ports/*/pxe_enabled", "/ports/*/updated_at"]),
        INSPECTION,
    ),
    known("node history list 22222222", "GET /v1/nodes/rf-0/inventory", What::Status(404), INSPECTION),
    known(
        "/v1/lookup?addresses=52:54",
        "GET",
        What::Parts(&["/config/agent_md5_checksum_enable", "/config/agent_skip_bmc_detect"]),
        "no MD5",
    ),
];
