//! Continual learning on the device. A frozen ONNX backbone turns frames into features;
//! hand-written WGSL compute shaders, with a CPU twin, train what comes after it by the Kaizen
//! method (Tang et al., WACV 2024). New classes are learned from a few labels without forgetting
//! the old ones and without the old data.
//!
//! # Teach, learn, predict
//!
//! A [`Learner`] is opened with [`Options`], taught with frames, and asked what it sees:
//!
//! ```no_run
//! use kaizen_edge::{Learner, Options, frames};
//!
//! let mut learner = Learner::open(Options::new().state("cups.db"))?;
//! learner.teach("mug", frames("pictures/mugs")?)?;
//! learner.teach("glass", frames("pictures/glasses")?)?;
//! learner.learn()?;
//!
//! let prediction = learner.predict("new.jpg")?;
//! match prediction.class() {
//!     Some(class) => println!("{class}, {:.0} % sure", 100.0 * prediction.probability),
//!     None => println!("unlike everything learned; nearest is {}", prediction.nearest),
//! }
//! # Ok::<(), kaizen_edge::Error>(())
//! ```
//!
//! Everything taught is durable at once. [`Learner::learn`] fits several heads, judges them on
//! samples that it set aside, and publishes the best one only if the classes learned before do not
//! suffer.
//!
//! # What else a learner does
//!
//! | to | call |
//! | --- | --- |
//! | use frames without a label | [`Learner::observe`] |
//! | see what is like nothing learned, and name it | [`Learner::unknowns`], [`Learner::name`] |
//! | take a label, a class or a version back | [`Learner::undo`], [`Learner::forget`], [`Learner::roll_back`] |
//! | see what was taught and what each lesson changed | [`Learner::history`] |
//! | predict on another thread while this one learns | [`Learner::predictor`] |
//! | leave with one ONNX file | [`Learner::export`] |
//!
//! A [`Frame`] is made from pixels by [`Frame::new`], from a file by its path, and by [`frames`]
//! from a folder, a recording, a clip or a camera. The folder `examples/` has a program for each of
//! these.
//!
//! # Below the front door
//!
//! [`low_level`] has the parts: backbones, engines, kernels, closed forms, the state file. It may
//! change in any release.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod app;
mod backbone;
#[cfg(feature = "tract")]
mod cut;
mod error;
mod event;
#[cfg(feature = "tract")]
mod export;
mod file;
mod gpu;
mod heads;
mod ids;
mod latent;
mod learn;
pub mod low_level;
mod memory;
mod number;
mod reference;
mod rng;
mod session;
mod vision;

#[doc(hidden)]
pub use app::run as run_program;
pub use backbone::Provider;
pub use error::{Error, Result};
pub use event::Event;
pub use ids::{ClassId, SampleId};
pub use learn::engine_choice::EngineChoice;
pub use memory::{
    ClassFigures, History, LabelEntry, LabelId, LabelKind, VersionEntry, VersionFigures, VersionId,
    VersionStatus,
};
pub use session::{
    Cluster, Consolidate, Consolidation, HeadKind, Learner, Options, Prediction, Predictor, Unknowns,
};
pub use vision::{Frame, Frames, Split, frames};
