//! The learner as its users see it: frames in, names and predictions out.

mod latents;
mod removals;
mod teaching;

#[cfg(feature = "tract")]
use std::path::Path;

pub(crate) use teaching::{Labelling, Taken};

use super::embedder::Embedder;
use super::feature_learner::{Consolidation, EngineSlot, FeatureLearner};
use super::memory_limit::MemoryLimit;
#[cfg(feature = "serve")]
use super::network::Network;
use super::options::Options;
use super::predictor::Predictor;
use super::published_head::Prediction;
use super::training_control::TrainingControl;
use super::unknowns::Unknowns;
use crate::backbone;
use crate::event::{Discard, Event};
use crate::ids::SampleId;
use crate::memory::{History, LabelId, Memory, VersionId};
use crate::vision::Frame;
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
    /// Why the tail cannot be trained, if it is not to be had.
    tail_missing: Option<String>,
}

impl Learner {
    /// Opens the state that `options` name, or makes it. The learner answers and continues as the
    /// one that last wrote there. A state that exists is opened without loading its backbone; that
    /// happens when a frame needs it. An undo or a forgetting that was cut short is finished first.
    ///
    /// # Errors
    /// [`Error::State`] if another process writes the state, [`Error::Corrupt`] if it is damaged,
    /// [`Error::Model`] and [`Error::Provider`] if the backbone of a new state cannot be loaded.
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
        let own = memory.identity();
        if let Some(asked) = options.backbone.model.as_deref()
            && embedder.is_none()
            && asked != own.backbone_name
        {
            // A path names the state's own backbone if its bytes are the same.
            let resolved = backbone::resolve(Some(asked), options.backbone.models_dir.as_deref());
            if resolved.is_ok_and(|spec| spec.sha256 != own.backbone_sha256) {
                let allowed = format!("{}, with which the state was made", own.backbone_name);
                return Err(Error::config("model", asked, allowed));
            }
        }
        if let Some(bytes) = options.quota_bytes {
            memory.set_quota_bytes(bytes)?;
        }
        let (settings, engine) = (options.settings.clone(), EngineSlot::from(options.engine));
        let core = FeatureLearner::unrestored(settings, memory, engine)?;
        let mut learner = Self { core, embedder, options, frames: 0, tail_missing: None };
        learner.finish_removals()?;
        Ok(learner)
    }

    /// The learner on features with what was learned, which is read when something first needs it:
    /// teaching does not.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::State`] if it cannot be read, [`Error::Refused`] if a memory
    /// limit cannot be kept.
    pub(crate) fn restored(&mut self) -> Result<&mut FeatureLearner> {
        if !self.core.is_restored() {
            self.read_tail()?;
            self.limit_memory()?;
            self.core.restore()?;
        }
        Ok(&mut self.core)
    }

    /// Sets what learning may take of the memory, by what the process has taken now.
    fn limit_memory(&mut self) -> Result<()> {
        if let Some(megabytes) = self.options.memory_limit_megabytes {
            // What the driver takes counts as taken already.
            self.core.engine().get()?;
            self.core.limit_memory(MemoryLimit::now(megabytes, self.options.frame_bytes)?);
        }
        Ok(())
    }

    /// Teaches frames of a class: each is durable when this returns. [`Learner::learn`] then learns
    /// them.
    ///
    /// A frame is a [`Frame`], a path, or whatever else converts into one; [`crate::frames`] reads
    /// them from a folder, a recording or a camera.
    ///
    /// # Errors
    /// [`Error::Frame`] or [`Error::Shape`] for a frame that cannot be used (those before it are
    /// taught), [`Error::Full`] if the state is full, and others from the backbone.
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
    /// [`Error::NotReady`] before a class was taught, [`Error::Corrupt`] and [`Error::Full`] from
    /// the state, [`Error::Device`] if the engine that was asked for cannot run.
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
        let serving = self.restored()?.serving().clone();
        super::predictor::predict(self.embedder()?, &serving, &frame.try_into()?)
    }

    /// A predictor for another thread. It uses what this learner publishes, as soon as it is
    /// published.
    ///
    /// ```
    /// # use kaizen_edge::{Frame, Learner, Options};
    /// # let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
    /// # let mut learner = Learner::open(Options::new().models_dir(models).steps(0))?;
    /// # let shade = |shade: u8| Frame::new(32, 32, vec![shade; 32 * 32 * 3], format!("shade {shade}"));
    /// learner.teach("dark", (0..60).step_by(10).map(shade))?;
    /// learner.teach("bright", (200..250).step_by(10).map(shade))?;
    /// let mut predictor = learner.predictor()?;
    /// learner.learn()?;
    /// let other = std::thread::spawn(move || predictor.predict(shade(35)?));
    /// assert_eq!(other.join().unwrap()?.nearest, "dark");
    /// # Ok::<(), kaizen_edge::Error>(())
    /// ```
    ///
    /// # Errors
    /// Whatever loading another backbone reports.
    pub fn predictor(&mut self) -> Result<Predictor> {
        let serving = self.restored()?.serving().clone();
        let asked = self.options.backbone_for(Some(self.core.memory()));
        let network = self.embedder()?.network().second(&asked)?;
        Ok(Predictor::new(self.options.embedder(network)?, serving))
    }

    /// Remembered frames that are like nothing learned, in clusters of those that are alike.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the state cannot be read.
    pub fn unknowns(&mut self) -> Result<Unknowns> {
        self.restored()?.unknowns()
    }

    /// Teaches every frame of a cluster of [`Learner::unknowns`] as a class.
    ///
    /// ```
    /// # use kaizen_edge::{Frame, Learner, Options};
    /// # let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
    /// # let mut learner = Learner::open(Options::new().models_dir(models).steps(0))?;
    /// # let shade = |shade: u8| Frame::new(32, 32, vec![shade; 32 * 32 * 3], format!("shade {shade}"));
    /// learner.teach("dark", (0..60).step_by(10).map(shade))?;
    /// learner.teach("bright", (200..250).step_by(10).map(shade))?;
    /// learner.learn()?;
    /// learner.observe((100..160).step_by(5).map(shade))?;
    /// if let Some(cluster) = learner.unknowns()?.clusters.first() {
    ///     learner.name(cluster.representative, "dusk")?;
    /// }
    /// # Ok::<(), kaizen_edge::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`] if no cluster has the sample `cluster`, [`Error::NotReady`] before
    /// anything was learned.
    pub fn name(&mut self, cluster: SampleId, name: &str) -> Result<Vec<LabelId>> {
        let mut labels = Vec::new();
        self.restored()?
            .name_cluster(cluster, name, |named| labels.extend(named.iter().map(|(_, label)| *label)))?;
        Ok(labels)
    }

    /// Takes one label back. What was learned from it is learned anew without it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is no label that counts, and otherwise as [`Learner::learn`].
    pub fn undo(&mut self, label: LabelId) -> Result<()> {
        self.restored()?.undo(label, &mut TrainingControl::new(&mut Discard)).map(drop)
    }

    /// Erases a class and everything learned from it. Returns the number of frames erased.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such class, and otherwise as [`Learner::learn`].
    pub fn forget(&mut self, name: &str) -> Result<usize> {
        Ok(self.restored()?.forget(name, &mut TrainingControl::new(&mut Discard))?.0)
    }

    /// Takes a published version back; the newest one left answers from now on. Returns its id, if
    /// there is one.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is no published version.
    pub fn roll_back(&mut self, version: VersionId) -> Result<Option<VersionId>> {
        self.restored()?.roll_back(version)
    }

    /// The label log and the versions of the heads, with the accuracy of each class before and
    /// after.
    ///
    /// ```
    /// # use kaizen_edge::{Frame, Learner, Options};
    /// # let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
    /// # let mut learner = Learner::open(Options::new().models_dir(models).steps(0))?;
    /// # let shade = |shade: u8| Frame::new(32, 32, vec![shade; 32 * 32 * 3], format!("shade {shade}"));
    /// learner.teach("dark", (0..60).step_by(10).map(shade))?;
    /// let labels = learner.teach("bright", (200..250).step_by(10).map(shade))?;
    /// learner.learn_with(|event| println!("{event:?}"))?;
    /// learner.undo(labels[0])?;
    /// learner.forget("dark")?;
    /// let history = learner.history()?;
    /// println!("{} entries, {} versions", history.labels.len(), history.versions.len());
    /// assert!(history.versions.len() >= 2);
    /// # Ok::<(), kaizen_edge::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the state cannot be read.
    pub fn history(&self) -> Result<History> {
        self.core.memory().history()
    }

    /// Writes backbone and published head as one ONNX file, after comparing it with the live model.
    ///
    /// ```
    /// # use kaizen_edge::{Frame, Learner, Options};
    /// # let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
    /// # let mut learner = Learner::open(Options::new().models_dir(models).steps(0))?;
    /// # let shade = |shade: u8| Frame::new(32, 32, vec![shade; 32 * 32 * 3], format!("shade {shade}"));
    /// learner.teach("dark", (0..60).step_by(10).map(shade))?;
    /// learner.teach("bright", (200..250).step_by(10).map(shade))?;
    /// learner.learn()?;
    /// let file = std::env::temp_dir().join(format!("shades-{}.onnx", std::process::id()));
    /// learner.export(&file)?;
    /// # std::fs::remove_file(&file).unwrap();
    /// # Ok::<(), kaizen_edge::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotReady`] before anything was learned, [`Error::Refused`] if the file would answer
    /// differently, [`Error::Io`] if it cannot be written.
    #[cfg(feature = "tract")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tract")))]
    pub fn export(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let head = self.restored()?.serving().now().ok_or_else(super::predictor::nothing_learned)?;
        let library = self.options.library().map(Path::to_path_buf);
        self.embedder()?;
        let Some(embedder) = &mut self.embedder else { return Err(super::predictor::nothing_learned()) };
        let exported = super::export::export(
            self.core.memory(),
            &head,
            embedder.network_mut(),
            library.as_deref(),
            false,
        )?;
        crate::file::write_atomic(path, &exported.file)
    }

    /// As [`Learner::learn`], under `control`.
    pub(crate) fn consolidate(&mut self, control: &mut TrainingControl<'_>) -> Result<Consolidation> {
        self.restored()?.engine().require()?;
        self.gain_latents(control)?;
        self.core.consolidate(control)
    }

    /// Whether lessons wait for the training of the tail.
    #[cfg(feature = "serve")]
    pub(crate) fn waits(&self) -> bool {
        self.core.waits()
    }

    /// Trains the tail on the lessons that wait for it, under `control`.
    #[cfg(feature = "serve")]
    pub(crate) fn train_waiting(&mut self, control: &mut TrainingControl<'_>) -> Result<Consolidation> {
        self.restored()?.engine().require()?;
        self.gain_latents(control)?;
        self.core.train_waiting(control)
    }

    /// The stored samples, labels and versions.
    pub(crate) fn memory(&self) -> &Memory {
        self.core.memory()
    }

    /// The embedder; its backbone is loaded if that did not happen yet.
    pub(crate) fn embedder(&mut self) -> Result<&mut Embedder> {
        if self.embedder.is_none() {
            let embedder = self.options.load(Some(self.core.memory()))?;
            self.core.memory_mut().adopt(&embedder.identity())?;
            self.embedder = Some(embedder);
        }
        self.embedder.as_mut().ok_or_else(super::predictor::nothing_learned)
    }

    /// Uses `network` from now on.
    #[cfg(feature = "serve")]
    pub(crate) fn set_network(&mut self, network: Network) -> Result<()> {
        let embedder = self.options.embedder(network)?;
        self.core.memory_mut().adopt(&embedder.identity())?;
        self.embedder = Some(embedder);
        Ok(())
    }
}
