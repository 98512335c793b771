//! Latents on disk, in 8 bits, keyed by everything that they depend on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use half::f16;
use kaizen_edge::low_level::backbone::BackboneSpec;
use kaizen_edge::low_level::cut;
use kaizen_edge::low_level::file::write_atomic;
use kaizen_edge::low_level::latent::LatentTable;
use kaizen_edge::low_level::number::{hex, real};
use kaizen_edge::low_level::session::Embedder;
use kaizen_edge::{Error, Split};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest as _, Sha256};

use super::features::{SEED, folder, key};
use super::{Arguments, bar};
use crate::dataset::{Dataset, DatasetSide};
use crate::methods::Latents;
use crate::report::say;

/// The latents of `dataset` and the tail behind them, from the cache or else from the trunk.
pub(super) fn of(
    arguments: &Arguments,
    dataset: &Arc<Dataset>,
    entry: &BackboneSpec,
) -> anyhow::Result<Latents> {
    let cut::Split { trunk, extractor, parameters } = cut::load(&arguments.backbone_options())?;
    let shape = [extractor.input.positions(), extractor.input.channels];
    let key = format!("{} latents in 8 bits behind {:?}", key(arguments, dataset, entry)?, entry.cut);
    let name = hex(&Sha256::digest(key.as_bytes())[..12]);
    let folder = folder(arguments.cache.as_deref())?;
    let path = folder.join(format!("latents-{name}.safetensors"));
    let rows = [dataset.train.len() * arguments.views, dataset.test.len()];
    let [train, test] = if path.exists() {
        let tables = read(&path, &key, shape, rows).with_context(|| {
            format!("cached latents cannot be used; remove {} to embed again", path.display())
        })?;
        say(&format!("latents: {} (cached)", path.display()));
        tables
    } else {
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let images = rows[0] + rows[1];
        let mut embedder = Embedder::new(trunk, SEED)?;
        let bar = bar(&format!("latents on {}", embedder.backbone().provider().runtime), images as u64);
        let start = Instant::now();
        let mut side = |split| -> anyhow::Result<LatentTable> {
            let mut table = LatentTable::new(shape[0], shape[1]);
            let source = DatasetSide::new(Arc::clone(dataset), split);
            embedder
                .embed_source(Box::new(source), arguments.views - 1, |embedded| {
                    let sample = embedded?.sample;
                    bar.inc(1 + sample.views.len() as u64);
                    std::iter::once(&sample.features).chain(&sample.views).try_for_each(|row| table.push(row))
                })
                .map_err(|error: Error| error)?;
            Ok(table)
        };
        let tables = [side(Split::Train)?, side(Split::Test)?];
        bar.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        say(&format!("latents: {images} images in {seconds:.1} s, {:.0} images/s", real(images) / seconds));
        write(&path, &key, &tables)?;
        tables
    };
    Ok(Latents { extractor, parameters, train, test })
}

fn write(path: &Path, key: &str, tables: &[LatentTable; 2]) -> anyhow::Result<()> {
    let codes = tables
        .each_ref()
        .map(|table| table.codes().iter().map(|code| code.to_le_bytes()[0]).collect::<Vec<u8>>());
    let scales = tables
        .each_ref()
        .map(|table| table.scales().iter().flat_map(|scale| scale.to_le_bytes()).collect::<Vec<u8>>());
    let mut tensors = Vec::new();
    for ((name, codes), scales) in ["train", "test"].into_iter().zip(&codes).zip(&scales) {
        tensors.push((format!("{name}.codes"), TensorView::new(Dtype::I8, vec![codes.len()], codes)?));
        tensors
            .push((format!("{name}.scales"), TensorView::new(Dtype::F16, vec![scales.len() / 2], scales)?));
    }
    let metadata = HashMap::from([("key".to_owned(), key.to_owned())]);
    write_atomic(path, &safetensors::serialize(tensors, Some(metadata))?)?;
    Ok(())
}

fn read(path: &Path, key: &str, shape: [usize; 2], rows: [usize; 2]) -> anyhow::Result<[LatentTable; 2]> {
    let bytes = std::fs::read(path)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    let found = metadata.metadata().as_ref().and_then(|map| map.get("key"));
    anyhow::ensure!(found.is_some_and(|found| found == key), "it belongs to other data or another model");
    let file = SafeTensors::deserialize(&bytes)?;
    let table = |name: &str, rows: usize| -> anyhow::Result<LatentTable> {
        let codes = file.tensor(&format!("{name}.codes"))?;
        let scales = file.tensor(&format!("{name}.scales"))?;
        let codes: Vec<i8> = codes.data().iter().map(|&byte| i8::from_le_bytes([byte])).collect();
        let scales = scales.data().chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]));
        let table = LatentTable::from_parts(shape, codes, scales.collect())?;
        anyhow::ensure!(table.rows() == rows, "`{name}` has {} latents and not {rows}", table.rows());
        Ok(table)
    };
    Ok([table("train", rows[0])?, table("test", rows[1])?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_anything_else_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.safetensors");
        let mut train = LatentTable::new(2, 3);
        train.push(&[0.5, -1.0, 0.0, 2.0, 1.0, 0.0]).unwrap();
        let mut test = LatentTable::new(2, 3);
        test.push(&[1.0; 6]).unwrap();
        let tables = [train, test];
        write(&path, "k", &tables).unwrap();
        assert_eq!(read(&path, "k", [2, 3], [1, 1]).unwrap(), tables);
        assert!(read(&path, "other", [2, 3], [1, 1]).unwrap_err().to_string().contains("other data"));
        assert!(read(&path, "k", [2, 3], [2, 1]).unwrap_err().to_string().contains("`train`"));
        assert!(read(&path, "k", [3, 3], [1, 1]).is_err());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read(&path, "k", [2, 3], [1, 1]).is_err());
    }
}
