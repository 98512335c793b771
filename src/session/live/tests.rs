use std::sync::mpsc::{Receiver, channel};

use ndarray::{Array2, ArrayView4};

use super::capture_worker::LiveSource;
use super::learn_worker::PendingBackbones;
use super::recent::FrameBudget;
use super::*;
use crate::backbone::{Backbone, BackboneSpec, Channels, Layout, Precision, Provider, ProviderReport};
use crate::event::Event;
use crate::learn::engine_choice::EngineChoice;
use crate::memory::Memory;
use crate::session::{Embedder, Learner, Options, Power, identity};
use crate::vision::{Frame, FrameSource};

/// A backbone whose features are the mean colours of the quarters, and that takes a given time.
struct Quarters {
    spec: BackboneSpec,
    report: ProviderReport,
    takes: Duration,
}

const SIDE: usize = 8;

impl Quarters {
    fn boxed(takes: Duration) -> Box<dyn Backbone> {
        let spec = BackboneSpec {
            name: "quarters".to_owned(),
            path: "quarters.onnx".into(),
            sha256: "0".repeat(64),
            licence: "none".to_owned(),
            origin: "a test".to_owned(),
            input_size: SIDE,
            mean: [127.5; 3],
            std: [127.5; 3],
            layout: Layout::Nchw,
            channels: Channels::Rgb,
            feature_width: 12,
            precision: Precision::Fp32,
            cut: None,
            tail_path: None,
            tail_sha256: None,
        };
        let (got, runtime) = (Provider::Tract, "by hand".to_owned());
        let report = ProviderReport { asked: got, got, runtime, library: None, attempts: Vec::new() };
        Box::new(Self { spec, report, takes })
    }
}

impl Backbone for Quarters {
    fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    fn provider(&self) -> &ProviderReport {
        &self.report
    }

    fn embed(&mut self, images: ArrayView4<'_, f32>) -> crate::Result<Array2<f32>> {
        std::thread::sleep(self.takes);
        let half = SIDE / 2;
        Ok(Array2::from_shape_fn((images.dim().0, 12), |(image, feature)| {
            let (quarter, channel) = (feature / 3, feature % 3);
            let (top, left) = (quarter / 2 * half, quarter % 2 * half);
            let pixels = (0..half * half).map(|i| images[[image, channel, top + i / half, left + i % half]]);
            pixels.sum::<f32>() / 16.0 + 3.0
        }))
    }
}

/// An endless source of plain frames of one shade with a little wobble, as fast as they are read.
struct Shades(u8, u64);

impl FrameSource for Shades {
    fn next_frame(&mut self) -> crate::Result<Option<Frame>> {
        std::thread::sleep(Duration::from_millis(2));
        self.1 += 1;
        let wobble = (self.1 % 7) as u8;
        let rgb =
            (0..64 * 3).map(|i| self.0 + wobble + u8::try_from(i % 5).unwrap() * (wobble + 1)).collect();
        Frame::new(8, 8, rgb, format!("frame {}", self.1)).map(Some)
    }
    fn frames_hint(&self) -> Option<usize> {
        None
    }
    fn uri(&self) -> &str {
        "shades"
    }
    fn is_live(&self) -> bool {
        true
    }
}

fn start(takes: Duration) -> (Live, Receiver<LiveEvent>, tempfile::TempDir) {
    start_training(takes, 0)
}

fn start_training(takes: Duration, steps: usize) -> (Live, Receiver<LiveEvent>, tempfile::TempDir) {
    start_with(takes, steps, None)
}

fn start_with(
    takes: Duration,
    steps: usize,
    pending_backbones: Option<PendingBackbones>,
) -> (Live, Receiver<LiveEvent>, tempfile::TempDir) {
    start_on(
        LiveSource::endless(|| Ok(Box::new(Shades(60, 0)))),
        Quarters::boxed(takes),
        steps,
        pending_backbones,
    )
}

impl LiveSource {
    /// A source that may come later.
    fn endless(open: impl FnMut() -> crate::Result<Box<dyn FrameSource>> + Send + 'static) -> Self {
        Self { open: Box::new(open), may_come_later: Box::new(|| true), repeats: false }
    }
}

fn start_on(
    source: LiveSource,
    inference_backbone: Box<dyn Backbone>,
    steps: usize,
    pending_backbones: Option<PendingBackbones>,
) -> (Live, Receiver<LiveEvent>, tempfile::TempDir) {
    let learning = pending_backbones.is_none().then(|| Quarters::boxed(Duration::ZERO));
    start_prepared(source, [Some(inference_backbone), learning], steps, pending_backbones, |_| {})
}

