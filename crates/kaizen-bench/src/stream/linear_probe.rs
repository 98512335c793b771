//! The baselines that are trained by gradients: a linear head that is only fine-tuned task by task,
//! and a linear head on all frames at once.

use kaizen_edge::Result;
use kaizen_edge::low_level::heads::{Architecture, Extractor, Mlp, Norm, Parameters};
use kaizen_edge::low_level::learn::closed_form::argmax_rows;
use kaizen_edge::low_level::learn::engine::Engine;
use kaizen_edge::low_level::learn::inference;
use kaizen_edge::low_level::learn::objective::Objective;
use kaizen_edge::low_level::learn::trainer::{Recipe, Samples, Trainer};
use kaizen_edge::low_level::session::LearnerSettings;

/// A linear softmax head that is trained on labels alone, without replay or distillation.
#[derive(Clone, Debug)]
pub(super) struct LinearProbe {
    architecture: Architecture,
    parameters: Parameters,
    recipe: Recipe,
    seed: u64,
}

impl LinearProbe {
    pub(super) fn new(settings: &LearnerSettings, features: usize, classes: usize, steps: usize) -> Self {
        let method = settings.recipe.objective.method;
        let nothing = || Mlp::new(&[1, 1], Norm::None);
        let architecture = Architecture {
            extractor: Extractor::adapter(features, 1, false),
            projector: Mlp::new(&[features, 1], Norm::None),
            predictor: method.has_predictor().then(nothing),
            distill_predictor: nothing(),
            classifier: Mlp::new(&[features, classes], Norm::None),
        };
        let objective = Objective {
            ssl_weight: 0.0,
            feature_distill_weight: 0.0,
            classifier_distill_weight: 0.0,
            ..Objective::new(method)
        };
        let recipe = Recipe {
            objective,
            current_rows: settings.recipe.current_rows + settings.recipe.replay_rows,
            steps,
            ..settings.recipe.clone()
        };
        let parameters = architecture.init(settings.seed);
        Self { architecture, parameters, recipe, seed: settings.seed }
    }

    /// Fine-tunes on `samples`, whose labels are columns of the head. Columns are added up to
    /// `classes`.
    pub(super) fn train(&mut self, engine: &mut dyn Engine, samples: Samples, classes: usize) -> Result<()> {
        self.architecture.grow(&mut self.parameters, classes, self.seed)?;
        self.parameters.drop_prefixed(&["optimizer."]);
        let pair = [samples, Samples::default()];
        let mut trainer =
            Trainer::load(engine, &self.architecture, &self.recipe, &self.parameters, pair, self.seed)?;
        trainer.run(engine, 0, self.recipe.steps)?;
        self.parameters = engine.snapshot()?;
        Ok(())
    }

    /// The columns that rows of inputs `[N, D]` are named by.
    pub(super) fn predict(&self, inputs: &[f32]) -> Result<Vec<Option<usize>>> {
        let logits = inference::logits(&self.architecture, &self.parameters, inputs)?;
        Ok(argmax_rows(&logits, self.architecture.classes()).into_iter().map(Some).collect())
    }
}
