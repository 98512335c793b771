//! Training of the trained head: adapter and classifier on new samples and replay.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::FeatureLearner;
use super::checkpoint::Checkpoints;
use super::gathered::Gathered;
use super::trained_state::VERSION;
use crate::event::Event;
use crate::heads::{ADAPTER, Architecture, Parameters};
use crate::learn::trainer::{Recipe, Samples, Trainer, take_teacher};
use crate::memory::StoredSample;
use crate::rng::Rng;
use crate::session::format;
use crate::session::published_head::{Head, TrainedHead};
use crate::session::training_control::TrainingControl;
use crate::{Error, Result};

impl FeatureLearner {
    /// Trains adapter and classifier on the gathered samples and the replay; keeps their state for
    /// the next task.
    pub(super) fn train_head(
        &mut self,
        recipe: &Recipe,
        gathered: &Gathered,
        control: &mut TrainingControl<'_>,
    ) -> Result<Head> {
        for class in gathered.labelled.iter().filter_map(|sample| sample.class) {
            if !self.trained.columns.contains(&class) {
                self.trained.columns.push(class);
            }
        }
        let drawn = self.drawn(&gathered.labelled, &gathered.unlabelled);
        let current = self.samples(drawn.into_iter().map(|s| (s, self.trained.column_of(s))))?;
        let replay = self.samples(gathered.replay.iter().map(|(sample, column)| (sample, *column)))?;
        let seed = self.settings.seed.wrapping_add(self.learned.tasks as u64);
        let columns = self.trained.columns.len();
        let (architecture, state) = match self.trained.parameters.take() {
            Some((mut architecture, mut state)) => {
                take_teacher(&mut state);
                architecture.grow(&mut state, columns, seed)?;
                (architecture, state)
            }
            None => {
                let architecture = self.settings.architecture(self.memory.identity().feature_width, columns);
                let state = architecture.init(self.settings.seed);
                (architecture, state)
            }
        };
        let pair = [current, replay];
        match self.train_from(&architecture, recipe, &state, pair, seed, None, control) {
            Ok((trained, _)) => {
                let parameters = Arc::new(trained.copied(&[ADAPTER, "classifier."], ""));
                self.trained.keep(architecture.clone(), trained);
                self.trained.is_to_be_retrained = false;
                let columns = self.trained.columns.clone();
                Ok(Head::Trained(TrainedHead { architecture, parameters, columns }))
            }
            Err(error) => {
                self.trained.keep(architecture, state);
                Err(error)
            }
        }
    }

    /// Samples with the views that are stored of each, and their columns.
    fn samples<'a>(&self, rows: impl Iterator<Item = (&'a StoredSample, i32)>) -> Result<Samples> {
        let mut samples = Samples::default();
        for (sample, column) in rows {
            let mut views = vec![self.inputs.apply(&sample.features)?];
            for view in self.memory.views(sample.id)? {
                views.push(self.inputs.apply(&view)?);
            }
            samples.push(&views, column)?;
        }
        Ok(samples)
    }

    /// The samples that training can reach: all of them, or as many as its batches have rows, drawn
    /// by seed.
    fn drawn<'a>(
        &self,
        labelled: &'a [StoredSample],
        unlabelled: &'a [StoredSample],
    ) -> Vec<&'a StoredSample> {
        let mut samples: Vec<_> = labelled.iter().chain(unlabelled).collect();
        let places = self.settings.recipe.steps * self.settings.recipe.current_rows;
        if samples.len() > places {
            let purpose = format!("samples of task {}", self.learned.tasks);
            Rng::named(self.settings.seed, &purpose).shuffle(&mut samples);
            samples.truncate(places);
        }
        samples
    }

    /// Trains as `recipe` says. Returns what outlives the training, and whether it took all of its
    /// steps. With `checkpoints` it goes on from the last one, if that is of this training.
    pub(super) fn train_from(
        &mut self,
        architecture: &Architecture,
        recipe: &Recipe,
        start: &Parameters,
        samples: [Samples; 2],
        seed: u64,
        mut checkpoints: Option<Checkpoints>,
        control: &mut TrainingControl<'_>,
    ) -> Result<(Parameters, bool)> {
        self.engine.get()?;
        if let Some(line) = self.engine.take_line() {
            control.emit(&Event::Engine { line });
        }
        let kept =
            checkpoints.as_ref().map(|checkpoints| checkpoints.load(&self.memory, start)).transpose()?;
        let (first, state) = kept.flatten().map_or((0, None), |(step, state)| (step, Some(state)));
        if first > 0 {
            control.emit(&Event::Resumed { step: first, of: recipe.steps });
        }
        let (engine, memory) = (self.engine.get()?, &mut self.memory);
        let trained = (|| {
            let mut taken = recipe.steps;
            let state = state.as_ref().unwrap_or(start);
            let mut trainer = Trainer::load(engine, architecture, recipe, state, samples, seed)?;
            let stride = recipe.steps_per_submit.max(1);
            control.start_work();
            for from in (first..recipe.steps).step_by(stride) {
                let to = (from + stride).min(recipe.steps);
                let terms = control.take_steps(|| trainer.run(engine, from, to))?;
                if let Some(last) = terms.last() {
                    let total = last.total(&recipe.objective);
                    control.emit(&Event::Trained { step: to, total, deviation: last.deviation });
                }
                if let Some(checkpoints) =
                    checkpoints.as_mut().filter(|due| due.is_due() && to < recipe.steps)
                {
                    checkpoints.save(memory, to, engine.snapshot()?)?;
                }
                control.pause();
                if to < recipe.steps && control.is_awaited() {
                    control.emit(&Event::CutShort { step: to, of: recipe.steps });
                    taken = to;
                    break;
                }
            }
            let state = engine.trained()?;
            match state.first_non_finite() {
                Some(name) => Err(Error::NonFinite { term: name.to_owned(), step: taken as u64 }),
                None => Ok((state, taken == recipe.steps)),
            }
        })();
        engine.unload();
        trained
    }

    /// Keeps what was learned for the next task, also across restarts.
    pub(super) fn store_training(&mut self) -> Result<()> {
        let (architecture, state) = match &self.trained.parameters {
            Some((architecture, state)) => (Some(architecture), state),
            None => (None, &Parameters::default()),
        };
        let metadata = BTreeMap::from([
            format::entry(),
            ("architecture".to_owned(), json(&architecture)?),
            ("columns".to_owned(), json(&self.trained.columns)?),
            ("learned".to_owned(), json(&self.learned)?),
            ("begins_anew".to_owned(), json(&self.trained.begins_anew)?),
            (VERSION.to_owned(), json(&self.memory.serving_version()?)?),
        ]);
        self.memory.save_training(&state.to_safetensors(&metadata)?)?;
        self.trained.is_behind = false;
        Ok(())
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Error::refused("storing what was trained", error.to_string(), "report this as a bug")
    })
}
