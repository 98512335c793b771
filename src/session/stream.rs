//! A whole stream from first frame to accuracy matrix: learned as it comes, tested on frames set apart, beside the
//! baselines on the same frames.
//!
//! Tasks: a consolidation happens when at least `task_min_frames` labelled frames have come since the last one and a
//! name arrives that was never taught, or a frame for testing; and once more at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::baseline::LinearProbe;
use super::frames::{Embedded, FrameReader};
use super::learner::{Learner, Observation};
use super::predictor::{Inputs, Predictor};
use super::settings::LearnerSettings;
use crate::backbone::Backbone;
use crate::event::{Event, EventSink};
use crate::ids::ClassId;
use crate::learn::closed_form::{Assignment, LdaSettings, LinearHead, StreamingLda};
use crate::learn::metrics::AccuracyMatrix;
use crate::learn::trainer::Samples;
use crate::vision::{FrameSource, Split};
use crate::{Error, Result};

/// Settings of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSettings {
    /// The learner's.
    pub learner: LearnerSettings,
    /// Augmented views of each training frame. Default 2.
    pub views: usize,
    /// Labelled frames after which a new name starts a new task. Default 10.
    pub task_min_frames: usize,
    /// Frames embedded together. Default 8.
    pub batch: usize,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self { learner: LearnerSettings::default(), views: 2, task_min_frames: 10, batch: 8 }
    }
}

/// Accuracy of one method over the tasks, 0..1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MethodOutcome {
    /// Row t: after task t; column k: test frames of the classes of task k.
    pub accuracy_matrix: Vec<Vec<f64>>,
    /// Mean of the last row.
    #[serde(rename = "final")]
    pub final_accuracy: f64,
    /// Mean over tasks of the mean over tasks seen so far.
    pub continual: f64,
    /// Mean fall from each earlier task's best to its last accuracy.
    pub forgetting: f64,
}

/// What a stream gave.
#[derive(Clone, Debug, Serialize)]
pub struct StreamOutcome {
    /// Frames used.
    pub frames: usize,
    /// Frames that could not be used.
    pub rejected: usize,
    /// Frames per second, learning not counted.
    pub frames_per_sec: f64,
    /// Class names of each task.
    pub tasks: Vec<Vec<String>>,
    /// Test frames behind the matrices.
    pub test_frames: usize,
    /// The learner (`kaizen`) and the baselines (`naive`, `slda`, `joint`) by name.
    pub methods: BTreeMap<String, MethodOutcome>,
    /// Head published after each task.
    pub heads: Vec<&'static str>,
}

struct Stream<'a> {
    settings: &'a StreamSettings,
    learner: Learner,
    inputs: Inputs,
    events: &'a mut dyn EventSink,
    /// Names in the order in which they were taught, with the task that brought them.
    classes: Vec<(String, usize)>,
    since_boundary: usize,
    pending: Vec<(Vec<f32>, usize)>,
    everything: Samples,
    tests: Vec<(Vec<f32>, String)>,
    naive: Option<LinearProbe>,
    lda: StreamingLda,
    snapshots: Vec<Snapshot>,
    seen: usize,
    rejected: usize,
    embed_secs: f64,
}

/// Heads as they were after a task.
struct Snapshot {
    kaizen: Option<Arc<Predictor>>,
    naive: LinearProbe,
    lda: LinearHead,
}

/// Runs `source` through backbone and learner to its end.
///
/// # Errors
/// Whatever ends the source, the backbone, the memory or the engine; single bad frames are events.
pub fn run_stream(
    source: Box<dyn FrameSource>,
    backbone: &mut dyn Backbone,
    learner: Learner,
    settings: &StreamSettings,
    events: &mut dyn EventSink,
) -> Result<StreamOutcome> {
    if settings.batch == 0 {
        return Err(Error::config("batch", 0, "at least 1 frame"));
    }
    let spec = backbone.spec().clone();
    let inputs = Inputs(settings.learner.map(spec.feature_width)?);
    let mut reader = FrameReader::start(source, &spec, settings.views, settings.learner.seed)?;
    let mut stream = Stream {
        settings,
        learner,
        lda: StreamingLda::new(inputs.0.clone()),
        inputs,
        events,
        classes: Vec::new(),
        since_boundary: 0,
        pending: Vec::new(),
        everything: Samples::default(),
        tests: Vec::new(),
        naive: None,
        snapshots: Vec::new(),
        seen: 0,
        rejected: 0,
        embed_secs: 0.0,
    };
    loop {
        let start = Instant::now();
        let batch = reader.next_batch(backbone, settings.batch)?;
        stream.embed_secs += start.elapsed().as_secs_f64();
        if batch.is_empty() {
            break;
        }
        for frame in batch {
            stream.frame(frame)?;
        }
    }
    if stream.since_boundary > 0 {
        stream.boundary()?;
    }
    stream.finish()
}

