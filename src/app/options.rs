//! The options that several commands share, on the command line and in a configuration file.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::byte_size::ByteSize;
use super::log::{self, LogFormat};
#[cfg(feature = "serve")]
use super::server_options::ServerOptions;
use crate::backbone::{BackboneOptions, Provider};
use crate::learn::engine_choice::EngineChoice;
use crate::session::{Consolidate, Embedder, Options};
use crate::{Error, Result};

/// The backbone and its runtime, for the commands that have no state.
#[derive(Clone, clap::Args)]
pub(super) struct BackboneArguments {
    /// Backbone: a name in models/manifest.toml or an ONNX file listed there [default: the
    /// manifest's]
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Folder with manifest.toml and the ONNX files
    #[arg(long)]
    pub(super) models_dir: Option<PathBuf>,
    /// Who runs the backbone; cpu is ONNX Runtime's
    #[arg(long, default_value = "auto")]
    pub(super) provider: Provider,
    /// ONNX Runtime's shared library
    #[arg(long)]
    pub(super) ort_lib: Option<PathBuf>,
}

impl BackboneArguments {
    /// The options that the backbone is loaded with.
    pub(super) fn options(&self) -> BackboneOptions {
        let Self { model, models_dir, provider, ort_lib } = self.clone();
        BackboneOptions { model, models_dir, provider, ort_lib, ..BackboneOptions::default() }
    }
}

/// The options of the commands on a state that a configuration file may hold as well.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Configuration {
    /// Backbone: a name in models/manifest.toml or an ONNX file listed there [default: the state's
    /// own]
    #[arg(long)]
    model: Option<String>,
    /// Folder with manifest.toml and the ONNX files
    #[arg(long)]
    models_dir: Option<PathBuf>,
    /// Who runs the backbone; cpu is ONNX Runtime's [default: auto]
    #[arg(long)]
    provider: Option<Provider>,
    /// Who trains [default: auto]
    #[arg(long)]
    engine: Option<EngineChoice>,
    /// ONNX Runtime's shared library
    #[arg(long)]
    ort_lib: Option<PathBuf>,
    /// When the tail of the backbone is trained: lesson (with each lesson), idle (when nothing else
    /// has been asked for a while) or never; lessons are answered at once in every case [default:
    /// lesson]
    #[arg(long, hide_possible_values = true)]
    consolidate: Option<Consolidate>,
    /// Only the results and warnings
    #[arg(long)]
    quiet: bool,
    /// Say more on standard error; twice for what libraries say
    #[arg(long, short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How the log on standard error is written [default: text]
    #[arg(long)]
    log_format: Option<LogFormat>,
    /// Most bytes of the state file and its log, as 200M or 2G; unlabelled and redundant samples
    /// give way [default: no limit]
    #[arg(long, value_name = "BYTES")]
    quota_bytes: Option<ByteSize>,
    /// MB of memory that the process stays below while it learns, by fewer random features and
    /// fewer frames at hand, or an error that names the least; what it has taken at its start,
    /// drivers too, counts [default: no limit]
    #[arg(long, value_name = "MB")]
    memory_limit: Option<u64>,
    /// The options of `kaizen serve` alone; its command line has them too.
    #[cfg(feature = "serve")]
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    serve: Option<ServerOptions>,
    /// The options of `kaizen serve`, which this build does not have.
    #[cfg(not(feature = "serve"))]
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    serve: Option<toml::Table>,
}

impl Configuration {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        toml::from_str(&text).map_err(|error| {
            let before = error.span().map_or(0, |span| text[..span.start].matches('\n').count());
            let line = text.lines().nth(before).unwrap_or_default();
            let reason = format!("`{line}`: {}", error.message());
            let what = format!("configuration {}", path.display());
            Error::refused(what, reason, "write it as `--print-config` does")
        })
    }

    /// These options; each that was not given is taken from `file`.
    fn over(self, file: Self) -> Self {
        Self {
            model: self.model.or(file.model),
            models_dir: self.models_dir.or(file.models_dir),
            provider: self.provider.or(file.provider),
            engine: self.engine.or(file.engine),
            ort_lib: self.ort_lib.or(file.ort_lib),
            consolidate: self.consolidate.or(file.consolidate),
            quiet: self.quiet || file.quiet,
            verbose: self.verbose.max(file.verbose),
            log_format: self.log_format.or(file.log_format),
            quota_bytes: self.quota_bytes.or(file.quota_bytes),
            memory_limit: self.memory_limit.or(file.memory_limit),
            #[cfg(feature = "serve")]
            serve: match (self.serve, file.serve) {
                (Some(given), Some(file)) => Some(given.over(file)),
                (given, file) => given.or(file),
            },
            #[cfg(not(feature = "serve"))]
            serve: self.serve.or(file.serve),
        }
    }
}

