//! A whole stream from the first frame to the accuracy matrix: learned as it comes, tested on
//! frames set apart, beside the baselines on the same frames.
//!
//! A task ends, and a consolidation happens, when at least `task_min_frames` labelled frames have
//! come since the last one and a name arrives that was never taught, or a frame for testing; and
//! once more at the end.

mod linear_probe;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use kaizen_edge::low_level::event::EventSink;
use kaizen_edge::low_level::learn::closed_form::{LdaSettings, LinearHead, Responsibilities, StreamingLda};
use kaizen_edge::low_level::learn::trainer::Samples;
use kaizen_edge::low_level::number::real;
use kaizen_edge::low_level::session::{
    Embedded, Embedder, FeatureLearner, Inputs, LearnerSettings, PublishedHead, TrainingControl,
};
use kaizen_edge::low_level::vision::FrameSource;
use kaizen_edge::{ClassId, Error, Event, Result, Split};
use serde::Serialize;

use crate::metrics::AccuracyMatrix;
use linear_probe::LinearProbe;

/// Settings of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSettings {
    /// Settings of the learner.
    pub learner: LearnerSettings,
    /// Augmented views of each training frame. Default 2.
    pub views: usize,
    /// Labelled frames after which a new name starts a new task. Default 10.
    pub task_min_frames: usize,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self { learner: LearnerSettings::default(), views: 2, task_min_frames: 10 }
    }
}

/// The accuracies of one method over the tasks, 0..=1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MethodOutcome {
    /// Row t holds the accuracies after task t, column k those on test frames of the classes of
    /// task k.
    pub accuracy_matrix: Vec<Vec<f64>>,
    /// Mean of the last row.
    #[serde(rename = "final")]
    pub final_accuracy: f64,
    /// Mean over the stages of the mean over the tasks so far.
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

/// A stream that is being played.
struct Stream<'a> {
    settings: &'a StreamSettings,
    learner: FeatureLearner,
    inputs: Inputs,
    events: &'a mut dyn EventSink,
    /// Class names in the order in which they were taught, each with the task that brought it.
    classes: Vec<(String, usize)>,
    since_boundary: usize,
    pending: Vec<(Vec<f32>, usize)>,
    everything: Samples,
    tests: Vec<(Embedded, String)>,
    naive: Option<LinearProbe>,
    lda: StreamingLda,
    snapshots: Vec<Snapshot>,
    seen: usize,
    rejected: usize,
    embed_secs: f64,
}

/// The heads as they were after one task.
struct Snapshot {
    kaizen: Option<Arc<PublishedHead>>,
    naive: LinearProbe,
    lda: LinearHead,
}

