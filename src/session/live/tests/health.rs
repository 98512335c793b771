use super::*;
use crate::session::live::live_event::Breakdown;

/// A source that gives some frames and then goes on as `then` says.
struct Then<F>(u32, F);

impl<F: FnMut() -> crate::Result<Option<Frame>> + Send> FrameSource for Then<F> {
    fn next_frame(&mut self) -> crate::Result<Option<Frame>> {
        std::thread::sleep(Duration::from_millis(2));
        if self.0 == 0 {
            return (self.1)();
        }
        self.0 -= 1;
        Frame::new(8, 8, vec![9; 8 * 8 * 3], "a frame").map(Some)
    }
    fn uri(&self) -> &str {
        "then"
    }
    fn is_live(&self) -> bool {
        true
    }
}

fn lost(reason: &str) -> crate::Error {
    crate::Error::Source { uri: "then".to_owned(), reason: reason.to_owned() }
}

fn start_from(source: LiveSource) -> (Live, Receiver<LiveEvent>, tempfile::TempDir) {
    start_on(source, Quarters::boxed(Duration::from_millis(1)), 0, None)
}

/// The first breakdown of a loop; it must come within a second.
fn breakdown(events: &Receiver<LiveEvent>) -> Breakdown {
    let start = Instant::now();
    loop {
        let left = Duration::from_secs(1).checked_sub(start.elapsed()).expect("it never broke down");
        if let LiveEvent::Broken(breakdown) = events.recv_timeout(left).expect("it never broke down") {
            return breakdown;
        }
    }
}

#[test]
fn a_camera_that_comes_later_and_one_that_is_lost_are_tried_again() {
    let mut attempts = 0;
    let open = move || -> crate::Result<Box<dyn FrameSource>> {
        attempts += 1;
        match attempts {
            1 => Err(lost("it is still booting")),
            2 => Ok(Box::new(Then(5, || Err(lost("the cable was pulled"))))),
            _ => Ok(Box::new(Shades(60, 0))),
        }
    };
    let (live, events, _folder) = start_from(LiveSource::endless(open));
    let waits_for = |words: &str| live.health().is_err_and(|reason| reason.contains(words));
    wait("the first refusal", || waits_for("it is still booting"));
    wait("the loss", || waits_for("the cable was pulled"));
    wait("frames again", || live.health() == Ok(SourceState::Playing) && live.status().frames > 10);
    live.stop();
    let states: Vec<String> = events
        .try_iter()
        .filter_map(|event| match event {
            LiveEvent::Source(state) => {
                Some(serde_json::to_value(state).unwrap()["state"].as_str()?.to_owned())
            }
            _ => None,
        })
        .collect();
    assert_eq!(states, ["opening", "waiting", "playing", "waiting", "playing"]);
}

#[test]
fn a_source_that_cannot_come_back_fails_and_a_stream_that_ends_is_no_recording() {
    let mut source = LiveSource::endless(|| Ok(Box::new(Then(3, || Err(lost("a broken file"))))));
    source.may_come_later = Box::new(|| false);
    let (live, ..) = start_from(source);
    wait("the failure", || live.health().is_err_and(|reason| reason.contains("a broken file")));
    assert!(matches!(live.status().source, SourceState::Failed { .. }));
    let (live, ..) = start_from(LiveSource::endless(|| Ok(Box::new(Then(3, || Ok(None))))));
    wait("the end", || live.health().is_err_and(|reason| reason.contains("came to its end")));
    assert_eq!(live.status().source, SourceState::Ended { is_expected: false });
}

