//! Plans: which steps run, in which order.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ArgumentKind, Flow, GivenStep, Offer, PlannedStep, RESERVED, order};
use crate::node::Dictionary;

/// Why no plan can be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// Nobody offers that step.
    #[error("node does not support this {flow} step: {{'interface': '{interface}', 'step': '{step}'}}")]
    Unknown {
        /// `clean`, …
        flow: &'static str,
        /// As asked for.
        interface: String,
        /// As asked for.
        step: String,
    },
    /// The arguments of a step do not fit.
    #[error("step {step}: {problem}")]
    Arguments {
        /// Which.
        step: String,
        /// What is wrong.
        problem: String,
    },
    /// Two steps where there can be only one.
    #[error("step {0} is given twice")]
    Twice(String),
    /// The core step of a deploy.
    #[error("deploy.deploy can only be disabled: give it priority 0")]
    Core,
    /// An agent is needed and none is to be booted.
    #[error("step {0} needs the deploy ramdisk, but disable_ramdisk is set")]
    NeedsRamdisk(String),
}

/// The steps of a deploy: what the driver offers, changed by templates, changed by what the request asks for.
pub fn deploy(
    offers: &[&'static Offer],
    templates: &[GivenStep],
    request: &[GivenStep],
) -> Result<Vec<PlannedStep>, PlanError> {
    for given in [templates, request] {
        refuse_twins(given)?;
    }
    let overridden =
        |step: &GivenStep| request.iter().any(|other| is_same(step, other) && !is_reserved(step));
    let given: Vec<_> = templates.iter().filter(|step| !overridden(step)).chain(request).cloned().collect();
    let mut steps = Vec::new();
    for step in &given {
        if (step.interface.as_str(), step.step.as_str()) == ("deploy", "deploy") && step.priority > 0 {
            return Err(PlanError::Core);
        }
        steps.push(PlannedStep { priority: step.priority, ..planned(Flow::Deploy, offers, step)? });
    }
    let of_driver = offers.iter().filter(|offer| offer.deploy.is_some_and(|priority| priority > 0));
    let kept = of_driver.filter(|offer| {
        !given.iter().any(|step| step.interface == offer.interface && step.step == offer.step)
    });
    steps.extend(kept.map(|offer| offer.planned(Flow::Deploy)));
    Ok(order(steps))
}

/// The steps of a cleaning between two users; `priorities` are the operator's, by `interface.step`.
#[must_use]
pub fn automated(offers: &[&'static Offer], priorities: &BTreeMap<String, u32>) -> Vec<PlannedStep> {
    let steps = offers.iter().filter(|offer| offer.clean.is_some()).map(|offer| {
        let mut step = offer.planned(Flow::Clean);
        step.priority = priorities.get(&step.label()).copied().unwrap_or(step.priority);
        step
    });
    order(steps.collect())
}

/// Whether one of these steps erases what the last user wrote.
#[must_use]
pub fn erases(offers: &[&'static Offer], steps: &[PlannedStep]) -> bool {
    let erasing = |step: &PlannedStep| {
        offers.iter().any(|o| o.erases && o.interface == step.interface && o.step == step.step)
    };
    steps.iter().any(erasing)
}

/// The steps of a cleaning or service that somebody asked for, in the given order.
pub fn by_hand(
    flow: Flow,
    offers: &[&'static Offer],
    request: &[GivenStep],
    disable_ramdisk: bool,
) -> Result<Vec<PlannedStep>, PlanError> {
    let steps: Vec<_> = request.iter().map(|step| planned(flow, offers, step)).collect::<Result<_, _>>()?;
    match steps.iter().find(|step| disable_ramdisk && step.requires_ramdisk) {
        Some(step) => Err(PlanError::NeedsRamdisk(step.label())),
        None => Ok(steps),
    }
}

fn planned(flow: Flow, offers: &[&'static Offer], given: &GivenStep) -> Result<PlannedStep, PlanError> {
    let reserved = RESERVED.iter().find(|offer| offer.step == given.step);
    let offered = || offers.iter().copied().find(|o| o.interface == given.interface && o.step == given.step);
    let offer = reserved.or_else(offered).filter(|offer| offer.priority(flow).is_some());
    let offer = offer.ok_or_else(|| PlanError::Unknown {
        flow: flow.as_str(),
        interface: given.interface.clone(),
        step: given.step.clone(),
    })?;
    // A step that is switched off needs no arguments.
    if flow != Flow::Deploy || given.priority > 0 {
        check_arguments(offer, &given.args).map_err(|problem| PlanError::Arguments {
            step: format!("{}.{}", given.interface, given.step),
            problem,
        })?;
    }
    Ok(PlannedStep { interface: given.interface.clone(), args: given.args.clone(), ..offer.planned(flow) })
}

fn check_arguments(offer: &Offer, given: &Dictionary) -> Result<(), String> {
    let known = || match offer.arguments.iter().map(|argument| argument.name).collect::<Vec<_>>() {
        names if names.is_empty() => "it takes none".to_owned(),
        names => format!("it takes: {}", names.join(", ")),
    };
    if let Some(other) = given.keys().find(|name| !offer.arguments.iter().any(|a| a.name == name.as_str())) {
        let other: String = other.chars().take(64).collect();
        return Err(format!("there is no argument \"{other}\"; {}", known()));
    }
    for argument in offer.arguments {
        match (given.get(argument.name), argument.kind) {
            (None, _) if argument.required => {
                return Err(format!("the argument {} is missing; {}", argument.name, known()));
            }
            (None, _)
            | (Some(Value::Array(_)), ArgumentKind::List)
            | (Some(Value::Bool(_)), ArgumentKind::Flag)
            | (Some(Value::Object(_)), ArgumentKind::Object) => {}
            (Some(_), ArgumentKind::List) => {
                return Err(format!("the argument {} must be a list", argument.name));
            }
            (Some(_), ArgumentKind::Flag) => {
                return Err(format!("the argument {} must be true or false", argument.name));
            }
            (Some(_), ArgumentKind::Object) => {
                return Err(format!("the argument {} must be an object", argument.name));
            }
            (Some(value), ArgumentKind::Number { least, most }) => {
                if !value.as_u64().is_some_and(|number| (least..=most).contains(&number)) {
                    return Err(format!(
                        "the argument {} must be a whole number from {least} to {most}",
                        argument.name
                    ));
                }
            }
        }
    }
    Ok(())
}

fn refuse_twins(steps: &[GivenStep]) -> Result<(), PlanError> {
    let twin = steps.iter().enumerate().find(|(number, step)| {
        !is_reserved(step) && steps.iter().take(*number).any(|other| is_same(step, other))
    });
    match twin {
        Some((_, step)) => Err(PlanError::Twice(format!("{}.{}", step.interface, step.step))),
        None => Ok(()),
    }
}

fn is_same(one: &GivenStep, other: &GivenStep) -> bool {
    one.interface == other.interface && one.step == other.step
}

fn is_reserved(step: &GivenStep) -> bool {
    RESERVED.iter().any(|offer| offer.step == step.step)
}
