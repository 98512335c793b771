//! Samples of many classes, made up: for tests and benches of a large state.

use std::ops::Range;

use kaizen_edge::low_level::latent::LatentTable;
use kaizen_edge::low_level::memory::{Memory, Sample};
use kaizen_edge::low_level::rng::Rng;

/// Stored views of each sample.
pub(crate) const VIEWS: usize = 2;
/// Bytes of each thumbnail.
pub(crate) const THUMBNAIL_BYTES: usize = 3000;

/// A row about the middle of its class, `[width]`, as pooled activations are: none negative.
pub(crate) fn row(class: usize, width: usize, rng: &mut Rng) -> Vec<f32> {
    let mut middle = Rng::new(class as u64, 1);
    (0..width).map(|_| (middle.normal() + 0.5 * rng.normal()).abs()).collect()
}

/// Adds labelled samples with these numbers, of the classes in turn, with latents of a shape: the
/// number of positions and that of channels.
pub(crate) fn add_with_latents(
    memory: &mut Memory,
    numbers: Range<usize>,
    classes: usize,
    [positions, channels]: [usize; 2],
) {
    add_made(
        memory,
        numbers,
        classes,
        |_| true,
        |class, rng| {
            let mut latents = LatentTable::new(positions, channels);
            for _ in 0..=VIEWS {
                let latent: Vec<f32> = (0..positions).flat_map(|_| row(class, channels, rng)).collect();
                latents.push(&latent).unwrap();
            }
            (Vec::new(), Some(latents))
        },
    );
}

/// Adds samples with these numbers, of the classes in turn; those that `is_labelled` takes have a label.
pub(crate) fn add(
    memory: &mut Memory,
    numbers: Range<usize>,
    classes: usize,
    is_labelled: impl Fn(usize) -> bool,
) {
    let width = memory.identity().feature_width;
    let views = |class, rng: &mut Rng| ((0..VIEWS).map(|_| row(class, width, rng)).collect(), None);
    add_made(memory, numbers, classes, is_labelled, views);
}

/// Adds samples without a label and without views.
pub(crate) fn add_unlabelled(memory: &mut Memory, numbers: Range<usize>, classes: usize) {
    add_made(memory, numbers, classes, |_| false, |_, _| (Vec::new(), None));
}

/// Adds samples whose views or latents `make` gives for a class.
fn add_made(
    memory: &mut Memory,
    numbers: Range<usize>,
    classes: usize,
    is_labelled: impl Fn(usize) -> bool,
    make: impl Fn(usize, &mut Rng) -> (Vec<Vec<f32>>, Option<LatentTable>),
) {
    let width = memory.identity().feature_width;
    let mut rng = Rng::new(numbers.start as u64, 2);
    let samples: Vec<_> = numbers
        .map(|number| {
            let class = number % classes;
            let (views, latents) = make(class, &mut rng);
            Sample {
                views,
                features: row(class, width, &mut rng),
                latents,
                thumbnail: Some(vec![7; THUMBNAIL_BYTES]),
                name: format!("{number}.jpg"),
                timestamp_millis: 0,
                label: is_labelled(number).then(|| format!("class {class}")),
            }
        })
        .collect();
    memory.add_samples(&samples).unwrap();
}
