//! `kaizen rebase`: another backbone for the same samples.

use std::path::PathBuf;

use serde_json::json;

use super::events::Progress;
use super::on_state::OnState;
use super::options::announce;
use super::outcome::Outcome;
use crate::memory::Memory;
use crate::session::{self, Embedder, Learner, Network, Options, TrainingControl};
use crate::{Error, Result};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only say what would be lost
    #[arg(long)]
    dry_run: bool,
    /// Training steps of adapter and classifier; 0 for closed-form heads only
    #[arg(long)]
    steps: Option<usize>,
    #[command(flatten)]
    pub(super) on: OnState,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let on = &arguments.on;
    // Closed again: this one stands on the features that are there.
    drop(session::open_to_read(&on.state)?);
    let old = Memory::open_existing(&on.state)?;
    let losses = session::losses(&old)?;
    let text = format!(
        "{} samples go over by their thumbnails, which have fewer pixels than the frames had; lost are {} samples \
         without a thumbnail, {} augmented views, {} versions of the heads, and of {} rows of the label log all but \
         the labels that count",
        losses.kept, losses.without_thumbnail, losses.views, losses.versions, losses.log_rows
    );
    if arguments.dry_run {
        on.result(&json!({ "losses": losses }), || text)?;
        return Ok(Outcome::Done);
    }
    tracing::info!("{text}");
    // The model and the class of features that the state holds do not count: they are to change.
    let options = on.options.on(&on.state, arguments.steps);
    let mut embedder = Embedder::new(Network::load(&options.backbone, false)?, options.settings.seed)?;
    announce(&embedder);
    let identity = embedder.identity();
    let name = &identity.backbone_name;
    if *old.identity() == identity {
        let reason = format!("the state has the features of {name} already");
        let way_out = "name a backbone other than the state's own by `--model NAME`";
        return Err(Error::refused("the same backbone", reason, way_out).into());
    }
    let path = place_beside(&old)?;
    let mut new = Memory::open(Some(&path), &identity)?;
    let bar = on.options.progress(losses.kept + losses.without_thumbnail);
    let outcome = session::rebase(&old, &mut new, &mut embedder, |seen| bar.set_position(seen as u64))?;
    bar.finish_and_clear();
    let mut progress = Progress::default();
    if outcome.labels > 0 {
        let options = Options { quota_bytes: None, ..options };
        let mut learner = Learner::on(new, Some(embedder), options)?;
        learner.consolidate(&mut TrainingControl::new(&mut progress))?;
        drop(learner);
        new = Memory::open_existing(&path)?;
    }
    old.replace_with(new)?;
    on.result(&json!({ "losses": losses, "rebased": outcome, "learned": progress.last() }), || {
        format!(
            "{} samples with {} labels stand on {name} now; {} repeat others, {} lost\n{}",
            outcome.samples,
            outcome.labels,
            outcome.duplicates,
            outcome.lost,
            progress.verdict()
        )
    })?;
    Ok(Outcome::Done)
}

/// A free path in the folder of the state, also behind a link, so that the new state can be moved
/// over it.
fn place_beside(old: &Memory) -> Result<PathBuf> {
    let path = PathBuf::from(format!("{}.rebase", old.path().display()));
    for suffix in ["", "-wal", "-shm"] {
        let leftover = PathBuf::from(format!("{}{suffix}", path.display()));
        if leftover.exists() {
            std::fs::remove_file(&leftover).map_err(Error::io(&leftover))?;
        }
    }
    Ok(path)
}
