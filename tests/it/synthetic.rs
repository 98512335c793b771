//! Samples of many classes, made up: for tests and benches of a large state.

use std::ops::Range;

use kaizen_edge::memory::{Memory, NewSample};
use kaizen_edge::rng::Rng;

/// Stored views of each sample.
pub(crate) const VIEWS: usize = 2;
/// Bytes of each thumbnail.
pub(crate) const THUMBNAIL_BYTES: usize = 3000;

/// A row about the middle of its class, `[width]`, as pooled activations are: none negative.
pub(crate) fn row(class: usize, width: usize, rng: &mut Rng) -> Vec<f32> {
    let mut middle = Rng::new(class as u64, 1);
    (0..width).map(|_| (middle.normal() + 0.5 * rng.normal()).abs()).collect()
}

/// Adds samples with these numbers, of the classes in turn; those that `is_labelled` takes have a label.
pub(crate) fn add(
    memory: &mut Memory,
    numbers: Range<usize>,
    classes: usize,
    is_labelled: impl Fn(usize) -> bool,
) {
    let width = memory.identity().feature_width;
    let thumbnail = vec![7; THUMBNAIL_BYTES];
    let mut rng = Rng::new(numbers.start as u64, 2);
    let rows: Vec<_> = numbers
        .map(|number| {
            let class = number % classes;
            let views: Vec<_> = (0..VIEWS).map(|_| row(class, width, &mut rng)).collect();
            let label = is_labelled(number).then(|| format!("class {class}"));
            (row(class, width, &mut rng), views, label, format!("{number}.jpg"))
        })
        .collect();
    let new: Vec<_> = (rows.iter())
        .map(|(features, views, label, name)| NewSample {
            features,
            views,
            thumbnail: Some(&thumbnail),
            name,
            timestamp_millis: 0,
            label: label.as_deref(),
        })
        .collect();
    memory.add_samples(&new).unwrap();
}
