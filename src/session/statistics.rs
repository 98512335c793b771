//! The statistics of the closed forms, and which samples went into them as which class: a reopened
//! state goes on where it stood, and a label that is taken back takes its share with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blend::BlendHead;
use super::candidate::Candidate;
use super::published_head::{Head, HeadKind, Inputs, PublishedHead, best_of};
use crate::Result;
use crate::ids::{ClassId, SampleId};
use crate::learn::closed_form::{
    ClassMeans, Ensemble, EnsembleHead, EnsembleModel, EnsembleSettings, Evidence, LdaModel, MeanDistance,
    Responsibilities, distinct,
};
use crate::memory::StoredSample;
use crate::number::real;

/// The samples that one consolidation learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct LearnedTask {
    labelled: Vec<SampleId>,
    /// Unlabelled samples whose weight is shared out among the task's classes.
    open: Vec<SampleId>,
    /// Whether a tail was trained on the samples.
    #[serde(default)]
    is_trained: bool,
    /// Share of each unlabelled sample in each class, `[N, K]`; empty until EM has found them, and
    /// again after a sample of the task was removed.
    shares: Vec<f32>,
}

/// The samples that went into the statistics, task by task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Learned {
    /// Consolidations so far.
    pub(super) tasks: usize,
    labelled: BTreeMap<SampleId, ClassId>,
    /// The held-out samples that the head that serves was fitted to once they had judged it.
    #[serde(default)]
    held_out: BTreeMap<SampleId, ClassId>,
    by_task: Vec<LearnedTask>,
}

/// Statistics of the closed forms.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    inputs: Inputs,
    settings: EnsembleSettings,
    pub(super) ensemble: Ensemble,
    pub(super) means: ClassMeans,
}

impl LearnedTask {
    /// Forgets samples that belong to no class of the task: they stay open, for a class that is
    /// taught later.
    fn drop_outliers(&mut self) {
        let columns = (self.shares.len() / self.open.len().max(1)).max(1);
        let rows = self.shares.chunks_exact(columns).zip(&self.open);
        let kept: Vec<_> = rows.filter(|(row, _)| row.iter().any(|share| *share > 0.0)).collect();
        let (shares, open) = kept.into_iter().map(|(row, id)| (row.to_vec(), *id)).unzip::<_, _, Vec<_>, _>();
        (self.shares, self.open) = (shares.concat(), open);
    }
}

impl Learned {
    /// Whether this labelled sample was learned as the class that it has now.
    pub(super) fn has(&self, sample: &StoredSample) -> bool {
        sample.class.is_some() && self.labelled.get(&sample.id) == sample.class.as_ref()
    }

    /// Unlabelled samples that were shared out.
    pub(super) fn shared(&self) -> BTreeSet<SampleId> {
        self.by_task.iter().flat_map(|task| &task.open).copied().collect()
    }

    /// Drops the ids of shared-out samples that a quota removed from the memory, so that this list
    /// stays as small as the memory. The statistics keep what those samples contributed.
    pub(super) fn keep_shared(&mut self, unlabelled: &[StoredSample]) {
        let kept: BTreeSet<_> = unlabelled.iter().map(|sample| sample.id).collect();
        for task in &mut self.by_task {
            let is_kept: Vec<_> = task.open.iter().map(|sample| kept.contains(sample)).collect();
            if is_kept.contains(&false) {
                let rows =
                    task.shares.chunks_exact((task.shares.len() / task.open.len()).max(1)).zip(&is_kept);
                task.shares = rows.filter(|(_, kept)| **kept).flat_map(|(row, _)| row.to_vec()).collect();
                let mut flags = is_kept.iter();
                task.open.retain(|_| flags.next() == Some(&true));
            }
        }
    }

    /// The same samples, whose shares are to be found anew: by the features of another tail.
    pub(super) fn without_shares(&self) -> Self {
        let mut learned = self.clone();
        learned.by_task.iter_mut().for_each(|task| task.shares.clear());
        learned
    }

    fn untrained_tasks(&self) -> impl Iterator<Item = &LearnedTask> {
        self.by_task.iter().filter(|task| !task.is_trained)
    }

    /// Labelled samples that wait for the training of a tail.
    pub(super) fn untrained(&self) -> BTreeSet<SampleId> {
        self.untrained_tasks().flat_map(|task| &task.labelled).copied().collect()
    }

    /// Whether anything waits for the training of a tail.
    pub(super) fn has_untrained(&self) -> bool {
        self.untrained_tasks().next().is_some()
    }

