//! Motion-JPEG AVI clips. An AVI file is a tree of RIFF chunks (id, size, data padded to 2 bytes);
//! the walk enters the lists it knows and steps over everything else, and relies on no index and no
//! list size, so that a clip whose writer was cut off plays up to the cut.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::decode::{decode, most_bytes};
use super::frame::Frame;
use super::source::{FrameSource, SourceOptions};
use super::unsupported;
use crate::error::{Error, Result};

/// The number of bytes that are read of a stream header or format chunk.
const HEADER_BYTES: u64 = 64;

/// A source of the first video stream of a motion-JPEG AVI file. A chunk of zero bytes (the
/// writer's mark for "same picture again") gives no frame and takes its time.
#[derive(Debug)]
pub(super) struct AviSource {
    uri: String,
    name: String,
    options: SourceOptions,
    chunks: Chunks,
    stream: Stream,
    position: u64,
    warning: Option<String>,
    ended: bool,
}

/// The description of the video stream in the headers.
#[derive(Debug)]
struct Stream {
    /// Chunk ids of its frames: compressed (`##dc`) and, from some writers, uncompressed (`##db`).
    ids: [[u8; 4]; 2],
    codec: [u8; 4],
    /// Duration of a frame in seconds as `scale / rate`; zeros if the header has none.
    scale: u32,
    rate: u32,
    frames: u32,
}

/// A chunk's id and where its data lies, or the type of a list that was entered.
enum Chunk {
    Data { id: [u8; 4], at: u64, size: u64 },
    List([u8; 4]),
}

#[derive(Debug)]
struct Chunks {
    path: PathBuf,
    file: BufReader<File>,
    length: u64,
    offset: u64,
}

impl Chunks {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), length, offset: 0 })
    }

    /// Returns the next chunk, or `None` where no whole chunk header is left.
    fn next(&mut self) -> Result<Option<Chunk>> {
        if self.length.saturating_sub(self.offset) >= 8 {
            let header = self.read(self.offset, 12)?;
            let [a, b, c, d, s0, s1, s2, s3, kind @ ..] = header.as_slice() else {
                return Ok(None);
            };
            let id = [*a, *b, *c, *d];
            let size = u64::from(u32::from_le_bytes([*s0, *s1, *s2, *s3]));
            let at = self.offset + 8;
            if let (b"RIFF" | b"LIST", Ok(kind)) = (&id, <[u8; 4]>::try_from(kind))
                && matches!(&kind, b"AVI " | b"AVIX" | b"hdrl" | b"strl" | b"movi" | b"rec ")
            {
                self.offset = at + 4;
                return Ok(Some(Chunk::List(kind)));
            }
            self.offset = (at + size + size % 2).min(self.length);
            return Ok(Some(Chunk::Data { id, at, size }));
        }
        Ok(None)
    }

    /// Returns up to `size` bytes from `at`, fewer at the end of the file.
    fn read(&mut self, at: u64, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.by_ref().take(size).read_to_end(&mut bytes))
            .map_err(Error::io(&self.path))?;
        Ok(bytes)
    }
}

impl AviSource {
    /// Reads the headers of the clip.
    ///
    /// # Errors
    /// [`Error::Source`] if it has no frames, no video stream or another codec than motion JPEG,
    /// [`Error::Io`] if it cannot be read.
    pub(super) fn open(path: &Path, uri: &str, options: &SourceOptions) -> Result<Self> {
        let refuse = |reason: &str| Error::Source { uri: uri.to_owned(), reason: reason.to_owned() };
        let mut chunks = Chunks::open(path)?;
        let stream = read_headers(&mut chunks)?
            .ok_or_else(|| refuse("the AVI file has no video stream, or ends before its first frame"))?;
        if !matches!(stream.codec.to_ascii_uppercase().as_slice(), b"MJPG" | b"JPEG") {
            return Err(unsupported::codec(uri, path, &String::from_utf8_lossy(&stream.codec), options));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self {
            uri: uri.to_owned(),
            name,
            options: options.clone(),
            chunks,
            stream,
            position: 0,
            warning: None,
            ended: false,
        })
    }

    fn timestamp_millis(&self) -> u64 {
        let Stream { scale, rate, .. } = self.stream;
        if scale == 0 || rate == 0 {
            return self.options.millis_at(self.position);
        }
        let millis = u128::from(self.position) * 1000 * u128::from(scale) / u128::from(rate);
        u64::try_from(millis).unwrap_or(u64::MAX)
    }

