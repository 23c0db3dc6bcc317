use std::collections::BTreeSet;

use super::*;

/// Ironic's state machine (its `state_machine.py`), for comparison: from, event, to.
const IRONIC: &[(&str, &str, &str)] = &[
    ("enroll", "manage", "verifying"),
    ("verifying", "done", "manageable"),
    ("verifying", "fail", "enroll"),
    ("manageable", "provide", "cleaning"),
    ("manageable", "clean", "cleaning"),
    ("manageable", "inspect", "inspecting"),
    ("manageable", "adopt", "adopting"),
    ("available", "deploy", "deploying"),
    ("available", "manage", "manageable"),
    ("inspecting", "done", "manageable"),
    ("inspecting", "fail", "inspect failed"),
    ("inspecting", "wait", "inspect wait"),
    ("inspect wait", "done", "manageable"),
    ("inspect wait", "fail", "inspect failed"),
    ("inspect wait", "abort", "inspect failed"),
    ("inspect wait", "resume", "inspecting"),
    ("inspect failed", "manage", "manageable"),
    ("inspect failed", "inspect", "inspecting"),
    ("cleaning", "done", "available"),
    ("cleaning", "done", "manageable"),
    ("cleaning", "fail", "clean failed"),
    ("cleaning", "wait", "clean wait"),
    ("cleaning", "hold", "clean hold"),
    ("clean wait", "resume", "cleaning"),
    ("clean wait", "fail", "clean failed"),
    ("clean wait", "abort", "clean failed"),
    ("clean wait", "hold", "clean hold"),
    ("clean hold", "unhold", "clean wait"),
    ("clean hold", "abort", "clean failed"),
    ("clean failed", "manage", "manageable"),
    ("deploying", "done", "active"),
    ("deploying", "fail", "deploy failed"),
    ("deploying", "wait", "wait call-back"),
    ("deploying", "hold", "deploy hold"),
    ("wait call-back", "resume", "deploying"),
    ("wait call-back", "fail", "deploy failed"),
    ("wait call-back", "abort", "deploy failed"),
    ("wait call-back", "hold", "deploy hold"),
    ("wait call-back", "undeploy", "deleting"),
    ("deploy hold", "unhold", "wait call-back"),
    ("deploy hold", "abort", "deploy failed"),
    ("deploy failed", "deploy", "deploying"),
    ("deploy failed", "rebuild", "deploying"),
    ("deploy failed", "undeploy", "deleting"),
    ("active", "rebuild", "deploying"),
    ("active", "undeploy", "deleting"),
    ("active", "rescue", "rescuing"),
    ("active", "service", "servicing"),
    ("deleting", "(clean)", "cleaning"),
    ("deleting", "fail", "error"),
    ("error", "rebuild", "deploying"),
    ("error", "undeploy", "deleting"),
    ("adopting", "done", "active"),
    ("adopting", "fail", "adopt failed"),
    ("adopt failed", "adopt", "adopting"),
    ("adopt failed", "manage", "manageable"),
    ("rescuing", "done", "rescue"),
    ("rescuing", "wait", "rescue wait"),
    ("rescuing", "fail", "rescue failed"),
    ("rescue wait", "resume", "rescuing"),
    ("rescue wait", "fail", "rescue failed"),
    ("rescue wait", "abort", "rescue failed"),
    ("rescue wait", "undeploy", "deleting"),
    ("rescue", "rescue", "rescuing"),
    ("rescue", "unrescue", "unrescuing"),
    ("rescue", "undeploy", "deleting"),
    ("rescue failed", "rescue", "rescuing"),
    ("rescue failed", "unrescue", "unrescuing"),
    ("rescue failed", "undeploy", "deleting"),
    ("unrescuing", "done", "active"),
    ("unrescuing", "fail", "unrescue failed"),
    ("unrescue failed", "rescue", "rescuing"),
    ("unrescue failed", "unrescue", "unrescuing"),
    ("unrescue failed", "undeploy", "deleting"),
    ("servicing", "done", "active"),
    ("servicing", "fail", "service failed"),
    ("servicing", "wait", "service wait"),
    ("servicing", "hold", "service hold"),
    ("service wait", "resume", "servicing"),
    ("service wait", "fail", "service failed"),
    ("service wait", "abort", "service failed"),
    ("service wait", "hold", "service hold"),
    ("service wait", "undeploy", "deleting"),
    ("service hold", "service", "servicing"),
    ("service hold", "unhold", "service wait"),
    ("service hold", "fail", "service failed"),
    ("service hold", "abort", "service failed"),
    ("service failed", "service", "servicing"),
    ("service failed", "rescue", "rescuing"),
    ("service failed", "wait", "service wait"),
    ("service failed", "hold", "service hold"),
    ("service failed", "abort", "active"),
    ("service failed", "undeploy", "deleting"),
];

