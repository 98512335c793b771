//! The learner as its users see it: frames in, names and predictions out.

#[cfg(feature = "tract")]
use std::path::Path;

use super::embedder::{BATCH, Embedder, VIEWS};
use super::feature_learner::{Consolidation, EngineSlot, FeatureLearner};
use super::memory_limit::MemoryLimit;
use super::options::Options;
use super::predictor::Predictor;
use super::published_head::Prediction;
use super::training_control::TrainingControl;
use super::unknowns::Unknowns;
use crate::backbone::{self, Backbone, BackboneOptions};
use crate::event::{Discard, Event, EventSink};
use crate::ids::SampleId;
use crate::memory::{History, LabelId, Memory, Sample, Stored, VersionId};
use crate::vision::{Frame, FrameSource, Split};
use crate::{Error, Result};

/// A camera's learner. It remembers what it is taught, learns it without forgetting, and names what
/// it sees.
///
/// ```
/// use kaizen_edge::{Frame, Learner, Options};
///
/// # let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
/// let mut learner = Learner::open(Options::new().models_dir(models))?;
/// let shade = |shade: u8| Frame::new(32, 32, vec![shade; 32 * 32 * 3], format!("shade {shade}"));
/// learner.teach("dark", (0..60).step_by(10).map(shade))?;
/// learner.teach("bright", (200..250).step_by(10).map(shade))?;
/// learner.learn()?;
/// assert_eq!(learner.predict(shade(35)?)?.nearest, "dark");
/// # Ok::<(), kaizen_edge::Error>(())
/// ```
#[derive(Debug)]
pub struct Learner {
    core: FeatureLearner,
    /// Loaded when a frame first needs it.
    embedder: Option<Embedder>,
    options: Options,
    /// Frames turned into samples so far; their numbers decide how augmented views are drawn.
    frames: u64,
}

/// Which class the frames of a source are taught as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Labelling<'a> {
    /// Every frame as this class.
    As(&'a str),
    /// No frame has a class.
    Unlabelled,
    /// Each frame as the class that the source gives it; frames for testing are left out.
    BySource,
}

/// What became of a frame of a source.
#[derive(Debug)]
pub(crate) enum Taken<'a> {
    /// The frame is stored and durable.
    Stored(&'a Sample, Stored),
    /// The frame is for testing and was not stored.
    ForTesting,
    /// The frame could not be used.
    Unusable(Error),
}

impl Learner {
    /// Opens the state that `options` name, or makes it. The learner answers and continues as the
    /// one that last wrote there. A state that exists is opened without loading its backbone; that
    /// happens when a frame needs it.
    ///
    /// # Errors
    /// [`Error::State`] if another process writes the state, or if it is damaged; [`Error::Model`]
    /// and [`Error::Provider`] if the backbone of a new state cannot be loaded.
    pub fn open(options: Options) -> Result<Self> {
        let existing = options.state.as_deref().filter(|state| state.exists());
        let (memory, embedder) = match existing {
            Some(state) => (Memory::open_existing(state)?, None),
            None => {
                let embedder = options.load(None)?;
                let memory = Memory::open(options.state.as_deref(), &embedder.identity())?;
                (memory, Some(embedder))
            }
        };
        Self::on(memory, embedder, options)
    }

    /// A learner on `memory`, with the backbone that made its features if that is loaded.
    pub(crate) fn on(mut memory: Memory, embedder: Option<Embedder>, options: Options) -> Result<Self> {
        let own = &memory.identity().backbone_name;
        if let Some(asked) =
            options.backbone.model.as_ref().filter(|asked| *asked != own && embedder.is_none())
        {
            return Err(Error::config("model", asked, format!("{own}, with which the state was made")));
        }
        if let Some(bytes) = options.quota_bytes {
            memory.set_quota_bytes(bytes)?;
        }
        let (mut settings, mut engine) = (options.settings.clone(), EngineSlot::from(options.engine));
        if let Some(megabytes) = options.memory_limit_megabytes {
            // What the driver takes counts as taken already.
            engine.get()?;
            settings.memory_limit = Some(MemoryLimit::now(megabytes, options.frame_bytes)?);
        }
        let core = FeatureLearner::new(settings, memory, engine)?;
        Ok(Self { core, embedder, options, frames: 0 })
    }

