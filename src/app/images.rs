//! The images of a command line: their sources, progress over them, and those that are left out.

use indicatif::ProgressBar;

use super::on_state::OnState;
use super::outcome::Outcome;
use crate::vision::{self, FrameSource, SourceOptions};
use crate::{Error, Result};

/// Opens every source before the first is read, so that a wrong path costs nothing.
pub(super) fn sources(paths: &[String]) -> Result<Vec<Box<dyn FrameSource>>> {
    paths.iter().map(|path| vision::open(path, &SourceOptions::default())).collect()
}

/// The size of frames that come without one.
#[derive(clap::Args)]
pub(super) struct RawSize {
    /// Columns and rows of raw frames, and of frames asked of a camera
    #[arg(long, num_args = 2, value_names = ["WIDTH", "HEIGHT"], default_values_t = [640, 480])]
    raw_size: Vec<u32>,
}

impl RawSize {
    /// The options that a source is opened with.
    pub(super) fn options(&self) -> SourceOptions {
        SourceOptions {
            raw_width: self.raw_size[0],
            raw_height: self.raw_size[1],
            ..SourceOptions::default()
        }
    }
}

/// Progress over the images of a command line.
pub(super) struct Images {
    bar: ProgressBar,
    left_out: usize,
}

impl Images {
    /// Says which files the sources themselves leave out (those that are no pictures), and shows
    /// progress over the others.
    pub(super) fn of(sources: &[Box<dyn FrameSource>], on: &OnState) -> Self {
        for warning in sources.iter().filter_map(|source| source.warning()) {
            tracing::info!("{warning}");
        }
        let images = sources.iter().filter_map(|source| source.frames_hint()).sum();
        Self { bar: on.options.progress(images), left_out: 0 }
    }

    /// Counts one more image that was worked on.
    pub(super) fn done(&self) {
        self.bar.inc(1);
    }

    /// Names an image that could not be used.
    pub(super) fn leave_out(&mut self, error: &Error) {
        self.left_out += 1;
        self.bar.suspend(|| tracing::warn!("left out: {error}"));
    }

    /// Takes the progress bar away and returns the number of images left out, and how the command
    /// ends.
    pub(super) fn finish(self) -> (usize, Outcome) {
        self.bar.finish_and_clear();
        (self.left_out, Outcome::of(self.left_out == 0))
    }
}
