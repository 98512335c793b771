//! Observe, remember, consolidate, publish or roll back. The only floor with threads and channels.

mod baseline;
mod candidates;
mod frames;
mod learner;
mod predictor;
mod settings;
mod stream;

pub use frames::{Embedded, FrameReader};
pub use learner::{Consolidation, Learner, Observation};
pub use predictor::{HeadKind, Prediction, Predictor};
pub use settings::LearnerSettings;
pub use stream::{MethodOutcome, StreamOutcome, StreamSettings, run_stream};