/// The options that the commands on a state share.
#[derive(Clone, clap::Args)]
pub(super) struct CommonOptions {
    #[command(flatten)]
    given: Configuration,
    /// TOML file with any of these options; an option on the command line overrides the file
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print the options as they are in force, as such a file, and do nothing
    #[arg(long)]
    pub(super) print_config: bool,
}

impl CommonOptions {
    /// Takes every option that was not given from the configuration file.
    pub(super) fn settle(&mut self) -> Result<()> {
        if let Some(path) = &self.config {
            let file = Configuration::read(path)?;
            self.given = std::mem::take(&mut self.given).over(file);
        }
        let given = &mut self.given;
        given.provider.get_or_insert(Provider::Auto);
        given.engine.get_or_insert_default();
        given.log_format.get_or_insert(LogFormat::Text);
        Ok(())
    }

    /// Takes the options of `kaizen serve` from its command line, before the file is read.
    #[cfg(feature = "serve")]
    pub(super) fn give_server(&mut self, server: ServerOptions) {
        self.given.serve = Some(server);
    }

    /// The options of `kaizen serve` that are in force.
    #[cfg(feature = "serve")]
    pub(super) fn server(&self) -> ServerOptions {
        self.given.serve.clone().unwrap_or_default()
    }

    /// The options in force, as a configuration file.
    pub(super) fn configuration(&self) -> Result<String> {
        toml::to_string(&self.given).map_err(|error| {
            Error::refused("printing the options", error.to_string(), "report this as a bug")
        })
    }

    /// Starts the log, which has only warnings beside results for programs.
    pub(super) fn start_log(&mut self, is_for_programs: bool) {
        self.given.quiet |= is_for_programs;
        let format = self.given.log_format.unwrap_or(LogFormat::Text);
        log::start(format, self.given.quiet, self.given.verbose);
    }

    /// A progress bar over `images` for a person who watches, hidden otherwise.
    pub(super) fn progress(&self, images: usize) -> ProgressBar {
        if self.given.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} images, {eta} left");
        ProgressBar::new(images as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// The options that a learner on `state` is opened with; `steps` of training if they are given.
    pub(super) fn on(&self, state: &Path, steps: Option<usize>) -> Options {
        let given = self.given.clone();
        let options = Options {
            state: Some(state.to_path_buf()),
            backbone: BackboneOptions {
                model: given.model,
                models_dir: given.models_dir,
                provider: given.provider.unwrap_or(Provider::Auto),
                ort_lib: given.ort_lib,
                ..BackboneOptions::default()
            },
            engine: given.engine.unwrap_or_default(),
            quota_bytes: given.quota_bytes.map(|size| size.0),
            memory_limit_megabytes: given.memory_limit,
            ..Options::new()
        }
        .consolidate(given.consolidate.unwrap_or_default());
        match steps {
            Some(steps) => options.steps(steps),
            None => options,
        }
    }
}

/// Says which backbone runs, and where; `-v` adds why other providers do not run.
pub(super) fn announce(embedder: &Embedder) {
    let report = embedder.backbone().provider();
    tracing::info!("model: {}; {}", embedder.spec().name, report.line());
    for attempt in &report.attempts {
        if let Some(failure) = &attempt.failure {
            tracing::debug!("{} does not run here: {failure}", attempt.provider);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_unknown_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kaizen.toml");
        let configuration = Configuration {
            provider: Some(Provider::Tract),
            engine: Some(EngineChoice::Cpu),
            log_format: Some(LogFormat::Json),
            quota_bytes: Some(ByteSize(1 << 30)),
            memory_limit: Some(250),
            ..Configuration::default()
        };
        std::fs::write(&path, toml::to_string(&configuration).unwrap()).unwrap();
        assert_eq!(Configuration::read(&path).unwrap(), configuration);
        for (text, word) in [("moddel = 'a'", "moddel"), ("engine = 'tpu'", "tpu"), ("quiet = 3", "quiet")] {
            std::fs::write(&path, text).unwrap();
            let error = Configuration::read(&path).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("kaizen.toml"), "{error}");
        }
    }

    #[test]
    fn what_is_given_counts_for_more_than_the_file() {
        let file = Configuration {
            model: Some("file".to_owned()),
            quiet: true,
            quota_bytes: Some(ByteSize(1)),
            ..Configuration::default()
        };
        let given = Configuration { model: Some("given".to_owned()), verbose: 2, ..Configuration::default() };
        let both = given.over(file);
        assert_eq!((both.model.as_deref(), both.quota_bytes), (Some("given"), Some(ByteSize(1))));
        assert!(both.quiet && both.verbose == 2);
    }

    #[test]
    fn the_configuration_that_is_packed_is_one() {
        let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/kaizen.toml");
        let packed = Configuration::read(Path::new(packed)).unwrap();
        assert_eq!(packed.models_dir.as_deref(), Some(Path::new("/usr/share/kaizen-edge/models")));
    }
}