    /// The ones of `samples` that a tail was trained on as the class that they have now.
    pub(super) fn trained<'a>(&self, samples: &'a [StoredSample]) -> Vec<&'a StoredSample> {
        let untrained = self.untrained();
        samples.iter().filter(|sample| self.has(sample) && !untrained.contains(&sample.id)).collect()
    }

    /// Unlabelled samples that wait for the training of a tail.
    pub(super) fn untrained_open(&self) -> BTreeSet<SampleId> {
        self.untrained_tasks().flat_map(|task| &task.open).copied().collect()
    }

    /// Notes that a tail was trained on everything that was learned.
    pub(super) fn set_trained(&mut self) {
        self.by_task.iter_mut().for_each(|task| task.is_trained = true);
    }

    /// The unlabelled samples that wait for the training of a tail and that
    /// expectation-maximisation is surest of, at most `part` of them all, with the class of each.
    pub(super) fn surest(&self, part: f64) -> BTreeMap<SampleId, ClassId> {
        let mut named: Vec<_> = self.untrained_tasks().flat_map(|task| self.named(task)).collect();
        named.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a count")]
        named.truncate((part * real(named.len())).round() as usize);
        named.into_iter().map(|(_, id, class)| (id, class)).collect()
    }

    /// The largest share of each unlabelled sample of a task, of all of its shares, and its class.
    fn named(&self, task: &LearnedTask) -> Vec<(f32, SampleId, ClassId)> {
        let labels: Vec<_> = task.labelled.iter().filter_map(|id| self.labelled.get(id).copied()).collect();
        let classes = distinct(&labels);
        let rows = task.shares.chunks_exact(classes.len().max(1)).zip(&task.open);
        let named = rows.map(|(row, &id)| {
            let (column, share) = best_of(row);
            (share / row.iter().sum::<f32>().max(f32::MIN_POSITIVE), id, classes[column])
        });
        named.collect()
    }

    /// Notes the held-out samples that the head that serves was fitted to.
    pub(super) fn set_held_out(&mut self, samples: &[StoredSample]) {
        self.held_out = samples.iter().filter_map(|sample| Some((sample.id, sample.class?))).collect();
    }

    /// Whether the head that serves was fitted to this held-out sample.
    pub(super) fn has_held_out(&self, sample: &StoredSample) -> bool {
        self.held_out.contains_key(&sample.id)
    }

    /// Drops held-out samples whose label no longer holds. Returns whether there were any.
    pub(super) fn drop_stale_held_out(&mut self, live: &BTreeMap<SampleId, ClassId>) -> bool {
        let before = self.held_out.len();
        self.held_out.retain(|sample, class| live.get(sample) == Some(class));
        self.held_out.len() != before
    }

    /// The classes of the labelled samples.
    pub(super) fn classes(&self) -> BTreeSet<ClassId> {
        self.labelled.values().copied().collect()
    }

    /// Drops what no longer holds, given the live class of every sample: labels taken back or
    /// changed, samples of a forgotten class, shared-out samples that have a label now. Returns
    /// whether anything was dropped.
    pub(super) fn drop_stale(&mut self, live: &BTreeMap<SampleId, ClassId>) -> bool {
        let before = self.labelled.len();
        self.labelled.retain(|sample, class| live.get(sample) == Some(class));
        let mut changed = self.labelled.len() != before;
        for task in &mut self.by_task {
            let before = (task.labelled.len(), task.open.len());
            task.labelled.retain(|sample| self.labelled.contains_key(sample));
            task.open.retain(|sample| !live.contains_key(sample));
            if before != (task.labelled.len(), task.open.len()) {
                task.shares.clear();
                changed = true;
            }
        }
        self.by_task.retain(|task| !task.labelled.is_empty());
        changed
    }
}

impl Statistics {
    /// Empty statistics.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a width of 0.
    pub(super) fn new(inputs: &Inputs, settings: EnsembleSettings, seed: u64) -> Result<Self> {
        let map = &inputs.0;
        Ok(Self {
            inputs: inputs.clone(),
            settings,
            ensemble: Ensemble::new(settings, map.features(), map.transform(), seed)?,
            means: ClassMeans::new(map.clone(), MeanDistance::Standardised),
        })
    }

    /// Adds what was learned, task by task, from the stored samples.
    pub(super) fn relearn(
        &mut self,
        learned: &mut Learned,
        training: &[StoredSample],
        unlabelled: &[StoredSample],
    ) -> Result<()> {
        let labelled: BTreeMap<_, _> = training.iter().map(|sample| (sample.id, sample)).collect();
        let open: BTreeMap<_, _> = unlabelled.iter().map(|sample| (sample.id, sample)).collect();
        let find = |ids: &[SampleId], stored: &BTreeMap<SampleId, &StoredSample>| -> Vec<StoredSample> {
            ids.iter().filter_map(|id| stored.get(id).copied().cloned()).collect()
        };
        for task in &mut learned.by_task {
            // The quota may have dropped samples since: their shares cannot be told apart any more.
            let rows = find(&task.open, &open);
            if rows.len() != task.open.len() {
                task.open = rows.iter().map(|sample| sample.id).collect();
                task.shares.clear();
            }
            self.add(task, &find(&task.labelled, &labelled), &rows)?;
        }
        Ok(())
    }

