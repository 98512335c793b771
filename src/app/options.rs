//! Options that the commands on a state share, and what they open.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::configuration::Configuration;
use super::memory_share::MemoryShare;
use crate::backbone::{self, Backbone, BackboneOptions, Provider};
use crate::learn::engine::{self, EngineChoice};
#[cfg(feature = "serve")]
use crate::memory::FeatureIdentity;
use crate::memory::Memory;
#[cfg(feature = "serve")]
use crate::session::live::FrameRoom;
use crate::session::{self, Learner, LearnerSettings};
use crate::vision::{self, FrameSource, SourceOptions};
use crate::{Error, Result};

/// Some frames were left out, the guard rolled back, or damage was repaired.
pub(super) const IN_PART: u8 = 3;
/// The state is damaged beyond repair.
pub(super) const DAMAGED: u8 = 4;

/// Meaning of the exit codes, for `--help`.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, the reason is on standard error; 2 wrong usage; \
    3 done in part: images left out (teach, observe, predict), rolled back by the guard (learn), damage repaired \
    (check); 4 damage that cannot be repaired (check)";

/// Which backbone, on what: for the commands that have no state.
#[derive(Clone, clap::Args)]
pub(super) struct BackboneArguments {
    /// Backbone: a name in models/manifest.toml or an ONNX file listed there [default: the manifest's]
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Folder with manifest.toml and the ONNX files
    #[arg(long)]
    pub(super) models_dir: Option<PathBuf>,
    /// Who runs the backbone: auto, tensorrt, cuda, cpu (ONNX Runtime) or tract
    #[arg(long, default_value = "auto")]
    pub(super) provider: Provider,
    /// ONNX Runtime's shared library
    #[arg(long)]
    pub(super) ort_lib: Option<PathBuf>,
}

impl BackboneArguments {
    /// The same for the backbone.
    pub(super) fn options(&self) -> BackboneOptions {
        let Self { model, models_dir, provider, ort_lib } = self.clone();
        BackboneOptions { model, models_dir, provider, ort_lib, ..BackboneOptions::default() }
    }
}

#[derive(Clone, clap::Args)]
pub(super) struct Options {
    /// Backbone: a name in models/manifest.toml or an ONNX file listed there [default: the state's own]
    #[arg(long)]
    model: Option<String>,
    /// Folder with manifest.toml and the ONNX files
    #[arg(long)]
    models_dir: Option<PathBuf>,
    /// Who runs the backbone: auto, tensorrt, cuda, cpu (ONNX Runtime) or tract [default: auto]
    #[arg(long)]
    provider: Option<Provider>,
    /// Who trains: auto, gpu or cpu [default: auto]
    #[arg(long)]
    engine: Option<EngineChoice>,
    /// ONNX Runtime's shared library
    #[arg(long)]
    ort_lib: Option<PathBuf>,
    /// Only the results, no account of what is done
    #[arg(long)]
    quiet: bool,
    /// Most bytes of the state file and its log; unlabelled and redundant samples give way [default: no limit]
    #[arg(long)]
    quota_bytes: Option<u64>,
    /// MB of memory that the process stays below while it learns, by fewer random features and fewer frames at hand, or an
    /// error that names the least; what it has taken at its start, drivers too, counts [default: no limit]
    #[arg(long, value_name = "MB")]
    memory_limit: Option<u64>,
    /// TOML file with any of these options; what is given here goes before it
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print the options as they are in force, as such a file, and do nothing
    #[arg(long)]
    pub(super) print_config: bool,
}

impl Options {
    /// Takes what the configuration file says for every option that is not given.
    pub(super) fn settle(&mut self) -> Result<()> {
        let Some(path) = &self.config else { return Ok(()) };
        let file = Configuration::read(path)?;
        self.model = self.model.take().or(file.model);
        self.models_dir = self.models_dir.take().or(file.models_dir);
        self.provider = self.provider.or(file.provider);
        self.engine = self.engine.or(file.engine);
        self.ort_lib = self.ort_lib.take().or(file.ort_lib);
        self.quiet |= file.quiet;
        self.quota_bytes = self.quota_bytes.or(file.quota_bytes);
        self.memory_limit = self.memory_limit.or(file.memory_limit);
        Ok(())
    }

    /// What is in force, as a configuration file.
    pub(super) fn configuration(&self) -> Result<String> {
        let Self { model, models_dir, ort_lib, quiet, quota_bytes, memory_limit, .. } = self.clone();
        let (provider, engine) = (Some(self.provider()), Some(self.engine()));
        Configuration { model, models_dir, provider, engine, ort_lib, quiet, quota_bytes, memory_limit }
            .text()
    }

    fn provider(&self) -> Provider {
        self.provider.unwrap_or(Provider::Auto)
    }

    /// Who is to train.
    pub(super) fn engine(&self) -> EngineChoice {
        self.engine.unwrap_or(EngineChoice::Auto)
    }

    /// Whether only results are wanted.
    pub(super) fn quiet(&self) -> bool {
        self.quiet
    }

