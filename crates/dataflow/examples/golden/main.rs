//! Runs recorded cases of event time, timers and windows: what Apache Flink made of an input is what Highwater has to make
//! of it.
//!
//! `cargo run -p highwater-dataflow --features testing --example golden -- DIR` (`./x golden [DIR]`) runs every `*.json`
//! below a directory, names each case that differs with its first difference, and fails if there is one.
#![allow(clippy::indexing_slicing, reason = "inputs are counted from 1, and steps from 0")]

mod compare;
mod function;
mod interval;
mod joins;
mod process;
mod run;
mod running;
mod scenario;
mod suite;
mod windows;

use std::process::ExitCode;

use highwater_dataflow::testing::TestBed;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: golden DIR");
        return ExitCode::from(2);
    };
    match suite::run_all(directory.as_ref(), &TestBed::heap()) {
        Ok(outcome) => {
            for (name, difference) in &outcome.differences {
                println!("{name}: {difference}");
            }
            println!("{} of {} golden cases hold", outcome.cases - outcome.differences.len(), outcome.cases);
            if outcome.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