fn event(word: &str) -> Event {
    match word {
        "done" => Event::Done,
        "fail" => Event::Fail,
        "wait" => Event::Wait,
        "resume" => Event::Resume,
        "hold" => Event::Hold,
        "(clean)" => Event::Clean,
        verb => Event::Ask(verb.parse().unwrap()),
    }
}

#[test]
fn the_table_is_ironics_and_nothing_else_is_allowed() {
    let show = |from: &str, event: Event, to: &str| format!("{from}: {event:?} -> {to}");
    let ours: BTreeSet<_> = STATES
        .iter()
        .flat_map(|row| row.events.iter().map(move |(event, to)| (row.state, *event, *to)))
        .map(|(from, event, to)| show(from.as_str(), event, to.as_str()))
        .collect();
    let theirs: BTreeSet<_> = IRONIC.iter().map(|(from, word, to)| show(from, event(word), to)).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn verbs_have_ironics_words_and_versions() {
    assert_eq!("deploy".parse::<Verb>(), "active".parse());
    assert_eq!("undeploy".parse::<Verb>(), "deleted".parse());
    assert!("launch".parse::<Verb>().is_err());
    for (word, since) in [("manage", 4), ("active", 1), ("deploy", 73), ("unhold", 85), ("service", 87)] {
        assert_eq!(Verb::called(word).unwrap().1, since, "{word}");
    }
    for verb in Verb::ALL {
        assert_eq!(verb.as_str().parse(), Ok(*verb));
        assert_eq!(verb.row().words[0].0, verb.as_str(), "the oldest word comes first");
    }
}

#[test]
fn a_transition_has_a_target_unless_it_ends_where_nothing_happens() {
    for (state, verb) in ProvisionState::ALL.iter().flat_map(|s| Verb::ALL.iter().map(move |v| (*s, *v))) {
        if let Some(to) = state.next(verb, state.row().target) {
            assert_eq!(to.target.is_none(), to.next.row().kind == Kind::Rest, "{state} {verb}");
        }
    }
}

#[test]
fn a_cleaning_that_was_asked_for_keeps_its_target_through_hold_and_abort() {
    use ProvisionState as S;
    let asked = S::Manageable.next(Verb::Clean, None).unwrap();
    assert_eq!(asked, Transition { next: S::Cleaning, target: Some(S::Manageable) });
    assert_eq!(S::Manageable.next(Verb::Provide, None).unwrap().target, Some(S::Available));
    for (state, verb) in
        [(S::CleanHold, Verb::Unhold), (S::CleanHold, Verb::Abort), (S::CleanWait, Verb::Abort)]
    {
        assert_eq!(state.next(verb, asked.target).unwrap().target, Some(S::Manageable), "{state} {verb}");
    }
    assert_eq!(S::WaitCallBack.next(Verb::Undeploy, Some(S::Active)).unwrap().target, Some(S::Available));
    assert_eq!(
        S::ServiceFailed.next(Verb::Abort, Some(S::Active)).unwrap(),
        Transition { next: S::Active, target: None }
    );
}

#[test]
fn what_moves_can_fail_and_what_fails_can_be_left() {
    for row in STATES {
        if row.state.is_moving() {
            let failure = row.state.failure().unwrap();
            assert!(!failure.is_moving(), "{}", row.state);
        } else {
            assert!(row.events.iter().any(|(event, _)| matches!(event, Event::Ask(_))), "{}", row.state);
        }
        assert_eq!(row.target.is_some(), row.kind != Kind::Rest, "{}", row.state);
    }
}

#[test]
fn a_moving_node_is_never_deleted_and_patched_only_where_ironic_does() {
    let patched: Vec<_> = STATES
        .iter()
        .filter(|row| row.state.is_moving() && row.patch)
        .map(|row| row.state.as_str())
        .collect();
    assert_eq!(patched, ["verifying", "inspect wait", "service hold"]);
    let deleted: Vec<_> = STATES.iter().filter(|row| row.delete).map(|row| row.state.as_str()).collect();
    assert_eq!(deleted, ["enroll", "manageable", "adopt failed", "available"]);
}

const BEGIN: &str = "<!-- generated from controller/src/node/state/table.rs: begin -->\n";
const END: &str = "<!-- generated: end -->";

#[test]
fn the_page_about_states_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/states.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (there, tail) = rest.split_once(END).unwrap();
    let wanted = diagram::generated();
    if there == wanted {
        return;
    }
    assert!(
        std::env::var_os("BESSEMER_WRITE_DOCS").is_some(),
        "docs/states.md is older than the table: run this test with BESSEMER_WRITE_DOCS=1 to renew it"
    );
    std::fs::write(path, format!("{head}{BEGIN}{wanted}{END}{tail}")).unwrap();
}
