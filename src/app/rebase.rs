//! `kaizen rebase`: another backbone for the same samples.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::console::Console;
use super::options::CommonOptions;
use crate::backbone;
use crate::memory::Memory;
use crate::session::{self, Embedder, Learner, Options, TrainingControl};
use crate::{Error, Result};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// State file; replaced by the new one only when that is whole
    #[arg(long)]
    state: PathBuf,
    /// Only say what would be lost
    #[arg(long)]
    dry_run: bool,
    /// Training steps of adapter and classifier; 0 for closed-form heads only
    #[arg(long)]
    steps: Option<usize>,
    /// The result as one JSON line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) options: CommonOptions,
}

#[expect(clippy::print_stdout, reason = "the result is the command's output")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = arguments.options.quieter(arguments.json);
    let old = Memory::open_existing(&arguments.state)?;
    let losses = session::losses(&old)?;
    let text = format!(
        "{} samples go over by their thumbnails, which have fewer pixels than the frames had; lost are {} samples \
         without a thumbnail, {} augmented views, {} versions of the heads, and of {} rows of the label log all but \
         the labels that count",
        losses.kept, losses.without_thumbnail, losses.views, losses.versions, losses.log_rows
    );
    if arguments.dry_run {
        if arguments.json {
            println!("{}", json!({ "losses": losses }));
        } else {
            println!("{text}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    options.say(&text);
    // Not the model and the class of features that the state holds: they are what is to change.
    let new_options = options.training_on(&arguments.state, arguments.steps);
    let mut embedder = Embedder::new(backbone::load(&new_options.backbone)?, new_options.settings.seed)?;
    options.say_backbone(embedder.backbone());
    let identity = embedder.identity();
    if *old.identity() == identity {
        let allowed = "a backbone other than the state's own: `--model NAME`";
        return Err(Error::config("model", &identity.backbone_name, allowed).into());
    }
    let path = place_beside(&old)?;
    let mut new = Memory::open(Some(&path), &identity)?;
    let bar = options.progress(losses.kept + losses.without_thumbnail);
    let outcome = session::rebase(&old, &mut new, &mut embedder, |seen| bar.set_position(seen as u64))?;
    bar.finish_and_clear();
    let mut console = Console::new(options.quiet());
    if outcome.labels > 0 {
        let new_options = Options { quota_bytes: None, ..new_options };
        let mut learner = Learner::on(new, Some(embedder), new_options)?;
        learner.consolidate(&mut TrainingControl::new(&mut console))?;
        drop(learner);
        new = Memory::open_existing(&path)?;
    }
    old.replace_with(new)?;
    if arguments.json {
        println!("{}", json!({ "losses": losses, "rebased": outcome, "learned": console.last() }));
    } else {
        println!(
            "{} samples with {} labels stand on {} now; {} repeat others, {} lost\n{}",
            outcome.samples,
            outcome.labels,
            identity.backbone_name,
            outcome.duplicates,
            outcome.lost,
            console.verdict()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A free place in the folder of the state, also behind a link, so that the new one can be moved over it.
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
