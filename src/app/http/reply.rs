//! The answers of the API, and the bodies of its requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::web::Facts;
use crate::memory::{BackupReport, LabelId, VersionEntry, VersionFigures, VersionId, VersionStatus};
use crate::session::live::{AnsweredFrame, LiveStatus};
use crate::session::{Cluster, Suggestion};

/// The published head's prediction for a frame.
#[derive(Serialize, ToSchema)]
pub(super) struct Prediction {
    /// Number of the frame, from 1.
    number: u64,
    /// File name or position in the source.
    name: String,
    /// The class; none for a frame that is unlike everything learned, or before anything was
    /// learned.
    class: Option<String>,
    /// Whether anything was learned.
    learned: bool,
    /// Probability of the best class, 0..1.
    probability: f32,
    /// Above 1 the frame is unlike everything learned.
    novelty: f32,
    /// The best classes, best first.
    ranking: Vec<Ranked>,
    /// The time from the frame's arrival to its answer.
    latency_millis: f64,
}

/// A class with its probability.
#[derive(Serialize, ToSchema)]
pub(super) struct Ranked {
    class: String,
    probability: f32,
}

impl Prediction {
    pub(super) fn of(answered: &AnsweredFrame) -> Self {
        let prediction = answered.prediction.as_ref();
        let ranking = prediction.map(|prediction| prediction.ranking.as_slice()).unwrap_or_default().iter();
        Self {
            number: answered.number,
            name: answered.frame.name.clone(),
            class: prediction.and_then(|prediction| prediction.class().map(str::to_owned)),
            learned: prediction.is_some(),
            probability: prediction.map_or(0.0, |prediction| prediction.probability),
            novelty: prediction.map_or(0.0, |prediction| prediction.novelty),
            ranking: ranking.map(|(class, p)| Ranked { class: class.clone(), probability: *p }).collect(),
            latency_millis: 1e3 * answered.latency.as_secs_f64(),
        }
    }
}

/// The present state of everything.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// Facts that do not change while the server runs.
    pub(super) facts: Facts,
    /// The source, the frame rate, the latency, and learning.
    pub(super) live: LiveStatus,
    /// The newest answer.
    pub(super) prediction: Option<Prediction>,
    /// What the state holds.
    pub(super) memory: MemoryUse,
    /// Clients that watch the live picture.
    pub(super) viewers: usize,
    /// Pictures encoded for these clients since the start.
    pub(super) pictures_encoded: u64,
}

/// The contents of the state.
#[derive(Serialize, ToSchema)]
pub(super) struct MemoryUse {
    /// Bytes of the state on disk.
    pub(super) bytes: u64,
    /// Bytes that the state may take; none if there is no quota.
    pub(super) quota_bytes: Option<u64>,
    /// Classes that some sample is labelled with.
    pub(super) classes: u64,
    /// Labelled samples kept.
    pub(super) labelled: u64,
    /// Unlabelled samples kept.
    pub(super) unlabelled: u64,
    /// Rows of the label log.
    pub(super) labels: u64,
}

/// A class that was taught.
#[derive(Serialize, ToSchema)]
pub(super) struct Class {
    /// The name of the class.
    pub(super) name: String,
    /// Samples labelled with the class.
    pub(super) samples: u32,
    /// Whether the head that answers knows the class.
    pub(super) learned: bool,
}

/// Frames to teach.
#[derive(Deserialize, ToSchema)]
pub(super) struct Lesson {
    /// Name of the class, at most 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    pub(super) name: String,
    /// The number of frames, the newest ones; 20 if it is not given.
    #[serde(default = "twenty")]
    #[schema(minimum = 1, maximum = 120, default = 20)]
    pub(super) frames: usize,
}

fn twenty() -> usize {
    20
}

/// A class name.
#[derive(Deserialize, ToSchema)]
pub(super) struct Name {
    /// The name, at most 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    pub(super) name: String,
}

/// Labels to take back.
#[derive(Deserialize, ToSchema)]
pub(super) struct Labels {
    /// Rows of the label log.
    #[schema(min_items = 1, max_items = 1000)]
    pub(super) labels: Vec<i64>,
}

/// Labels that are durable.
#[derive(Serialize, ToSchema)]
pub(super) struct Acknowledged {
    /// Name of the class.
    pub(super) class: String,
    /// Rows of the label log, to be taken back by `POST /api/v1/undo`.
    pub(super) labels: Vec<i64>,
    /// The number of frames that repeated a stored sample; their label went to that sample.
    pub(super) duplicates: usize,
}

impl Acknowledged {
    pub(super) fn new(class: String, labels: &[LabelId], duplicates: usize) -> Self {
        Self { class, labels: labels.iter().map(|label| label.0).collect(), duplicates }
    }
}

/// Work that waits for the learning thread; its outcome comes as an event and in the versions.
#[derive(Serialize, ToSchema)]
pub(super) struct Queued {
    /// Jobs that wait or are being done, this one included.
    pub(super) pending: usize,
}

