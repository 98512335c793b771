//! Pipelines as text, from URIs. On a Jetson frames leave the decoder or the camera in the video
//! unit's own memory (NVMM), from which `nvvidconv` copies them; elsewhere `videoconvert` alone is
//! enough.

use crate::error::{Error, Result};
use crate::vision::source::SourceOptions;

/// The name of the element that frames are taken from.
pub(super) const SINK: &str = "frames";
/// The mode of a CSI sensor, from which the picture is scaled down.
const SENSOR_MODE: &str = "width=1280,height=720,framerate=30/1";
/// An RTSP stream may be late by this many milliseconds.
const RTSP_LATENCY_MILLIS: u32 = 100;

/// The pipeline that a URI stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pipeline {
    /// The pipeline in the notation of `gst-launch-1.0`.
    pub(super) text: String,
    /// Whether frames arrive in real time; then the newest replaces one that waits.
    pub(super) is_live: bool,
    /// Whether its end is a fault, after which it is opened again.
    pub(super) is_endless: bool,
}

/// Returns the pipeline for `uri`; `None` for a URI that GStreamer does not open. `on_jetson` says
/// whether `nvvidconv` is there.
pub(super) fn pipeline(uri: &str, options: &SourceOptions, on_jetson: bool) -> Result<Option<Pipeline>> {
    let refuse = |reason: &str| Error::Source { uri: uri.to_owned(), reason: reason.to_owned() };
    let SourceOptions { raw_width: width, raw_height: height, .. } = options;
    let scaled = format!("videoscale ! video/x-raw,width={width},height={height},pixel-aspect-ratio=1/1 ! ");
    let (head, size, is_live, is_endless) = if let Some(device) = device(uri) {
        (format!("v4l2src device={} ! {}", quoted(device), decoder(on_jetson)), scaled, true, true)
    } else if let Some(sensor) = uri.strip_prefix("csi://") {
        let sensor: u8 =
            sensor.parse().map_err(|_| refuse("csi:// takes the number of a sensor, as in csi://0"))?;
        let mode = format!("video/x-raw(memory:NVMM),{SENSOR_MODE}");
        let convert = format!("nvvidconv ! video/x-raw,format=BGRx,width={width},height={height} ! ");
        (format!("nvarguscamerasrc sensor-id={sensor} ! {mode} ! {convert}"), String::new(), true, true)
    } else if uri.starts_with("rtsp://") || uri.starts_with("rtsps://") {
        let source = format!(
            "rtspsrc location={} latency={RTSP_LATENCY_MILLIS} protocols=tcp drop-on-latency=true",
            quoted(uri)
        );
        (format!("{source} ! {}", decoder(on_jetson)), String::new(), true, true)
    } else if let Some(own) = uri.strip_prefix("gst://") {
        let own = own.trim().trim_end_matches("appsink").trim_end().trim_end_matches('!').trim_end();
        if own.is_empty() {
            return Err(refuse("gst:// takes a pipeline, as in gst://videotestsrc ! appsink"));
        }
        (format!("{own} ! "), String::new(), true, false)
    } else {
        return Ok(None);
    };
    Ok(Some(whole(&format!("{head}{size}"), is_live, is_endless)))
}

/// Returns the pipeline for a film.
pub(super) fn film(path: &str, on_jetson: bool) -> Pipeline {
    whole(&format!("filesrc location={} ! {}", quoted(path), decoder(on_jetson)), false, false)
}

fn whole(head: &str, is_live: bool, is_endless: bool) -> Pipeline {
    // A film is read as fast as its frames are used, a stream as they arrive, and a pipeline of the
    // user's own by its clock.
    let (drop, sync) = (is_live, is_live && !is_endless);
    let sink = format!("appsink name={SINK} max-buffers=2 drop={drop} sync={sync}");
    Pipeline { text: format!("{head}videoconvert ! video/x-raw,format=RGB ! {sink}"), is_live, is_endless }
}

/// Returns the part that decodes any codec. On a Jetson `decodebin` takes `nvv4l2decoder`, which
/// ranks first there.
fn decoder(on_jetson: bool) -> &'static str {
    if on_jetson { "decodebin ! nvvidconv ! video/x-raw,format=BGRx ! " } else { "decodebin ! " }
}

/// Returns the device of a V4L2 camera.
pub(super) fn device(uri: &str) -> Option<&str> {
    let path = uri.strip_prefix("v4l2://").or_else(|| uri.strip_prefix("file://")).unwrap_or(uri);
    path.starts_with("/dev/").then_some(path)
}

/// Returns `text` as one value of a pipeline's property.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(uri: &str, on_jetson: bool) -> String {
        pipeline(uri, &SourceOptions::default(), on_jetson).unwrap().unwrap().text
    }

    const END: &str = "videoconvert ! video/x-raw,format=RGB ! appsink name=frames max-buffers=2";

    #[test]
    fn jetson_pipelines_take_frames_out_of_the_video_units_memory() {
        assert_eq!(
            text("csi://1", true),
            format!(
                "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 ! \
                 nvvidconv ! video/x-raw,format=BGRx,width=640,height=480 ! {END} drop=true sync=false"
            )
        );
        assert_eq!(
            text("rtsp://cam/1", true),
            format!(
                "rtspsrc location=\"rtsp://cam/1\" latency=100 protocols=tcp drop-on-latency=true ! decodebin ! \
                 nvvidconv ! video/x-raw,format=BGRx ! {END} drop=true sync=false"
            )
        );
        assert_eq!(
            film("/films/a b.mp4", true).text,
            format!(
                "filesrc location=\"/films/a b.mp4\" ! decodebin ! nvvidconv ! video/x-raw,format=BGRx ! {END} \
                 drop=false sync=false"
            )
        );
    }

    #[test]
    fn elsewhere_nothing_of_nvidias_is_asked_for() {
        for uri in ["/dev/video0", "v4l2:///dev/video2", "rtsp://cam/1", "gst://videotestsrc ! appsink"] {
            let text = text(uri, false);
            assert!(!["nvargus", "nvvid", "nvv4l2", "NVMM"].iter().any(|part| text.contains(part)), "{text}");
        }
        assert!(
            text("/dev/video0", false).starts_with("v4l2src device=\"/dev/video0\" ! decodebin ! videoscale")
        );
        assert!(text("v4l2:///dev/video2", false).contains("/dev/video2"));
        let own = text("gst://videotestsrc ! video/x-raw,width=64 ! appsink", false);
        assert_eq!(own, format!("videotestsrc ! video/x-raw,width=64 ! {END} drop=true sync=true"));
    }

    #[test]
    fn a_uri_stays_one_value_and_nonsense_is_refused() {
        let sneaky = text("rtsp://cam/\" ! filesink location=x", false);
        assert!(sneaky.contains(r#"location="rtsp://cam/\" ! filesink location=x""#), "{sneaky}");
        for uri in ["csi://front", "csi://", "gst://", "gst:// appsink"] {
            assert!(pipeline(uri, &SourceOptions::default(), false).is_err(), "{uri}");
        }
        assert_eq!(pipeline("recording://x", &SourceOptions::default(), false).unwrap(), None);
    }
}
