//! RTSP over a socket: a server of our own, small enough to break the connection when it is told
//! to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gstreamer::{self as gst, prelude::*};
use kaizen_edge::low_level::vision::{self, FrameSource, SourceOptions};

const WIDTH: usize = 64;
const HEIGHT: usize = 48;
const GREY: u8 = 200;

/// What the server sends: RTP packets, frame by frame, and what they hold, in the words of SDP.
struct Video {
    format: &'static str,
    frames: Vec<Vec<Vec<u8>>>,
}

impl Video {
    /// RFC 4175: uncompressed video, here 8-bit RGB. Each frame in one packet for every eight rows.
    fn raw(frames: usize) -> Self {
        let packet = |frame: usize, first: usize| {
            let mut packet = vec![0x80, if first + 8 == HEIGHT { 0x80 | 96 } else { 96 }];
            packet.extend(((frame * HEIGHT + first) as u16 / 8).to_be_bytes());
            packet.extend((frame as u32 * 3600).to_be_bytes());
            packet.extend(7_u32.to_be_bytes());
            packet.extend([0, 0]);
            for row in first..first + 8 {
                packet.extend((WIDTH as u16 * 3).to_be_bytes());
                packet.extend((row as u16).to_be_bytes());
                packet.extend(if row + 1 == first + 8 { 0_u16 } else { 0x8000 }.to_be_bytes());
            }
            packet.extend(std::iter::repeat_n(GREY, 8 * WIDTH * 3));
            packet
        };
        let frame = |frame| (0..HEIGHT).step_by(8).map(|first| packet(frame, first)).collect();
        let format =
            "raw/90000\r\na=fmtp:96 sampling=RGB; width=64; height=48; depth=8; colorimetry=SMPTE240M";
        Self { format, frames: (0..frames).map(frame).collect() }
    }

    /// RFC 6184: H.264, as cameras send it, with the parameter sets in the stream.
    fn h264(frames: usize) -> Self {
        let pipeline = format!(
            "videotestsrc num-buffers={frames} pattern=solid-color foreground-color=0xff{GREY:02x}{GREY:02x}{GREY:02x} ! \
             video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=25/1 ! openh264enc gop-size=10 ! \
             h264parse config-interval=-1 ! rtph264pay mtu=1400 ! appsink name=packets sync=false"
        );
        gst::init().unwrap();
        let pipeline = gst::parse::launch(&pipeline).unwrap().downcast::<gst::Pipeline>().unwrap();
        let sink = pipeline.by_name("packets").unwrap().downcast::<gstreamer_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut video =
            Self { format: "H264/90000\r\na=fmtp:96 packetization-mode=1", frames: vec![Vec::new()] };
        while let Ok(sample) = sink.pull_sample() {
            let packet = sample.buffer().unwrap().map_readable().unwrap().to_vec();
            // The marker ends a frame.
            let is_last = packet[1] & 0x80 != 0;
            video.frames.last_mut().unwrap().push(packet);
            if is_last {
                video.frames.push(Vec::new());
            }
        }
        pipeline.set_state(gst::State::Null).unwrap();
        video.frames.pop();
        assert_eq!(video.frames.len(), frames);
        video
    }

    fn description(&self) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
             c=IN IP4 127.0.0.1\r\na=rtpmap:96 {}\r\na=control:video\r\n",
            self.format
        )
    }
}

/// A server that sends a video to each connection and hangs up.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(video: Video) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let serve = move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                // A client that hangs up first is no fault of the server.
                let _ = answer(&stream, &video);
            }
        };
        std::thread::Builder::new().name("rtsp-server".to_owned()).spawn(serve).unwrap();
        Self { address, connections }
    }

    fn uri(&self) -> String {
        format!("rtsp://{}/video", self.address)
    }
}

