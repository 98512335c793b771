//! Every way of learning continually that a user might pick, over the same features and the same memory.

mod arena;
mod closed;
mod ensemble;
mod joint;
mod trained;

pub use arena::{Arena, Detection, Features, Outcome};

use kaizen_edge::low_level::learn::closed_form::EnsembleSettings;
use kaizen_edge::low_level::learn::engine::Engine;
use kaizen_edge::low_level::learn::objective::SslMethod;
use kaizen_edge::{Error, Result};

/// A term of the objective that an ablation leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// The self-supervised term.
    Ssl,
    /// Feature distillation.
    FeatureDistill,
    /// Classifier distillation.
    ClassifierDistill,
    /// Replay of exemplars.
    Replay,
}

/// A method of the bake-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Logistic regression on all labels so far at once: what gradient training could reach without forgetting.
    Joint,
    /// A linear head, fine-tuned task by task.
    Naive,
    /// The same with replay.
    Replay,
    /// Fine-tuning with distillation from the previous head (Li and Hoiem, 2016); no replay.
    Lwf,
    /// Nearest class mean, features standardised.
    Ncm,
    /// Class means as classifier weights, by cosine (Qi et al., 2018).
    Imprint,
    /// Streaming LDA (Hayes and Kanan, 2020).
    Slda,
    /// Streaming LDA with expectation-maximisation over each task's unlabelled rows.
    SldaSemi,
    /// Random ReLU features and ridge regression (McDonnell et al., 2023).
    Ranpac,
    /// The paper's baseline without any distillation.
    NoDistill,
    /// The paper's baseline with feature distillation only (Fini et al., 2022).
    Cassle,
    /// The whole objective on adapter and classifier.
    Objective(SslMethod),
    /// The whole objective with the settings of the paper's code.
    AsPublished,
    /// The objective with SimCLR less one term.
    Without(Term),
    /// The default: what is published.
    Kaizen,
    /// The default without the unlabelled rows.
    NoUnlabelled,
}

impl Method {
    /// Every method, in the order of the tables.
    pub const ALL: [Self; 24] = [
        Self::Joint,
        Self::Naive,
        Self::Replay,
        Self::Lwf,
        Self::Ncm,
        Self::Imprint,
        Self::Slda,
        Self::SldaSemi,
        Self::Ranpac,
        Self::NoDistill,
        Self::Cassle,
        Self::Objective(SslMethod::Simclr),
        Self::Objective(SslMethod::Moco),
        Self::Objective(SslMethod::Byol),
        Self::Objective(SslMethod::Simsiam),
        Self::Objective(SslMethod::Vicreg),
        Self::Objective(SslMethod::BarlowTwins),
        Self::AsPublished,
        Self::Kaizen,
        Self::NoUnlabelled,
        Self::Without(Term::Ssl),
        Self::Without(Term::FeatureDistill),
        Self::Without(Term::ClassifierDistill),
        Self::Without(Term::Replay),
    ];

    /// Name as typed on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Joint => "joint",
            Self::Naive => "naive",
            Self::Replay => "replay",
            Self::Lwf => "lwf",
            Self::Ncm => "ncm",
            Self::Imprint => "imprint",
            Self::Slda => "slda",
            Self::SldaSemi => "slda-semi",
            Self::Ranpac => "ranpac",
            Self::NoDistill => "no-distill",
            Self::Cassle => "cassle",
            Self::Objective(SslMethod::Simclr) => "kaizen-simclr",
            Self::Objective(SslMethod::Moco) => "kaizen-moco",
            Self::Objective(SslMethod::Byol) => "kaizen-byol",
            Self::Objective(SslMethod::Simsiam) => "kaizen-simsiam",
            Self::Objective(SslMethod::Vicreg) => "kaizen-vicreg",
            Self::Objective(SslMethod::BarlowTwins) => "kaizen-barlow",
            Self::AsPublished => "kaizen-as-published",
            Self::Kaizen => "kaizen",
            Self::NoUnlabelled => "kaizen-no-unlabelled",
            Self::Without(Term::Ssl) => "kaizen-no-ssl",
            Self::Without(Term::FeatureDistill) => "kaizen-no-feature-distill",
            Self::Without(Term::ClassifierDistill) => "kaizen-no-classifier-distill",
            Self::Without(Term::Replay) => "kaizen-no-replay",
        }
    }

    /// Runs the method through all tasks. `progress` hears the share done, 0..=1.
    ///
    /// # Errors
    /// [`Error::Config`] for features that a method cannot use, and whatever its parts report.
    pub fn run(
        self,
        arena: &Arena<'_>,
        engine: &mut dyn Engine,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Outcome> {
        match self {
            Self::Joint => joint::run(arena, progress),
            Self::Ncm | Self::Imprint | Self::Slda | Self::SldaSemi | Self::Ranpac => {
                closed::run(self, arena, progress)
            }
            Self::Kaizen => ensemble::run(EnsembleSettings::default(), arena, progress),
            Self::NoUnlabelled => {
                let settings = EnsembleSettings { unlabelled_weight: 0.0, ..EnsembleSettings::default() };
                ensemble::run(settings, arena, progress)
            }
            Self::Naive
            | Self::Replay
            | Self::Lwf
            | Self::NoDistill
            | Self::Cassle
            | Self::Objective(_)
            | Self::AsPublished
            | Self::Without(_) => trained::run(self, arena, engine, progress),
        }
    }
}

impl std::str::FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name);
        let found = Self::ALL.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| Error::config("methods", text, format!("one of {names:?}, or `all`")))
    }
}

#[cfg(test)]
mod tests;
