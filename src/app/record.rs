//! `kaizen record`: a stream as a recording.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::images::RawSize;
use super::outcome::Outcome;
use crate::vision::{self, Frame, LABELS_FILE, thumbnail_jpeg};
use crate::{Error, Result};

/// JPEG quality of the frames.
const QUALITY: u8 = 95;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What is recorded: whatever `--source` takes
    uri: String,
    /// Folder for the frames and labels.csv, made if it is not there
    folder: PathBuf,
    /// Stop after this many frames
    #[arg(long)]
    frames: Option<usize>,
    /// Stop after this many seconds of the source's clock
    #[arg(long)]
    seconds: Option<f64>,
    /// Label of frames that come without one
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    raw_size: RawSize,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let length = arguments.seconds.map_or(Ok(u64::MAX), |seconds| {
        let length = Duration::try_from_secs_f64(seconds).ok().filter(|length| !length.is_zero());
        let millis = length.map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        millis.ok_or_else(|| Error::config("seconds", seconds, "a number above 0"))
    })?;
    let mut source = vision::open(&arguments.uri, &arguments.raw_size.options())?;
    let mut recording = Recording::create(&arguments.folder)?;
    let (most, mut rejected, mut start) = (arguments.frames.unwrap_or(usize::MAX), 0, None);
    while recording.frames < most {
        let frame = match source.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error @ Error::Frame { .. }) => {
                tracing::warn!("left out: {error}");
                rejected += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let start = *start.get_or_insert(frame.timestamp_millis);
        let millis = frame.timestamp_millis.saturating_sub(start);
        if millis > length {
            break;
        }
        recording.add(&frame, millis, arguments.label.as_deref())?;
    }
    if recording.frames == 0 {
        let reason = "it gave no frame".to_owned();
        return Err(Error::Source { uri: arguments.uri.clone(), reason }.into());
    }
    let (frames, folder) = (recording.frames, arguments.folder.display());
    tracing::info!("{frames} frames in recording://{folder}; {rejected} left out");
    Ok(Outcome::of(rejected == 0))
}

/// A recording being written: whole after every frame, so that it can be cut off at any time.
struct Recording {
    folder: PathBuf,
    table: csv::Writer<fs::File>,
    frames: usize,
}

impl Recording {
    fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = folder.join(LABELS_FILE);
        let file = fs::File::create_new(&path).map_err(Error::io(&path))?;
        let mut recording =
            Self { folder: folder.to_owned(), table: csv::Writer::from_writer(file), frames: 0 };
        recording.row(["frame", "timestamp_millis", "label", "split"])?;
        Ok(recording)
    }

    fn row(&mut self, fields: [&str; 4]) -> Result<()> {
        let path = self.folder.join(LABELS_FILE);
        self.table.write_record(fields).map_err(|error| Error::io(&path)(std::io::Error::other(error)))?;
        self.table.flush().map_err(Error::io(path))
    }

    /// The picture first, its row after it.
    fn add(&mut self, frame: &Frame, millis: u64, label: Option<&str>) -> Result<()> {
        let name = format!("{:06}.jpg", self.frames);
        let jpeg = thumbnail_jpeg(frame, frame.width.max(frame.height), QUALITY)?;
        let path = self.folder.join(&name);
        fs::write(&path, jpeg).map_err(Error::io(path))?;
        let label = frame.label.as_deref().or(label).unwrap_or_default();
        self.row([&name, &millis.to_string(), label, frame.split.name()])?;
        self.frames += 1;
        Ok(())
    }
}