/// Starts on a state that is prepared first, with a backbone that answers and one that learns.
fn start_prepared(
    source: LiveSource,
    [inference, learning]: [Option<Box<dyn Backbone>>; 2],
    steps: usize,
    pending_backbones: Option<PendingBackbones>,
    prepare: impl FnOnce(&mut Memory),
) -> (Live, Receiver<LiveEvent>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let inference_backbone = inference.unwrap();
    let mut memory =
        Memory::open(Some(&folder.path().join("s.db")), &identity(inference_backbone.as_ref())).unwrap();
    prepare(&mut memory);
    let options = Options::new().steps(steps).engine(EngineChoice::Cpu);
    let embedder = learning.map(|backbone| Embedder::new(backbone, 1).unwrap());
    let learner = Learner::on(memory, embedder, options).unwrap();
    let (sender, events) = channel_of_events();
    let live = Live::start(LiveParts {
        source,
        uri: "shades".to_owned(),
        inference_backbone: inference_backbone.into(),
        pending_backbones,
        learner,
        power: Power::Full,
        frame_budget: FrameBudget::default(),
        most_failures: 3,
        watcher: Arc::new(move |event| drop(sender.lock().unwrap().send(event))),
    });
    (live.unwrap(), events, folder)
}

#[allow(clippy::disallowed_methods, reason = "a test that reads all of it")]
fn channel_of_events() -> (Mutex<std::sync::mpsc::Sender<LiveEvent>>, Receiver<LiveEvent>) {
    let (sender, receiver) = channel();
    (Mutex::new(sender), receiver)
}

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lessons_that_wait_hold_bounded_memory_and_one_alone_is_always_taken() {
    let total = std::sync::Arc::default();
    let count = |bytes| learn_worker::Held::count(&total, bytes, 100);
    let large = count(250).unwrap();
    assert!(count(1).is_none() && count(0).is_some(), "while it is held");
    drop(large);
    let both = (count(60).unwrap(), count(40).unwrap());
    assert!(count(1).is_none() && count(0).is_some());
    drop(both);
    assert!(count(100).is_some());
}

#[test]
fn a_slow_backbone_gets_the_newest_frames_and_drops_are_counted() {
    let (live, events, _folder) = start(Duration::from_millis(40));
    wait("ten answers", || live.status().frames >= 10);
    live.stop();
    let status = live.status();
    assert!(status.dropped > 3 * status.frames, "{status:?}");
    assert!(status.latency_p50_millis < 90.0, "no frame waited behind another: {status:?}");
    let numbers: Vec<u64> = events
        .try_iter()
        .filter_map(|event| match event {
            LiveEvent::Answered(answered) => {
                Some(answered.frame.name.trim_start_matches("frame ").parse().unwrap())
            }
            _ => None,
        })
        .collect();
    assert!(numbers.is_sorted() && numbers.last().unwrap() - numbers[0] > 2 * numbers.len() as u64);
}

#[test]
fn answers_go_on_while_the_learning_thread_is_busy() {
    let (live, _events, _folder) = start(Duration::from_millis(1));
    wait("an answer", || live.status().frames > 0);
    live.submit("a long job", |_| std::thread::sleep(Duration::from_millis(500))).unwrap();
    let before = live.status().frames;
    wait("fifty answers", || live.status().frames > before + 50);
    assert_eq!(live.status().pending, 1, "they came while the job ran");
}

#[test]
fn what_is_taught_answers_after_it_is_learned_and_goes_when_it_is_rolled_back() {
    let (live, events, _folder) = start(Duration::from_millis(1));
    wait("frames", || live.status().recent >= 20);
    assert!(live.recent(1)[0].prediction.is_none());
    let frames = live.recent(20);
    let (sender, done) = sync_channel(1);
    live.submit("lesson", move |worker| {
        let taught = worker.teach("grey", &frames).unwrap();
        let outcome = worker.learn().unwrap();
        sender.send((taught, outcome)).unwrap();
    })
    .unwrap();
    let (taught, outcome) = done.recv().unwrap();
    assert!(taught.labels.len() == 20 && outcome.published, "{taught:?} {outcome:?}");
    wait("an answer by the new head", || live.recent(1)[0].prediction.is_some());
    assert_eq!(live.recent(1)[0].prediction.as_ref().unwrap().nearest, "grey");
    assert!(events.try_iter().any(|event| matches!(event, LiveEvent::Changed("versions"))));
    let (sender, done) = sync_channel(1);
    live.submit("roll back", move |worker| {
        let version = worker.learner().memory().published().unwrap().unwrap().entry.id;
        sender.send(worker.roll_back(version).unwrap()).unwrap();
    })
    .unwrap();
    assert_eq!(done.recv().unwrap(), None);
    wait("no answer any more", || live.recent(1)[0].prediction.is_none());
}

