//! Lights that help to find a machine, and non-maskable interrupts.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Machine, document::Document, power::RESET};
use crate::bmc::{BmcError, Indicator, Indicators, Light, Nmi};

const LED: &str = "/IndicatorLED";
const ACTIVE: &str = "/LocationIndicatorActive";

#[async_trait]
impl Nmi for Machine {
    async fn inject(&self) -> Result<(), BmcError> {
        let system = self.system().await?;
        let refused = || self.client.unsupported("inject an NMI: the system does not offer it");
        let link = system.action_target(RESET).ok_or_else(refused)?;
        if self.allowed_resets(&system).await?.is_some_and(|words| !words.iter().any(|word| word == "Nmi")) {
            return Err(refused());
        }
        Ok(self.client.post(link, &json!({"ResetType": "Nmi"})).await??)
    }
}

#[async_trait]
impl Indicators for Machine {
    async fn lights(&self) -> Result<Vec<Indicator>, BmcError> {
        let owners = self.owners().await?;
        Ok(owners.iter().filter_map(|(component, owner)| indicator(component, owner)).collect())
    }

    async fn light(&self, component: &str, id: &str) -> Result<Light, BmcError> {
        Ok(shown(&self.owner(component, id).await?))
    }

    async fn set_light(&self, component: &str, id: &str, light: Light) -> Result<(), BmcError> {
        let owner = self.owner(component, id).await?;
        let word = match light {
            Light::On => "Lit",
            Light::Off => "Off",
            Light::Blinking => "Blinking",
            Light::Unknown => return Err(self.client.unsupported("make a light show \"UNKNOWN\"")),
        };
        // Newer BMCs only know on and off.
        let body = match owner.flag(ACTIVE) {
            Some(_) if owner.text(LED).is_none() => json!({"LocationIndicatorActive": light != Light::Off}),
            _ => json!({"IndicatorLED": word}),
        };
        Ok(self.client.patch(&owner.path, &body).await??)
    }
}

impl Machine {
    /// The system and its chassis.
    async fn owners(&self) -> Result<Vec<(&'static str, Document)>, BmcError> {
        let system = self.system().await?;
        let mut owners = Vec::new();
        for link in system.links("/Links/Chassis") {
            owners.extend(self.client.find(&link).await?.map(|chassis| ("chassis", chassis)));
        }
        owners.push(("system", system));
        Ok(owners)
    }

    async fn owner(&self, component: &str, id: &str) -> Result<Document, BmcError> {
        let mut owners = self.owners().await?.into_iter();
        let found = owners.find(|(kind, owner)| *kind == component && name(owner).as_deref() == Some(id));
        let (_, owner) = found.ok_or_else(|| {
            self.client
                .unsupported(format!("find the light {id} of the {component}: it has none of that name"))
        })?;
        Ok(owner)
    }
}

/// As Ironic names lights: the UUID of what they are on, else its id.
fn name(owner: &Document) -> Option<String> {
    let name = owner.text("/UUID").or_else(|| owner.value.get("Id").and_then(Value::as_str))?;
    Some(name.chars().take(64).collect())
}

fn indicator(component: &'static str, owner: &Document) -> Option<Indicator> {
    let id = name(owner)?;
    let states = match (owner.text(LED), owner.flag(ACTIVE)) {
        (Some(_), _) => vec![Light::Blinking, Light::Off, Light::On],
        (None, Some(_)) => vec![Light::Off, Light::On],
        (None, None) => return None,
    };
    Some(Indicator { component, id, states, read_only: false })
}

fn shown(owner: &Document) -> Light {
    match (owner.text(LED), owner.flag(ACTIVE)) {
        (Some("Lit"), _) | (None, Some(true)) => Light::On,
        (Some("Off"), _) | (None, Some(false)) => Light::Off,
        (Some("Blinking"), _) => Light::Blinking,
        _ => Light::Unknown,
    }
}
