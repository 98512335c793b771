//! Predictions on a thread of their own, by the published head.

use super::embedder::Embedder;
use super::feature_learner::ServingHead;
use super::published_head::Prediction;
use crate::vision::Frame;
use crate::{Error, Result};

/// Names what frames show. It has a backbone of its own, so it can live on another thread than the
/// learner.
///
/// ```no_run
/// use kaizen_edge::{Options, Predictor};
///
/// let mut predictor = Predictor::open(&Options::new().state("cups.db"))?;
/// let prediction = predictor.predict("cup.jpg")?;
/// println!("{} ({:.0} %)", prediction.class().unwrap_or("unknown"), 100.0 * prediction.probability);
/// # Ok::<(), kaizen_edge::Error>(())
/// ```
#[derive(Debug)]
pub struct Predictor {
    embedder: Embedder,
    serving: ServingHead,
}

impl Predictor {
    pub(super) fn new(embedder: Embedder, serving: ServingHead) -> Self {
        Self { embedder, serving }
    }

    /// Names what a frame shows.
    ///
    /// # Errors
    /// [`Error::NotReady`] before anything was learned, [`Error::Frame`] for a frame that cannot be
    /// used, and others from the backbone.
    pub fn predict<F>(&mut self, frame: F) -> Result<Prediction>
    where
        F: TryInto<Frame>,
        Error: From<F::Error>,
    {
        predict(&mut self.embedder, &self.serving, &frame.try_into()?)
    }

    /// Names of the classes that were learned.
    #[must_use]
    pub fn classes(&self) -> Vec<String> {
        let head = self.serving.now();
        head.iter().flat_map(|head| head.classes()).map(|(_, name)| name.clone()).collect()
    }
}

pub(super) fn predict(embedder: &mut Embedder, serving: &ServingHead, frame: &Frame) -> Result<Prediction> {
    let head = serving.now().ok_or_else(nothing_learned)?;
    let embedding = embedder.embedding(frame)?;
    let features = embedder.features_for(&head, &embedding)?;
    head.predict(&features)?.pop().ok_or_else(nothing_learned)
}

pub(super) fn nothing_learned() -> Error {
    let way_out = "teach a class (`kaizen teach`), then learn it (`kaizen learn`)";
    Error::not_ready("prediction", "nothing was learned yet", way_out)
}
