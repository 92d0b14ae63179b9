//! Thousands of random histories; see `simulation` for what must never happen in them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::simulation::{Outcome, World};

const STEPS: usize = 150;

/// Runs one history; a failure names the seed that repeats it.
fn run(seed: u64, steps: usize, kill_after: Option<usize>) -> Outcome {
    let run = || World::new(seed).run(steps, kill_after);
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| panic!("seed {seed}, {steps} steps, killed after {kill_after:?}: see above"))
}

#[test]
fn random_schedules_keep_the_rules() {
    let seeds = std::env::var("HIGHWATER_SEEDS").map_or(4000, |seeds| seeds.parse().expect("a number of seeds"));
    let mut total = Outcome::default();
    for seed in 0..seeds {
        let outcome = run(seed, STEPS, None);
        total.completed += outcome.completed;
        total.aborted += outcome.aborted;
        total.late_discards += outcome.late_discards;
        total.job_failures += outcome.job_failures;
        total.finals += outcome.finals;
        total.savepoints += outcome.savepoints;
        total.final_savepoints += outcome.final_savepoints;
        total.unclear_but_durable += outcome.unclear_but_durable;
    }
    // The schedules do reach what they are meant to reach.
    let seeds = usize::try_from(seeds).unwrap();
    assert!(total.completed > 3 * seeds, "{total:?}");
    assert!(total.aborted > 3 * seeds, "{total:?}");
    assert!(total.late_discards > seeds / 2, "{total:?}");
    assert!(total.job_failures > seeds / 4, "{total:?}");
    assert!(total.finals > seeds / 2, "{total:?}");
    assert!(total.savepoints > 2 * seeds, "{total:?}");
    assert!(total.final_savepoints > seeds / 2, "{total:?}");
    assert!(total.unclear_but_durable > seeds / 20, "{total:?}");
}

/// The process dies after each single step of a history, and starts again from what is durable.
#[test]
fn a_kill_after_every_step_is_survived() {
    for seed in 0..60 {
        for step in 0..STEPS {
            run(seed, STEPS, Some(step));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..50 {
        let first = run(seed, STEPS, Some(70));
        assert!(first.trace.len() > 50);
        assert_eq!(first, run(seed, STEPS, Some(70)));
    }
    assert_ne!(run(1, STEPS, None).trace, run(2, STEPS, None).trace);
}
