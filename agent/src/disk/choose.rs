//! Chooses the disk to write, and says for each disk why it was or was not chosen.

use super::{BlockDevice, Hints, SMALLEST_WITHOUT_HINT, human_size};

/// The disk, and the reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The disk to write.
    pub device: BlockDevice,
    /// One sentence for each disk.
    pub explanations: Vec<String>,
}

/// Why no disk was chosen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChooseError {
    /// The machine has none.
    #[error(
        "the machine shows no disk: look for a missing driver, a disabled controller or a RAID without volumes"
    )]
    NoDisk,
    /// None fits.
    #[error("no disk fits {wanted}: {}", explanations.join("; "))]
    NoMatch {
        /// What was asked for.
        wanted: String,
        /// One sentence for each disk.
        explanations: Vec<String>,
    },
}

/// The first disk that fits all hints; without hints the smallest of at least 4 GiB, ties by name.
pub fn choose(devices: &[BlockDevice], hints: &Hints) -> Result<Choice, ChooseError> {
    if devices.is_empty() {
        return Err(ChooseError::NoDisk);
    }
    let refusals: Vec<Option<String>> = devices.iter().map(|device| refusal(device, hints)).collect();
    let candidates =
        devices.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none()).map(|(device, _)| device);
    let chosen = if hints.is_empty() {
        candidates.min_by_key(|device| (device.size, device.kernel_name.clone()))
    } else {
        candidates.min_by_key(|_| 0)
    };
    let explain = |(device, refusal): (&BlockDevice, &Option<String>)| {
        let verdict = match (refusal, chosen) {
            (Some(refusal), _) => format!("not chosen: {refusal}"),
            (None, Some(chosen)) if chosen == device => {
                if hints.is_empty() {
                    "chosen: the smallest disk of at least 4 GiB".to_owned()
                } else {
                    "chosen: it fits all hints".to_owned()
                }
            }
            (None, Some(chosen)) if hints.is_empty() => {
                format!("not chosen: {} is smaller or comes first", chosen.name())
            }
            (None, Some(chosen)) => {
                format!("not chosen: it fits the hints but {} comes first", chosen.name())
            }
            (None, None) => "not chosen".to_owned(),
        };
        format!("{}: {verdict}", device.describe())
    };
    let explanations = devices.iter().zip(&refusals).map(explain).collect();
    match chosen {
        Some(device) => Ok(Choice { device: device.clone(), explanations }),
        None => Err(ChooseError::NoMatch {
            wanted: if hints.is_empty() { "(no hint is given)" } else { "the root-device hints" }.to_owned(),
            explanations,
        }),
    }
}

fn refusal(device: &BlockDevice, hints: &Hints) -> Option<String> {
    if let Some(reason) = &device.boot_medium {
        return Some(reason.clone());
    }
    if let Some(mismatch) = hints.mismatch(device) {
        return Some(mismatch);
    }
    if hints.is_empty() && device.removable {
        return Some("it is removable: only a hint can choose it".to_owned());
    }
    if hints.is_empty() && device.read_only {
        return Some("it is read-only".to_owned());
    }
    (hints.is_empty() && device.size < SMALLEST_WITHOUT_HINT).then(|| {
        format!("{} is less than the 4 GiB that a disk without a hint must have", human_size(device.size))
    })
}