/// Runs `source` through backbone and learner to its end.
///
/// # Errors
/// Whatever ends the source, the backbone, the memory or the engine; single bad frames are events.
pub fn run_stream(
    source: Box<dyn FrameSource>,
    embedder: &mut Embedder,
    learner: FeatureLearner,
    settings: &StreamSettings,
    events: &mut dyn EventSink,
) -> Result<StreamOutcome> {
    let inputs = Inputs::of(&settings.learner, embedder.identity().feature_width)?;
    let mut stream = Stream {
        settings,
        learner,
        lda: StreamingLda::new(inputs.map().clone()),
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
    let mut since = Instant::now();
    embedder.embed_source(source, settings.views, |frame| {
        stream.embed_secs += since.elapsed().as_secs_f64();
        stream.frame(frame)?;
        since = Instant::now();
        Ok::<(), Error>(())
    })?;
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
        if frame.split == Split::Test {
            if self.since_boundary >= self.settings.task_min_frames {
                self.boundary()?;
            }
            if let Some(label) = frame.sample.label.clone() {
                self.tests.push((frame, label));
            }
            return Ok(());
        }
        if let Some(label) = &frame.sample.label {
            let is_new = self.column(label).is_none();
            if is_new && self.since_boundary >= self.settings.task_min_frames {
                self.boundary()?;
            }
            if is_new {
                self.classes.push((label.clone(), self.snapshots.len()));
            }
            self.since_boundary += 1;
            let column = self.column(label).unwrap_or(0);
            self.pending.push((frame.sample.features.clone(), column));
        }
        self.learner.add(&[frame.sample])?;
        Ok(())
    }

    fn show(&mut self, frame: &Embedded) -> Result<()> {
        let prediction = match self.learner.serving().now() {
            Some(head) => head.predict(&frame.features_for(&head)?)?.pop(),
            None => None,
        };
        self.events.emit(&Event::Frame {
            number: self.seen,
            name: frame.sample.name.clone(),
            class: prediction.as_ref().and_then(|prediction| prediction.class().map(str::to_owned)),
            probability: prediction.as_ref().map_or(0.0, |prediction| prediction.probability),
            novelty: prediction.as_ref().map_or(f32::INFINITY, |prediction| prediction.novelty),
            label: frame.sample.label.clone(),
            frames_per_sec: self.frames_per_sec(),
        });
        Ok(())
    }

    fn frames_per_sec(&self) -> f64 {
        real(self.seen) / self.embed_secs.max(1e-9)
    }

    /// The end of a task: consolidation, and the baselines on the same frames.
    fn boundary(&mut self) -> Result<()> {
        self.since_boundary = 0;
        self.learner.consolidate(&mut TrainingControl::new(self.events))?;
        let mut samples = Samples::default();
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for (features, column) in std::mem::take(&mut self.pending) {
            let label = i32::try_from(column).unwrap_or(-1);
            let mapped = self.inputs.apply(&features)?;
            samples.push(&[&mapped], label)?;
            self.everything.push(&[&mapped], label)?;
            rows.extend(features);
            columns.push(ClassId(u32::try_from(column).unwrap_or(u32::MAX)));
        }
        self.lda.add(&rows, Responsibilities::Labels(&columns))?;
        let (width, classes) = (self.inputs.map().features(), self.classes.len());
        let learner = &self.settings.learner;
        let fresh = || LinearProbe::new(learner, width, classes, 2 * learner.recipe.steps);
        let mut naive = self.naive.take().unwrap_or_else(fresh);
        naive.train(self.learner.engine().get()?, samples, classes)?;
        self.naive = Some(naive.clone());
        let kaizen = self.learner.serving().now();
        let lda = self.lda.fit(LdaSettings::default())?.head;
        self.snapshots.push(Snapshot { kaizen, naive, lda });
        Ok(())
    }

    fn finish(mut self) -> Result<StreamOutcome> {
        let mut tasks = vec![Vec::new(); self.snapshots.len()];
        for (name, task) in &self.classes {
            tasks[*task].push(name.clone());
        }
        let methods = if tasks.is_empty() { BTreeMap::new() } else { self.methods()? };
        let kinds = self.snapshots.iter().map(|s| s.kaizen.as_ref().map_or("none", |p| p.kind().name()));
        Ok(StreamOutcome {
            frames: self.seen,
            rejected: self.rejected,
            frames_per_sec: self.frames_per_sec(),
            test_frames: self.tests.iter().filter(|(_, label)| self.column(label).is_some()).count(),
            heads: kinds.collect(),
            tasks,
            methods,
        })
    }

    /// The column of a class in every head; `None` for a name that was never taught.
    fn column(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|(known, _)| known == name)
    }

    /// The accuracies of the learner and of the baselines.
    fn methods(&mut self) -> Result<BTreeMap<String, MethodOutcome>> {
        let rows: Vec<f32> = self.tests.iter().flat_map(|(frame, _)| frame.sample.features.clone()).collect();
        let inputs = self.inputs.apply(&rows)?;
        let [mut kaizen, mut naive, mut slda] = [const { Vec::new() }; 3];
        for snapshot in &self.snapshots {
            kaizen.push(match &snapshot.kaizen {
                Some(head) => {
                    let rows = self.tests.iter().map(|(frame, _)| frame.features_for(head));
                    let answers = head.predict(&rows.collect::<Result<Vec<_>>>()?.concat())?;
                    answers.iter().map(|answer| self.column(&answer.nearest)).collect()
                }
                None => vec![None; self.tests.len()],
            });
            naive.push(snapshot.naive.predict(&inputs)?);
            slda.push(snapshot.lda.predict(&rows)?.into_iter().map(|class| Some(class.0 as usize)).collect());
        }
        let joint = vec![self.joint()?.predict(&inputs)?; self.snapshots.len()];
        let named = [("kaizen", kaizen), ("naive", naive), ("slda", slda), ("joint", joint)];
        Ok(named.into_iter().map(|(name, named)| (name.to_owned(), self.outcome(&named))).collect())
    }

    /// A linear head on all labelled frames at once: what remembering everything would give.
    fn joint(&mut self) -> Result<LinearProbe> {
        let (width, classes) = (self.inputs.map().features(), self.classes.len());
        let steps = self.settings.learner.recipe.steps * 2 * self.snapshots.len();
        let mut probe = LinearProbe::new(&self.settings.learner, width, classes, steps);
        probe.train(self.learner.engine().get()?, self.everything.clone(), classes)?;
        Ok(probe)
    }

    /// The accuracies of a method that after each task named the test frames by these columns.
    fn outcome(&self, named: &[Vec<Option<usize>>]) -> MethodOutcome {
        let mut matrix = AccuracyMatrix::new(named.len());
        for (after, named) in named.iter().enumerate() {
            let mut counts = vec![(0, 0); self.snapshots.len()];
            for (named, (_, label)) in named.iter().zip(&self.tests) {
                let Some(truth) = self.column(label) else { continue };
                let (right, of) = &mut counts[self.classes[truth].1];
                *right += usize::from(*named == Some(truth));
                *of += 1;
            }
            for (on, (right, of)) in counts.into_iter().enumerate() {
                matrix.set(after, on, right, of);
            }
        }
        MethodOutcome {
            accuracy_matrix: matrix.rows().to_vec(),
            final_accuracy: matrix.final_accuracy(),
            continual: matrix.continual_accuracy(),
            forgetting: matrix.forgetting(),
        }
    }
}
