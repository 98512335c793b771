//! Cached outputs of the backbone, or of its trunk, on disk. Each file carries the key of
//! everything that it depends on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use kaizen_edge::Split;
use kaizen_edge::low_level::file::write_atomic;
use kaizen_edge::low_level::latent::LatentTable;
use kaizen_edge::low_level::memory::Sample;
use kaizen_edge::low_level::number::{hex, real};
use kaizen_edge::low_level::session::{Embedder, Network};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use sha2::{Digest as _, Sha256};

use super::{Arguments, bar, make_folder};
use crate::dataset::{Dataset, DatasetSide};
use crate::report::say;

/// The seed of the augmented views.
const SEED: u64 = 0;

/// Reads the cached file of that key with `read`, or lets `make` write it where there is none.
/// `what` is the content in words.
pub(super) fn read_or_make<T>(
    arguments: &Arguments,
    what: &str,
    key: &str,
    read: impl FnOnce(&Path) -> anyhow::Result<T>,
    make: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let folder = folder(arguments.cache.as_deref())?;
    let name = hex(&Sha256::digest(key.as_bytes())[..12]);
    let path = folder.join(format!("{what}-{name}.safetensors"));
    if !path.exists() {
        make_folder(&folder)?;
        return make(&path);
    }
    let found = read(&path)
        .with_context(|| format!("cached {what} cannot be used; remove {} to embed again", path.display()))?;
    say(&format!("{what}: {} (cached)", path.display()));
    Ok(found)
}

fn folder(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = asked
        .map(Path::to_path_buf)
        .or_else(|| of("XDG_CACHE_HOME").map(|cache| cache.join("kaizen-edge")))
        .or_else(|| of("HOME").map(|home| home.join(".cache/kaizen-edge")));
    found.context("there is no folder for cached features: pass --cache DIR")
}

/// Runs a backbone on all pictures of the training and of the test side, with their views. Each
/// side starts `empty`, and `add` puts one sample after another into it.
pub(super) fn embed<T>(
    arguments: &Arguments,
    dataset: &Arc<Dataset>,
    what: &str,
    network: impl Into<Network>,
    empty: impl Fn() -> T,
    add: impl Fn(&mut T, &Sample) -> kaizen_edge::Result<()>,
) -> anyhow::Result<[T; 2]> {
    let mut embedder = Embedder::new(network, SEED)?;
    let images = dataset.train.len() * arguments.views + dataset.test.len();
    let bar = bar(&format!("embedding {what} on {}", embedder.backbone().provider().runtime), images as u64);
    let start = Instant::now();
    let mut side = |split| -> kaizen_edge::Result<T> {
        let mut rows = empty();
        let source = DatasetSide::new(Arc::clone(dataset), split);
        embedder.embed_source(Box::new(source), arguments.views - 1, |embedded| {
            let sample = embedded?.sample;
            bar.inc(sample.latents.as_ref().map_or(1 + sample.views.len(), LatentTable::rows) as u64);
            add(&mut rows, &sample)
        })?;
        Ok(rows)
    };
    let sides = [side(Split::Train)?, side(Split::Test)?];
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    say(&format!("{what}: {images} images in {seconds:.1} s, {:.0} images/s", real(images) / seconds));
    Ok(sides)
}

/// Writes a file of tensors with its key.
pub(super) fn write(path: &Path, key: &str, tensors: Vec<(String, TensorView<'_>)>) -> anyhow::Result<()> {
    let metadata = HashMap::from([("key".to_owned(), key.to_owned())]);
    write_atomic(path, &safetensors::serialize(tensors, Some(metadata))?)?;
    Ok(())
}

/// Reads a file of tensors whose key must be `key`.
pub(super) fn read<T>(
    path: &Path,
    key: &str,
    tensors: impl FnOnce(&SafeTensors<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let bytes = std::fs::read(path)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    let found = metadata.metadata().as_ref().and_then(|map| map.get("key"));
    anyhow::ensure!(found.is_some_and(|found| found == key), "it belongs to other data or another model");
    tensors(&SafeTensors::deserialize(&bytes)?)
}
