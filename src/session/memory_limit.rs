//! Learning within a limit of resident memory. What a consolidation needs is estimated before it
//! starts, and it uses the largest number of random features that fits.

use serde::{Deserialize, Serialize};

use crate::learn::closed_form::EnsembleSettings;
use crate::{Error, Result};

/// Bytes of a value in single and in double precision.
const SINGLE: u64 = 4;
const DOUBLE: u64 = 8;
/// Most cached views of a sample that training holds, the frame itself included.
const VIEWS: u64 = 3;
/// What a training step works on besides the samples.
const TRAINING: u64 = 32_000_000;
const MEGABYTE: u64 = 1_000_000;
/// What products of matrices take on each thread besides their operands: packed blocks of up to
/// 1088 x 256 values in double precision (2.2 MB) and the thread's own stack.
const SCRATCH: u64 = 4 * MEGABYTE;
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
        let taken = resident_bytes("VmRSS:").ok_or_else(refused)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let besides = taken + SCRATCH * (threads + 1) + frames;
        Ok(Self { bytes: megabytes.saturating_mul(MEGABYTE), besides })
    }
}

/// The peak resident size of this process, where the system tells it.
pub(crate) fn peak_resident_bytes() -> Option<u64> {
    resident_bytes("VmHWM:")
}

/// A figure of this process's memory, where the system tells it.
fn resident_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let figure = status.lines().find_map(|line| line.strip_prefix(name))?;
    figure.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// The sizes that decide how much memory a consolidation needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Width D of the features.
    pub(super) width: u64,
    /// Stored samples, labelled or not.
    pub(super) samples: u64,
    /// Classes.
    pub(super) classes: u64,
    /// Samples that training holds with their views.
    pub(super) trained: u64,
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
        let head = self.head(ensemble, random);
        // Expectation-maximisation or eigenvectors, and three copies of the shares.
        let gathering = rows + statistics + 5 * square / 2 + 3 * SINGLE * samples * classes + head;
        let solving = rows + statistics + (2 * square).max(DOUBLE * random * random) + square / 2 + 2 * head;
        let training = if trained == 0 { 0 } else { TRAINING + SINGLE * width * VIEWS * trained };
        gathering.max(solving).max(rows + 3 * head + training)
    }
}

impl Load {
    /// Bytes of a head with its geometry: of the one that answers, and of the ones that are tried.
    fn head(&self, ensemble: &EnsembleSettings, random: u64) -> u64 {
        let Self { width, classes, .. } = *self;
        let components = ensemble.components as u64;
        SINGLE * (width * width + classes * (components * (components + 3) / 2 + width + random))
            + SINGLE * width * random
    }
}

impl MemoryLimit {
    /// What the process takes while a training takes `training` bytes besides the samples' features
    /// and the heads.
    pub(super) fn bytes_for_training(self, load: &Load, ensemble: &EnsembleSettings, training: u64) -> u64 {
        let rows = SINGLE * load.samples * load.width;
        let heads = 3 * load.head(ensemble, ensemble.random_features as u64);
        self.besides + rows + heads + training
    }

    /// The settings of the closed forms with the most random features, at least `fewest`, with
    /// which a consolidation of this size stays within the limit.
    ///
    /// # Errors
    /// [`Error::Config`] naming the least limit if learning so many samples does not fit.
    pub(super) fn fit(
        self,
        load: &Load,
        ensemble: EnsembleSettings,
        fewest: usize,
    ) -> Result<EnsembleSettings> {
        let fits = |random: &usize| self.besides + load.bytes(&ensemble, *random) <= self.bytes;
        // Halved as often as it takes.
        let mut halves = std::iter::successors(Some(ensemble.random_features), |wide| Some(wide / 2))
            .take_while(|wide| *wide >= fewest);
        let Some(random_features) = halves.find(fits) else {
            let least = self.besides + load.bytes(&ensemble, fewest);
            let Load { samples, classes, .. } = load;
            return Err(Error::config(
                "memory limit",
                format!("{} MB", self.bytes / MEGABYTE),
                format!(
                    "at least {} MB to learn {samples} samples of {classes} classes, or fewer samples \
                     (--quota-bytes)",
                    least.div_ceil(MEGABYTE)
                ),
            ));
        };
        Ok(EnsembleSettings { random_features, ..ensemble })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Counts;
    use crate::session::settings::LearnerSettings;

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
        Ok(with(limit).ensemble_for(1280, &counts, true)?.random_features)
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
