//! The inference thread: it answers the newest frame by the backbone and the last published head.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answered_frame::AnsweredFrame;
use super::live_event::LiveEvent;
use super::liveness::Worker;
use super::lock::locked;
use super::shared::Shared;
use super::status::BackboneState;
use crate::session::embedder::Embedder;
use crate::session::feature_learner::ServingHead;
use crate::session::network::Network;
use crate::vision::Frame;
use crate::{Error, Result};

/// The least time between two frames that are stored for a person to look at: unknown ones, and
/// those between two classes.
const KEEP_EVERY: Duration = Duration::from_millis(400);
/// The least time before any other frame is stored, unlabelled, for training.
const KEEP_ANY_EVERY: Duration = Duration::from_secs(5);
/// A frame whose two best probabilities differ by less than this is between two classes.
const NARROW_MARGIN: f32 = 0.3;
/// The longest time that the first answer of a backbone may take: drivers and kernels are loaded.
const FIRST_ANSWER: Duration = Duration::from_secs(120);
/// The time between two checks of whether to stop.
const NAP: Duration = Duration::from_millis(200);

pub(super) struct InferenceWorker {
    embedder: Embedder,
    serving: ServingHead,
    /// Whether the features are of the class that the state holds.
    is_storable: bool,
    shared: Arc<Shared>,
    /// The time at which a frame was last handed on to be stored.
    last_kept: Option<Instant>,
    /// Whether this backbone has answered.
    is_warm: bool,
    /// Errors of the provider or the engine since the last answer.
    failures: usize,
}

impl InferenceWorker {
    pub(super) fn new(
        network: Network,
        serving: ServingHead,
        is_storable: bool,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let embedder = Embedder::new(network, 0)?;
        Ok(Self { embedder, serving, is_storable, shared, last_kept: None, is_warm: false, failures: 0 })
    }

    /// Takes the backbone that was pending, once it is there; it answers from then on.
    fn take_next_backbone(&mut self) {
        let Some(network) = locked(&self.shared.next_backbone).take() else { return };
        let provider = network.backbone().provider().line();
        match Embedder::new(network, 0) {
            Ok(embedder) => {
                self.embedder = embedder;
                self.is_storable = true;
                self.is_warm = false;
                self.shared.set_backbone(BackboneState::Ready, Some(provider));
            }
            Err(error) => self.shared.set_backbone(BackboneState::Failed { reason: error.to_string() }, None),
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.is_stopping() {
            self.take_next_backbone();
            self.beat();
            let Some((frame, arrived)) = self.shared.newest.take(NAP) else { continue };
            let name = frame.name.clone();
            match self.answer(frame, arrived) {
                Ok(answered) => {
                    (self.is_warm, self.failures) = (true, 0);
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
                    self.shared.tell_rejected(name, error.to_string());
                    if !matches!(error, Error::Frame { .. }) {
                        self.shared.count_failure(Worker::Infer, &mut self.failures, &error);
                    }
                }
            }
        }
    }

    fn beat(&self) {
        let liveness = &self.shared.liveness;
        if self.is_warm {
            liveness.beat(Worker::Infer);
        } else {
            liveness.beat_within(Worker::Infer, FIRST_ANSWER);
        }
    }

    fn answer(&mut self, frame: Frame, arrived: Instant) -> Result<Arc<AnsweredFrame>> {
        let embedding = self.embedder.embedding(&frame)?;
        let prediction = match self.serving.now() {
            Some(head) => head.predict(&self.embedder.features_for(&head, &embedding)?)?.pop(),
            None => None,
        };
        let latency = arrived.elapsed();
        let number = locked(&self.shared.meter).answered(latency);
        Ok(Arc::new(AnsweredFrame { number, frame, embedding, prediction, latency }))
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
