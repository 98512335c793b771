//! What a consolidation learns, and what its heads are judged on.

use std::sync::Arc;
use std::time::Instant;

use crate::heads::Tail;
use crate::learn::closed_form::EnsembleSettings;
use crate::memory::StoredSample;

/// What is learned, and what the heads are judged on.
pub(super) struct Gathered {
    pub(super) started: Instant,
    pub(super) closed_forms: EnsembleSettings,
    /// The trained tail whose features the samples have; without one, the backbone's own.
    pub(super) tail: Option<Arc<Tail>>,
    /// Labelled samples that have no latents, where the backbone is cut.
    pub(super) without_latents: usize,
    /// Every labelled sample for training.
    pub(super) training: Vec<StoredSample>,
    /// Every labelled sample that is held out.
    pub(super) held_out: Vec<StoredSample>,
    /// The samples of `training` that this consolidation learns.
    pub(super) labelled: Vec<StoredSample>,
    /// Every unlabelled sample; after fitting those that training learns.
    pub(super) unlabelled: Vec<StoredSample>,
    /// Samples of old classes to train an adapter on again, with their columns.
    pub(super) replay: Vec<(StoredSample, i32)>,
    /// Whether training is to happen now; it waits otherwise.
    pub(super) trains: bool,
    /// Whether something was taken back: the heads are made anew without it, whatever that costs
    /// the other classes.
    pub(super) is_removal: bool,
}

impl Gathered {
    /// The labelled samples that the new heads know: after a removal not those that are still to be
    /// learned.
    pub(super) fn learned(&self) -> &[StoredSample] {
        if self.is_removal { &self.labelled } else { &self.training }
    }

    /// The samples that decide: without held-out ones (very few labels) the training samples must
    /// do.
    pub(super) fn judges(&self) -> &[StoredSample] {
        if self.held_out.is_empty() { self.learned() } else { &self.held_out }
    }

    /// The same, with labelled samples that have the features of a tail that was trained on them.
    pub(super) fn through(&self, tail: &Arc<Tail>, [training, held_out]: [Vec<StoredSample>; 2]) -> Self {
        Self {
            tail: Some(tail.clone()),
            training,
            held_out,
            labelled: Vec::new(),
            unlabelled: Vec::new(),
            replay: Vec::new(),
            ..*self
        }
    }
}
