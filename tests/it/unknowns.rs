//! Unknown samples cluster by themselves and are named at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kaizen_edge::low_level::backbone::{self, BackboneOptions};
use kaizen_edge::low_level::event::Discard;
use kaizen_edge::low_level::memory::{FeatureIdentity, Memory};
use kaizen_edge::low_level::session::{Embedded, Embedder, FeatureLearner, LearnerSettings, TrainingControl};
use kaizen_edge::low_level::vision::{self, SourceOptions};
use kaizen_edge::{EngineChoice, Error, Provider, SampleId, Split, Unknowns};

use crate::state::Desk;
use crate::support;

/// What the observed frames really are.
type Truth = BTreeMap<SampleId, String>;

/// Every frame of a recording with its features, and what they are.
fn frames(recording: &str) -> (Vec<Embedded>, FeatureIdentity) {
    let uri = format!("recording://{}", support::data(recording).display());
    let source = vision::open(&uri, &SourceOptions::default()).unwrap();
    let models_dir = Some(support::repository().join("models"));
    let options = BackboneOptions { models_dir, provider: Provider::Tract, ..BackboneOptions::default() };
    let mut embedder = Embedder::new(backbone::load(&options).unwrap(), 1).unwrap();
    let mut frames = Vec::new();
    embedder
        .embed_source(source, 0, |frame| {
            frames.push(frame?);
            Ok::<(), Error>(())
        })
        .unwrap();
    (frames, embedder.identity())
}

/// When frames without labels are seen.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    BeforeLearning,
    AfterLearning,
}

/// A learner that was taught the training frames of a recording but for some classes, and saw
/// `others` without labels.
fn taught(
    recording: &str,
    untaught: &[&str],
    seen: Seen,
    others: impl Fn(Split, bool) -> bool,
) -> (FeatureLearner, Truth) {
    let (frames, identity) = frames(recording);
    let mut settings = LearnerSettings::default();
    (settings.recipe.steps, settings.recipe.warmup_steps) = (0, 0);
    let memory = Memory::open(None, &identity).unwrap();
    let mut learner = FeatureLearner::new(settings, memory, EngineChoice::Cpu).unwrap();
    let (mut truth, mut waiting) = (Truth::new(), Vec::new());
    for Embedded { mut sample, split, .. } in frames {
        let class = sample.label.clone().unwrap();
        let is_new = untaught.contains(&class.as_str());
        sample.timestamp_millis = 0;
        if !is_new && split == Split::Train {
            learner.add(&[sample]).unwrap();
        } else if others(split, is_new) {
            sample.label = None;
            waiting.push((class, sample));
        }
    }
    if seen == Seen::AfterLearning {
        learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
    }
    for (class, sample) in waiting {
        truth.insert(learner.add(&[sample]).unwrap()[0].sample, class);
    }
    if seen == Seen::BeforeLearning {
        learner.consolidate(&mut TrainingControl::new(&mut Discard)).unwrap();
    }
    (learner, truth)
}

/// Share of the clustered samples that are of the commonest class of their cluster, over clusters
/// of three or more; and the share of all that is in those.
fn purity(found: &Unknowns, truth: &Truth) -> (f64, f64) {
    let (mut common, mut clustered) = (0, 0);
    for cluster in found.clusters.iter().filter(|cluster| cluster.samples.len() > 2) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        cluster.samples.iter().for_each(|sample| *counts.entry(&truth[sample]).or_default() += 1);
        common += counts.values().max().unwrap();
        clustered += cluster.samples.len();
    }
    (common as f64 / clustered as f64, clustered as f64 / found.unknown as f64)
}

#[test]
fn untaught_classes_come_out_as_clusters_of_their_own() {
    for (recording, untaught) in
        [("recording-objects", ["cup", "tree"]), ("recording-fashion", ["trouser", "bag"])]
    {
        let (mut learner, mut truth) = taught(recording, &untaught, Seen::AfterLearning, |_, is_new| is_new);
        let found = learner.unknowns().unwrap();
        let (pure, clustered) = purity(&found, &truth);
        println!(
            "{recording}: {} of {} unknown, {} clusters, purity {pure:.3} of {clustered:.3}",
            found.unknown,
            found.unlabelled,
            found.clusters.len()
        );
        assert_eq!(found.unlabelled, truth.len());
        assert!(10 * found.unknown > 9 * found.unlabelled, "{found:?}");
        assert!(pure > 0.95 && clustered > 0.9, "{pure} of {clustered}");
        assert!(found.clusters.len() < 20, "{}", found.clusters.len());
        assert_eq!(found, learner.unknowns().unwrap());
        // The control: with the classes dealt out anew the clusters are not pure.
        let mut classes: Vec<String> = truth.values().cloned().collect();
        kaizen_edge::low_level::rng::Rng::new(1, 0).shuffle(&mut classes);
        truth.values_mut().zip(classes).for_each(|(class, dealt)| *class = dealt);
        assert!(purity(&found, &truth).0 < 0.8);
    }
}

