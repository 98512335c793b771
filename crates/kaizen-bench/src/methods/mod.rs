//! Every way of learning continually that a user might pick, over the same features and the same
//! memory.

mod arena;
mod closed;
mod ensemble;
mod joint;
mod tail;
mod trained;

use kaizen_edge::low_level::learn::engine::Engine;
use kaizen_edge::low_level::learn::objective::SslMethod;
use kaizen_edge::{Error, Result};

pub(crate) use arena::{Arena, Features, Latents, Outcome};
use closed::ClosedForm;
use tail::Tail;
use trained::{Term, Trained};

/// A method of the bake-off.
#[derive(Debug, PartialEq)]
pub(crate) struct Method {
    /// The name on the command line and in reports.
    pub(crate) name: &'static str,
    /// A few words for `--help`.
    pub(crate) about: &'static str,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// Logistic regression on all labels so far.
    Joint,
    /// A closed form alone.
    Closed(ClosedForm),
    /// Training by gradients.
    Trained(Trained),
    /// The ensemble of closed forms, with or without the unlabelled rows.
    Ensemble { uses_unlabelled: bool },
    /// Training of the backbone's tail, on latents.
    Tail(Tail),
}

/// Every method, in the order of the tables.
pub(crate) static METHODS: [Method; 33] = [
    method("joint", "logistic regression on all labels so far, an upper bound", Kind::Joint),
    trained("naive", "a linear head fine-tuned task by task, the lower bound", Trained::Naive),
    trained("replay", "naive with replay", Trained::Replay),
    trained("lwf", "naive with distillation from the last head (Li and Hoiem, 2016)", Trained::Lwf),
    closed("ncm", "nearest class mean, features standardised", ClosedForm::Ncm),
    closed("imprint", "class means as weights, by cosine (Qi et al., 2018)", ClosedForm::Imprint),
    closed("slda", "streaming LDA (Hayes and Kanan, 2020)", ClosedForm::Slda),
    closed("slda-semi", "slda with EM over the unlabelled rows of each task", ClosedForm::SldaSemi),
    closed("ranpac", "ridge on random ReLU features (McDonnell et al., 2023)", ClosedForm::Ranpac),
    trained("no-distill", "kaizen-simclr without distillation, the paper's baseline", Trained::NoDistill),
    trained("cassle", "kaizen-simclr with feature distillation only (Fini et al., 2022)", Trained::Cassle),
    objective("kaizen-simclr", "the paper's objective on adapter and classifier", SslMethod::Simclr),
    objective("kaizen-moco", "the paper's objective with MoCo", SslMethod::Moco),
    objective("kaizen-byol", "the paper's objective with BYOL", SslMethod::Byol),
    objective("kaizen-simsiam", "the paper's objective with SimSiam", SslMethod::Simsiam),
    objective("kaizen-vicreg", "the paper's objective with VICReg", SslMethod::Vicreg),
    objective("kaizen-barlow", "the paper's objective with Barlow Twins", SslMethod::BarlowTwins),
    trained("kaizen-as-published", "kaizen-simclr as the paper's code sets it", Trained::AsPublished),
    tail("kaizen", "what the product publishes by default", Tail::Product),
    method(
        "frozen",
        "kaizen where the backbone is not cut: the ensemble on frozen features",
        Kind::Ensemble { uses_unlabelled: true },
    ),
    method(
        "frozen-no-unlabelled",
        "frozen on labelled rows alone",
        Kind::Ensemble { uses_unlabelled: false },
    ),
    without("kaizen-no-ssl", "kaizen-simclr without the self-supervised term", Term::Ssl),
    without("kaizen-no-feature-distill", "kaizen-simclr without this term", Term::FeatureDistill),
    without("kaizen-no-classifier-distill", "kaizen-simclr without this term", Term::ClassifierDistill),
    without("kaizen-no-replay", "kaizen-simclr without replay", Term::Replay),
    tail("tail-kaizen", "the whole objective through the tail of the backbone", Tail::Kaizen),
    tail("first-session", "tail-kaizen on the first task, then closed forms alone", Tail::FirstSession),
    tail("tail-replay", "cross-entropy and replay through the tail, no distillation", Tail::Replay),
    tail("tail-cassle", "tail-kaizen with feature distillation only", Tail::Cassle),
    tail("tail-no-ssl", "tail-kaizen without the self-supervised term", Tail::NoSsl),
    tail("tail-no-pooled", "tail-kaizen without the distillation of pooled features", Tail::NoPooled),
    tail("tail-as-published", "tail-kaizen, the classifier's gradient stopped", Tail::AsPublished),
    tail("tail-joint", "the tail trained anew on all tasks so far at once, an upper bound", Tail::Joint),
];

const fn method(name: &'static str, about: &'static str, kind: Kind) -> Method {
    Method { name, about, kind }
}

const fn closed(name: &'static str, about: &'static str, form: ClosedForm) -> Method {
    method(name, about, Kind::Closed(form))
}

const fn trained(name: &'static str, about: &'static str, way: Trained) -> Method {
    method(name, about, Kind::Trained(way))
}

const fn objective(name: &'static str, about: &'static str, ssl: SslMethod) -> Method {
    trained(name, about, Trained::Objective(ssl))
}

const fn tail(name: &'static str, about: &'static str, way: Tail) -> Method {
    method(name, about, Kind::Tail(way))
}

const fn without(name: &'static str, about: &'static str, term: Term) -> Method {
    trained(name, about, Trained::Without(term))
}

impl Method {
    /// The method of this name.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the names that there are.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        METHODS.iter().find(|method| method.name == name).ok_or_else(|| {
            let names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
            Error::not_found("method", name, format!("take some of {}, or `all`", names.join(", ")))
        })
    }

    /// Whether the method needs the latents at the cut of the backbone, or takes them where there
    /// is a cut, as `is_cut` says.
    pub(crate) fn needs_latents(&self, is_cut: bool) -> bool {
        match self.kind {
            Kind::Tail(Tail::Product) => is_cut,
            Kind::Tail(_) => true,
            Kind::Joint | Kind::Closed(_) | Kind::Trained(_) | Kind::Ensemble { .. } => false,
        }
    }

    /// Runs the method through all tasks. `progress` hears the share done, 0..=1.
    ///
    /// # Errors
    /// [`Error::Config`] for features that a method cannot use, and others from its parts.
    pub(crate) fn run(
        &self,
        arena: &Arena<'_>,
        engine: &mut dyn Engine,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Outcome> {
        match self.kind {
            Kind::Joint => joint::run(arena, progress),
            Kind::Closed(form) => closed::run(form, arena, progress),
            Kind::Trained(way) => trained::run(way, arena, engine, progress),
            Kind::Ensemble { uses_unlabelled } => ensemble::run(uses_unlabelled, arena, progress),
            Kind::Tail(Tail::Product) if arena.features.latents.is_none() => {
                ensemble::run(true, arena, progress)
            }
            Kind::Tail(way) => tail::run(way, arena, engine, progress),
        }
    }
}

#[cfg(test)]
mod tests;
