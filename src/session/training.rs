//! Training of the adapter and the classifier, and their state between consolidations.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::learner::Learner;
use super::meanwhile::Meanwhile;
use super::predictor::{Answer, Trained};
use crate::event::{Event, EventSink};
use crate::heads::{Architecture, Parameters};
use crate::ids::ClassId;
use crate::learn::trainer::{Samples, Trainer, take_teacher};
use crate::memory::StoredSample;
use crate::rng::Rng;
use crate::{Error, Result};

impl Learner {
    /// Trains adapter and classifier on the task and the replay; keeps the state for the next task. What `meanwhile` says
    /// may end it early.
    pub(super) fn train(
        &mut self,
        fresh: &[StoredSample],
        open: &[StoredSample],
        replay: &[(StoredSample, i32)],
        meanwhile: Option<&Meanwhile>,
        events: &mut dyn EventSink,
    ) -> Result<Answer> {
        for class in fresh.iter().filter_map(|s| s.class) {
            if !self.columns.contains(&class) {
                self.columns.push(class);
            }
        }
        let column_of = |sample: &StoredSample| {
            let column = self.columns.iter().position(|class| Some(*class) == sample.class);
            column.and_then(|column| i32::try_from(column).ok()).unwrap_or(-1)
        };
        let current = self.samples(self.drawn(fresh, open).into_iter().map(|s| (s, column_of(s))))?;
        let replay = self.samples(replay.iter().map(|(sample, column)| (sample, *column)))?;
        let seed = self.settings.seed.wrapping_add(self.learned.tasks as u64);
        let (architecture, state) = match self.trained.take() {
            Some((mut architecture, mut state)) => {
                take_teacher(&mut state);
                architecture.grow(&mut state, self.columns.len(), seed)?;
                (architecture, state)
            }
            None => {
                let width = self.memory.identity().feature_width;
                let architecture = self.settings.architecture(width, self.columns.len());
                let state = architecture.init(self.settings.seed);
                (architecture, state)
            }
        };
        let outcome = self.train_from(&architecture, &state, [current, replay], seed, (meanwhile, events));
        self.engine.unload();
        let state = match outcome {
            Ok(trained) => trained,
            Err(error) => {
                self.trained = Some((architecture, state));
                return Err(error);
            }
        };
        let parameters = Arc::new(state.copied(&["adapter.", "classifier."], ""));
        self.trained = Some((architecture.clone(), state));
        Ok(Answer::Trained(Trained { architecture, parameters, columns: self.columns.clone() }))
    }

    /// Samples with the views that are stored of each, and their columns.
    fn samples<'a>(&self, rows: impl Iterator<Item = (&'a StoredSample, i32)>) -> Result<Samples> {
        let mut samples = Samples::default();
        for (sample, column) in rows {
            let mut views = vec![self.inputs.apply(&sample.features)?];
            for view in self.memory.views(sample.id)? {
                views.push(self.inputs.apply(&view)?);
            }
            samples.push(&views, column);
        }
        Ok(samples)
    }

    /// The samples that training can come to: of more than it has places for, so many drawn by seed.
    fn drawn<'a>(&self, fresh: &'a [StoredSample], open: &'a [StoredSample]) -> Vec<&'a StoredSample> {
        let mut samples: Vec<_> = fresh.iter().chain(open).collect();
        let places = self.settings.recipe.steps * self.settings.recipe.current_rows;
        if samples.len() > places {
            let purpose = format!("samples of task {}", self.learned.tasks);
            Rng::named(self.settings.seed, &purpose).shuffle(&mut samples);
            samples.truncate(places);
        }
        samples
    }

    fn train_from(
        &mut self,
        architecture: &Architecture,
        state: &Parameters,
        samples: [Samples; 2],
        seed: u64,
        (meanwhile, events): (Option<&Meanwhile>, &mut dyn EventSink),
    ) -> Result<Parameters> {
        let recipe = &self.settings.recipe;
        let engine = self.engine.as_mut();
        let mut taken = recipe.steps;
        let mut trainer = Trainer::load(engine, architecture, recipe, state, samples, seed)?;
        let stride = recipe.steps_per_submit.max(1);
        for from in (0..recipe.steps).step_by(stride) {
            let to = (from + stride).min(recipe.steps);
            let terms = trainer.run(engine, from, to)?;
            if let Some(last) = terms.last() {
                let total = last.total(&recipe.objective);
                events.emit(&Event::Trained { step: to, total, deviation: last.deviation });
            }
            if to < recipe.steps && meanwhile.is_some_and(|meanwhile| (meanwhile.is_awaited)()) {
                events.emit(&Event::CutShort { step: to, of: recipe.steps });
                taken = to;
                break;
            }
        }
        let state = engine.snapshot()?;
        match state.first_non_finite() {
            Some(name) => Err(Error::NonFinite { term: name.to_owned(), step: taken as u64 }),
            None => Ok(state),
        }
    }

    /// Keeps what was learned, and of the trained heads parameters, momentum copies and queues, for the next task, also
    /// across restarts; the optimiser starts anew.
    pub(super) fn store_training(&mut self) -> Result<()> {
        let (architecture, mut state) = match &self.trained {
            Some((architecture, state)) => (Some(architecture), state.clone()),
            None => (None, Parameters::default()),
        };
        state.drop_prefixed(&["optimizer.", "teacher."]);
        let json =
            |value: serde_json::Result<String>| value.map_err(|e| Error::config("training state", e, "JSON"));
        let metadata = BTreeMap::from([
            ("architecture".to_owned(), json(serde_json::to_string(&architecture))?),
            ("columns".to_owned(), json(serde_json::to_string(&self.columns))?),
            ("learned".to_owned(), json(serde_json::to_string(&self.learned))?),
        ]);
        self.memory.save_training(&state.to_safetensors(&metadata)?)
    }

    /// Takes up what [`Learner::store_training`] kept; trained heads only if the settings still ask for the same parts.
    pub(super) fn restore_training(&mut self) -> Result<()> {
        let Some(bytes) = self.memory.load_training()? else { return Ok(()) };
        let metadata = Parameters::metadata(&bytes)?;
        let part = |name: &str| metadata.get(name).map_or("null", String::as_str);
        let refused = |e: serde_json::Error| Error::config("training state", e, "a state of this program");
        self.learned = serde_json::from_str(part("learned")).map_err(refused)?;
        let architecture: Option<Architecture> =
            serde_json::from_str(part("architecture")).map_err(refused)?;
        let columns: Vec<ClassId> = serde_json::from_str(part("columns")).map_err(refused)?;
        let expected = self.settings.architecture(self.memory.identity().feature_width, columns.len());
        if let Some(architecture) = architecture
            && architecture == expected
        {
            self.columns = columns;
            self.trained = Some((architecture, Parameters::from_safetensors(&bytes)?));
        }
        Ok(())
    }
}
