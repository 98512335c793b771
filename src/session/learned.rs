//! What went into the statistics of the closed forms: which samples as which class, so that a reopened state goes on
//! where it stood, and so that a label taken back takes its share with it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::predictor::Inputs;
use crate::Result;
use crate::ids::{ClassId, SampleId};
use crate::learn::closed_form::{Assignment, ClassMeans, MeanDistance, SemiLda, SemiSettings, StreamingLda};
use crate::memory::StoredSample;

/// Unlabelled samples of one task, shared out among the task's classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SharedOut {
    /// The labelled samples that the shares follow from.
    labelled: Vec<SampleId>,
    samples: Vec<SampleId>,
    classes: Vec<ClassId>,
    /// `[samples, classes]`
    shares: Vec<f32>,
}

/// Samples that were learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Learned {
    /// Consolidations so far.
    pub(super) tasks: usize,
    labelled: BTreeMap<SampleId, ClassId>,
    shared: Vec<SharedOut>,
}

/// Statistics of the closed forms.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    inputs: Inputs,
    pub(super) lda: StreamingLda,
    pub(super) means: ClassMeans,
}

impl Learned {
    /// Whether this labelled sample was learned as the class that it has now.
    pub(super) fn has(&self, sample: &StoredSample) -> bool {
        sample.class.is_some() && self.labelled.get(&sample.id) == sample.class.as_ref()
    }

    /// Whether this unlabelled sample was shared out.
    pub(super) fn has_shared(&self, sample: &StoredSample) -> bool {
        self.shared.iter().any(|task| task.samples.contains(&sample.id))
    }

    /// Forgets which of the shared-out samples are gone from the memory (a quota makes room), so that what is remembered of
    /// them is bounded as they are. The statistics keep what they gave.
    pub(super) fn keep_shared(&mut self, unlabelled: &[StoredSample]) {
        let kept: BTreeSet<_> = unlabelled.iter().map(|sample| sample.id).collect();
        for task in &mut self.shared {
            let is_kept: Vec<_> = task.samples.iter().map(|sample| kept.contains(sample)).collect();
            if is_kept.contains(&false) {
                let mut flags = is_kept.iter();
                task.samples.retain(|_| flags.next() == Some(&true));
                let rows = task.shares.chunks_exact(task.classes.len().max(1)).zip(&is_kept);
                task.shares = rows.filter(|(_, kept)| **kept).flat_map(|(row, _)| row.to_vec()).collect();
            }
        }
        self.shared.retain(|task| !task.samples.is_empty());
    }

    /// Drops what is no longer so, given the live class of every sample: labels taken back or changed, samples of a
    /// forgotten class, shared-out samples that have a label now. Says whether that was anything.
    pub(super) fn drop_stale(&mut self, live: &BTreeMap<SampleId, ClassId>) -> bool {
        let before = self.labelled.len();
        self.labelled.retain(|sample, class| live.get(sample) == Some(class));
        let mut changed = self.labelled.len() != before;
        for task in &mut self.shared {
            let before = (task.labelled.len(), task.samples.len());
            task.labelled.retain(|sample| self.labelled.contains_key(sample));
            task.samples.retain(|sample| !live.contains_key(sample));
            if before != (task.labelled.len(), task.samples.len()) {
                // To be shared out again.
                task.shares.clear();
                changed = true;
            }
        }
        self.shared.retain(|task| !task.labelled.is_empty() && !task.samples.is_empty());
        changed
    }
}

impl Statistics {
    pub(super) fn new(inputs: &Inputs) -> Self {
        let map = &inputs.0;
        Self {
            inputs: inputs.clone(),
            lda: StreamingLda::new(map.clone()),
            means: ClassMeans::new(map.clone(), MeanDistance::Standardised),
        }
    }

    /// The statistics of what was learned, from the stored samples in the order of their ids.
    pub(super) fn rebuilt(
        inputs: &Inputs,
        learned: &mut Learned,
        training: &[StoredSample],
        unlabelled: &[StoredSample],
    ) -> Result<Self> {
        let mut statistics = Self::new(inputs);
        let kept: Vec<_> = training.iter().filter(|sample| learned.has(sample)).collect();
        statistics.add_labelled(&kept)?;
        for task in &mut learned.shared {
            let rows = |ids: &[SampleId], all: &[StoredSample]| -> Vec<StoredSample> {
                let ids: BTreeSet<_> = ids.iter().collect();
                all.iter().filter(|sample| ids.contains(&sample.id)).cloned().collect()
            };
            let open = rows(&task.samples, unlabelled);
            if task.shares.len() != open.len() * task.classes.len() {
                let labelled = rows(&task.labelled, training);
                *task = share_out(
                    inputs,
                    &labelled.iter().collect::<Vec<_>>(),
                    &open.iter().collect::<Vec<_>>(),
                )?;
            }
            let assignment = Assignment::Soft { classes: &task.classes, shares: &task.shares };
            statistics.lda.add(&join(&open), assignment)?;
        }
        Ok(statistics)
    }

    fn add_labelled(&mut self, rows: &[&StoredSample]) -> Result<()> {
        let (mut h, mut classes) = (Vec::new(), Vec::new());
        for (sample, class) in rows.iter().filter_map(|sample| sample.class.map(|class| (sample, class))) {
            h.extend_from_slice(&sample.features);
            classes.push(class);
        }
        self.lda.add(&h, Assignment::Labels(&classes))?;
        self.means.add(&h, Assignment::Labels(&classes))
    }

    /// Adds a task: labelled rows exactly, unlabelled ones shared out among the task's classes (EM).
    pub(super) fn learn(
        &mut self,
        learned: &mut Learned,
        fresh: &[StoredSample],
        open: &[StoredSample],
    ) -> Result<()> {
        let rows: Vec<_> = fresh.iter().collect();
        self.add_labelled(&rows)?;
        learned.labelled.extend(fresh.iter().filter_map(|sample| Some((sample.id, sample.class?))));
        if fresh.is_empty() || open.is_empty() {
            return Ok(());
        }
        let task = share_out(&self.inputs, &rows, &open.iter().collect::<Vec<_>>())?;
        self.lda.add(&join(open), Assignment::Soft { classes: &task.classes, shares: &task.shares })?;
        learned.shared.push(task);
        Ok(())
    }
}

fn share_out(inputs: &Inputs, labelled: &[&StoredSample], open: &[&StoredSample]) -> Result<SharedOut> {
    let semi = SemiLda::new(inputs.0.clone(), SemiSettings::default())?;
    let join = |rows: &[&StoredSample]| -> Vec<f32> {
        rows.iter().flat_map(|sample| sample.features.iter().copied()).collect()
    };
    let classes: Vec<_> = labelled.iter().filter_map(|sample| sample.class).collect();
    let outcome = semi.assign(&join(labelled), &classes, &join(open))?;
    let ids = |rows: &[&StoredSample]| rows.iter().map(|sample| sample.id).collect();
    Ok(SharedOut {
        labelled: ids(labelled),
        samples: ids(open),
        classes: outcome.classes,
        shares: outcome.shares,
    })
}

/// Features of rows one after the other, `[N, D]`.
pub(super) fn join(rows: &[StoredSample]) -> Vec<f32> {
    rows.iter().flat_map(|sample| sample.features.iter().copied()).collect()
}
