//! The runs that a command line asks for.

use std::fmt;

use kaizen_edge::{Error, Result};

use super::arguments::Arguments;
use crate::methods::Method;
use crate::scenario::ReplayBudget;

/// One run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) method: &'static Method,
    pub(super) labels: f64,
    pub(super) replay: ReplayBudget,
    pub(super) seed: u64,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, labels, replay, seed } = self;
        write!(f, "{}, labels {labels}, replay {replay}, seed {seed}", method.name)
    }
}

/// Every combination, seed by seed, so that a report that is cut short has all methods of the first
/// seeds.
pub(super) fn jobs(arguments: &Arguments) -> Result<Vec<Job>> {
    if arguments.seeds == 0 {
        return Err(Error::config("seeds", 0, "1 or more"));
    }
    let mut jobs: Vec<Job> = Vec::new();
    for seed in 1..=arguments.seeds {
        for &labels in &arguments.labels {
            for &replay in &arguments.replay {
                for &method in &arguments.methods.0 {
                    let job = Job { method, labels, replay, seed };
                    if !jobs.contains(&job) {
                        jobs.push(job);
                    }
                }
            }
        }
    }
    Ok(jobs)
}
