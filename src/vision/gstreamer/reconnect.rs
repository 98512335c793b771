//! A source that is opened again when it fails, with growing pauses.

use std::time::Duration;

use crate::error::{Error, Result, redacted};
use crate::vision::frame::Frame;
use crate::vision::source::FrameSource;

/// The first pause, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

type Opener = Box<dyn FnMut() -> Result<Box<dyn FrameSource>> + Send>;

/// A stream that has no end: if it ends or fails after its first frame, that is an [`Error::Frame`]
/// and the next call opens it anew. Before its first frame a failure is final, so that a wrong
/// address is reported at once.
pub(super) struct Reconnecting {
    uri: String,
    open: Opener,
    current: Option<Box<dyn FrameSource>>,
    had_frame: bool,
    pause: Duration,
    first_pause: Duration,
}

impl Reconnecting {
    pub(super) fn new(uri: &str, open: Opener) -> Result<Self> {
        Self::with_pause(uri, open, FIRST_PAUSE)
    }

    fn with_pause(uri: &str, mut open: Opener, first_pause: Duration) -> Result<Self> {
        let current = Some(open()?);
        Ok(Self { uri: uri.to_owned(), open, current, had_frame: false, pause: first_pause, first_pause })
    }

    fn lost(&mut self, reason: &str) -> Error {
        self.current = None;
        let reason =
            format!("the stream was lost ({reason}); trying again in {:.1} s", self.pause.as_secs_f64());
        Error::Frame { name: redacted(&self.uri), reason: redacted(&reason) }
    }
}

impl FrameSource for Reconnecting {
    fn next_frame(&mut self) -> Result<Option<Frame>> {
        let source = match &mut self.current {
            Some(source) => source,
            None => {
                std::thread::sleep(self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                match (self.open)() {
                    Ok(source) => self.current.insert(source),
                    Err(error) => return Err(self.lost(&error.to_string())),
                }
            }
        };
        match source.next_frame() {
            Ok(Some(frame)) => {
                (self.had_frame, self.pause) = (true, self.first_pause);
                Ok(Some(frame))
            }
            Err(error @ Error::Frame { .. }) => Err(error),
            Ok(None) if self.had_frame => Err(self.lost("it ended")),
            Err(error) if self.had_frame => Err(self.lost(&error.to_string())),
            final_outcome => final_outcome,
        }
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one frame fewer than this, then ends.
    struct Few(u32);

    impl FrameSource for Few {
        fn next_frame(&mut self) -> Result<Option<Frame>> {
            self.0 = self.0.saturating_sub(1);
            (self.0 > 0).then(|| Frame::new(1, 1, vec![0; 3], "f")).transpose()
        }
        fn uri(&self) -> &str {
            "few"
        }
    }

    #[test]
    fn a_lost_stream_is_said_and_opened_again_with_growing_pauses() {
        let mut opened = 0;
        let open = move || -> Result<Box<dyn FrameSource>> {
            opened += 1;
            match opened {
                2 | 3 => Err(Error::Source { uri: "few".to_owned(), reason: "refused".to_owned() }),
                _ => Ok(Box::new(Few(2))),
            }
        };
        let mut source = Reconnecting::with_pause("few", Box::new(open), Duration::from_millis(1)).unwrap();
        assert!(source.next_frame().unwrap().is_some());
        let said = |source: &mut Reconnecting| source.next_frame().unwrap_err().to_string();
        assert!(said(&mut source).contains("it ended"));
        assert!(said(&mut source).contains("refused"));
        assert!(said(&mut source).contains("refused"));
        assert_eq!(source.pause, Duration::from_millis(4));
        assert!(source.next_frame().unwrap().is_some());
        assert_eq!(source.pause, Duration::from_millis(1));
    }

    #[test]
    fn what_never_gave_a_frame_fails_at_once() {
        let open = || -> Result<Box<dyn FrameSource>> { Ok(Box::new(Few(0))) };
        let mut source = Reconnecting::new("few", Box::new(open)).unwrap();
        assert!(source.next_frame().unwrap().is_none());
    }
}
