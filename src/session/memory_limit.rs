//! Learning within a limit of resident memory. What a consolidation needs is estimated before it
//! starts, and it uses the largest number of random features that fits.

use serde::{Deserialize, Serialize};

use super::settings::LearnerSettings;
use crate::learn::closed_form::EnsembleSettings;
use crate::memory::Counts;
use crate::{Error, Result};

/// Bytes of a value in single and in double precision.
const SINGLE: u64 = 4;
const DOUBLE: u64 = 8;
/// Most cached views of a sample that training holds, the frame itself included.
const VIEWS: u64 = 3;
/// What a training step works on besides the samples.
const TRAINING: u64 = 32_000_000;
const MEGABYTE: u64 = 1_000_000;
/// What products of matrices take on each thread besides their operands.
const SCRATCH: u64 = 8 * MEGABYTE;
/// Fewest random features that still help. If they do not fit, the limit is refused.
const FEWEST_FEATURES: usize = 250;

/// Resident memory that the process stays below while it learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryLimit {
    /// The limit, in bytes.
    pub bytes: u64,
    /// Bytes that something else than learning has taken or will take: program, backbone, frames.
    pub besides: u64,
}

impl MemoryLimit {
    /// A limit for this process as it stands now, which will also hold `frames` bytes of frames.
    ///
    /// # Errors
    /// [`Error::Refused`] where the system does not tell what a process has taken.
    pub fn now(megabytes: u64, frames: u64) -> Result<Self> {
        let refused = || {
            let reason = format!("only Linux tells what a process takes, so {megabytes} MB cannot be kept");
            Error::refused("memory limit", reason, "leave it out")
        };
        let status = std::fs::read_to_string("/proc/self/status").map_err(|_| refused())?;
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or_else(refused)?;
        let kibibytes: u64 = high.trim().trim_end_matches(" kB").parse().map_err(|_| refused())?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let besides = kibibytes * 1024 + SCRATCH * (threads + 1) + frames;
        Ok(Self { bytes: megabytes.saturating_mul(MEGABYTE), besides })
    }
}

/// The sizes that decide how much memory a consolidation needs.
#[derive(Clone, Copy, Debug)]
struct Load {
    width: u64,
    samples: u64,
    classes: u64,
    /// Samples that training holds with their views.
    trained: u64,
}

impl Load {
    /// The peak in bytes with `random` random features, over gathering, solving and training.
    fn bytes(&self, ensemble: &EnsembleSettings, random: usize) -> u64 {
        let Self { width, samples, classes, trained } = *self;
        let random = random as u64;
        let components = ensemble.components as u64;
        let rows = SINGLE * samples * width;
        let square = DOUBLE * width * width;
        let projection = SINGLE * width * random;
        let by_class = DOUBLE * classes * (components * (components + 3) / 2 + 2 * width + random);
        let statistics = square + DOUBLE * random * random + projection + by_class;
        // A head with its geometry: the one that answers, and the ones that are tried.
        let head = SINGLE * (width * width + classes * (components * (components + 3) / 2 + width + random))
            + projection;
        // Expectation-maximisation or eigenvectors, and three copies of the shares.
        let gathering = rows + statistics + 5 * square / 2 + 3 * SINGLE * samples * classes + head;
        let solving = rows + statistics + (2 * square).max(DOUBLE * random * random) + square / 2 + 2 * head;
        let training = if trained == 0 { 0 } else { TRAINING + SINGLE * width * VIEWS * trained };
        gathering.max(solving).max(rows + 3 * head + training)
    }
}

impl LearnerSettings {
    /// Settings of the closed forms with the fewest random features.
    pub(super) fn narrowest_ensemble(&self, features: usize) -> EnsembleSettings {
        let ensemble = self.ensemble(features);
        EnsembleSettings { random_features: ensemble.random_features.min(FEWEST_FEATURES), ..ensemble }
    }

    /// Settings of the closed forms for what the memory holds, within the limit if there is one.
    ///
    /// # Errors
    /// [`Error::Config`] naming the least limit if learning so many samples does not fit.
    pub(super) fn ensemble_for(&self, features: usize, counts: &Counts) -> Result<EnsembleSettings> {
        let ensemble = self.ensemble(features);
        let Some(limit) = self.memory_limit else { return Ok(ensemble) };
        let samples = counts.training + counts.held_out + counts.unlabelled;
        let recipe = &self.recipe;
        let drawn = (recipe.steps * recipe.current_rows) as u64;
        let replayed = if recipe.steps == 0 { 0 } else { self.replay_per_class as u64 * counts.classes };
        let load = Load {
            width: features as u64,
            samples,
            classes: counts.classes,
            trained: drawn.min(samples) + replayed,
        };
        let fewest = self.narrowest_ensemble(features).random_features;
        let fits = |random: &usize| limit.besides + load.bytes(&ensemble, *random) <= limit.bytes;
        // Halved as often as it takes.
        let mut halves = std::iter::successors(Some(ensemble.random_features), |wide| Some(wide / 2))
            .take_while(|wide| *wide >= fewest);
        halves.find(fits).map(|random_features| EnsembleSettings { random_features, ..ensemble }).ok_or_else(|| {
            let least = limit.besides + load.bytes(&ensemble, fewest);
            Error::config(
                "memory limit",
                format!("{} MB", limit.bytes / MEGABYTE),
                format!(
                    "at least {} MB to learn {samples} samples of {} classes, or fewer samples (--quota-bytes)",
                    least.div_ceil(MEGABYTE),
                    counts.classes
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(limit: Option<u64>) -> LearnerSettings {
        let memory_limit =
            limit.map(|megabytes| MemoryLimit { bytes: megabytes * MEGABYTE, besides: 100 * MEGABYTE });
        LearnerSettings { memory_limit, ..LearnerSettings::default() }
    }

    fn features(limit: Option<u64>, samples: u64) -> Result<usize> {
        let counts = Counts {
            classes: 100,
            training: samples / 5,
            unlabelled: samples - samples / 5,
            ..Counts::default()
        };
        Ok(with(limit).ensemble_for(1280, &counts)?.random_features)
    }

    #[test]
    fn the_widest_random_features_that_fit_are_taken() {
        assert_eq!(features(None, 100_000).unwrap(), 2000);
        assert_eq!(features(Some(1000), 5000).unwrap(), 2000);
        let tight: Vec<usize> =
            (200..300).step_by(5).filter_map(|limit| features(Some(limit), 5000).ok()).collect();
        assert!(tight.is_sorted() && tight.first() < tight.last(), "{tight:?}");
        assert!(tight.iter().all(|wide| [250, 500, 1000, 2000].contains(wide)), "{tight:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_least_limit() {
        let refused = features(Some(150), 50_000).unwrap_err().to_string();
        assert!(
            refused.contains("50000 samples of 100 classes") && refused.contains("--quota-bytes"),
            "{refused}"
        );
        let least: u64 =
            refused.split("at least ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(
            features(Some(least), 50_000).is_ok() && features(Some(least - 1), 50_000).is_err(),
            "{refused}"
        );
    }
}