    /// Holds a state to the quota, if there is one.
    pub(super) fn limit(&self, memory: &mut Memory) -> Result<()> {
        self.quota_bytes.map_or(Ok(()), |bytes| memory.set_quota_bytes(bytes))
    }

    /// Progress over so many images, for a person who watches; hidden otherwise.
    pub(super) fn progress(&self, images: usize) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} images, {eta} left");
        ProgressBar::new(images as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// The backbone asked for, or the one that the state was made with.
    pub(super) fn backbone(&self, state: &Path) -> Result<Box<dyn Backbone>> {
        self.load(&self.backbone_options(state)?)
    }

    /// Another backbone than the state's, or the same with other options; what it is, is said.
    pub(super) fn load(&self, asked: &BackboneOptions) -> Result<Box<dyn Backbone>> {
        let backbone = backbone::load(asked)?;
        self.say(&format!("model: {}; {}", backbone.spec().name, backbone.provider().line()));
        Ok(backbone)
    }

    /// What to load for a state, with the backbone and the class of features that it holds, if it is there.
    pub(super) fn backbone_options(&self, state: &Path) -> Result<BackboneOptions> {
        let memory = state.exists().then(|| Memory::open_read_only(state)).transpose()?;
        let own = memory.as_ref().map(Memory::identity);
        Ok(BackboneOptions {
            model: self.model.clone().or_else(|| own.map(|own| own.backbone_name.clone())),
            models_dir: self.models_dir.clone(),
            provider: self.provider(),
            ort_lib: self.ort_lib.clone(),
            feature_class: own.map(|own| own.feature_class.clone()),
            ..BackboneOptions::default()
        })
    }

    /// The state to read, which must hold features of `backbone`.
    pub(super) fn reader(state: &Path, backbone: &dyn Backbone) -> Result<Memory> {
        let memory = Memory::open_read_only(state)?;
        memory.require(&session::identity(backbone))?;
        Ok(memory)
    }

    /// A learner on an existing state, with training of so many steps.
    pub(super) fn learner(&self, state: &Path, steps: Option<usize>) -> Result<Learner> {
        let mut memory = Memory::open_existing(state)?;
        self.limit(&mut memory)?;
        let own = &memory.identity().backbone_name;
        if let Some(asked) = self.model.as_ref().filter(|asked| *asked != own) {
            return Err(Error::config("model", asked, format!("{own}, with which the state was made")));
        }
        let (learner, line) = self.learner_on(memory, steps, 0)?;
        self.say(&line);
        Ok(learner)
    }

    /// A learner on a state for such features, made if it is not there, and what is to be said of its engine.
    #[cfg(feature = "serve")]
    pub(super) fn new_learner(
        &self,
        state: &Path,
        identity: &FeatureIdentity,
        steps: Option<usize>,
        room: FrameRoom,
    ) -> Result<(Learner, String)> {
        let memory = Memory::open(Some(state), identity)?;
        // As many again as wait are on their way.
        self.learner_on(memory, steps, (room.recent + 2 * room.waiting) as u64)
    }

    /// How many frames are to be held.
    #[cfg(feature = "serve")]
    pub(super) fn frame_room(&self) -> Result<FrameRoom> {
        Ok(self.memory()?.map(MemoryShare::frames).unwrap_or_default())
    }

    fn memory(&self) -> Result<Option<MemoryShare>> {
        self.memory_limit.map(MemoryShare::now).transpose()
    }

    /// `frames` are bytes that something else than learning will take.
    fn learner_on(&self, memory: Memory, steps: Option<usize>, frames: u64) -> Result<(Learner, String)> {
        let (engine, line) = engine::open(self.engine())?;
        Ok((Learner::new(self.settings(steps, frames)?, memory, engine)?, line))
    }

    /// Settings of a learner with training of so many steps, beside so many bytes of frames.
    pub(super) fn settings(&self, steps: Option<usize>, frames: u64) -> Result<LearnerSettings> {
        let mut settings = LearnerSettings::default();
        settings.recipe.steps = steps.unwrap_or(settings.recipe.steps);
        settings.recipe.warmup_steps = settings.recipe.warmup_steps.min(settings.recipe.steps);
        settings.memory_limit = self.memory()?.map(|share| share.learning(frames));
        Ok(settings)
    }

    /// ONNX Runtime's library as asked for.
    #[cfg(feature = "tract")]
    pub(super) fn ort_lib(&self) -> Option<&Path> {
        self.ort_lib.as_deref()
    }

    /// These options, quiet also where the output is for programs.
    pub(super) fn quieter(&self, for_programs: bool) -> Self {
        Self { quiet: self.quiet || for_programs, ..self.clone() }
    }

    /// A line for people, on standard error.
    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }
}

/// Every source, opened before the first is read, so that a wrong path costs nothing.
pub(super) fn sources(paths: &[String]) -> Result<Vec<Box<dyn FrameSource>>> {
    paths.iter().map(|path| vision::open(path, &SourceOptions::default())).collect()
}