    /// Returns the data of the next frame that has any, or why it is not read; `None` at the end.
    fn next_picture(&mut self) -> Result<Option<std::result::Result<Vec<u8>, String>>> {
        while let Some(chunk) = self.chunks.next()? {
            let Chunk::Data { id, at, size } = chunk else {
                continue;
            };
            let ours = self.stream.ids.contains(&id);
            if at + size > self.chunks.length {
                let got = self.chunks.length.saturating_sub(at);
                let what = if ours { format!("frame {}", self.position) } else { "a chunk".to_owned() };
                self.warning =
                    Some(format!("the clip is cut off inside {what}: {got} of {size} bytes are there"));
                return Ok(None);
            }
            if ours && size > most_bytes(self.options.max_pixels) {
                let most = self.options.max_pixels;
                return Ok(Some(Err(format!("it has {size} bytes, which no picture of {most} pixels has"))));
            }
            if ours && size > 0 {
                return self.chunks.read(at, size).map(|bytes| Some(Ok(bytes)));
            }
            self.position += u64::from(ours);
        }
        let promised = u64::from(self.stream.frames);
        if self.position < promised {
            self.warning =
                Some(format!("the clip is cut off: {} of {promised} frames are there", self.position));
        }
        Ok(None)
    }
}

/// Walks to the first frame list and returns the video stream; `None` if there is no list, or no
/// video stream before it.
fn read_headers(chunks: &mut Chunks) -> Result<Option<Stream>> {
    let mut streams_seen = 0_u32;
    let mut video: Option<Stream> = None;
    let mut in_video = false;
    while let Some(chunk) = chunks.next()? {
        match chunk {
            Chunk::List(kind) if &kind == b"movi" => return Ok(video),
            Chunk::Data { id, at, size } if &id == b"strh" => {
                let header = chunks.read(at, size.min(HEADER_BYTES))?;
                in_video = video.is_none() && header.starts_with(b"vids");
                if in_video {
                    let digits = [digit(streams_seen / 10), digit(streams_seen)];
                    video = Some(Stream {
                        ids: [[digits[0], digits[1], b'd', b'c'], [digits[0], digits[1], b'd', b'b']],
                        codec: four(&header, 4),
                        scale: u32::from_le_bytes(four(&header, 20)),
                        rate: u32::from_le_bytes(four(&header, 24)),
                        frames: u32::from_le_bytes(four(&header, 32)),
                    });
                }
                streams_seen += 1;
            }
            Chunk::Data { id, at, size } if &id == b"strf" && in_video => {
                let format = chunks.read(at, size.min(HEADER_BYTES))?;
                // The compression of the bitmap header; stream headers often leave theirs empty.
                let codec = four(&format, 16);
                if let Some(stream) = video.as_mut().filter(|_| codec != [0; 4]) {
                    stream.codec = codec;
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Returns the last decimal digit in ASCII.
fn digit(number: u32) -> u8 {
    b"0123456789"[number as usize % 10]
}

/// Returns four bytes from `at`; zeros where the chunk is too short.
fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).unwrap_or_default()
}

impl FrameSource for AviSource {
    fn next_frame(&mut self) -> Result<Option<Frame>> {
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        let Some(picture) = self.next_picture()? else {
            return Ok(None);
        };
        self.ended = false;
        let timestamp_millis = self.timestamp_millis();
        let name = format!("{} frame {}", self.name, self.position);
        self.position += 1;
        let bytes = picture.map_err(|reason| Error::Frame { name: name.clone(), reason })?;
        let frame = decode(&bytes, &name, self.options.max_pixels)?;
        Ok(Some(Frame { timestamp_millis, ..frame }))
    }

    fn frames_hint(&self) -> Option<usize> {
        usize::try_from(self.stream.frames).ok().filter(|frames| *frames > 0)
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn warning(&self) -> Option<String> {
        self.warning.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::{jpeg, ramp};
    use super::super::open::open;
    use super::*;

    fn chunk(id: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut bytes = id.to_vec();
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    }

    fn list(id: &[u8; 4], kind: &[u8; 4], parts: &[Vec<u8>]) -> Vec<u8> {
        chunk(id, &[kind.to_vec(), parts.concat()].concat())
    }

    /// A stream header at 20 frames a second and its format, inside their list.
    fn stream(kind: &[u8; 4], codec: &[u8; 4], frames: u32) -> Vec<u8> {
        let mut header = vec![0_u8; 56];
        header[..4].copy_from_slice(kind);
        header[20..24].copy_from_slice(&1_u32.to_le_bytes());
        header[24..28].copy_from_slice(&20_u32.to_le_bytes());
        header[32..36].copy_from_slice(&frames.to_le_bytes());
        let mut format = vec![0_u8; 40];
        format[16..20].copy_from_slice(codec);
        list(b"LIST", b"strl", &[chunk(b"strh", &header), chunk(b"strf", &format)])
    }

    /// Sound first, so that the video is stream 1; junk, an index and one frame inside a `rec `
    /// list.
    fn clip(codec: &[u8; 4]) -> Vec<u8> {
        let headers = [chunk(b"avih", &[0; 56]), stream(b"auds", &[1; 4], 9), stream(b"vids", codec, 4)];
        let pictures: Vec<Vec<u8>> = [10, 90, 170].map(|shade| jpeg(&ramp(16, 12, shade))).into();
        let movi = [
            chunk(b"00wb", &[1, 2, 3]),
            chunk(b"01dc", &pictures[0]),
            chunk(b"JUNK", &[0; 5]),
            chunk(b"01dc", &[]),
            chunk(b"01db", &pictures[1]),
            list(b"LIST", b"rec ", &[chunk(b"00wb", &[7; 9]), chunk(b"01dc", &pictures[2])]),
        ];
        let parts = [
            list(b"LIST", b"hdrl", &headers),
            list(b"LIST", b"INFO", &[chunk(b"ISFT", b"writer")]),
            list(b"LIST", b"movi", &movi),
            chunk(b"idx1", &[0; 64]),
        ];
        list(b"RIFF", b"AVI ", &parts)
    }

    fn play(bytes: &[u8]) -> (Vec<(u8, u64)>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.avi");
        std::fs::write(&path, bytes).unwrap();
        let mut source = open(&format!("file://{}", path.display()), &SourceOptions::default()).unwrap();
        let mut seen = vec![];
        while let Some(frame) = source.next_frame().unwrap() {
            assert_eq!((frame.width, frame.height), (16, 12));
            seen.push((frame.rgb[2], frame.timestamp_millis));
        }
        assert!(source.next_frame().unwrap().is_none());
        (seen, source.warning())
    }

    #[test]
    fn a_frame_of_more_bytes_than_any_picture_is_named_and_the_next_one_plays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.avi");
        let huge = vec![0; usize::try_from(most_bytes(192)).unwrap() + 1];
        let movi = [chunk(b"00dc", &huge), chunk(b"00dc", &jpeg(&ramp(16, 12, 90)))];
        let headers = [chunk(b"avih", &[0; 56]), stream(b"vids", b"MJPG", 2)];
        let parts = [list(b"LIST", b"hdrl", &headers), list(b"LIST", b"movi", &movi)];
        std::fs::write(&path, list(b"RIFF", b"AVI ", &parts)).unwrap();
        let options = SourceOptions { max_pixels: 192, ..SourceOptions::default() };
        let mut source = open(path.to_str().unwrap(), &options).unwrap();
        let refused = source.next_frame().unwrap_err().to_string();
        assert!(refused.contains("frame 0") && refused.contains("no picture of 192 pixels"), "{refused}");
        let frame = source.next_frame().unwrap().unwrap();
        assert_eq!((frame.width, frame.timestamp_millis), (16, 50));
        assert!(source.next_frame().unwrap().is_none());
    }

    #[test]
    fn frames_play_in_order_with_their_times() {
        let (seen, warning) = play(&clip(b"MJPG"));
        assert_eq!(seen.iter().map(|frame| frame.1).collect::<Vec<_>>(), [0, 100, 150]);
        for (frame, shade) in seen.iter().zip([10_u8, 90, 170]) {
            assert!(frame.0.abs_diff(shade) < 12, "{seen:?}");
        }
        assert_eq!(warning, None);
    }

    #[test]
    fn a_cut_clip_plays_up_to_the_cut() {
        let whole = clip(b"MJPG");
        let last = whole.windows(4).rposition(|id| id == b"01dc").unwrap();
        let (seen, warning) = play(&whole[..last + 200]);
        assert_eq!(seen.len(), 2);
        assert!(warning.unwrap().contains("cut off inside frame 3: 192 of"));
        let (seen, warning) = play(&whole[..last + 3]);
        assert_eq!(seen.len(), 2);
        assert_eq!(warning.unwrap(), "the clip is cut off: 3 of 4 frames are there");
    }

    #[test]
    fn every_cut_is_an_error_or_a_warning() {
        let whole = clip(b"mjpg");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.avi");
        let end = whole.windows(4).rposition(|id| id == b"idx1").unwrap();
        for length in (0..end).step_by(7) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let Ok(mut source) = AviSource::open(&path, "clip", &SourceOptions::default()) else {
                continue;
            };
            let mut frames = 0;
            while source.next_frame().unwrap().is_some() {
                frames += 1;
            }
            assert!(frames < 3 && source.warning().is_some(), "{length}: {frames} frames");
        }
    }

    #[test]
    fn a_bad_frame_costs_one_frame() {
        let mut bytes = clip(b"MJPG");
        let first = bytes.windows(4).position(|id| id == b"01dc").unwrap();
        bytes[first + 8..first + 10].copy_from_slice(b"??");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.avi");
        std::fs::write(&path, bytes).unwrap();
        let mut source = AviSource::open(&path, "clip", &SourceOptions::default()).unwrap();
        assert_eq!(source.frames_hint(), Some(4));
        assert!(matches!(source.next_frame(), Err(Error::Frame { name, .. }) if name == "clip.avi frame 0"));
        assert_eq!(source.next_frame().unwrap().unwrap().timestamp_millis, 100);
    }

    #[test]
    fn other_codecs_and_soundtracks_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.avi");
        let reason = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            AviSource::open(&path, "clip", &SourceOptions::default()).unwrap_err().to_string()
        };
        let text = reason(&clip(b"H264"));
        assert!(text.contains("H264") && text.contains("-c:v mjpeg"), "{text}");
        let sound = [list(b"LIST", b"hdrl", &[stream(b"auds", &[1; 4], 9)]), list(b"LIST", b"movi", &[])];
        assert!(reason(&list(b"RIFF", b"AVI ", &sound)).contains("no video stream"));
        assert!(reason(b"RIFF").contains("no video stream"));
    }
}