fn answer(stream: &TcpStream, video: &Video) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut request, mut sequence) = (String::new(), String::new());
        reader.read_line(&mut request)?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(number) = line.to_ascii_lowercase().strip_prefix("cseq:") {
                number.trim().clone_into(&mut sequence);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let (method, body) = (request.split(' ').next().unwrap_or_default(), video.description());
        let base = request.split(' ').nth(1).unwrap_or_default();
        let more = match method {
            "OPTIONS" => "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n".to_owned(),
            "DESCRIBE" => format!(
                "Content-Base: {base}/\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            "SETUP" => "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n".to_owned(),
            "PLAY" => "Session: 1\r\nRange: npt=0-\r\n\r\n".to_owned(),
            _ => "Session: 1\r\n\r\n".to_owned(),
        };
        write!(&*stream, "RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{more}")?;
        if method == "PLAY" {
            return play(stream, video);
        }
        if method == "TEARDOWN" {
            return Ok(());
        }
    }
}

/// The packets over the same socket.
fn play(mut stream: &TcpStream, video: &Video) -> std::io::Result<()> {
    for packets in &video.frames {
        for packet in packets {
            let mut interleaved = vec![b'$', 0];
            interleaved.extend((packet.len() as u16).to_be_bytes());
            interleaved.extend(packet);
            stream.write_all(&interleaved)?;
        }
        std::thread::sleep(Duration::from_millis(15));
    }
    // Without a word: as a camera whose plug is pulled.
    stream.shutdown(std::net::Shutdown::Both)?;
    let _ = stream.read(&mut [0; 64]);
    Ok(())
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_mib() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4 / 1024
}

/// Whole frames and losses until so many connections were made.
fn watch(server: &Server, source: &mut dyn FrameSource, connections: usize) -> (usize, usize) {
    let (start, mut frames, mut losses) = (Instant::now(), 0, 0);
    while server.connections.load(Ordering::SeqCst) < connections {
        match source.next_frame() {
            Ok(Some(frame)) => {
                assert_eq!((frame.width as usize, frame.height as usize), (WIDTH, HEIGHT));
                // The last of a connection may be cut.
                frames += usize::from(frame.rgb.iter().all(|value| value.abs_diff(GREY) < 4));
            }
            Ok(None) => panic!("a camera has no end"),
            Err(error) => {
                assert!(error.to_string().contains("trying again"), "{error}");
                losses += 1;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(2 * connections as u64 + 30), "{frames} {losses}");
    }
    (frames, losses)
}

#[test]
fn a_lost_camera_is_found_again_without_growth() {
    let reconnects = std::env::var("KAIZEN_TORTURE_RECONNECTS").map_or(6, |text| text.parse().unwrap());
    let server = Server::start(Video::raw(8));
    let mut source = vision::open(&server.uri(), &SourceOptions::default()).unwrap();
    let (frames, losses) = watch(&server, source.as_mut(), 4);
    assert!(frames > 4 && losses >= 3, "{frames} frames, {losses} losses");
    let (files, memory) = (descriptors(), resident_mib());
    let start = Instant::now();
    let (frames, losses) = watch(&server, source.as_mut(), 4 + reconnects);
    let (files_after, memory_after) = (descriptors(), resident_mib());
    println!(
        "{reconnects} reconnects in {:.0} s: {frames} frames, {losses} losses, {files} -> {files_after} files, \
         {memory} -> {memory_after} MiB",
        start.elapsed().as_secs_f64()
    );
    assert!(frames >= reconnects, "{frames} frames in {reconnects} connections");
    assert!(files_after <= files + 12, "{files} files open, then {files_after}");
    assert!(memory_after <= memory + 64, "{memory} MiB, then {memory_after}");
}

#[test]
fn a_camera_that_sends_h264_is_watched_and_found_again() {
    let server = Server::start(Video::h264(30));
    let mut source = vision::open(&server.uri(), &SourceOptions::default()).unwrap();
    let (frames, losses) = watch(&server, source.as_mut(), 3);
    assert!(frames > 20 && losses >= 2, "{frames} frames, {losses} losses");
}
