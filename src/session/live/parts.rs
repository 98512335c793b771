//! The parts that the live loop runs on, and how they are opened.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use super::capture_worker::LiveSource;
use super::learn_worker::PendingBackbones;
use super::live_event::Watcher;
use super::recent::FrameBudget;
use crate::backbone::{self, BackboneOptions, Provider};
use crate::memory::{FeatureIdentity, Memory};
use crate::session::embedder::Embedder;
use crate::session::learner::Learner;
use crate::session::network::{Network, awaits_engine};
use crate::session::options::Options;
use crate::session::power::Power;
use crate::vision::{self, SourceOptions};
use crate::{Error, Result};

/// The options that a live loop is opened with.
pub(crate) struct LiveOptions {
    /// The source as typed.
    pub uri: String,
    /// The options that the source is opened with.
    pub source: SourceOptions,
    /// Whether a source that ends is opened again.
    pub repeats: bool,
    /// The state file, which is made if it is not there.
    pub state: PathBuf,
    /// The options that the learner is opened with.
    pub learner: Options,
    /// The share of the machine that learning takes.
    pub power: Power,
    /// Errors of the engine or the provider in a row after which a thread gives up, at least 1.
    pub most_failures: usize,
    /// Takes what happens, from any of the threads; it must return quickly.
    pub watcher: Watcher,
}

/// The parts that the live loop runs on.
pub(crate) struct LiveParts {
    /// The source.
    pub source: LiveSource,
    /// The source as typed, for people.
    pub uri: String,
    /// The backbone that answers. The learner has another one, for views of what is learned and for
    /// pictures that are sent, so that learning never delays an answer.
    pub inference_backbone: Network,
    /// Both backbones, if the learner's is still being made.
    pub pending_backbones: Option<PendingBackbones>,
    /// The learner, which owns the state.
    pub learner: Learner,
    /// The share of the machine that learning takes.
    pub power: Power,
    /// The bytes of frames that are held.
    pub frame_budget: FrameBudget,
    /// Errors of the engine or the provider in a row after which a thread gives up, at least 1.
    pub most_failures: usize,
    /// Takes what happens, from any of the threads; it must return quickly.
    pub watcher: Watcher,
}

impl std::fmt::Debug for LiveParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveParts")
            .field("uri", &self.uri)
            .field("power", &self.power)
            .finish_non_exhaustive()
    }
}

impl LiveParts {
    /// Opens the source (one that may come later is awaited by the loop), the backbones, the state
    /// and the engine, and returns the engine's line as well.
    ///
    /// # Errors
    /// The error of whichever cannot be opened.
    pub(crate) fn open(parts: LiveOptions) -> Result<(Self, String)> {
        let LiveOptions { uri, source, repeats, state, learner: options, .. } = parts;
        let LiveOptions { power, most_failures, watcher, .. } = parts;
        let source = live_source(&uri, source, repeats)?;
        let (asked, is_whole) = options.backbone_for_state()?;
        let Backbones { inference, learning, identity } = Backbones::open(&asked, is_whole)?;
        let limit = options.memory_limit_megabytes;
        let frame_budget = limit.map_or_else(FrameBudget::default, FrameBudget::of_limit);
        let memory = Memory::open(Some(&state), &identity)?;
        let is_pending = learning.is_none();
        let embedder = learning.map(|network| Embedder::new(network, options.settings.seed)).transpose()?;
        // Lessons that wait hold as much again as the newest frames, and the frames that wait to be
        // stored count twice: as many again are on their way.
        let frame_bytes = (2 * frame_budget.recent + 2 * frame_budget.waiting) as u64;
        let mut learner = Learner::on(memory, embedder, Options { frame_bytes, ..options })?;
        let slot = learner.restored()?.engine();
        slot.get()?;
        let engine = slot.take_line().unwrap_or_default();
        let pending_backbones = is_pending.then(|| in_background(asked, is_whole)).transpose()?;
        let parts = Self {
            source,
            uri,
            inference_backbone: inference,
            pending_backbones,
            learner,
            power,
            frame_budget,
            most_failures,
            watcher,
        };
        Ok((parts, engine))
    }
}

/// Opens the source, before anything is loaded, so that a wrong one costs nothing. One that may
/// come later is awaited by the loop.
fn live_source(uri: &str, options: SourceOptions, repeats: bool) -> Result<LiveSource> {
    let mut first = match vision::open_once(uri, &options) {
        Ok(source) => Some(source),
        Err(_) if vision::may_come_later(uri, &options) => None,
        Err(error) => return Err(error),
    };
    let (uri, own_uri, own_options) = (uri.to_owned(), uri.to_owned(), options.clone());
    Ok(LiveSource {
        open: Box::new(move || first.take().map_or_else(|| vision::open_once(&uri, &options), Ok)),
        may_come_later: Box::new(move || vision::may_come_later(&own_uri, &own_options)),
        repeats,
    })
}

/// The backbones of a live loop, and the features that its state holds.
struct Backbones {
    inference: Network,
    /// The learner's backbone; none while it is still to be loaded.
    learning: Option<Network>,
    identity: FeatureIdentity,
}

impl Backbones {
    /// Loads both backbones. While TensorRT has yet to build its engine, CUDA answers from what was
    /// learned before.
    fn open(asked: &BackboneOptions, is_whole: bool) -> Result<Self> {
        if asked.feature_class.is_some() && awaits_engine(asked, is_whole)? {
            let at_once = BackboneOptions { provider: Provider::Cuda, ..asked.clone() };
            if let Ok(inference) = Network::load(&at_once, is_whole) {
                let feature_class = backbone::feature_class(inference.spec().precision, Provider::TensorRt);
                let identity = FeatureIdentity { feature_class, ..inference.identity() };
                return Ok(Self { inference, learning: None, identity });
            }
        }
        let [inference, learning] = load_both(asked, is_whole)?;
        let identity = inference.identity();
        Ok(Self { inference, learning: Some(learning), identity })
    }
}

fn load_both(options: &BackboneOptions, is_whole: bool) -> Result<[Network; 2]> {
    let inference = Network::load(options, is_whole)?;
    let learning = inference.second(options)?;
    Ok([inference, learning])
}

/// Loads both backbones on a thread of their own.
fn in_background(options: BackboneOptions, is_whole: bool) -> Result<PendingBackbones> {
    let (sender, made) = sync_channel(1);
    // Sending fails if the loop has stopped.
    let load = move || drop(sender.send(load_both(&options, is_whole)));
    let thread = std::thread::Builder::new().name("kaizen-engine".to_owned()).spawn(load);
    thread.map_err(Error::io("kaizen-engine"))?;
    Ok(made)
}
