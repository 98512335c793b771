//! What a learner is opened with.

use std::path::PathBuf;

use super::embedder::Embedder;
use super::network::Network;
use super::settings::{Consolidate, LearnerSettings};
use crate::Result;
use crate::backbone::{self, BackboneOptions, Provider};
use crate::learn::engine_choice::EngineChoice;
use crate::memory::{FeatureIdentity, Memory};

/// What a learner is opened with: where it keeps its state, which backbone it uses, who runs the
/// backbone and who trains.
///
/// ```
/// use kaizen_edge::{EngineChoice, Options, Provider};
///
/// let options = Options::new().state("cups.db").provider(Provider::Cpu).engine(EngineChoice::Auto);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) state: Option<PathBuf>,
    pub(crate) backbone: BackboneOptions,
    pub(crate) engine: EngineChoice,
    pub(crate) settings: LearnerSettings,
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) memory_limit_megabytes: Option<u64>,
    /// Bytes of frames that the process holds while it learns.
    pub(crate) frame_bytes: u64,
}

impl Options {
    /// The manifest's default backbone, on whatever runs best here, and a state that ends with the
    /// process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state file; it is made if it is not there.
    #[must_use]
    pub fn state(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(path.into());
        self
    }

    /// The backbone: a name in the manifest, or an ONNX file beside a manifest that lists it. A
    /// state keeps its own.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.backbone.model = Some(name.into());
        self
    }

    /// Folder with `manifest.toml` and the ONNX files; searched for if it is not given.
    #[must_use]
    pub fn models_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.backbone.models_dir = Some(path.into());
        self
    }

    /// Who runs the backbone.
    #[must_use]
    pub fn provider(mut self, provider: Provider) -> Self {
        self.backbone.provider = provider;
        self
    }

    /// ONNX Runtime's shared library; searched for if it is not given.
    #[must_use]
    pub fn onnx_runtime(mut self, library: impl Into<PathBuf>) -> Self {
        self.backbone.ort_lib = Some(library.into());
        self
    }

    /// Who trains.
    #[must_use]
    pub fn engine(mut self, engine: EngineChoice) -> Self {
        self.engine = engine;
        self
    }

    /// Seed of everything that is drawn. The default is 1.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// The most training steps of a consolidation; with 0 only closed-form heads are fitted. The
    /// default is 400 where the backbone is cut, so that its tail learns, and 60 for an adapter.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        let recipe = &mut self.settings.recipe;
        (recipe.steps, recipe.warmup_steps) = (steps, recipe.warmup_steps.min(steps));
        self.settings.tail.recipe.steps = steps;
        self
    }

    /// When training happens; closed forms are fitted whenever something is learned. The default is
    /// with each lesson.
    #[must_use]
    pub fn consolidate(mut self, consolidate: Consolidate) -> Self {
        self.settings.consolidate = consolidate;
        self
    }

    /// Bytes that the state file and its log may take; unlabelled and redundant samples give way.
    #[must_use]
    pub fn quota_bytes(mut self, bytes: u64) -> Self {
        self.quota_bytes = Some(bytes);
        self
    }

    /// Megabytes of memory that the process stays below while it learns.
    #[must_use]
    pub fn memory_limit_megabytes(mut self, megabytes: u64) -> Self {
        self.memory_limit_megabytes = Some(megabytes);
        self
    }

    /// What to load for the state: its own backbone and the class of features that it holds, unless
    /// `model` names another; and whether it is to run whole.
    #[cfg(feature = "serve")]
    pub(crate) fn backbone_for_state(&self) -> Result<(BackboneOptions, bool)> {
        let existing = self.state.as_deref().filter(|state| state.exists());
        let memory = existing.map(Memory::open_read_only).transpose()?;
        Ok((self.backbone_for(memory.as_ref()), self.is_whole(memory.as_ref().map(Memory::identity))))
    }

    pub(super) fn backbone_for(&self, memory: Option<&Memory>) -> BackboneOptions {
        let own = memory.map(Memory::identity);
        let options = self.backbone.clone();
        BackboneOptions {
            model: options.model.or_else(|| own.map(|own| own.backbone_name.clone())),
            feature_class: own.map(|own| own.feature_class.clone()),
            ..options
        }
    }

    pub(super) fn embedder(&self, network: Network) -> Result<Embedder> {
        Embedder::new(network, self.settings.seed)
    }

    pub(super) fn load(&self, memory: Option<&Memory>) -> Result<Embedder> {
        let is_whole = self.is_whole(memory.map(Memory::identity));
        self.embedder(Network::load(&self.backbone_for(memory), is_whole)?)
    }

    /// Whether the backbone of a state runs whole: the state's features are not those of a cut one,
    /// or it has no latents and the memory limit no room to train a tail.
    pub(super) fn is_whole(&self, own: Option<&FeatureIdentity>) -> bool {
        let has_latents = own.is_some_and(|own| own.cut.is_some());
        own.is_some_and(|own| !own.may_be_cut()) || (!has_latents && self.has_no_room_for_a_tail())
    }

    /// Whether the state's backbone has a tail that the memory limit leaves no room for.
    pub(super) fn leaves_a_tail_out(&self, memory: &Memory) -> bool {
        let is_cut = || {
            let asked = self.backbone_for(Some(memory));
            let spec = backbone::resolve(asked.model.as_deref(), asked.models_dir.as_deref());
            spec.is_ok_and(|spec| spec.cut.is_some())
        };
        self.has_no_room_for_a_tail() && memory.identity().may_be_cut() && is_cut()
    }

    /// Whether the memory limit leaves no room for the training of a tail.
    fn has_no_room_for_a_tail(&self) -> bool {
        self.memory_limit_megabytes.is_some_and(|limit| limit < LEAST_FOR_A_TAIL)
    }

    /// ONNX Runtime's library as asked for.
    #[cfg(feature = "tract")]
    pub(crate) fn library(&self) -> Option<&std::path::Path> {
        self.backbone.ort_lib.as_deref()
    }
}

/// Megabytes of a memory limit below which there is no room for the training of a tail.
pub(super) const LEAST_FOR_A_TAIL: u64 = 300;
