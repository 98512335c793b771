//! Options that the commands on a state share, and what they open.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::configuration::Configuration;
use crate::Result;
use crate::backbone::{Backbone, BackboneOptions, Provider};
use crate::learn::engine_choice::EngineChoice;
use crate::session::Options;
use crate::vision::{self, FrameSource, SourceOptions};

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
    /// What to load.
    pub(super) fn options(&self) -> BackboneOptions {
        let Self { model, models_dir, provider, ort_lib } = self.clone();
        BackboneOptions { model, models_dir, provider, ort_lib, ..BackboneOptions::default() }
    }
}

#[derive(Clone, clap::Args)]
pub(super) struct CommonOptions {
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
    /// Only the results, no progress
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

impl CommonOptions {
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

    fn engine(&self) -> EngineChoice {
        self.engine.unwrap_or(EngineChoice::Auto)
    }

    /// Whether only results are wanted.
    pub(super) fn quiet(&self) -> bool {
        self.quiet
    }

    /// Most bytes of the state.
    #[cfg(feature = "serve")]
    pub(super) fn quota_bytes(&self) -> Option<u64> {
        self.quota_bytes
    }

    /// Progress over so many images, for a person who watches; hidden otherwise.
    pub(super) fn progress(&self, images: usize) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} images, {eta} left");
        ProgressBar::new(images as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// What a learner on `state` is opened with.
    pub(super) fn on(&self, state: &Path) -> Options {
        Options {
            state: Some(state.to_path_buf()),
            backbone: BackboneOptions {
                model: self.model.clone(),
                models_dir: self.models_dir.clone(),
                provider: self.provider(),
                ort_lib: self.ort_lib.clone(),
                ..BackboneOptions::default()
            },
            engine: self.engine(),
            quota_bytes: self.quota_bytes,
            memory_limit_megabytes: self.memory_limit,
            ..Options::new()
        }
    }

    /// As [`CommonOptions::on`], with training of so many steps.
    pub(super) fn training_on(&self, state: &Path, steps: Option<usize>) -> Options {
        let options = self.on(state);
        steps.map_or(options.clone(), |steps| options.steps(steps))
    }

    /// Says which backbone runs, and on what.
    pub(super) fn say_backbone(&self, backbone: &dyn Backbone) {
        self.say(&format!("model: {}; {}", backbone.spec().name, backbone.provider().line()));
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
