//! Frames become samples, samples become heads, the best head answers. The threads that watch,
//! answer and learn are started here.

mod blend;
mod calibration;
mod candidate;
mod clustering;
mod embedder;
#[cfg(feature = "tract")]
pub(crate) mod export;
mod feature_learner;
mod format;
mod learner;
#[cfg(feature = "serve")]
pub(crate) mod live;
mod memory_limit;
mod network;
mod options;
mod power;
mod predictor;
mod published_head;
mod reader;
mod rebase;
mod settings;
mod statistics;
mod stored_head;
#[cfg(feature = "serve")]
mod suggestions;
#[cfg(feature = "tract")]
mod tail_runner;
mod temperature;
mod through_tail;
mod training_control;
mod unknowns;

pub use blend::usual_share;
pub use embedder::{Embedded, Embedder};
pub use feature_learner::{Consolidation, EngineSlot, FeatureLearner, ServingHead};
pub use learner::Learner;
pub(crate) use learner::{Labelling, Taken};
pub use memory_limit::MemoryLimit;
pub(crate) use memory_limit::peak_resident_bytes;
pub use network::{Embedding, Network, identity};
pub use options::Options;
#[cfg(feature = "serve")]
pub(crate) use power::{Power, yield_to_others};
pub use predictor::Predictor;
pub use published_head::{HeadKind, Inputs, Prediction, PublishedHead};
pub(crate) use reader::{open_reader, open_to_read, restore};
pub(crate) use rebase::{losses, rebase};
pub use settings::{Consolidate, LearnerSettings};
#[cfg(feature = "serve")]
pub(crate) use suggestions::{Suggestion, suggestions};
pub use training_control::TrainingControl;
pub(crate) use unknowns::unknowns;
pub use unknowns::{Cluster, Unknowns};