/// The result of taking labels back.
#[derive(Serialize, ToSchema)]
pub(super) struct TakenBack {
    /// Whether the heads were learned anew.
    pub(super) learned_anew: bool,
}

/// The result of forgetting a class.
#[derive(Serialize, ToSchema)]
pub(super) struct Forgotten {
    /// Samples erased.
    pub(super) samples: usize,
}

/// A copy of the state that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct Backup {
    /// Name of the file in the folder of `--backup-folder`.
    file: String,
    /// Its bytes.
    bytes: u64,
    /// Rows whose checksums were verified in it.
    rows: u64,
    /// Rows of its label log.
    labels: u64,
}

impl Backup {
    pub(super) fn of(report: &BackupReport) -> Self {
        let BackupReport { path, bytes, rows, labels } = report;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { file, bytes: *bytes, rows: *rows, labels: *labels }
    }
}

/// The result of taking a version back.
#[derive(Serialize, ToSchema)]
pub(super) struct RolledBack {
    /// The version that answers now, if there is one.
    pub(super) serving: Option<i64>,
}

/// Labels and versions.
#[derive(Serialize, ToSchema)]
pub(super) struct Record {
    /// The newest labels that count, the newest first.
    pub(super) labels: Vec<Label>,
    /// The number of labels that count.
    pub(super) labels_in_all: u32,
    /// The newest versions, the newest first.
    pub(super) versions: Vec<Version>,
}

/// A label that counts.
#[derive(Serialize, ToSchema)]
pub(super) struct Label {
    pub(super) label: i64,
    pub(super) class: String,
    /// The stored sample.
    pub(super) sample: Option<i64>,
    /// The name of the sample in the source.
    pub(super) name: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(super) created_millis: i64,
}

/// A version of the heads.
#[derive(Serialize, ToSchema)]
pub(super) struct Version {
    version: i64,
    /// `serving`, `published` (an older one) or `rolled_back` (by the guard, or by a person).
    #[schema(value_type = String)]
    status: &'static str,
    /// The kind of head.
    head: String,
    /// The reason why the version was published or refused.
    reason: String,
    /// Held-out accuracy of each candidate, 0..1.
    candidates: BTreeMap<String, f64>,
    /// Accuracy of each class before and after.
    classes: Vec<ClassFigures>,
    /// Whether the figures are of held-out samples; while there are few, they are of training
    /// samples.
    held_out: bool,
    /// Milliseconds since the Unix epoch.
    created_millis: i64,
}

/// Accuracy of a class.
#[derive(Serialize, ToSchema)]
pub(super) struct ClassFigures {
    class: String,
    /// The accuracy of the head before, 0..1; none if it did not know the class.
    before: Option<f64>,
    /// The accuracy of the new head, 0..1.
    after: Option<f64>,
    /// Samples behind these figures.
    samples: u64,
}

impl Version {
    pub(super) fn of(entry: VersionEntry, serving: Option<VersionId>) -> Self {
        let status = match entry.status {
            VersionStatus::Published if serving == Some(entry.id) => "serving",
            VersionStatus::Published => "published",
            VersionStatus::RolledBack => "rolled_back",
        };
        let VersionFigures { reason, held_out, candidates, classes } = entry.figures.unwrap_or_default();
        let classes = classes.into_iter().map(|figures| ClassFigures {
            class: figures.class.unwrap_or_default(),
            before: figures.before,
            after: figures.after,
            samples: figures.samples,
        });
        Self {
            version: entry.id.0,
            status,
            head: entry.head_kind,
            reason,
            candidates,
            classes: classes.collect(),
            held_out,
            created_millis: entry.created_millis,
        }
    }
}

/// Unlabelled frames that are unlike everything learned.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct UnknownFrames {
    /// The clusters, the largest first.
    pub(super) clusters: Vec<UnknownCluster>,
    /// The number of unknown frames.
    pub(super) unknown: usize,
    /// The number of unlabelled frames that are stored.
    pub(super) unlabelled: usize,
}

/// Unknown frames that are alike.
#[derive(Serialize, ToSchema)]
pub(super) struct UnknownCluster {
    /// The sample that stands for all and by which the cluster is named.
    cluster: i64,
    /// The number of frames in the cluster.
    size: usize,
    /// Some of the frames, to be shown, the one that stands for all first.
    shown: Vec<i64>,
    /// The mean cosine between two frames of the cluster, at most 1.
    cohesion: f32,
}

/// The number of pictures of a cluster that are shown.
const SHOWN: usize = 6;

impl UnknownCluster {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let others: Vec<_> = cluster.samples.iter().filter(|id| **id != cluster.representative).collect();
        let stride = others.len().div_ceil(SHOWN - 1).max(1);
        let shown = std::iter::once(&cluster.representative).chain(others.into_iter().step_by(stride));
        Self {
            cluster: cluster.representative.0,
            size: cluster.samples.len(),
            shown: shown.map(|sample| sample.0).collect(),
            cohesion: cluster.cohesion,
        }
    }
}

/// Frames worth a label.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct Suggestions {
    /// The frames, those first whose label would tell most.
    pub(super) suggestions: Vec<Suggestion>,
}
