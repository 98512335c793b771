//! The state of the learner in one SQLite file: features of samples, the label log, versions of the
//! heads and the state of the training. A change that a call acknowledged survives a crash at any
//! point. This module knows no loss, no head and no engine: features are `[D]` rows and heads are
//! bytes.
//!
//! ```
//! use kaizen_edge::low_level::memory::{FeatureIdentity, Memory, Rows, Sample};
//!
//! let identity = FeatureIdentity {
//!     backbone_name: "tiny".into(),
//!     backbone_sha256: "00".into(),
//!     feature_width: 2,
//!     feature_class: "fp32".into(),
//!     preprocessing: "224 bilinear".into(),
//!     cut: None,
//! };
//! let mut memory = Memory::open(None, &identity)?;
//! let new = Sample {
//!     features: vec![0.5, 1.0],
//!     name: "cup-1.jpg".into(),
//!     label: Some("cup".into()),
//!     ..Sample::default()
//! };
//! let stored = memory.add_sample(&new)?;
//! assert!(stored.label.is_some());
//! assert_eq!(memory.samples(Rows::Training)?.len(), 1);
//! # Ok::<(), kaizen_edge::Error>(())
//! ```

mod backup;
mod check;
mod contents;
mod counts;
mod fault;
mod forget;
mod identity;
mod label_log;
mod labels;
mod latents;
mod lock;
#[cfg(feature = "serve")]
mod newest;
mod open;
mod query;
mod quota;
mod removals;
mod repair;
mod report;
mod samples;
mod schema;
mod seal;
mod state;
#[cfg(test)]
mod tests;
mod training;
mod versions;

pub use backup::BackupReport;
pub(crate) use counts::Counts;
pub use identity::FeatureIdentity;
pub use label_log::{LabelEntry, LabelId, LabelKind};
#[cfg(feature = "serve")]
pub(crate) use newest::MostEntries;
pub use removals::Removal;
pub(crate) use samples::Description;
pub use samples::{Rows, Sample, Stored, StoredSample};
pub use state::Memory;
pub(crate) use versions::NewVersion;
pub use versions::{ClassFigures, History, VersionEntry, VersionFigures, VersionId, VersionStatus};
