//! The answering thread: newest frame, backbone, last published head.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::eye::Eye;
use super::status::BackboneState;
use super::{LiveEvent, Shared, locked};
use crate::Result;
use crate::backbone::Backbone;
use crate::event::Event;
use crate::session::predictor::{Prediction, Predictor};
use crate::vision::Frame;

/// An unknown frame, or one between two classes, is stored for a person to look at, but not more often than this.
const KEEP_EVERY: Duration = Duration::from_millis(400);
/// Any other frame is stored unlabelled at most this often: training uses it.
const KEEP_ANY_EVERY: Duration = Duration::from_secs(5);
/// Below this difference of its two best probabilities a frame is between two classes.
const NARROW_MARGIN: f32 = 0.3;
/// Classes named with each answer.
const NAMED: usize = 3;
/// Between two looks at whether to stop.
const NAP: Duration = Duration::from_millis(200);

/// What the published head says of a frame.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Best class, probability, novelty.
    pub best: Prediction,
    /// The best classes with their probabilities, best first.
    pub ranking: Vec<(String, f32)>,
}

/// A frame that was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its number, from 1.
    pub number: u64,
    /// The frame.
    pub frame: Frame,
    /// Its features, `[D]`.
    pub features: Vec<f32>,
    /// The answer; none before anything was learned.
    pub answer: Option<Answer>,
    /// From arrival to answer.
    pub latency: Duration,
}

pub(super) struct Inference {
    eye: Eye,
    /// Whether features are of the class that the state holds.
    is_storable: bool,
    shared: Arc<Shared>,
    kept: Option<Instant>,
}

impl Inference {
    pub(super) fn new(backbone: Box<dyn Backbone>, is_storable: bool, shared: Arc<Shared>) -> Result<Self> {
        Ok(Self { eye: Eye::new(backbone)?, is_storable, shared, kept: None })
    }

    /// Answers with the backbone that was awaited, once it is there.
    fn take_next_eyes(&mut self) {
        let Some(backbone) = locked(&self.shared.next_eyes).take() else { return };
        let provider = backbone.provider().line();
        match Eye::new(backbone) {
            Ok(eye) => {
                self.eye = eye;
                self.is_storable = true;
                self.shared.set_backbone(BackboneState::Ready, Some(provider));
            }
            Err(error) => self.shared.set_backbone(BackboneState::Failed { reason: error.to_string() }, None),
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.is_stopping() {
            self.take_next_eyes();
            let Some((frame, arrived)) = self.shared.newest.take(NAP) else { continue };
            let name = frame.name.clone();
            match self.answer(frame, arrived) {
                Ok(seen) => {
                    if self.is_storable {
                        if self.is_worth_keeping(&seen) {
                            self.kept = Some(Instant::now());
                            self.shared.keep(seen.clone());
                        }
                        locked(&self.shared.recent).push(seen.clone());
                    }
                    self.shared.tell(LiveEvent::Seen(seen));
                }
                Err(error) => {
                    locked(&self.shared.meter).rejected += 1;
                    let reason = error.to_string();
                    self.shared.tell(LiveEvent::Told(Event::FrameRejected { name, reason }));
                }
            }
        }
    }

    fn answer(&mut self, frame: Frame, arrived: Instant) -> Result<Arc<Seen>> {
        let features = self.eye.embed(&frame)?;
        let predictor = locked(&self.shared.predictor).clone();
        let answer = predictor.map(|predictor| answer(&predictor, &features)).transpose()?.flatten();
        let latency = arrived.elapsed();
        let number = locked(&self.shared.meter).answered(latency);
        Ok(Arc::new(Seen { number, frame, features, answer, latency }))
    }

    fn is_worth_keeping(&self, seen: &Seen) -> bool {
        let since = self.kept.map_or(Duration::MAX, |kept| kept.elapsed());
        let of_interest = seen.answer.as_ref().is_none_or(|answer| {
            let margin = match answer.ranking.as_slice() {
                [(_, first), (_, second), ..] => first - second,
                _ => 1.0,
            };
            answer.best.is_unknown() || margin < NARROW_MARGIN
        });
        since >= if of_interest { KEEP_EVERY } else { KEEP_ANY_EVERY }
    }
}

/// The answer for one row of features.
pub(super) fn answer(predictor: &Predictor, features: &[f32]) -> Result<Option<Answer>> {
    let (mut answers, probabilities) = predictor.answers(features)?;
    let Some(best) = answers.pop() else { return Ok(None) };
    let names = predictor.column_names();
    let mut ranking: Vec<_> = names.iter().map(|name| (*name).to_owned()).zip(probabilities).collect();
    ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranking.truncate(NAMED);
    Ok(Some(Answer { best, ranking }))
}
