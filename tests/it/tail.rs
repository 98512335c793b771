//! A backbone that is cut: its tail learns, is published with its heads, answers in every process,
//! and is taken back with what was taken back.

use serde_json::Value;

use crate::state::{Desk, nearest};
use crate::tiny_model;

fn desk() -> Desk {
    Desk::on(|folder| tiny_model::write_cut(folder, Some("latent")))
}

/// A desk on which three classes were taught and learned, the tail with them.
fn taught() -> (Desk, Value) {
    let desk = desk();
    for (name, folder) in ["one", "two", "three"].iter().zip(&desk.classes()) {
        desk.teach(name, folder);
    }
    let learned = desk.lines(&["learn", "--json"]).remove(0);
    assert_eq!(learned["published"], true, "{learned}");
    (desk, learned)
}

fn candidates(learned: &Value) -> Vec<&str> {
    let candidates = learned["candidates"].as_array().unwrap();
    candidates.iter().map(|candidate| candidate[0].as_str().unwrap()).collect()
}

/// Why the newest version came about.
fn reason(desk: &Desk) -> String {
    let (_, record) = desk.history();
    let versions = record["versions"].as_array().unwrap();
    versions.last().unwrap()["figures"]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_tail_is_trained_published_and_answers_the_same_in_every_process() {
    let (desk, learned) = taught();
    let names = candidates(&learned);
    for name in ["blend", "tail-ensemble", "tail-trained", "ensemble"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(learned["head"], "blend", "{learned}");
    let tests = desk.test_of(&desk.classes()[0]);
    let first = desk.predict(&tests);
    assert_eq!(first, desk.predict(&tests));
    let right = nearest(&first).iter().filter(|name| **name == "one").count();
    assert!(2 * right > first.len(), "{right} of {}", first.len());
    // The control: without the tail the same lessons are answered otherwise.
    let closed = self::desk();
    for (name, folder) in ["one", "two", "three"].iter().zip(&closed.classes()) {
        closed.teach(name, folder);
    }
    closed.lines(&["learn", "--json", "--steps", "0"]);
    let others = closed.predict(&closed.test_of(&closed.classes()[0]));
    assert_ne!(first[0]["probability"], others[0]["probability"]);

    // The next lesson trains on: classes of before are replayed, the tail of before is the teacher.
    desk.teach("four", &desk.classes()[3]);
    let next = desk.lines(&["learn", "--json"]).remove(0);
    assert!(candidates(&next).contains(&"tail-ensemble"), "{next}");
    assert!(desk.check().status.success());
    let again = desk.lines(&["learn", "--json"]).remove(0);
    assert_eq!(again["candidates"], Value::Array(Vec::new()), "nothing is new: {again}");
}

#[test]
fn a_trained_tail_is_exported_and_every_runtime_answers_alike() {
    let (desk, _) = taught();
    let out = desk.state().with_extension("onnx");
    let figures = desk.lines(&["export", out.to_str().unwrap(), "--json"]).remove(0);
    assert!(figures["difference"].as_f64().unwrap() < 1e-4, "{figures}");
    let compared = |figures: &Value, what: &str| {
        let all = figures["compared"].as_array().unwrap();
        all.iter().filter(|one| one["what"] == what).count()
    };
    assert!(compared(&figures, "images") > 0, "{figures}");
    // The tail alone, for use behind a trunk that runs elsewhere.
    let tail = desk.lines(&["export", out.to_str().unwrap(), "--tail", "--json"]).remove(0);
    assert!(tail["difference"].as_f64().unwrap() < 1e-4 && compared(&tail, "latents") > 0, "{tail}");
    assert!(tail["bytes"].as_u64() < figures["bytes"].as_u64(), "{tail} {figures}");
    // The file that takes frames as a camera gives them.
    let resizes = desk.lines(&["export", out.to_str().unwrap(), "--with-preprocessing", "--json"]).remove(0);
    assert!(resizes["difference"].as_f64().unwrap() < 1e-2, "{resizes}");
    assert_eq!(compared(&resizes, "frames"), compared(&resizes, "images"), "{resizes}");
    println!("{resizes}");
    let whole = Desk::new();
    whole.teach("one", &whole.classes()[0]);
    whole.teach("two", &whole.classes()[1]);
    whole.lines(&["learn", "--json", "--steps", "0"]);
    let refused = whole.run(&["export", out.to_str().unwrap(), "--tail"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("is not cut"), "{text}");
}

#[test]
fn after_an_undo_the_tail_has_a_trace_until_it_is_trained_anew() {
    let (desk, _) = taught();
    let (labels, _) = desk.history();
    // Some of the first labels are of samples that are held out, in which nothing was learned.
    for label in labels.iter().take(4) {
        desk.lines(&["undo", &label.to_string(), "--json"]);
    }
    assert!(reason(&desk).contains("the tail has a trace"), "{}", reason(&desk));
    let anew = desk.lines(&["learn", "--json"]).remove(0);
    assert!(candidates(&anew).contains(&"tail-ensemble"), "{anew}");
    assert!(!reason(&desk).contains("trace"), "{}", reason(&desk));
}

#[test]
fn a_forgotten_class_leaves_nothing_in_the_tail_that_answers() {
    let (desk, _) = taught();
    // As if it had never been taught: the same state without it, and without a tail.
    let never = self::desk();
    for (name, folder) in ["one", "two"].iter().zip(&never.classes()) {
        never.teach(name, folder);
    }
    never.lines(&["learn", "--json", "--steps", "0"]);
    desk.lines(&["forget", "three", "--json"]);
    for class in &desk.classes()[..3] {
        let (left, wanted) = (desk.predict(&desk.test_of(class)), never.predict(&desk.test_of(class)));
        assert_eq!(nearest(&left), nearest(&wanted));
    }
    // The next consolidation trains the tail anew, from the backbone's own.
    let anew = desk.lines(&["learn", "--json"]).remove(0);
    assert!(candidates(&anew).contains(&"tail-ensemble"), "{anew}");
    assert!(
        desk.predict(&desk.test_of(&desk.classes()[2])).iter().all(|answer| answer["nearest"] != "three")
    );
}

#[test]
fn a_state_of_the_whole_backbone_answers_as_it_did_and_gains_latents_from_thumbnails() {
    let desk = Desk::on(|folder| tiny_model::write_cut(folder, None));
    for (name, folder) in ["one", "two"].iter().zip(&desk.classes()) {
        desk.teach(name, folder);
    }
    desk.lines(&["learn", "--json", "--steps", "0"]);
    let tests = desk.test_of(&desk.classes()[0]);
    let before = desk.predict(&tests);
    tiny_model::write_cut(&desk.state().with_file_name("models"), Some("latent"));
    let after = desk.predict(&tests);
    assert_eq!(nearest(&before), nearest(&after));
    for (before, after) in before.iter().zip(&after) {
        let both = [before, after].map(|answer| answer["probability"].as_f64().unwrap());
        assert!((both[0] - both[1]).abs() < 1e-4, "{both:?}");
    }
    desk.teach("three", &desk.classes()[2]);
    let output = desk.command(&["learn"]).args(["-v"]).output().unwrap();
    let learned = desk.lines(&["learn", "--json"]).remove(0);
    assert_eq!(learned["candidates"], Value::Array(Vec::new()), "{output:?}");
    let (_, record) = desk.history();
    let figures = record["versions"].as_array().unwrap().last().unwrap()["figures"]["candidates"].clone();
    assert!(figures["tail-ensemble"].is_number(), "{figures}");
}

#[test]
fn a_state_of_another_cut_is_refused_with_both_named() {
    let (desk, _) = taught();
    tiny_model::write_cut(&desk.state().with_file_name("models"), Some("wide6"));
    let picture = desk.test_of(&desk.classes()[0]);
    let refused = desk.run(&["predict", picture.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("latent 4x4x8") && text.contains("wide6"), "{text}");
    tiny_model::write_cut(&desk.state().with_file_name("models"), None);
    let refused = desk.run(&["predict", picture.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("is not cut"), "{text}");
}
