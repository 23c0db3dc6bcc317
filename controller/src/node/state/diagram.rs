//! The table as a picture and as text, for docs/states.md.

use std::fmt::Write as _;

use super::{Event, Kind, ProvisionState, STATES, VERBS};

/// All generated parts of the page.
pub(super) fn generated() -> String {
    format!("{}\n{}\n{}", diagram(), states(), verbs())
}

/// A Mermaid diagram: verbs on solid lines as `verb`, the controller's own events in brackets.
fn diagram() -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n    [*] --> enroll\n");
    for row in STATES.iter().filter(|row| id(row.state) != row.state.as_str()) {
        let _ = writeln!(text, "    state \"{}\" as {}", row.state, id(row.state));
    }
    for row in STATES {
        let mut done: Vec<ProvisionState> = Vec::new();
        for (_, next) in row.events {
            if done.contains(next) {
                continue;
            }
            done.push(*next);
            let labels: Vec<_> =
                row.events.iter().filter(|(_, to)| to == next).map(|(event, _)| label(*event)).collect();
            let _ = writeln!(text, "    {} --> {}: {}", id(row.state), id(*next), labels.join(", "));
        }
    }
    text.push_str("```\n");
    text
}

fn states() -> String {
    let mut text = String::from(
        "| State | The controller | `target_provision_state` | PATCH | DELETE | Verbs |\n|---|---|---|---|---|---|\n",
    );
    for row in STATES {
        let does = match row.kind {
            Kind::Rest => "rests",
            Kind::Failed => "rests after a failure",
            Kind::Work => "works",
            Kind::Wait => "waits",
            Kind::Hold => "is held",
        };
        let verbs: Vec<_> = row
            .events
            .iter()
            .filter_map(|(event, next)| match event {
                Event::Ask(verb) => Some(format!("`{verb}` → {next}")),
                _ => None,
            })
            .collect();
        let yes = |is: bool| if is { "yes" } else { "no" };
        let target = row.target.map_or("none", ProvisionState::as_str);
        let _ = writeln!(
            text,
            "| `{}` | {does} | {target} | {} | {} | {} |",
            row.state,
            yes(row.patch),
            yes(row.delete),
            verbs.join("; ")
        );
    }
    text
}

fn verbs() -> String {
    let mut text = String::from("| Verb | As of microversion |\n|---|---|\n");
    for (word, since) in VERBS.iter().flat_map(|row| row.words) {
        let _ = writeln!(text, "| `{word}` | 1.{since} |");
    }
    text
}

fn id(state: ProvisionState) -> String {
    state.as_str().replace([' ', '-'], "_")
}

fn label(event: Event) -> String {
    match event {
        Event::Ask(verb) => verb.to_string(),
        own => format!("({own})"),
    }
}
