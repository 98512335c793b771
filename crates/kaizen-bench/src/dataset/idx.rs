//! Fashion-MNIST in the idx format (big-endian sizes, then bytes), gzip-compressed as distributed
//! or unpacked.

use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use kaizen_edge::Result;

use super::{Dataset, Picture, Pixels, bytes_of, damaged};

const CLASSES: [&str; 10] =
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"];

pub(super) fn read(folder: &Path) -> Result<Dataset> {
    let train = side(folder, "train")?;
    let test = side(folder, "t10k")?;
    let classes = CLASSES.map(str::to_owned).to_vec();
    Ok(Dataset { name: "fashion-mnist".into(), classes, train, test })
}

fn side(folder: &Path, stem: &str) -> Result<Vec<Picture>> {
    let (images_name, images) = file(folder, &format!("{stem}-images-idx3-ubyte"))?;
    let (labels_name, labels) = file(folder, &format!("{stem}-labels-idx1-ubyte"))?;
    let ([count, height, width], pixels) = parse::<3>(&images_name, &images)?;
    let ([label_count], labels) = parse::<1>(&labels_name, &labels)?;
    if count != label_count {
        return Err(damaged(
            format!("{images_name} or {labels_name}"),
            format!("{count} pictures and {label_count} labels"),
        ));
    }
    let picture = |(bytes, &label): (&[u8], &u8)| {
        let class = usize::from(label);
        if class >= CLASSES.len() {
            return Err(damaged(&labels_name, format!("label {class} is no class of 0..=9")));
        }
        Ok(Picture { class, domain: 0, pixels: Pixels::Grey { width, height, bytes: bytes.to_vec() } })
    };
    let size = (height as usize * width as usize).max(1);
    pixels.chunks_exact(size).zip(labels).map(picture).collect()
}

/// The file's name for messages, and its bytes unpacked.
fn file(folder: &Path, name: &str) -> Result<(String, Vec<u8>)> {
    let packed = folder.join(format!("{name}.gz"));
    if !packed.exists() {
        let plain = folder.join(name);
        return Ok((plain.display().to_string(), bytes_of(&plain)?));
    }
    let mut bytes = Vec::new();
    let shown = packed.display().to_string();
    match GzDecoder::new(&bytes_of(&packed)?[..]).read_to_end(&mut bytes) {
        Ok(_) => Ok((shown, bytes)),
        Err(error) => Err(damaged(shown, format!("it cannot be unpacked ({error})"))),
    }
}

/// The sizes and the bytes of an idx file with `N` dimensions.
fn parse<'a, const N: usize>(name: &str, bytes: &'a [u8]) -> Result<([u32; N], &'a [u8])> {
    let truncated = || damaged(name, format!("{} bytes are too few for what it declares", bytes.len()));
    let word = |at: usize| -> Result<u32> {
        let four = bytes.get(4 * at..4 * at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
        four.map(u32::from_be_bytes).ok_or_else(truncated)
    };
    let magic = 0x0800 | u32::try_from(N).unwrap_or(0);
    if word(0)? != magic {
        let reason = format!("it does not begin with {magic:#010x}: no idx file of {N} dimensions");
        return Err(damaged(name, reason));
    }
    let mut sizes = [0; N];
    for (at, size) in sizes.iter_mut().enumerate() {
        *size = word(at + 1)?;
    }
    let total = sizes.iter().try_fold(1_usize, |total, &size| total.checked_mul(size as usize));
    let rest = &bytes[4 * (N + 1)..];
    if total == Some(rest.len()) && !rest.is_empty() { Ok((sizes, rest)) } else { Err(truncated()) }
}