impl Stream<'_> {
    fn frame(&mut self, frame: Result<Embedded>) -> Result<()> {
        let frame = match frame {
            Ok(frame) => frame,
            Err(Error::Frame { name, reason }) => {
                self.rejected += 1;
                self.events.emit(&Event::FrameRejected { name, reason });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.seen += 1;
        self.show(&frame)?;
        if frame.frame.split == Split::Test {
            if self.since_boundary >= self.settings.task_min_frames {
                self.boundary()?;
            }
            if let Some(label) = frame.frame.label {
                self.tests.push((frame.features, label));
            }
            return Ok(());
        }
        if let Some(label) = &frame.frame.label {
            let is_new = !self.classes.iter().any(|(name, _)| name == label);
            if is_new && self.since_boundary >= self.settings.task_min_frames {
                self.boundary()?;
            }
            if is_new {
                self.classes.push((label.clone(), self.snapshots.len()));
            }
            self.since_boundary += 1;
            let column = self.classes.iter().position(|(name, _)| name == label).unwrap_or(0);
            self.pending.push((frame.features.clone(), column));
        }
        let Embedded { frame, features, views } = frame;
        let timestamp_millis = i64::try_from(frame.timestamp_millis).unwrap_or(i64::MAX);
        let (thumbnail, name, label) = (frame.thumbnail, frame.name, frame.label);
        self.learner.observe(&Observation { features, views, thumbnail, name, timestamp_millis, label })?;
        Ok(())
    }

    fn show(&mut self, frame: &Embedded) -> Result<()> {
        let answer = match self.learner.predictor_now() {
            Some(predictor) => predictor.predict(&frame.features)?.pop(),
            None => None,
        };
        #[allow(clippy::cast_precision_loss, reason = "a count of frames")]
        let frames_per_sec = self.seen as f64 / self.embed_secs.max(1e-9);
        self.events.emit(&Event::Frame {
            number: self.seen,
            name: frame.frame.name.clone(),
            class: answer.as_ref().filter(|a| !a.is_unknown()).map(|a| a.name.clone()),
            probability: answer.as_ref().map_or(0.0, |a| a.probability),
            novelty: answer.as_ref().map_or(f32::INFINITY, |a| a.novelty),
            label: frame.frame.label.clone(),
            frames_per_sec,
        });
        Ok(())
    }

    /// The end of a task: consolidation, and the baselines on the same frames.
    fn boundary(&mut self) -> Result<()> {
        self.since_boundary = 0;
        self.learner.consolidate(self.events)?;
        let mut samples = Samples::default();
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for (features, column) in std::mem::take(&mut self.pending) {
            let label = i32::try_from(column).unwrap_or(-1);
            let mapped = self.inputs.apply(&features)?;
            samples.push(&[&mapped], label);
            self.everything.push(&[&mapped], label);
            rows.extend(features);
            columns.push(ClassId(u32::try_from(column).unwrap_or(u32::MAX)));
        }
        self.lda.add(&rows, Assignment::Labels(&columns))?;
        let (width, classes) = (self.inputs.0.features(), self.classes.len());
        let learner = &self.settings.learner;
        let fresh = || LinearProbe::new(learner, width, classes, 2 * learner.recipe.steps);
        let mut naive = self.naive.take().unwrap_or_else(fresh);
        naive.train(self.learner.engine(), samples, classes)?;
        self.naive = Some(naive.clone());
        let kaizen = self.learner.predictor_now();
        let lda = self.lda.fit(LdaSettings::default())?.head;
        self.snapshots.push(Snapshot { kaizen, naive, lda });
        Ok(())
    }

    fn finish(mut self) -> Result<StreamOutcome> {
        let tasks = self.snapshots.len();
        let mut names = vec![Vec::new(); tasks];
        for (name, task) in &self.classes {
            names[*task].push(name.clone());
        }
        let mut methods = BTreeMap::new();
        let truth: Vec<_> = (self.tests.iter())
            .map(|(_, label)| self.classes.iter().position(|(name, _)| name == label))
            .collect();
        if tasks > 0 {
            let heads: Vec<(&str, Vec<Vec<Option<usize>>>)> = vec![
                ("kaizen", self.each(Self::kaizen)?),
                ("naive", self.each(Self::naive)?),
                ("slda", self.each(Self::slda)?),
            ];
            for (name, predictions) in heads {
                methods.insert(name.to_owned(), self.outcome(&predictions, &truth)?);
            }
            let joint = self.joint()?;
            methods.insert("joint".to_owned(), self.outcome(&vec![joint; tasks], &truth)?);
        }
        #[allow(clippy::cast_precision_loss, reason = "a count of frames")]
        let frames_per_sec = self.seen as f64 / self.embed_secs.max(1e-9);
        let kinds = self.snapshots.iter().map(|s| s.kaizen.as_ref().map_or("none", |p| p.kind().name()));
        Ok(StreamOutcome {
            frames: self.seen,
            rejected: self.rejected,
            frames_per_sec,
            tasks: names,
            test_frames: truth.iter().flatten().count(),
            methods,
            heads: kinds.collect(),
        })
    }

    /// Columns named for every test frame after each task.
    fn each(
        &self,
        answer: impl Fn(&Self, &Snapshot, &[f32]) -> Result<Vec<Option<usize>>>,
    ) -> Result<Vec<Vec<Option<usize>>>> {
        let rows: Vec<f32> = self.tests.iter().flat_map(|(features, _)| features.iter().copied()).collect();
        self.snapshots.iter().map(|snapshot| answer(self, snapshot, &rows)).collect()
    }

    fn kaizen(&self, snapshot: &Snapshot, rows: &[f32]) -> Result<Vec<Option<usize>>> {
        let Some(predictor) = &snapshot.kaizen else {
            return Ok(vec![None; self.tests.len()]);
        };
        let column = |name: &str| self.classes.iter().position(|(known, _)| known == name);
        Ok(predictor.predict(rows)?.iter().map(|answer| column(&answer.name)).collect())
    }

    fn naive(&self, snapshot: &Snapshot, rows: &[f32]) -> Result<Vec<Option<usize>>> {
        Ok(snapshot.naive.predict(&self.inputs.apply(rows)?)?.into_iter().map(Some).collect())
    }

    fn slda(&self, snapshot: &Snapshot, rows: &[f32]) -> Result<Vec<Option<usize>>> {
        let _ = self;
        Ok(snapshot.lda.predict(rows)?.into_iter().map(|class| Some(class.0 as usize)).collect())
    }

    /// A linear head on all labelled frames at once: what remembering everything would give.
    fn joint(&mut self) -> Result<Vec<Option<usize>>> {
        let (width, classes) = (self.inputs.0.features(), self.classes.len());
        let steps = self.settings.learner.recipe.steps * 2 * self.snapshots.len().max(1);
        let mut probe = LinearProbe::new(&self.settings.learner, width, classes, steps);
        probe.train(self.learner.engine(), self.everything.clone(), classes)?;
        let rows: Vec<f32> = self.tests.iter().flat_map(|(features, _)| features.iter().copied()).collect();
        Ok(probe.predict(&self.inputs.apply(&rows)?)?.into_iter().map(Some).collect())
    }

    fn outcome(&self, predictions: &[Vec<Option<usize>>], truth: &[Option<usize>]) -> Result<MethodOutcome> {
        let tasks = self.snapshots.len();
        let mut matrix = AccuracyMatrix::new(tasks)?;
        for (after, named) in predictions.iter().enumerate() {
            let mut counts = vec![(0_u32, 0_u32); tasks];
            for (named, truth) in named.iter().zip(truth) {
                let Some(truth) = truth else { continue };
                let (right, all) = &mut counts[self.classes[*truth].1];
                *all += 1;
                *right += u32::from(*named == Some(*truth));
            }
            for (on, (right, all)) in counts.into_iter().enumerate() {
                if all > 0 {
                    matrix.set(after, on, f64::from(right) / f64::from(all))?;
                }
            }
        }
        Ok(MethodOutcome {
            accuracy_matrix: matrix.rows().map(<[f64]>::to_vec).collect(),
            final_accuracy: matrix.final_accuracy(),
            continual: matrix.continual_accuracy(),
            forgetting: matrix.forgetting(),
        })
    }
}
