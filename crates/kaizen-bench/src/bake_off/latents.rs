//! Latents on disk, in 8 bits, keyed by everything that they depend on.

use std::path::Path;
use std::sync::Arc;

use half::f16;
use kaizen_edge::low_level::backbone::BackboneSpec;
use kaizen_edge::low_level::cut::Cut;
use kaizen_edge::low_level::heads::Tail;
use kaizen_edge::low_level::latent::LatentTable;
use kaizen_edge::low_level::session::Network;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::features::key;
use super::{Arguments, cache};
use crate::dataset::Dataset;
use crate::methods::Latents;

/// The latents of `dataset` and the tail behind them, from the cache or else from the trunk.
pub(super) fn of(
    arguments: &Arguments,
    dataset: &Arc<Dataset>,
    entry: &BackboneSpec,
) -> anyhow::Result<Latents> {
    let cut = Cut::of(entry, entry.cut.as_deref().unwrap_or_default())?;
    let Tail { extractor, parameters } = cut.tail;
    let shape = [extractor.input.positions(), extractor.input.channels];
    let key = format!("{} latents in 8 bits behind {:?}", key(arguments, dataset, entry)?, entry.cut);
    let rows = [dataset.train.len() * arguments.views, dataset.test.len()];
    let make = |path: &Path| {
        let empty = || LatentTable::new(shape[0], shape[1]);
        let network = Network::load(&arguments.backbone_options(), false)?;
        let tables = cache::embed(arguments, dataset, "latents", network, empty, |table, sample| {
            let Some(own) = &sample.latents else { return Ok(()) };
            (0..own.rows()).try_for_each(|row| table.copy_row(own, row))
        })?;
        write(path, &key, &tables)?;
        Ok(tables)
    };
    let [train, test] =
        cache::read_or_make(arguments, "latents", &key, |path| read(path, &key, shape, rows), make)?;
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
    cache::write(path, key, tensors)
}

fn read(path: &Path, key: &str, shape: [usize; 2], rows: [usize; 2]) -> anyhow::Result<[LatentTable; 2]> {
    cache::read(path, key, |file| {
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
    })
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
