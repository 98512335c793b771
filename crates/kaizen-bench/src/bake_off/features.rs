//! Features on disk, keyed by everything that they depend on, so that a second run does not touch
//! the backbone.

use std::path::Path;
use std::sync::Arc;

use half::f16;
use kaizen_edge::low_level::backbone::{self, BackboneSpec};
use kaizen_edge::low_level::vision::Augmentation;
use kaizen_edge::{Error, Split};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::{Arguments, cache};
use crate::dataset::Dataset;
use crate::methods::Features;

/// The number that is raised when the same key would no longer give the same features.
const FORMAT: u32 = 2;

/// The features of `dataset`, from the cache or else from the backbone.
pub(super) fn of(
    arguments: &Arguments,
    dataset: &Arc<Dataset>,
    entry: &BackboneSpec,
) -> anyhow::Result<Features> {
    if arguments.views == 0 {
        return Err(Error::config("views", 0, "1 or more").into());
    }
    let key = key(arguments, dataset, entry)?;
    let lengths = [
        dataset.train.len() * arguments.views * entry.feature_width,
        dataset.test.len() * entry.feature_width,
    ];
    let make = |path: &Path| {
        let values = embed(arguments, dataset)?;
        write(path, &key, &values)?;
        // This run learns from what a later one reads back: half precision.
        Ok(values.map(|side| side.into_iter().map(f32::from).collect()))
    };
    let [train, test] =
        cache::read_or_make(arguments, "features", &key, |path| read(path, &key, lengths), make)?;
    let classes = |split| dataset.side(split).iter().map(|picture| picture.class).collect();
    Ok(Features {
        width: entry.feature_width,
        views: arguments.views,
        train,
        test,
        latents: None,
        train_classes: classes(Split::Train),
        test_classes: classes(Split::Test),
    })
}

pub(super) fn key(arguments: &Arguments, dataset: &Dataset, entry: &BackboneSpec) -> anyhow::Result<String> {
    Ok(serde_json::json!({
        "format": FORMAT,
        "train": dataset.digest(Split::Train)?,
        "test": dataset.digest(Split::Test)?,
        "model": entry.sha256,
        "provider": arguments.provider.name(),
        "input": [entry.input_size],
        "mean": entry.mean,
        "std": entry.std,
        "resize": "bilinear",
        "views": arguments.views,
        "augmentation": Augmentation::gentle(),
    })
    .to_string())
}

/// The features of the training and of the test side.
fn embed(arguments: &Arguments, dataset: &Arc<Dataset>) -> anyhow::Result<[Vec<f16>; 2]> {
    let backbone = backbone::load(&arguments.backbone_options())?;
    cache::embed(arguments, dataset, "features", backbone, Vec::new, |side, sample| {
        let rows = std::iter::once(&sample.features).chain(&sample.views);
        side.extend(rows.flatten().copied().map(f16::from_f32));
        Ok(())
    })
}

fn write(path: &Path, key: &str, sides: &[Vec<f16>; 2]) -> anyhow::Result<()> {
    let bytes =
        sides.each_ref().map(|side| side.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    let mut tensors = Vec::new();
    for (name, bytes) in ["train", "test"].into_iter().zip(&bytes) {
        tensors.push((name.to_owned(), TensorView::new(Dtype::F16, vec![bytes.len() / 2], bytes)?));
    }
    cache::write(path, key, tensors)
}

fn read(path: &Path, key: &str, lengths: [usize; 2]) -> anyhow::Result<[Vec<f32>; 2]> {
    cache::read(path, key, |file| {
        let side = |name: &str, length: usize| -> anyhow::Result<Vec<f32>> {
            let tensor = file.tensor(name)?;
            anyhow::ensure!(
                tensor.dtype() == Dtype::F16 && tensor.data().len() == 2 * length,
                "`{name}` is not {length} half-precision numbers"
            );
            let values =
                tensor.data().chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32());
            Ok(values.collect())
        };
        Ok([side("train", lengths[0])?, side("test", lengths[1])?])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_anything_else_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.safetensors");
        let sides = [vec![f16::from_f32(0.5); 6], vec![f16::from_f32(2.0); 2]];
        write(&path, "k", &sides).unwrap();
        assert_eq!(read(&path, "k", [6, 2]).unwrap(), [vec![0.5; 6], vec![2.0; 2]]);
        assert!(read(&path, "other", [6, 2]).unwrap_err().to_string().contains("other data"));
        assert!(read(&path, "k", [7, 2]).unwrap_err().to_string().contains("`train`"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read(&path, "k", [6, 2]).is_err());
        assert!(write(&folder.path().join("no/f"), "k", &sides).is_err());
    }
}