#[test]
fn a_camera_thread_that_hangs_is_told_within_fifteen_seconds() {
    let (hold, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = Arc::new(Mutex::new(held));
    let open = move || -> crate::Result<Box<dyn FrameSource>> {
        let held = held.clone();
        Ok(Box::new(Then(5, move || {
            let _ = held.lock().unwrap().recv();
            Ok(None)
        })))
    };
    let (live, ..) = start_from(LiveSource::endless(open));
    wait("frames", || live.status().frames > 0);
    assert_eq!((live.health(), live.liveness().stall()), (Ok(SourceState::Playing), None));
    let start = Instant::now();
    wait("the stall", || live.liveness().stall().is_some());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let reason = live.health().unwrap_err();
    assert!(reason.contains("kaizen-capture has not moved for 12 s"), "{reason}");
    drop(hold);
    wait("the end of the stall", || live.liveness().stall().is_none());
}

#[test]
fn a_panic_on_any_thread_breaks_the_loop_down() {
    let open = || -> crate::Result<Box<dyn FrameSource>> { panic!("a driver of {}", "glass") };
    let (_live, events, _folder) = start_from(LiveSource::endless(open));
    let Breakdown { thread, reason } = breakdown(&events);
    assert!(thread == "kaizen-capture" && reason == "it panicked: a driver of glass", "{thread}: {reason}");
    let (live, events, _folder) = start(Duration::from_millis(1));
    live.submit("a job", |_| panic!("a bug")).unwrap();
    let Breakdown { thread, reason } = breakdown(&events);
    assert!(thread == "kaizen-learn" && reason == "it panicked: a bug", "{thread}: {reason}");
}

/// Fails at these calls.
struct Failing(Box<dyn Backbone>, std::ops::Range<usize>, usize);

impl Backbone for Failing {
    fn spec(&self) -> &BackboneSpec {
        self.0.spec()
    }
    fn provider(&self) -> &ProviderReport {
        self.0.provider()
    }
    fn embed(&mut self, images: ArrayView4<'_, f32>) -> crate::Result<Array2<f32>> {
        self.2 += 1;
        if self.1.contains(&self.2) {
            let reason = "the device was lost".to_owned();
            return Err(crate::Error::Provider { asked: "cuda".to_owned(), reason });
        }
        self.0.embed(images)
    }
}

fn failing(calls: std::ops::Range<usize>) -> Box<dyn Backbone> {
    Box::new(Failing(Quarters::boxed(Duration::ZERO), calls, 0))
}

/// Lessons need no backbone once samples are stored, so that they succeed says nothing of it.
#[test]
fn a_backbone_of_the_learner_that_goes_on_failing_breaks_the_loop_down_though_lessons_succeed() {
    let source = LiveSource::endless(|| Ok(Box::new(Shades(60, 0))));
    let backbones = [Some(Quarters::boxed(Duration::ZERO)), Some(failing(0..usize::MAX))];
    let prepare = |memory: &mut Memory| {
        for number in 0..20_u8 {
            let features = (0..12).map(|at| f32::from(number % 2 * 9 + (number * at) % 5) + 1.0).collect();
            let label = Some(["even", "odd"][usize::from(number % 2)].to_owned());
            let sample = crate::memory::Sample { features, label, ..crate::memory::Sample::default() };
            memory.add_sample(&sample).unwrap();
        }
    };
    let (live, events, _folder) = start_prepared(source, backbones, 0, None, prepare);
    wait("frames to teach", || live.status().recent > 3);
    let (said, outcomes) = sync_channel(1);
    for _ in 0..3 {
        let (frames, said) = (live.recent(1), said.clone());
        let job = move |worker: &mut LearnWorker| {
            said.send((worker.teach("frames", &frames).is_ok(), worker.learn().is_ok())).unwrap();
        };
        live.submit("a lesson", job).unwrap();
        assert_eq!(outcomes.recv().unwrap(), (false, true));
    }
    let Breakdown { thread, reason } = breakdown(&events);
    assert!(thread == "kaizen-learn" && reason.contains("the device was lost"), "{thread}: {reason}");
}

#[test]
fn a_provider_that_goes_on_failing_breaks_the_loop_down_and_one_error_does_not() {
    let source = || LiveSource::endless(|| Ok(Box::new(Shades(60, 0))));
    // Two in a row, of the three that are too many.
    let (live, events, _folder) = start_on(source(), failing(4..6), 0, None);
    wait("answers after the errors", || live.status().frames > 20);
    assert_eq!(live.status().rejected, 2);
    assert!(!events.try_iter().any(|event| matches!(event, LiveEvent::Broken(_))));
    let (_live, events, _folder) = start_on(source(), failing(4..usize::MAX), 0, None);
    let Breakdown { thread, reason } = breakdown(&events);
    assert!(thread == "kaizen-infer" && reason.contains("3 errors in a row"), "{thread}: {reason}");
    assert!(reason.contains("the device was lost"), "{reason}");
}
