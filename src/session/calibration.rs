//! Calibration of a head: the temperature of its probabilities and the scale of its novelty.

use std::sync::Arc;

use super::published_head::{Head, HeadKind, Inputs, PublishedHead, join};
use super::temperature::fit_temperature;
use crate::Result;
use crate::heads::Tail;
use crate::ids::ClassId;
use crate::learn::closed_form::LdaModel;
use crate::memory::StoredSample;

/// Number of held-out samples that suffice for the novelty scale without training samples.
const ENOUGH_HELD_OUT: usize = 40;

/// Calibrates a head: its temperature by held-out rows (training rows without any), its novelty
/// scale by held-out rows and, where they are few, training rows as if each had been left out.
/// `model` is the discriminant behind the novelty, `tail` the trained tail that made the rows.
pub(super) fn calibrated(
    kind: HeadKind,
    head: Head,
    inputs: &Inputs,
    model: LdaModel,
    tail: Option<Arc<Tail>>,
    names: Vec<(ClassId, String)>,
    [held_out, training]: [&[StoredSample]; 2],
) -> Result<PublishedHead> {
    let column_of = |sample: &StoredSample| head.columns().iter().position(|c| Some(*c) == sample.class);
    let known = |samples: &[StoredSample]| -> Vec<StoredSample> {
        samples.iter().filter(|sample| column_of(sample).is_some()).cloned().collect()
    };
    let (held_out, training) = (known(held_out), known(training));
    let judges = if held_out.is_empty() { &training } else { &held_out };
    let truth: Vec<usize> = judges.iter().filter_map(column_of).collect();
    let logits = head.logits(inputs, &join(judges))?;
    let temperature = fit_temperature(&logits, head.columns().len(), &truth);
    let mut known = model.geometry.novelty(&join(&held_out))?;
    if known.len() < ENOUGH_HELD_OUT {
        let labels: Vec<_> = training.iter().filter_map(|sample| sample.class).collect();
        known.extend(model.left_out_novelty(&join(&training), &labels)?);
    }
    known.sort_by(f32::total_cmp);
    let at = |percent: usize| known.get(known.len() * percent / 100).copied();
    let novelty_scale = match (at(50), at(95)) {
        (Some(middle), Some(most)) => [middle, (most - middle).max(1e-3 * most.abs()).max(f32::MIN_POSITIVE)],
        // Without any row that tells how far known frames lie from their class, nothing is called
        // unknown.
        (None, _) | (_, None) => [0.0, f32::MAX],
    };
    let names = names.into_iter().filter(|(id, _)| head.columns().contains(id)).collect();
    let inputs = inputs.clone();
    let geometry = Arc::new(model.geometry);
    Ok(PublishedHead { kind, head, tail, inputs, names, geometry, temperature, novelty_scale })
}
