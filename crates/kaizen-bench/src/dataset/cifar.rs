//! CIFAR-100, binary version: a row is coarse label, fine label, then planes R, G, B of 32 x 32.

use std::path::Path;

use super::{Dataset, Picture, Pixels, bytes_of, refused};
use kaizen_edge::{Error, Result};

const SIDE: u32 = 32;
const ROW: usize = 2 + 3 * 32 * 32;

pub(super) fn read(folder: &Path) -> Result<Dataset> {
    let names = folder.join("fine_label_names.txt");
    let text = std::fs::read_to_string(&names).map_err(Error::io(&names))?;
    let classes: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    let side = |file: &str| -> Result<Vec<Picture>> {
        let path = folder.join(file);
        let bytes = bytes_of(&path)?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(ROW) {
            let reason =
                format!("{} bytes are no whole number of {ROW}-byte rows: copy it again", bytes.len());
            return Err(refused(path.display(), reason));
        }
        let picture = |(row, bytes): (usize, &[u8])| {
            let class = usize::from(bytes[1]);
            if class >= classes.len() {
                let reason =
                    format!("row {row} is of class {class}; fine_label_names.txt has {}", classes.len());
                return Err(refused(path.display(), reason));
            }
            Ok(Picture {
                class,
                domain: 0,
                pixels: Pixels::Planes { side: SIDE, bytes: bytes[2..].to_vec() },
            })
        };
        bytes.chunks_exact(ROW).enumerate().map(picture).collect()
    };
    let (train, test) = (side("train.bin")?, side("test.bin")?);
    Ok(Dataset { name: "cifar100".into(), classes, domains: vec!["all".into()], train, test })
}
