//! Frames by the system's GStreamer: cameras, RTSP streams, films, and pipelines of the user's own.

mod pipeline;
mod reconnect;

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gstreamer::glib::object::Cast as _;
use gstreamer::prelude::{ElementExt as _, GstBinExt as _};
use gstreamer::{ClockTime, ElementFactory, MessageView, Pipeline, Sample, State};
use gstreamer_app::AppSink;

use super::frame::Frame;
use super::source::{FrameSource, Loss, SourceOptions};
use crate::error::{Error, Result};
use pipeline::SINK;
use reconnect::Reconnecting;

/// A source that gives no frame for this long has failed.
const SILENCE: Duration = Duration::from_secs(10);
/// The time between two looks at the bus.
const NAP: ClockTime = ClockTime::from_mseconds(100);

/// Opens `uri` if it is a camera, a stream or a pipeline.
///
/// # Errors
/// [`Error::Source`] if GStreamer or one of its plug-ins is missing, or the source cannot be
/// opened.
pub(super) fn open(uri: &str, options: &SourceOptions, loss: Loss) -> Result<Option<Box<dyn FrameSource>>> {
    let Some(pipeline) = pipeline::pipeline(uri, options, on_jetson(uri)?)? else { return Ok(None) };
    if !pipeline.is_endless || loss != Loss::Reopens {
        return Ok(Some(Box::new(GstreamerSource::start(&pipeline, uri, options)?)));
    }
    let (name, options) = (uri.to_owned(), options.clone());
    let open = move || -> Result<Box<dyn FrameSource>> {
        Ok(Box::new(GstreamerSource::start(&pipeline, &name, &options)?))
    };
    Ok(Some(Box::new(Reconnecting::new(uri, Box::new(open))?)))
}

/// Returns whether GStreamer has all that the pipeline of a camera, of a stream or of the user is
/// made of; `None` for another URI.
#[cfg(feature = "serve")]
pub(super) fn can_be_made(uri: &str, options: &SourceOptions) -> Option<bool> {
    let pipeline = on_jetson(uri).and_then(|on_jetson| pipeline::pipeline(uri, options, on_jetson));
    match pipeline {
        Ok(None) => None,
        Ok(Some(pipeline)) => Some(gstreamer::parse::launch(&pipeline.text).is_ok()),
        Err(_) => Some(false),
    }
}

/// Opens a film of any kind that GStreamer reads.
///
/// # Errors
/// As [`open`].
pub(super) fn open_film(path: &Path, uri: &str, options: &SourceOptions) -> Result<Box<dyn FrameSource>> {
    let pipeline = pipeline::film(&path.to_string_lossy(), on_jetson(uri)?);
    Ok(Box::new(GstreamerSource::start(&pipeline, uri, options)?))
}

/// Returns whether this machine has Jetson's elements.
fn on_jetson(uri: &str) -> Result<bool> {
    static STARTED: OnceLock<std::result::Result<bool, String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        gstreamer::init().map_err(|error| error.to_string())?;
        Ok(ElementFactory::find("nvvidconv").is_some())
    });
    started.clone().map_err(|reason| Error::Source { uri: uri.to_owned(), reason })
}

/// A running pipeline.
struct GstreamerSource {
    pipeline: Pipeline,
    sink: AppSink,
    uri: String,
    is_live: bool,
    is_camera: bool,
    max_pixels: u64,
    position: u64,
    ended: bool,
}

impl GstreamerSource {
    fn start(plan: &pipeline::Pipeline, uri: &str, options: &SourceOptions) -> Result<Self> {
        let refuse = |reason: String| Error::Source { uri: uri.to_owned(), reason };
        let made = gstreamer::parse::launch(&plan.text)
            .map_err(|error| refuse(format!("GStreamer: {error} (pipeline: {})", plan.text)))?;
        let whole = |_| refuse(format!("this is no whole pipeline: {}", plan.text));
        let pipeline = made.downcast::<Pipeline>().map_err(whole)?;
        let sink = pipeline.by_name(SINK).and_then(|element| element.downcast::<AppSink>().ok());
        let sink = sink.ok_or_else(|| refuse("the pipeline has no end for frames".to_owned()))?;
        let source = Self {
            pipeline,
            sink,
            uri: uri.to_owned(),
            is_live: plan.is_live,
            is_camera: pipeline::device(uri).is_some() || uri.starts_with("csi://"),
            max_pixels: options.max_pixels,
            position: 0,
            ended: false,
        };
        if source.pipeline.set_state(State::Playing).is_err() {
            return Err(source.fault().unwrap_or_else(|| refuse("it cannot be started".to_owned())));
        }
        Ok(source)
    }

    /// Returns the error that the pipeline reported, if it did.
    fn fault(&self) -> Option<Error> {
        let bus = self.pipeline.bus()?;
        let message = bus.pop_filtered(&[gstreamer::MessageType::Error])?;
        let MessageView::Error(error) = message.view() else { return None };
        let from = error.src().map(|source| source.to_string()).unwrap_or_default();
        let way_out = if self.is_camera { "; `kaizen doctor` lists the cameras that are here" } else { "" };
        let reason = format!("GStreamer: {} ({from}){way_out}", error.error());
        Some(Error::Source { uri: self.uri.clone(), reason })
    }

    fn frame(&self, sample: &Sample) -> Result<Frame> {
        let name = format!("frame {}", self.position);
        let bad = |reason: &str| Error::Frame { name: name.clone(), reason: reason.to_owned() };
        let structure =
            sample.caps().and_then(|caps| caps.structure(0)).ok_or_else(|| bad("it has no size"))?;
        let side = |field: &str| structure.get::<i32>(field).ok().and_then(|side| u32::try_from(side).ok());
        let (Some(width), Some(height)) = (side("width"), side("height")) else {
            return Err(bad("it has no size"));
        };
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(bad(&format!(
                "{width}x{height} pixels are more than max_pixels, {}",
                self.max_pixels
            )));
        }
        let buffer = sample.buffer().ok_or_else(|| bad("it has no pixels"))?;
        let map = buffer.map_readable().map_err(|_| bad("its pixels cannot be read"))?;
        // Rows of raw RGB are padded to 4 bytes.
        let row = width as usize * 3;
        let rows = map.chunks(row.next_multiple_of(4).max(1)).take(height as usize);
        let rgb: Vec<u8> =
            rows.filter(|padded| padded.len() >= row).flat_map(|padded| &padded[..row]).copied().collect();
        let timestamp_millis = buffer.pts().map_or(0, ClockTime::mseconds);
        Ok(Frame { timestamp_millis, ..Frame::new(width, height, rgb, name)? })
    }
}

impl FrameSource for GstreamerSource {
    fn next_frame(&mut self) -> Result<Option<Frame>> {
        let start = Instant::now();
        while !self.ended {
            if let Some(sample) = self.sink.try_pull_sample(NAP) {
                self.position += 1;
                return self.frame(&sample).map(Some);
            }
            let fault = self.fault();
            self.ended = fault.is_some() || self.sink.is_eos();
            if let Some(fault) = fault {
                return Err(fault);
            }
            if start.elapsed() > SILENCE {
                self.ended = true;
                let reason = format!("no frame came for {} s", SILENCE.as_secs());
                return Err(Error::Source { uri: self.uri.clone(), reason });
            }
        }
        Ok(None)
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn is_live(&self) -> bool {
        self.is_live
    }
}

impl Drop for GstreamerSource {
    fn drop(&mut self) {
        // Devices and sockets are given back before the next one is opened.
        let _ = self.pipeline.set_state(State::Null);
    }
}

#[cfg(test)]
mod tests;
