//! Observe, remember, consolidate, publish or roll back. The only floor with threads and channels.

mod baseline;
mod candidates;
mod clustering;
mod frames;
mod learned;
mod learner;
pub mod live;
mod meanwhile;
mod memory_limit;
mod predictor;
mod publish;
mod rebase;
mod serving;
mod settings;
mod stream;
mod suggestions;
mod training;
mod unknowns;
mod unlearn;
mod version;

pub use frames::{Described, Embedded, FrameReader};
pub use learner::{Consolidation, Learner, Observation};
pub use memory_limit::MemoryLimit;
pub use predictor::{HeadKind, Prediction, Predictor};
pub use rebase::{Losses, Rebased, losses, rebase};
pub use settings::LearnerSettings;
pub use stream::{MethodOutcome, StreamOutcome, StreamSettings, run_stream};
pub use suggestions::{Suggestion, suggestions};
pub use unknowns::{Cluster, Unknowns, name_cluster, unknowns};

/// What the features of `backbone` are, so that a state made with others is refused.
#[must_use]
pub fn identity(backbone: &dyn crate::backbone::Backbone) -> crate::memory::FeatureIdentity {
    let spec = backbone.spec();
    crate::memory::FeatureIdentity {
        backbone_name: spec.name.clone(),
        backbone_sha256: spec.sha256.clone(),
        feature_width: spec.feature_width,
        feature_class: backbone.feature_class(),
        preprocessing: format!(
            "bilinear {0}x{0}, mean {1:?}, std {2:?}",
            spec.input_size, spec.mean, spec.std
        ),
    }
}

#[cfg(test)]
mod tests;
