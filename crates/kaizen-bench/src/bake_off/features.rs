//! Features on disk, keyed by everything that they depend on, so that a second run does not touch
//! the backbone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use half::f16;
use kaizen_edge::low_level::backbone::{self, BackboneSpec};
use kaizen_edge::low_level::file::write_atomic;
use kaizen_edge::low_level::number::{hex, real};
use kaizen_edge::low_level::session::Embedder;
use kaizen_edge::low_level::vision::Augmentation;
use kaizen_edge::{Error, Split};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest as _, Sha256};

use super::{Arguments, bar};
use crate::dataset::{Dataset, DatasetSide};
use crate::methods::Features;
use crate::report::say;

/// The number that is raised when the same key would no longer give the same features.
const FORMAT: u32 = 2;
/// The seed of the augmented views.
pub(super) const SEED: u64 = 0;

/// The features of `dataset`, from the cache or else from the backbone.
pub(super) fn of(
    arguments: &Arguments,
    dataset: &Arc<Dataset>,
    entry: &BackboneSpec,
) -> anyhow::Result<Features> {
    if arguments.views == 0 {
        return Err(Error::config("views", 0, "1 or more").into());
    }
    let folder = folder(arguments.cache.as_deref())?;
    let key = key(arguments, dataset, entry)?;
    let name = hex(&Sha256::digest(key.as_bytes())[..12]);
    let path = folder.join(format!("features-{name}.safetensors"));
    let lengths = [
        dataset.train.len() * arguments.views * entry.feature_width,
        dataset.test.len() * entry.feature_width,
    ];
    let [train, test] = if path.exists() {
        let read = read(&path, &key, lengths);
        let values = read.with_context(|| {
            format!("cached features cannot be used; remove {} to embed again", path.display())
        })?;
        say(&format!("features: {} (cached)", path.display()));
        values
    } else {
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let values = embed(arguments, dataset)?;
        write(&path, &key, &values)?;
        // This run learns from what a later one reads back: half precision.
        values.map(|side| side.into_iter().map(f32::from).collect())
    };
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

pub(super) fn folder(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = asked
        .map(Path::to_path_buf)
        .or_else(|| of("XDG_CACHE_HOME").map(|cache| cache.join("kaizen-edge")))
        .or_else(|| of("HOME").map(|home| home.join(".cache/kaizen-edge")));
    found.context("there is no folder for cached features: pass --cache DIR")
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
    let mut embedder = Embedder::new(backbone::load(&arguments.backbone_options())?, SEED)?;
    let images = dataset.train.len() * arguments.views + dataset.test.len();
    let bar = bar(&format!("embedding on {}", embedder.backbone().provider().runtime), images as u64);
    let start = Instant::now();
    let mut side = |split| -> anyhow::Result<Vec<f16>> {
        let mut features = Vec::new();
        let source = DatasetSide::new(Arc::clone(dataset), split);
        embedder.embed_source(Box::new(source), arguments.views - 1, |embedded| {
            let sample = embedded?.sample;
            bar.inc(1 + sample.views.len() as u64);
            let rows = std::iter::once(sample.features).chain(sample.views);
            features.extend(rows.flatten().map(f16::from_f32));
            Ok::<(), Error>(())
        })?;
        Ok(features)
    };
    let sides = [side(Split::Train)?, side(Split::Test)?];
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    say(&format!("features: {images} images in {seconds:.1} s, {:.0} images/s", real(images) / seconds));
    Ok(sides)
}

fn write(path: &Path, key: &str, sides: &[Vec<f16>; 2]) -> anyhow::Result<()> {
    let bytes =
        sides.each_ref().map(|side| side.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    let mut tensors = Vec::new();
    for (name, bytes) in ["train", "test"].into_iter().zip(&bytes) {
        tensors.push((name, TensorView::new(Dtype::F16, vec![bytes.len() / 2], bytes)?));
    }
    let metadata = HashMap::from([("key".to_owned(), key.to_owned())]);
    write_atomic(path, &safetensors::serialize(tensors, Some(metadata))?)?;
    Ok(())
}

fn read(path: &Path, key: &str, lengths: [usize; 2]) -> anyhow::Result<[Vec<f32>; 2]> {
    let bytes = std::fs::read(path)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    let found = metadata.metadata().as_ref().and_then(|map| map.get("key"));
    anyhow::ensure!(found.is_some_and(|found| found == key), "it belongs to other data or another model");
    let file = SafeTensors::deserialize(&bytes)?;
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
