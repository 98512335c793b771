//! CIFAR-100, binary version: a row is coarse label, fine label, then planes R, G, B of 32 x 32.

use std::path::Path;

use kaizen_edge::{Error, Result};

use super::{Dataset, Picture, Pixels, bytes_of, damaged};

const SIDE: u32 = 32;
const ROW: usize = 2 + 3 * 32 * 32;

pub(super) fn read(folder: &Path) -> Result<Dataset> {
    let names = folder.join("fine_label_names.txt");
    let text = std::fs::read_to_string(&names).map_err(Error::io(&names))?;
    let classes: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let side = |file: &str| -> Result<Vec<Picture>> {
        let path = folder.join(file);
        let bytes = bytes_of(&path)?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(ROW) {
            let reason = format!("{} bytes are no whole number of {ROW}-byte rows", bytes.len());
            return Err(damaged(path.display(), reason));
        }
        let picture = |(row, bytes): (usize, &[u8])| {
            let class = usize::from(bytes[1]);
            if class >= classes.len() {
                let known = classes.len();
                let reason = format!("row {row} is of class {class}; fine_label_names.txt has {known}");
                return Err(damaged(path.display(), reason));
            }
            let pixels = Pixels::Planes { side: SIDE, bytes: bytes[2..].to_vec() };
            Ok(Picture { class, domain: 0, pixels })
        };
        bytes.chunks_exact(ROW).enumerate().map(picture).collect()
    };
    let (train, test) = (side("train.bin")?, side("test.bin")?);
    Ok(Dataset { name: "cifar100".into(), classes, train, test })
}
