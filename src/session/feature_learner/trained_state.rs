//! The trained head between consolidations, and its way back out of the state file.

use crate::heads::{Architecture, Parameters, TAIL, Tail};
use crate::ids::ClassId;
use crate::learn::engine::STARTS_ANEW;
use crate::memory::{Memory, StoredSample, VersionId};
use crate::session::format;
use crate::session::settings::LearnerSettings;
use crate::session::statistics::Learned;
use crate::{Error, Result};

/// The part of the metadata that tells which version served when the state was stored.
pub(super) const VERSION: &str = "version";
/// What is read, for errors.
const WHAT: &str = "the state of the training";

/// What training leaves for the next task.
#[derive(Debug, Default)]
pub(super) struct TrainedState {
    /// Class of each column of the classifier.
    pub(super) columns: Vec<ClassId>,
    /// Parts and parameters: heads, momentum copies, queues.
    pub(super) parameters: Option<(Architecture, Parameters)>,
    /// Whether training has to begin anew because of a removal.
    pub(super) is_to_be_retrained: bool,
    /// Whether the next training of a tail begins at the backbone's own, because what was taken
    /// back is in the trained one.
    pub(super) begins_anew: bool,
    /// Whether what was stored is from before the version that serves: the process ended between
    /// the two.
    pub(super) is_behind: bool,
}

impl TrainedState {
    /// Keeps the parameters that a training gave, without teacher and moments, which the next one
    /// makes anew, and without the tail, which is kept with the version that it serves in.
    pub(super) fn keep(&mut self, architecture: Architecture, mut parameters: Parameters) {
        parameters.drop_prefixed(&STARTS_ANEW);
        parameters.drop_prefixed(&[TAIL, "momentum.tail."]);
        self.parameters = Some((architecture, parameters));
    }

    pub(super) fn columns(&self) -> &[ClassId] {
        &self.columns
    }

    /// Lets go of everything that was trained; training begins from the first parameters.
    pub(super) fn start_anew(&mut self) {
        self.is_to_be_retrained = self.parameters.take().is_some();
        self.columns.clear();
    }

    /// As [`TrainedState::start_anew`], for a tail: it is trained anew by the next consolidation.
    pub(super) fn start_tail_anew(&mut self) {
        *self = Self { begins_anew: true, ..Self::default() };
    }

    pub(super) fn is_to_be_retrained(&self) -> bool {
        self.is_to_be_retrained
    }

    #[cfg(test)]
    pub(super) fn parameters(&self) -> Option<&Parameters> {
        self.parameters.as_ref().map(|(_, parameters)| parameters)
    }

    pub(super) fn column_of(&self, sample: &StoredSample) -> i32 {
        let column = self.columns.iter().position(|class| Some(*class) == sample.class);
        column.and_then(|column| i32::try_from(column).ok()).unwrap_or(-1)
    }
}

/// Reads back what the last consolidation stored; a trained head only if the settings still ask for
/// the same parts.
pub(super) fn restored(
    memory: &Memory,
    settings: &LearnerSettings,
    tail: Option<&Tail>,
) -> Result<(Learned, TrainedState)> {
    let Some(bytes) = memory.load_training()? else {
        let is_behind = memory.serving_version()?.is_some();
        return Ok((Learned::default(), TrainedState { is_behind, ..TrainedState::default() }));
    };
    let metadata = Parameters::metadata(&bytes)?;
    format::require(WHAT, &metadata)?;
    let part = |name: &str| metadata.get(name).map_or("null", String::as_str);
    let refused = |error: serde_json::Error| {
        Error::corrupt(
            "training state",
            error.to_string(),
            "run `kaizen check`, or put back a copy of the file",
        )
    };
    let learned = serde_json::from_str(part("learned")).map_err(refused)?;
    let architecture: Option<Architecture> = serde_json::from_str(part("architecture")).map_err(refused)?;
    let columns: Vec<ClassId> = serde_json::from_str(part("columns")).map_err(refused)?;
    let begins_anew = serde_json::from_str::<Option<bool>>(part("begins_anew")).map_err(refused)?;
    // States from before it was stored have no such part.
    let version = metadata.get(VERSION).map(|text| serde_json::from_str::<Option<VersionId>>(text));
    let version = version.transpose().map_err(refused)?;
    let is_behind = match version {
        Some(version) => version != memory.serving_version()?,
        None => false,
    };
    let expected = match tail {
        Some(tail) => settings.tail_architecture(&tail.extractor, columns.len()),
        None => settings.architecture(memory.identity().feature_width, columns.len()),
    };
    let begins_anew = begins_anew.unwrap_or(false);
    let mut trained = TrainedState { begins_anew, is_behind, ..TrainedState::default() };
    if let Some(architecture) = architecture
        && architecture == expected
    {
        let parameters = Parameters::from_safetensors(&bytes)?;
        let names = parameters.names().into_iter();
        format::refuse_unknown(WHAT, names.filter(|name| !format::has(&architecture, name)))?;
        trained = TrainedState { columns, parameters: Some((architecture, parameters)), ..trained };
    }
    Ok((learned, trained))
}
