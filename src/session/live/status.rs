//! The counters and clocks of the live loop.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The number of answers whose latency is remembered.
const WINDOW: usize = 512;
/// The number of answers that the frame rate is taken from.
const RATE_WINDOW: usize = 32;
/// The time without an answer after which the frame rate is 0.
const STILL: Duration = Duration::from_secs(3);

/// The state of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum SourceState {
    /// The source is being opened.
    Opening,
    /// Frames arrive.
    Playing,
    /// The source is not there yet, or was lost; it is tried again.
    Waiting {
        /// The reason.
        reason: String,
    },
    /// The source came to its end.
    Ended {
        /// Whether it was to come to an end: a film or a recording, not a camera or a stream.
        is_expected: bool,
    },
    /// The source cannot be read any more.
    Failed {
        /// The reason.
        reason: String,
    },
}

/// The state of the backbone that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum BackboneState {
    /// The backbone that was asked for answers.
    Ready,
    /// The backbone is still being made, as TensorRT's engine is: another one answers, and nothing
    /// is taught or learned.
    Building,
    /// The backbone could not be made: the other one goes on answering, and nothing is taught or
    /// learned.
    Failed {
        /// The reason.
        reason: String,
    },
}

/// The progress of a consolidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Progress {
    /// Training steps taken.
    pub step: usize,
    /// Training steps in all.
    pub of: usize,
}

/// The figures of the live loop.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct LiveStatus {
    /// The source as typed.
    pub uri: String,
    /// The state of the source.
    pub source: SourceState,
    /// The provider that computes the features, and why.
    pub provider: String,
    /// The state of the backbone that was asked for.
    pub backbone: BackboneState,
    /// Frames answered.
    pub frames: u64,
    /// Frames that a newer one replaced before they were looked at.
    pub dropped: u64,
    /// Frames that could not be used.
    pub rejected: u64,
    /// Unlabelled frames stored.
    pub kept: u64,
    /// Unlabelled frames that found no room, in the queue or within the memory limit.
    pub not_kept: u64,
    /// Seconds since the source gave its newest frame, or since the start if it gave none.
    pub frame_age_secs: f64,
    /// Answers per second.
    pub frames_per_sec: f64,
    /// The median time from a frame's arrival to its answer, of the last 512 answers, in
    /// milliseconds.
    pub latency_p50_millis: f64,
    /// The 99th percentile of this time.
    pub latency_p99_millis: f64,
    /// The largest such time since the start.
    pub latency_max_millis: f64,
    /// The progress of the running consolidation, if one runs.
    pub learning: Option<Progress>,
    /// Jobs that wait for the learning thread or are being done.
    pub pending: usize,
    /// The kind of head that answers, if anything was learned.
    pub head: Option<&'static str>,
    /// Frames at hand to be taught.
    pub recent: usize,
    /// Seconds since the start.
    pub uptime_secs: f64,
}

/// The counters and clocks behind the figures.
#[derive(Debug)]
pub(super) struct Meter {
    uri: String,
    start: Instant,
    pub(super) source: SourceState,
    pub(super) provider: String,
    pub(super) backbone: BackboneState,
    pub(super) frames: u64,
    pub(super) dropped: u64,
    pub(super) rejected: u64,
    pub(super) kept: u64,
    pub(super) not_kept: u64,
    pub(super) learning: Option<Progress>,
    latencies: VecDeque<Duration>,
    longest: Duration,
    answers: VecDeque<Instant>,
}

impl Meter {
    pub(super) fn new(uri: String, provider: String, is_awaited: bool) -> Self {
        Self {
            uri,
            start: Instant::now(),
            source: SourceState::Opening,
            provider,
            backbone: if is_awaited { BackboneState::Building } else { BackboneState::Ready },
            frames: 0,
            dropped: 0,
            rejected: 0,
            kept: 0,
            not_kept: 0,
            learning: None,
            latencies: VecDeque::with_capacity(WINDOW),
            longest: Duration::ZERO,
            answers: VecDeque::with_capacity(RATE_WINDOW),
        }
    }

    /// Counts an answer and returns its number, from 1.
    pub(super) fn answered(&mut self, latency: Duration) -> u64 {
        self.frames += 1;
        self.longest = self.longest.max(latency);
        push(&mut self.latencies, latency, WINDOW);
        push(&mut self.answers, Instant::now(), RATE_WINDOW);
        self.frames
    }

    #[allow(clippy::cast_precision_loss, reason = "a window of a few answers")]
    fn rate(&self) -> f64 {
        match (self.answers.front(), self.answers.back()) {
            (Some(first), Some(last)) if last.elapsed() < STILL && last > first => {
                (self.answers.len() - 1) as f64 / (*last - *first).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    pub(super) fn status(
        &self,
        recent: usize,
        pending: usize,
        head: Option<&'static str>,
        frame_age: Duration,
    ) -> LiveStatus {
        let mut sorted: Vec<Duration> = self.latencies.iter().copied().collect();
        sorted.sort_unstable();
        let quantile = |of_100: usize| {
            let at = (sorted.len() * of_100 / 100).min(sorted.len().saturating_sub(1));
            sorted.get(at).map_or(0.0, |latency| 1e3 * latency.as_secs_f64())
        };
        LiveStatus {
            uri: self.uri.clone(),
            source: self.source.clone(),
            provider: self.provider.trim_start_matches("provider: ").to_owned(),
            backbone: self.backbone.clone(),
            frames: self.frames,
            dropped: self.dropped,
            rejected: self.rejected,
            kept: self.kept,
            not_kept: self.not_kept,
            frame_age_secs: frame_age.as_secs_f64(),
            frames_per_sec: self.rate(),
            latency_p50_millis: quantile(50),
            latency_p99_millis: quantile(99),
            latency_max_millis: 1e3 * self.longest.as_secs_f64(),
            learning: self.learning,
            pending,
            head,
            recent,
            uptime_secs: self.start.elapsed().as_secs_f64(),
        }
    }
}

fn push<T>(window: &mut VecDeque<T>, value: T, most: usize) {
    if window.len() == most {
        window.pop_front();
    }
    window.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_window_and_the_longest_of_all() {
        let mut meter = Meter::new("x".to_owned(), String::new(), false);
        meter.answered(Duration::from_secs(9));
        for millis in 0..WINDOW as u64 {
            meter.answered(Duration::from_millis(millis % 100));
        }
        let status = meter.status(0, 0, None, Duration::ZERO);
        assert!((45.0..=55.0).contains(&status.latency_p50_millis), "{status:?}");
        assert!((98.0..=99.0).contains(&status.latency_p99_millis), "{status:?}");
        assert!((status.latency_max_millis - 9000.0).abs() < 1e-6);
        assert_eq!(status.frames, WINDOW as u64 + 1);
    }
}
