//! Unlabelled samples that the published head calls unknown, clustered by the cosine of their
//! features, so that a whole cluster can be named at once.

use std::collections::BTreeMap;

use serde::Serialize;

use super::clustering::{Thresholds, cluster, dot, normalize};
use super::published_head::{PublishedHead, join};
use super::through_tail::as_seen_by;
use crate::ids::{ClassId, SampleId};
use crate::memory::{LabelId, Memory, Rows, StoredSample};
use crate::{Error, Result};

/// Most samples without a label that are looked at: the newest ones.
const MOST_SAMPLES: u32 = 10_000;
/// Samples that are predicted together.
const BATCH: u32 = 256;
/// Most samples per known class from which the thresholds are taken.
const MOST_OF_A_CLASS: usize = 32;
/// Labels of a cluster that are written in one transaction.
const LABELS_TOGETHER: usize = 8;

/// Unknown samples that are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// The sample nearest to the mean of all; names the cluster, also when further samples have
    /// joined it.
    pub representative: SampleId,
    /// Every sample of it, by id.
    pub samples: Vec<SampleId>,
    /// Mean cosine of two of its samples, at most 1; 1 for a single one.
    pub cohesion: f32,
}

/// Unlabelled samples that are like nothing learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Unknowns {
    /// The clusters, the largest first.
    pub clusters: Vec<Cluster>,
    /// How many samples have no label.
    pub unlabelled: usize,
    /// How many of those, at most of the newest 10 000, the published head calls unknown.
    pub unknown: usize,
}

/// Clusters the unlabelled samples that `head` calls unknown (of more than 10 000 unlabelled ones
/// the newest are looked at, so memory is bounded).
/// Average-link on the cosine of transformed features; how alike is alike enough follows from the
/// labelled samples: two clusters stay apart when they are less alike than nine of ten labelled
/// samples are like their own class. Deterministic; costs N · 512 · D at most for N unknown
/// samples.
///
/// # Errors
/// [`Error::State`] if the memory cannot be read, [`Error::Shape`] for a head of other features.
pub(crate) fn unknowns(memory: &Memory, head: &PublishedHead) -> Result<Unknowns> {
    let unlabelled = usize::try_from(memory.counts()?.unlabelled).unwrap_or(usize::MAX);
    let mut found = Unknowns { unlabelled, ..Unknowns::default() };
    let (mut ids, mut rows) = (Vec::new(), Vec::new());
    let mut below = memory.below_newest_unlabelled(MOST_SAMPLES)?;
    loop {
        let batch = memory.unlabelled_above(below, BATCH)?;
        let Some(last) = batch.last() else { break };
        below = last.id.0;
        let batch = &as_seen_by(memory, head, batch)?[..];
        if batch.is_empty() {
            continue;
        }
        let h = join(batch);
        let answers = head.predict(&h)?;
        for (sample, _) in batch.iter().zip(answers).filter(|(_, answer)| answer.is_unknown()) {
            ids.push(sample.id);
            rows.extend(directions(head, &sample.features)?);
        }
    }
    found.unknown = ids.len();
    let Some(thresholds) = thresholds(memory, head)? else {
        return Ok(found);
    };
    let groups = cluster(&rows, memory.identity().feature_width, thresholds);
    found.clusters = groups
        .iter()
        .map(|group| Cluster {
            representative: ids[group.middle(&rows)],
            samples: group.rows.iter().map(|&row| ids[row]).collect(),
            cohesion: group.cohesion(),
        })
        .collect();
    Ok(found)
}

/// Labels every sample of the cluster that has sample `cluster`, as [`unknowns`] finds them now,
/// through the label log: each label can be taken back. Calls `acknowledge` with samples and labels
/// once they are durable, eight at a time; after a failure in between, naming again labels the
/// rest.
///
/// # Errors
/// [`Error::NotFound`] if no cluster has this sample, [`Error::Config`] if the name cannot be used,
/// [`Error::State`] from the memory.
pub(crate) fn name_cluster(
    memory: &mut Memory,
    head: &PublishedHead,
    cluster: SampleId,
    name: &str,
    mut acknowledge: impl FnMut(&[(SampleId, LabelId)]),
) -> Result<Cluster> {
    let mut clusters = unknowns(memory, head)?.clusters;
    let Some(at) = clusters.iter().position(|found| found.samples.contains(&cluster)) else {
        let ids: Vec<_> = clusters.iter().take(20).map(|found| found.representative.to_string()).collect();
        let way_out = if ids.is_empty() {
            "there is no cluster of unknown samples now".to_owned()
        } else {
            format!("clusters, as `kaizen unknowns` lists them: {}", ids.join(", "))
        };
        return Err(Error::not_found("cluster", cluster, way_out));
    };
    let named = clusters.swap_remove(at);
    for samples in named.samples.chunks(LABELS_TOGETHER) {
        let labels = memory.label_all(samples, name)?;
        let pairs: Vec<_> = samples.iter().copied().zip(labels).collect();
        acknowledge(&pairs);
    }
    Ok(named)
}

/// Transformed features `[N, D]` of h `[N, D]`, each row of unit length.
fn directions(head: &PublishedHead, h: &[f32]) -> Result<Vec<f32>> {
    let mut rows = head.inputs.apply(h)?;
    rows.chunks_exact_mut(head.inputs.0.width()).for_each(normalize);
    Ok(rows)
}

/// Thresholds from the cosine of labelled samples with the others of their class; none without a
/// class of two samples.
fn thresholds(memory: &Memory, head: &PublishedHead) -> Result<Option<Thresholds>> {
    let mut counts: BTreeMap<ClassId, usize> = BTreeMap::new();
    let mut known = Vec::new();
    for kind in [Rows::HeldOut, Rows::Training] {
        memory.for_each_sample(kind, |sample| {
            let Some(count) = sample.class.map(|class| counts.entry(class).or_default()) else { return };
            if *count < MOST_OF_A_CLASS {
                *count += 1;
                known.push(sample);
            }
        })?;
    }
    let mut classes: BTreeMap<ClassId, Vec<Vec<f32>>> = BTreeMap::new();
    for StoredSample { class, features, .. } in as_seen_by(memory, head, known)? {
        if let Some(class) = class {
            classes.entry(class).or_default().push(directions(head, &features)?);
        }
    }
    let mut likeness: Vec<f32> = classes.values().flat_map(|rows| own_likeness(rows)).collect();
    likeness.sort_by(f32::total_cmp);
    let quantile = |of_100: usize| likeness.get(likeness.len() * of_100 / 100).copied();
    Ok(quantile(10).zip(quantile(75)).map(|(merge, join)| Thresholds { join, merge }))
}

/// Mean cosine of each row of a class with the others of it; nothing for a single row.
#[allow(clippy::cast_precision_loss, reason = "counts of samples")]
fn own_likeness(rows: &[Vec<f32>]) -> Vec<f32> {
    if rows.len() < 2 {
        return Vec::new();
    }
    let mut sum = vec![0.0_f32; rows[0].len()];
    rows.iter().for_each(|row| sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
    rows.iter().map(|row| (dot(row, &sum) - dot(row, row)) / (rows.len() - 1) as f32).collect()
}