    /// Teaches frames of a class: each is durable when this returns. [`Learner::learn`] then learns
    /// them.
    ///
    /// A frame is a [`Frame`], a path, or whatever else converts into one; [`crate::frames`] reads
    /// them from a folder, a recording or a camera.
    ///
    /// # Errors
    /// [`Error::Frame`] for a frame that cannot be used (those before it are taught),
    /// [`Error::State`] if the state is full, and others from the backbone.
    pub fn teach<F>(&mut self, name: &str, frames: impl IntoIterator<Item = F>) -> Result<Vec<LabelId>>
    where
        F: TryInto<Frame>,
        Error: From<F::Error>,
    {
        Ok(self.add(Some(name), frames)?.into_iter().filter_map(|stored| stored.label).collect())
    }

    /// Remembers frames without a name: they refine what is learned, and those that are like
    /// nothing learned come up in [`Learner::unknowns`]. Returns how many were new.
    ///
    /// # Errors
    /// As [`Learner::teach`].
    pub fn observe<F>(&mut self, frames: impl IntoIterator<Item = F>) -> Result<usize>
    where
        F: TryInto<Frame>,
        Error: From<F::Error>,
    {
        Ok(self.add(None, frames)?.iter().filter(|stored| !stored.duplicate).count())
    }

    /// Learns the samples and labels that are new since the last call, and publishes the result,
    /// unless the classes learned before would suffer.
    ///
    /// # Errors
    /// [`Error::NotReady`] before a class was taught, [`Error::State`] from the state,
    /// [`Error::Device`] if the engine that was asked for cannot run.
    pub fn learn(&mut self) -> Result<Consolidation> {
        self.consolidate(&mut TrainingControl::new(&mut Discard))
    }

    /// As [`Learner::learn`], and tells `progress` what happens.
    ///
    /// # Errors
    /// As [`Learner::learn`].
    pub fn learn_with(&mut self, mut progress: impl FnMut(&Event)) -> Result<Consolidation> {
        self.consolidate(&mut TrainingControl::new(&mut progress))
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
        let serving = self.core.serving().clone();
        super::predictor::predict(self.embedder()?, &serving, &frame.try_into()?)
    }

    /// A predictor for another thread. It uses what this learner publishes, as soon as it is
    /// published.
    ///
    /// # Errors
    /// Whatever loading another backbone reports.
    pub fn predictor(&mut self) -> Result<Predictor> {
        let asked = self.options.backbone_for(Some(self.core.memory()));
        let backbone = second_backbone(self.embedder()?.backbone(), &asked)?;
        Ok(Predictor::new(self.options.embedder(backbone)?, self.core.serving().clone()))
    }

    /// Remembered frames that are like nothing learned, in clusters of those that are alike.
    ///
    /// # Errors
    /// [`Error::State`] if the state cannot be read.
    pub fn unknowns(&self) -> Result<Unknowns> {
        self.core.unknowns()
    }

    /// Teaches every frame of a cluster of [`Learner::unknowns`] as a class.
    ///
    /// # Errors
    /// [`Error::NotFound`] if no cluster has the sample `cluster`, [`Error::NotReady`] before
    /// anything was learned.
    pub fn name(&mut self, cluster: SampleId, name: &str) -> Result<Vec<LabelId>> {
        let mut labels = Vec::new();
        self.core
            .name_cluster(cluster, name, |named| labels.extend(named.iter().map(|(_, label)| *label)))?;
        Ok(labels)
    }

    /// Takes one label back. What was learned from it is learned anew without it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is no label that counts, [`Error::State`] from the state.
    pub fn undo(&mut self, label: LabelId) -> Result<()> {
        self.core.undo(label, &mut TrainingControl::new(&mut Discard)).map(drop)
    }

    /// Erases a class and everything learned from it. Returns the number of frames erased.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such class, [`Error::State`] from the state.
    pub fn forget(&mut self, name: &str) -> Result<usize> {
        Ok(self.core.forget(name, &mut TrainingControl::new(&mut Discard))?.0)
    }

    /// Takes a published version back; the newest one left answers from now on. Returns its id, if
    /// there is one.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is no published version.
    pub fn roll_back(&mut self, version: VersionId) -> Result<Option<VersionId>> {
        self.core.roll_back(version)
    }

    /// The label log and the versions of the heads, with the accuracy of each class before and
    /// after.
    ///
    /// # Errors
    /// [`Error::State`] if the state cannot be read.
    pub fn history(&self) -> Result<History> {
        self.core.memory().history()
    }

    /// Writes backbone and published head as one ONNX file, after comparing it with the live model.
    ///
    /// # Errors
    /// [`Error::NotReady`] before anything was learned, [`Error::Refused`] if the file would answer
    /// differently, [`Error::Io`] if it cannot be written.
    #[cfg(feature = "tract")]
    pub fn export(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let head = self.core.serving().now().ok_or_else(super::predictor::nothing_learned)?;
        let library = self.options.library().map(Path::to_path_buf);
        self.embedder()?;
        let Some(embedder) = &mut self.embedder else { return Err(super::predictor::nothing_learned()) };
        let exported =
            super::export::export(self.core.memory(), &head, embedder.backbone_mut(), library.as_deref())?;
        crate::file::write_atomic(path, &exported.file)
    }

