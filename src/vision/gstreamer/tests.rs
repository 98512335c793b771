use super::*;
use crate::vision::open;

fn frames(uri: &str, most: usize) -> Vec<Frame> {
    let mut source = open(uri, &SourceOptions::default()).unwrap();
    let mut frames = Vec::new();
    while frames.len() < most
        && let Some(frame) = source.next_frame().unwrap()
    {
        frames.push(frame);
    }
    frames
}

#[test]
fn a_pipeline_gives_whole_frames_of_its_own_size_with_times() {
    // 61 pixels: rows are padded, and the padding must not be read as pixels.
    let seen = frames(
        "gst://videotestsrc num-buffers=5 pattern=white ! video/x-raw,width=61,height=40,framerate=50/1 ! appsink",
        9,
    );
    assert_eq!(seen.len(), 5, "its end is an end");
    for (number, frame) in (0..).zip(&seen) {
        assert_eq!((frame.width, frame.height), (61, 40));
        assert!(frame.rgb.iter().all(|value| *value > 250));
        assert_eq!(frame.timestamp_millis, 20 * number);
    }
}

#[test]
fn a_film_plays_to_its_end_and_none_of_its_frames_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.mkv");
    let text = format!(
        "videotestsrc num-buffers=30 ! video/x-raw,width=64,height=48,framerate=10/1 ! jpegenc ! matroskamux ! \
         filesink location={}",
        film.display()
    );
    gstreamer::init().unwrap();
    let writer = gstreamer::parse::launch(&text).unwrap();
    writer.set_state(State::Playing).unwrap();
    let end =
        writer.bus().unwrap().timed_pop_filtered(ClockTime::from_seconds(20), &[gstreamer::MessageType::Eos]);
    writer.set_state(State::Null).unwrap();
    assert!(end.is_some());
    let seen = frames(&format!("file://{}", film.display()), 99);
    assert_eq!(seen.len(), 30);
    assert_eq!(seen[29].timestamp_millis, 2900);
}

#[test]
fn a_change_of_resolution_goes_on_with_the_new_size() {
    let small = "videotestsrc num-buffers=3 ! video/x-raw,width=32,height=32,framerate=50/1";
    let large = "videotestsrc num-buffers=3 ! video/x-raw,width=64,height=48,framerate=50/1";
    let seen = frames(&format!("gst://concat name=c {small} ! c. {large} ! c. c. ! identity ! appsink"), 9);
    let sizes: Vec<_> = seen.iter().map(|frame| frame.width).collect();
    assert!(sizes.contains(&32) && sizes.contains(&64), "{sizes:?}");
}

#[test]
fn what_is_missing_is_named() {
    let reason = |uri: &str| match open(uri, &SourceOptions::default()) {
        Err(error) => error.to_string(),
        Ok(mut source) => source.next_frame().unwrap_err().to_string(),
    };
    assert!(reason("gst://nosuchelement ! appsink").contains("nosuchelement"));
    let camera = reason("v4l2:///dev/video99");
    assert!(camera.contains("/dev/video99") && camera.contains("kaizen doctor"), "{camera}");
    if ElementFactory::find("nvarguscamerasrc").is_none() {
        assert!(reason("csi://0").contains("nvarguscamerasrc"));
    }
    assert!(reason("rtsp://127.0.0.1:1/none").contains("GStreamer"));
}
