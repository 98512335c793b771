//! Progress over the images of the command line, and what is said of those that are left out.

use indicatif::ProgressBar;

use super::options::CommonOptions;
use crate::Error;
use crate::vision::FrameSource;

/// Images of the command line as they are worked on.
pub(super) struct Images {
    bar: ProgressBar,
    /// Images that could not be used.
    pub(super) left_out: usize,
}

impl Images {
    /// Says what the sources themselves leave out (files that are no pictures), and shows progress over the rest.
    pub(super) fn of(sources: &[Box<dyn FrameSource>], options: &CommonOptions) -> Self {
        for warning in sources.iter().filter_map(|source| source.warning()) {
            options.say(&warning);
        }
        let images = sources.iter().filter_map(|source| source.frames_hint()).sum();
        Self { bar: options.progress(images), left_out: 0 }
    }

    /// One more image was worked on.
    pub(super) fn done(&self) {
        self.bar.inc(1);
    }

    /// An image that could not be used.
    pub(super) fn leave_out(&mut self, error: &Error) {
        self.left_out += 1;
        self.bar.suspend(|| eprintln!("left out: {error}"));
    }

    /// Takes the progress bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
