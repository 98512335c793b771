//! The refusal of sources that this build does not read, with the exact command that turns them
//! into raw frames.

use std::path::Path;

use super::source::SourceOptions;
use crate::error::Error;

const READ_HERE: &str = "read here are a folder of images, recording://DIR, JPEG, PNG and motion-JPEG AVI files, \
                         and raw RGB frames on standard input (-)";

/// Returns the refusal of a scheme or device.
pub(super) fn scheme(uri: &str, options: &SourceOptions) -> Error {
    let pipe = if let Some(device) = uri.strip_prefix("v4l2://") {
        ffmpeg("-f v4l2 ", device, options)
    } else if uri.starts_with("/dev/") || uri.starts_with("file:///dev/") {
        ffmpeg("-f v4l2 ", uri.trim_start_matches("file://"), options)
    } else if let Some(sensor) = uri.strip_prefix("csi://") {
        // The number goes into a command line unquoted, so only digits are kept.
        let sensor: String = sensor.chars().filter(char::is_ascii_digit).collect();
        let sensor = if sensor.is_empty() { "0" } else { &sensor };
        gstreamer(
            &format!("nvarguscamerasrc sensor-id={sensor} ! nvvidconv ! video/x-raw,format=BGRx"),
            options,
        )
    } else if let Some(pipeline) = uri.strip_prefix("gst://") {
        let pipeline =
            pipeline.trim().trim_end_matches("appsink").trim_end().trim_end_matches('!').trim_end();
        gstreamer(pipeline, options)
    } else if uri.starts_with("rtsp://") {
        ffmpeg("-rtsp_transport tcp ", uri, options)
    } else {
        ffmpeg("", uri, options)
    };
    refusal(
        uri,
        &format!(
            "this kind of source is not read by this build: build with `--features gstreamer`, or pipe it in: {pipe}"
        ),
    )
}

/// Returns the refusal of a file that is neither picture nor motion-JPEG AVI.
#[cfg(any(not(feature = "gstreamer"), test))]
pub(super) fn file(uri: &str, path: &Path, options: &SourceOptions) -> Error {
    file_because(
        "this kind of file is not read by this build (with `--features gstreamer` it is)",
        uri,
        path,
        options,
    )
}

/// Returns the refusal of an AVI file with another codec.
pub(super) fn codec(uri: &str, path: &Path, codec: &str, options: &SourceOptions) -> Error {
    let reason = format!("AVI with codec {} is not read by this build", codec.escape_default());
    file_because(&reason, uri, path, options)
}

fn file_because(reason: &str, uri: &str, path: &Path, options: &SourceOptions) -> Error {
    let path = path.to_string_lossy();
    let pipe = ffmpeg("", &path, options);
    let convert = format!("ffmpeg -i {} -an -c:v mjpeg -q:v 3 clip.avi", quoted(&path));
    refusal(uri, &format!("{reason}; pipe it in: {pipe}, or convert it: {convert}"))
}

fn refusal(uri: &str, reason: &str) -> Error {
    Error::Source { uri: uri.to_owned(), reason: format!("{reason} ({READ_HERE})") }
}

/// Returns the ffmpeg command that writes the frames of `input` to a pipe.
fn ffmpeg(input_options: &str, input: &str, options: &SourceOptions) -> String {
    let SourceOptions { raw_width, raw_height, raw_frame_rate, .. } = options;
    format!(
        "ffmpeg -loglevel error {input_options}-i {} -vf scale={raw_width}:{raw_height},fps={raw_frame_rate} \
         -f rawvideo -pix_fmt rgb24 - | camera_stream --source -",
        quoted(input)
    )
}

/// Returns the GStreamer command that writes the frames of `pipeline` to a pipe. Rows of raw RGB
/// are padded to 4 bytes there, so the width is rounded up to a multiple of 4.
fn gstreamer(pipeline: &str, options: &SourceOptions) -> String {
    let (width, height) = (options.raw_width.next_multiple_of(4), options.raw_height);
    let note = if width == options.raw_width { String::new() } else { format!(" (with raw_width {width})") };
    format!(
        "gst-launch-1.0 -q {pipeline} ! videoconvert ! videoscale ! \
         video/x-raw,format=RGB,width={width},height={height} ! fdsink fd=1 | camera_stream --source -{note}"
    )
}

/// Returns `text` as one POSIX shell word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_carry_the_size_and_are_safe_to_paste() {
        let options =
            SourceOptions { raw_width: 322, raw_height: 240, raw_frame_rate: 7.5, ..Default::default() };
        assert!(ffmpeg("", "a", &options).contains("scale=322:240,fps=7.5 "));
        assert!(gstreamer("videotestsrc", &options).contains("width=324,height=240"));
        assert!(gstreamer("videotestsrc", &options).ends_with("(with raw_width 324)"));
        let text = scheme("csi://1; rm -r x", &options).to_string();
        assert!(text.contains("sensor-id=1 !"), "{text}");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
