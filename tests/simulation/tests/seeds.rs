//! The simulation itself: it repeats itself, finds what it is to find, and finds nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use simulation::{Plant, Settings, run};

/// Few interfaces and few seeds: the program itself runs thousands of larger worlds.
fn small() -> Settings {
    Settings {
        interfaces: 12,
        ..Settings::default()
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let settings = Settings {
        trace: true,
        ..small()
    };
    for seed in 1..=4 {
        let (first, second) = (run(seed, &settings), run(seed, &settings));
        assert!(first.steps > 20, "{first:?}");
        for (first, second) in first.trace.iter().zip(&second.trace) {
            assert_eq!(first, second, "seed {seed}");
        }
        assert_eq!(first, second, "seed {seed}");
    }
    assert_ne!(run(1, &settings).hash, run(2, &settings).hash);
}

#[test]
fn a_trace_changes_nothing() {
    let traced = Settings {
        trace: true,
        ..small()
    };
    assert_eq!(run(3, &small()).hash, run(3, &traced).hash);
}

#[test]
fn nothing_is_found_where_nothing_is_planted() {
    let mut faults = 0;
    for seed in 1..=20 {
        let run = run(seed, &small());
        assert_eq!(run.violation, None, "seed {seed}");
        faults += run.faults;
    }
    assert!(faults > 100, "{faults} faults met");
}

#[test]
fn sessions_are_moved_and_ended_meanwhile() {
    let settings = Settings {
        trace: true,
        ..small()
    };
    let (mut moved, mut ended) = (0, 0);
    for seed in 1..=40 {
        let run = run(seed, &settings);
        assert_eq!(run.violation, None, "seed {seed}");
        let counted = |what: &str| run.trace.iter().filter(|line| line.contains(what)).count();
        moved += counted(": moved");
        ended += counted(": unmirrored");
    }
    assert!(moved > 10 && ended > 4, "{moved} sessions moved, {ended} ended");
}

/// The first seed that finds a planted bug, and what it finds.
fn found(plant: Plant, seeds: u64) -> String {
    let settings = Settings {
        plant: Some(plant),
        ..small()
    };
    let violation = (1..=seeds).find_map(|seed| run(seed, &settings).violation);
    let violation = violation.unwrap_or_else(|| panic!("{plant:?} is not found within {seeds} seeds"));
    violation.invariant.to_owned()
}

#[test]
fn a_counter_without_its_guard_is_found() {
    assert_eq!(found(Plant::CounterGuard, 2000), "I3");
}

#[test]
fn an_assignment_without_its_guard_is_found() {
    assert_eq!(found(Plant::AssignmentGuard, 2000), "I4");
}

#[test]
fn a_create_call_without_its_client_token_is_found() {
    assert_eq!(found(Plant::ClientToken, 2000), "I5");
}

#[test]
fn a_missing_compensation_is_found() {
    assert_eq!(found(Plant::Compensation, 2000), "I6");
}

#[test]
fn a_missing_grace_for_lag_is_found() {
    assert_eq!(found(Plant::LagGrace, 2000), "I6");
}

#[test]
fn a_session_that_is_not_ended_is_found() {
    assert_eq!(found(Plant::NotEnded, 2000), "I8");
}
