//! Closed-form heads over frozen features h: no gradient step, no replay, no forgetting.
//!
//! Each keeps sufficient statistics that are sums over rows, so rows are added exactly and in any
//! order; `fit` turns the statistics into a [`LinearHead`].

mod class_covariances;
mod class_means;
mod class_sums;
mod em;
mod ensemble;
mod features;
mod geometry;
mod gram;
mod head;
mod lda;
mod moments;
mod responsibilities;
mod ridge;
#[cfg(test)]
mod tests;

pub(crate) use class_covariances::{ClassCovariances, Components};
pub use class_means::{ClassMeans, MeanDistance};
pub(crate) use ensemble::log_probabilities;
pub use ensemble::{Ensemble, EnsembleHead, EnsembleModel, EnsembleSettings, Evidence, distinct};
pub use features::{FeatureMap, FeatureTransform};
#[cfg(feature = "tract")]
pub(crate) use geometry::SHARED;
pub(crate) use geometry::{Mahalanobis, MahalanobisState};
pub use head::{LinearHead, argmax_rows, softmax_rows};
pub(crate) use lda::LdaModel;
pub use lda::{LdaSettings, StreamingLda};
pub use responsibilities::Responsibilities;
pub use ridge::RidgeHead;