#[test]
fn a_class_answers_before_its_training_ends_and_other_work_ends_the_training() {
    // So many steps that the test would not live to see the last.
    let (live, events, _folder) = start_training(Duration::from_millis(1), 1_000_000);
    wait("frames", || live.status().recent >= 20);
    let frames = live.recent(20);
    let (sender, done) = sync_channel(1);
    live.submit("lesson", move |worker| {
        worker.teach("grey", &frames).unwrap();
        sender.send(worker.learn().unwrap()).unwrap();
    })
    .unwrap();
    wait("a step of training", || live.status().learning.is_some_and(|progress| progress.step > 0));
    wait("an answer", || live.recent(1)[0].prediction.is_some());
    // Learning that waits behind learning is patient.
    live.submit_patient("learning", |_| ()).unwrap();
    let steps = || live.status().learning.map_or(0, |progress| progress.step);
    let before = steps();
    wait("more steps", || steps() > before + 100);
    assert!(done.try_recv().is_err(), "it is still in training");
    let (sender, other) = sync_channel(1);
    live.submit("another lesson", move |_| sender.send(()).unwrap()).unwrap();
    other.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(done.recv().unwrap().published);
    let cut = events.try_iter().any(|event| matches!(event, LiveEvent::Learner(Event::CutShort { .. })));
    assert!(cut && live.recent(1)[0].prediction.is_some());
}

#[test]
fn stopping_finishes_what_is_done_and_names_what_is_not() {
    let (live, _events, _folder) = start(Duration::from_millis(1));
    let (sender, done) = sync_channel(1);
    live.submit("the first", move |_| {
        std::thread::sleep(Duration::from_millis(300));
        sender.send(()).unwrap();
    })
    .unwrap();
    std::thread::sleep(Duration::from_millis(150));
    live.submit("the second", |_| panic!("it must not be done")).unwrap();
    assert_eq!(live.stop(), ["the second"]);
    assert!(done.try_recv().is_ok(), "the first was finished");
    assert_eq!(live.submit("too late", |_| {}), Err(Busy::Full));
}

#[test]
fn a_queue_that_is_full_says_so() {
    let (live, _events, _folder) = start(Duration::from_millis(1));
    live.submit("slow", |_| std::thread::sleep(Duration::from_millis(300))).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let taken = (0..QUEUED_JOBS + 5).filter(|_| live.submit("more", |_| {}).is_ok()).count();
    assert_eq!(taken, QUEUED_JOBS);
}

#[test]
fn another_backbone_answers_until_the_awaited_one_is_made_and_nothing_of_it_is_stored() {
    let (sender, made) = std::sync::mpsc::sync_channel(1);
    let (live, events, folder) = start_with(Duration::from_millis(5), 0, Some(made));
    wait("answers meanwhile", || live.status().frames >= 5);
    assert_eq!(live.status().backbone, BackboneState::Building);
    assert_eq!(live.submit("a lesson", |_| ()), Err(Busy::Building));
    assert!(live.recent(10).is_empty(), "its features are of another class");
    sender.send(Ok([0; 2].map(|_| Quarters::boxed(Duration::ZERO).into()))).unwrap();
    wait("the awaited one", || live.status().backbone == BackboneState::Ready && live.status().recent >= 5);
    let frames = live.recent(5);
    let (done, taught) = std::sync::mpsc::sync_channel(1);
    live.submit("a lesson", move |worker| {
        done.send(worker.teach("shade", &frames).unwrap().labels.len()).unwrap();
    })
    .unwrap();
    assert_eq!(taught.recv().unwrap(), 5);
    live.stop();
    let said = events.try_iter().any(|event| matches!(event, LiveEvent::Backbone(BackboneState::Ready)));
    assert!(said);
    assert_eq!(Memory::open_read_only(&folder.path().join("s.db")).unwrap().counts().unwrap().labels, 5);
}

#[test]
fn an_awaited_backbone_that_fails_leaves_the_other_one_answering() {
    let (sender, made) = std::sync::mpsc::sync_channel(1);
    let (live, events, _folder) = start_with(Duration::from_millis(5), 0, Some(made));
    let failed = crate::Error::Provider { asked: "tensorrt".to_owned(), reason: "out of memory".to_owned() };
    sender.send(Err(failed)).unwrap();
    let has_failed = || matches!(live.status().backbone, BackboneState::Failed { .. });
    wait("the failure", has_failed);
    let before = live.status().frames;
    wait("more answers", || live.status().frames > before + 3);
    assert_eq!(live.submit("a lesson", |_| ()), Err(Busy::Building));
    live.stop();
    let said = events.try_iter().any(|event| {
        matches!(event, LiveEvent::Backbone(BackboneState::Failed { reason }) if reason.contains("out of memory"))
    });
    assert!(said && has_failed());
}

mod health;
