//! The answering thread: newest frame, backbone, last published head.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::status::BackboneState;
use super::{LiveEvent, Shared, locked};
use crate::Result;
use crate::backbone::Backbone;
use crate::event::Event;
use crate::session::embedder::Embedder;
use crate::session::feature_learner::ServingHead;
use crate::session::published_head::Prediction;
use crate::vision::Frame;

/// An unknown frame, or one between two classes, is stored for a person to look at, but not more often than this.
const KEEP_EVERY: Duration = Duration::from_millis(400);
/// Any other frame is stored unlabelled at most this often: training uses it.
const KEEP_ANY_EVERY: Duration = Duration::from_secs(5);
/// Below this difference of its two best probabilities a frame is between two classes.
const NARROW_MARGIN: f32 = 0.3;
/// Between two looks at whether to stop.
const NAP: Duration = Duration::from_millis(200);

/// A frame that was answered.
#[derive(Clone, Debug)]
pub(crate) struct AnsweredFrame {
    /// Its number, from 1.
    pub number: u64,
    /// The frame.
    pub frame: Frame,
    /// Its features, `[D]`.
    pub features: Vec<f32>,
    /// What the published head says of it; none before anything was learned.
    pub prediction: Option<Prediction>,
    /// From arrival to answer.
    pub latency: Duration,
}

pub(super) struct InferenceWorker {
    embedder: Embedder,
    serving: ServingHead,
    /// Whether features are of the class that the state holds.
    is_storable: bool,
    shared: Arc<Shared>,
    /// When a frame was last handed on to be stored.
    last_kept: Option<Instant>,
}

impl InferenceWorker {
    pub(super) fn new(
        backbone: Box<dyn Backbone>,
        serving: ServingHead,
        is_storable: bool,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let embedder = Embedder::new(backbone, 0)?;
        Ok(Self { embedder, serving, is_storable, shared, last_kept: None })
    }

    /// Answers with the backbone that was pending, once it is there.
    fn take_next_backbone(&mut self) {
        let Some(backbone) = locked(&self.shared.next_backbone).take() else { return };
        let provider = backbone.provider().line();
        match Embedder::new(backbone, 0) {
            Ok(embedder) => {
                self.embedder = embedder;
                self.is_storable = true;
                self.shared.set_backbone(BackboneState::Ready, Some(provider));
            }
            Err(error) => self.shared.set_backbone(BackboneState::Failed { reason: error.to_string() }, None),
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.is_stopping() {
            self.take_next_backbone();
            let Some((frame, arrived)) = self.shared.newest.take(NAP) else { continue };
            let name = frame.name.clone();
            match self.answer(frame, arrived) {
                Ok(answered) => {
                    if self.is_storable {
                        if self.is_worth_keeping(&answered) {
                            self.last_kept = Some(Instant::now());
                            self.shared.keep(answered.clone());
                        }
                        locked(&self.shared.recent).push(answered.clone());
                    }
                    self.shared.tell(LiveEvent::Answered(answered));
                }
                Err(error) => {
                    locked(&self.shared.meter).rejected += 1;
                    let reason = error.to_string();
                    self.shared.tell(LiveEvent::Learner(Event::FrameRejected { name, reason }));
                }
            }
        }
    }

    fn answer(&mut self, frame: Frame, arrived: Instant) -> Result<Arc<AnsweredFrame>> {
        let features = self.embedder.features(&frame)?;
        let prediction = match self.serving.now() {
            Some(head) => head.predict(&features)?.pop(),
            None => None,
        };
        let latency = arrived.elapsed();
        let number = locked(&self.shared.meter).answered(latency);
        Ok(Arc::new(AnsweredFrame { number, frame, features, prediction, latency }))
    }

    fn is_worth_keeping(&self, answered: &AnsweredFrame) -> bool {
        let since = self.last_kept.map_or(Duration::MAX, |kept| kept.elapsed());
        let of_interest = answered.prediction.as_ref().is_none_or(|prediction| {
            let margin = match prediction.ranking.as_slice() {
                [(_, first), (_, second), ..] => first - second,
                [] | [_] => 1.0,
            };
            prediction.is_unknown() || margin < NARROW_MARGIN
        });
        since >= if of_interest { KEEP_EVERY } else { KEEP_ANY_EVERY }
    }
}