#[test]
fn what_is_of_no_taught_class_is_not_learned_as_one_of_them() {
    for untaught in [vec!["cup", "tree"], vec!["cup", "tree", "pedestrians"]] {
        let (mut learner, truth) =
            taught("recording-objects", &untaught, Seen::BeforeLearning, |_, is_new| is_new);
        let found = learner.unknowns().unwrap();
        println!("{} of {} still unknown after learning", found.unknown, truth.len());
        assert!(10 * found.unknown > 9 * truth.len(), "{} of {}", found.unknown, truth.len());
    }
}

#[test]
fn frames_of_taught_classes_are_no_cluster() {
    // The control of the test above: of frames whose class was taught, few pass for unknown.
    let (mut learner, truth) =
        taught("recording-fashion", &[], Seen::AfterLearning, |split, _| split == Split::Test);
    let found = learner.unknowns().unwrap();
    println!("{} of {} test frames of taught classes are unknown", found.unknown, found.unlabelled);
    assert_eq!(found.unlabelled, truth.len());
    assert!(truth.len() > 280 && 5 * found.unknown < found.unlabelled, "{} unknown", found.unknown);
}

/// Blue pictures with a little noise, half of each black.
fn blue(folder: &Path, is_dark: impl Fn(u32, u32) -> bool, count: u64) {
    std::fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let mut rng = kaizen_edge::low_level::rng::Rng::new(number, 0);
        let picture = image::RgbImage::from_fn(28, 28, |x, y| {
            let noise = rng.below(50) as u8;
            image::Rgb(if is_dark(x, y) { [0; 3] } else { [noise, noise, 200 + noise] })
        });
        picture.save(folder.join(format!("{number}.png"))).unwrap();
    }
}

#[test]
fn clusters_are_listed_shown_and_named_from_the_shell() {
    let desk = Desk::new();
    let classes = desk.classes();
    let folder = desk.state().parent().unwrap().to_path_buf();
    desk.teach("one", &classes[0]);
    desk.teach("two", &classes[1]);
    desk.lines(&["learn", "--json", "--steps", "0"]);
    assert_eq!(desk.lines(&["unknowns", "--json"])[0]["clusters"], serde_json::json!([]));
    for name in ["left", "top"] {
        blue(&folder.join(name), |x, y| if name == "top" { y < 14 } else { x < 14 }, 9);
        desk.lines(&["observe", folder.join(name).to_str().unwrap()]);
    }
    let shown = folder.join("shown");
    let found = desk.lines(&["unknowns", "--json", "--out", shown.to_str().unwrap()]).remove(0);
    let clusters = found["clusters"].as_array().unwrap();
    assert!(!clusters.is_empty() && clusters[0]["size"].as_u64() > Some(5), "{found}");
    for cluster in clusters {
        let thumbnail = cluster["thumbnail"].as_str().unwrap();
        assert!(image::open(thumbnail).is_ok(), "{thumbnail}");
    }
    let text = desk.run(&["unknowns"]);
    assert!(String::from_utf8(text.stdout).unwrap().contains("kaizen name "));

    let before = desk.history().0;
    let id = clusters[0]["cluster"].to_string();
    let acknowledged: BTreeSet<i64> = (desk.lines(&["name", &id, "red", "--json"]).iter())
        .map(|line| line["label_id"].as_i64().unwrap())
        .collect();
    assert_eq!(acknowledged.len(), clusters[0]["size"].as_u64().unwrap() as usize);
    assert_eq!(desk.history().0, before.union(&acknowledged).copied().collect());
    let left = desk.lines(&["unknowns", "--json"]).remove(0);
    assert_eq!(left["clusters"].as_array().unwrap().len(), clusters.len() - 1, "{left}");
    let output = desk.run(&["name", &id, "red"]);
    assert_eq!(output.status.code(), Some(1), "it has a name now");
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no cluster"), "{output:?}");
    let learned = desk.lines(&["learn", "--json", "--steps", "0"]).remove(0);
    assert_eq!(learned["published"], true, "{learned}");
    // Each label can be taken back.
    for label in &acknowledged {
        desk.lines(&["undo", &label.to_string(), "--json"]);
    }
    assert_eq!(desk.history().0, before);
    assert!(desk.check().status.success());
}
