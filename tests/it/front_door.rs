//! The library's front door: what holds of a learner whatever it sees.

use kaizen_edge::{Error, Frame, Learner, Options};

use crate::tiny_model;

fn frame(shade: u8, name: &str) -> Frame {
    Frame::new(20, 20, vec![shade; 20 * 20 * 3], name).unwrap()
}

#[test]
fn a_state_opens_again_by_the_path_of_its_backbone_and_not_by_anothers() {
    let folder = tempfile::tempdir().unwrap();
    tiny_model::write(folder.path());
    tiny_model::write_another(folder.path());
    let options = |file: &str| {
        let model = folder.path().join(file).display().to_string();
        Options::new().model(model).state(folder.path().join("state.db"))
    };
    let mut learner = Learner::open(options("tiny.onnx")).unwrap();
    learner.teach("dark", [frame(10, "a"), frame(20, "b")]).unwrap();
    drop(learner);
    let mut again = Learner::open(options("tiny.onnx")).unwrap();
    assert_eq!(again.teach("dark", [frame(30, "c")]).unwrap().len(), 1);
    drop(again);
    let refused = Learner::open(options("other.onnx")).unwrap_err();
    assert!(matches!(refused, Error::Config { .. }) && refused.to_string().contains("tiny"), "{refused}");
}

#[test]
fn frames_before_one_that_cannot_be_used_are_taught() {
    let folder = tempfile::tempdir().unwrap();
    tiny_model::write(folder.path());
    let mut learner = Learner::open(Options::new().models_dir(folder.path())).unwrap();
    let mut spoilt = frame(40, "spoilt");
    spoilt.width = 7;
    let refused = learner.teach("dark", [frame(10, "a"), frame(20, "b"), spoilt, frame(30, "c")]);
    assert!(matches!(refused, Err(Error::Shape { .. })), "{refused:?}");
    let taught = learner.history().unwrap().labels;
    assert_eq!(taught.len(), 2, "{taught:?}");
}
