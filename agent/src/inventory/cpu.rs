//! Processors, from `/proc/cpuinfo`.

use std::collections::BTreeSet;

use bessemer_proto::inventory::Cpu;

use crate::{disk::sysfs, steps::Roots};

pub(super) fn collect(roots: &Roots) -> Cpu {
    let text = sysfs::text(&roots.proc.join("cpuinfo")).unwrap_or_default();
    let fields = || {
        text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()))
    };
    let first =
        |name: &str| fields().find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value);
    let sockets: BTreeSet<&str> =
        fields().filter(|(key, _)| *key == "physical id").map(|(_, value)| value).collect();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Cpu {
        model_name: first("model name").or_else(|| first("Processor")).unwrap_or_default().to_owned(),
        frequency: frequency(roots).or_else(|| first("cpu MHz").map(str::to_owned)),
        count: count(fields().filter(|(key, _)| *key == "processor").count()),
        architecture: std::env::consts::ARCH.to_owned(),
        flags: first("flags")
            .or_else(|| first("Features"))
            .map(|flags| flags.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default(),
        // Virtual machines and ARM do not say; there is at least one.
        socket_count: count(sockets.len()).max(1),
    }
}

/// The highest frequency in MHz, with four decimals as `lscpu` prints it.
fn frequency(roots: &Roots) -> Option<String> {
    let khz = sysfs::number(&roots.sys.join("devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"))?;
    Some(format!("{}.{:03}0", khz / 1000, khz % 1000))
}
