//! What is to be run, from the command line.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::methods::Method;
use crate::scenario::ReplayBudget;
use kaizen_edge::{Error, Result};

/// Values separated by commas; `all` for every method.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl FromStr for List<Method> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "all" {
            return Ok(Self(Method::ALL.to_vec()));
        }
        text.split(',').map(|name| name.trim().parse()).collect::<Result<_>>().map(Self)
    }
}

impl FromStr for List<f64> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let share = |text: &str| {
            let wrong = || Error::config("labels", text, "shares such as 1.0,0.1");
            let share: f64 = text.trim().parse().map_err(|_| wrong())?;
            if share > 0.0 && share <= 1.0 { Ok(share) } else { Err(wrong()) }
        };
        text.split(',').map(share).collect::<Result<_>>().map(Self)
    }
}

impl FromStr for List<ReplayBudget> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.split(',').map(|budget| budget.trim().parse()).collect::<Result<_>>().map(Self)
    }
}

/// Pictures of each class, `TRAIN,TEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PerClass(pub(super) [usize; 2]);

impl FromStr for PerClass {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::config("per-class", text, "two counts, such as 200,50");
        let (train, test) = text.split_once(',').ok_or_else(wrong)?;
        let count =
            |text: &str| text.trim().parse::<usize>().ok().filter(|&count| count > 0).ok_or_else(wrong);
        Ok(Self([count(train)?, count(test)?]))
    }
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) method: Method,
    pub(super) labels: f64,
    pub(super) replay: ReplayBudget,
    pub(super) seed: u64,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, labels, replay, seed } = self;
        write!(f, "{}, labels {labels}, replay {replay}, seed {seed}", method.name())
    }
}

/// Every combination, seed by seed, so that a report that is cut short has all methods of the first seeds.
pub(super) fn jobs(
    methods: &[Method],
    labels: &[f64],
    replay: &[ReplayBudget],
    seeds: u64,
) -> Result<Vec<Job>> {
    if seeds == 0 {
        return Err(Error::config("seeds", seeds, "1 or more"));
    }
    let mut jobs: Vec<Job> = Vec::new();
    for seed in 1..=seeds {
        for &labels in labels {
            for &replay in replay {
                for &method in methods {
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

/// The different (labels, seed) of some jobs.
pub(super) fn scenarios(jobs: &[Job]) -> Vec<(f64, u64)> {
    let distinct: BTreeSet<(u64, u64)> = jobs.iter().map(|job| (job.labels.to_bits(), job.seed)).collect();
    distinct.into_iter().map(|(labels, seed)| (f64::from_bits(labels), seed)).collect()
}