    /// Learns a task: labelled rows exactly, unlabelled ones shared out among the task's classes.
    pub(super) fn learn(
        &mut self,
        learned: &mut Learned,
        fresh: &[StoredSample],
        open: &[StoredSample],
    ) -> Result<()> {
        if fresh.is_empty() {
            return Ok(());
        }
        let ids = |rows: &[StoredSample]| rows.iter().map(|sample| sample.id).collect();
        let mut task =
            LearnedTask { labelled: ids(fresh), open: ids(open), is_trained: false, shares: Vec::new() };
        self.add(&mut task, fresh, open)?;
        task.drop_outliers();
        learned.labelled.extend(fresh.iter().filter_map(|sample| Some((sample.id, sample.class?))));
        learned.by_task.push(task);
        Ok(())
    }

    fn add(
        &mut self,
        task: &mut LearnedTask,
        labelled: &[StoredSample],
        open: &[StoredSample],
    ) -> Result<()> {
        let classes: Vec<_> = labelled.iter().filter_map(|sample| sample.class).collect();
        if classes.is_empty() {
            return Ok(());
        }
        let rows: Vec<&[f32]> = labelled.iter().chain(open).map(|sample| &*sample.features).collect();
        let (known, others) = rows.split_at(labelled.len());
        if task.shares.len() != open.len() * distinct(&classes).len() {
            let map = &self.inputs.0;
            task.shares = self.settings.share_out(
                map.features(),
                map.transform(),
                [known.into(), others.into()],
                &classes,
            )?;
        }
        self.means.add(known, Responsibilities::Labels(&classes))?;
        self.ensemble.add(&Evidence::new(&rows[..], &classes, &task.shares)?)
    }
}

impl Statistics {
    /// The ensemble and the discriminant behind it.
    pub(super) fn ensemble_head(&self) -> Result<(EnsembleHead, LdaModel)> {
        let EnsembleModel { lda, head } = self.ensemble.fit()?;
        Ok((head, lda))
    }

    /// `published` with closed forms that are fitted to held-out samples as well, and the novelty
    /// of their discriminant. What was trained stays as it is, and so do the statistics.
    ///
    /// # Errors
    /// As [`Statistics::ensemble_head`].
    pub(super) fn refit(&self, published: PublishedHead, held_out: &[StoredSample]) -> Result<PublishedHead> {
        let (rows, classes): (Vec<&[f32]>, Vec<_>) =
            held_out.iter().filter_map(|sample| Some((&*sample.features, sample.class?))).unzip();
        let EnsembleModel { lda, head: ensemble } =
            self.ensemble.fit_with(&Evidence::new(&rows[..], &classes, &[])?)?;
        let head = match (published.head, published.kind) {
            (own @ (Head::Trained(_) | Head::Classifier(_)), _) => own,
            (Head::Blend(blend), _) => Head::Blend(BlendHead { ensemble, ..blend }),
            (Head::Linear(_), HeadKind::Ncm) => {
                let mut means = self.means.clone();
                means.add(&rows[..], Responsibilities::Labels(&classes))?;
                Head::Linear(means.fit()?)
            }
            (Head::Linear(_), HeadKind::Ridge) => Head::Linear(ensemble.ridge),
            (Head::Linear(_), HeadKind::Slda | HeadKind::Ensemble | HeadKind::Trained | HeadKind::Blend) => {
                Head::Linear(ensemble.lda)
            }
            (Head::Ensemble(_), _) => Head::Ensemble(ensemble),
        };
        Ok(PublishedHead { head, geometry: Arc::new(lda.geometry), ..published })
    }

    /// The closed forms, best guess first, and the discriminant behind them.
    pub(super) fn candidates(&self) -> Result<(Vec<Candidate>, LdaModel)> {
        let (head, lda) = self.ensemble_head()?;
        let means = self.means.fit()?;
        let candidates = vec![
            Candidate { kind: HeadKind::Ensemble, head: Head::Ensemble(head.clone()) },
            Candidate { kind: HeadKind::Slda, head: Head::Linear(head.lda) },
            Candidate { kind: HeadKind::Ridge, head: Head::Linear(head.ridge) },
            Candidate { kind: HeadKind::Ncm, head: Head::Linear(means) },
        ];
        Ok((candidates, lda))
    }
}