    /// As [`Learner::learn`], under `control`.
    pub(crate) fn consolidate(&mut self, control: &mut TrainingControl<'_>) -> Result<Consolidation> {
        self.core.consolidate(control)
    }

    /// The learner on features.
    pub(crate) fn core(&self) -> &FeatureLearner {
        &self.core
    }

    pub(crate) fn core_mut(&mut self) -> &mut FeatureLearner {
        &mut self.core
    }

    /// The embedder; its backbone is loaded if that did not happen yet.
    pub(crate) fn embedder(&mut self) -> Result<&mut Embedder> {
        if self.embedder.is_none() {
            let embedder = self.options.load(Some(self.core.memory()))?;
            self.core.memory().require(&embedder.identity())?;
            self.embedder = Some(embedder);
        }
        self.embedder.as_mut().ok_or_else(super::predictor::nothing_learned)
    }

    /// Uses `backbone` from now on.
    #[cfg(feature = "serve")]
    pub(crate) fn set_backbone(&mut self, backbone: Box<dyn Backbone>) -> Result<()> {
        let embedder = self.options.embedder(backbone)?;
        self.core.memory().require(&embedder.identity())?;
        self.embedder = Some(embedder);
        Ok(())
    }

    /// The sample of a frame whose features `[D]` are known.
    #[cfg(feature = "serve")]
    pub(crate) fn sample_of(
        &mut self,
        frame: &Frame,
        features: Vec<f32>,
        label: Option<&str>,
    ) -> Result<Sample> {
        self.frames += 1;
        let number = self.frames;
        let sample = self.embedder()?.sample_of(frame, features, number)?;
        Ok(Sample { label: label.map(str::to_owned), ..sample })
    }

    /// Remembers every frame of a source, each durably before `each` is told of it.
    pub(crate) fn add_source<E: From<Error>>(
        &mut self,
        source: Box<dyn FrameSource>,
        labelling: Labelling<'_>,
        mut each: impl FnMut(Taken<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.embedder()?;
        let Self { core, embedder: Some(embedder), .. } = self else { return Ok(()) };
        embedder.embed_source(source, VIEWS, |embedded| {
            let mut embedded = match embedded {
                Ok(embedded) => embedded,
                Err(error @ Error::Frame { .. }) => return each(Taken::Unusable(error)),
                Err(error) => return Err(error.into()),
            };
            match labelling {
                Labelling::As(name) => embedded.sample.label = Some(name.to_owned()),
                Labelling::Unlabelled => embedded.sample.label = None,
                Labelling::BySource if embedded.split == Split::Test => return each(Taken::ForTesting),
                Labelling::BySource => {}
            }
            let stored = core.memory_mut().add_sample(&embedded.sample)?;
            each(Taken::Stored(&embedded.sample, stored))
        })
    }

    fn add<F>(&mut self, label: Option<&str>, frames: impl IntoIterator<Item = F>) -> Result<Vec<Stored>>
    where
        F: TryInto<Frame>,
        Error: From<F::Error>,
    {
        let (mut stored, mut frames) = (Vec::new(), frames.into_iter());
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            let mut failed = None;
            for frame in frames.by_ref().take(BATCH) {
                match frame.try_into() {
                    Ok(frame) => {
                        batch.push(Frame { label: label.map(str::to_owned), split: Split::Train, ..frame });
                    }
                    Err(error) => {
                        failed = Some(Error::from(error));
                        break;
                    }
                }
            }
            let (first, is_last) = (self.frames + 1, batch.len() < BATCH);
            self.frames += batch.len() as u64;
            let samples = self.embedder()?.samples(batch, first)?;
            stored.extend(self.core.add(&samples)?);
            if let Some(error) = failed {
                return Err(error);
            }
            if is_last {
                return Ok(stored);
            }
        }
    }
}

impl<F: FnMut(&Event)> EventSink for F {
    fn emit(&mut self, event: &Event) {
        self(event);
    }
}

/// Another backbone like `own`, on one thread.
pub(crate) fn second_backbone(own: &dyn Backbone, options: &BackboneOptions) -> Result<Box<dyn Backbone>> {
    match own.share(1)? {
        Some(shared) => Ok(shared),
        None => {
            let provider = own.provider().got;
            backbone::load(&BackboneOptions { provider, threads: 1, ..options.clone() })
        }
    }
}
