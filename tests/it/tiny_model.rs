//! A backbone of one layer, written as ONNX by hand, so that tests of the program spend their time elsewhere.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

const SIDE: usize = 16;
const WIDTH: usize = 24;

/// Writes `tiny.onnx` and its manifest into `folder`: `Relu(Flatten(image) W)`.
pub(crate) fn write(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let entry = model(folder, "tiny", 0);
    fs::write(folder.join("manifest.toml"), format!("default = \"tiny\"\n{entry}")).unwrap();
}

/// Adds a backbone `other` of other weights.
pub(crate) fn write_another(folder: &Path) {
    let manifest = folder.join("manifest.toml");
    let entries = fs::read_to_string(&manifest).unwrap() + &model(folder, "other", 1);
    fs::write(manifest, entries).unwrap();
}

/// Writes a model and gives its entry of the manifest.
fn model(folder: &Path, name: &str, seed: usize) -> String {
    let inputs = 3 * SIDE * SIDE;
    let weight = |i: usize| {
        let mixed = ((i + 7777 * seed) as u32).wrapping_mul(2_654_435_761) >> 16;
        (mixed as f32 / 65_536.0 - 0.5) / 8.0
    };
    let raw: Vec<u8> = (0..inputs * WIDTH).flat_map(|i| weight(i).to_le_bytes()).collect();
    let tensor =
        [number(1, inputs as u64), number(1, WIDTH as u64), number(2, 1), bytes(8, b"w"), bytes(9, &raw)];
    let node = |op: &str, inputs: &[&str], output: &str| {
        let inputs = inputs.iter().flat_map(|name| bytes(1, name.as_bytes()));
        bytes(
            1,
            &inputs.chain(bytes(2, output.as_bytes())).chain(bytes(4, op.as_bytes())).collect::<Vec<_>>(),
        )
    };
    let side = SIDE as u64;
    let graph = [
        node("Flatten", &["image"], "flat"),
        node("MatMul", &["flat", "w"], "mixed"),
        node("Relu", &["mixed"], "features"),
        bytes(2, b"tiny"),
        bytes(5, &tensor.concat()),
        bytes(11, &value("image", &[None, Some(3), Some(side), Some(side)])),
        bytes(12, &value("features", &[None, Some(WIDTH as u64)])),
    ];
    let model = [number(1, 7), bytes(7, &graph.concat()), bytes(8, &number(2, 13))].concat();
    fs::write(folder.join(format!("{name}.onnx")), &model).unwrap();
    let hash: String = Sha256::digest(&model).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "\n[[model]]\nname = \"{name}\"\nfile = \"{name}.onnx\"\nsha256 = \"{hash}\"\n\
         licence = \"none\"\norigin = \"a test\"\ninput_size = {SIDE}\nmean = [127.0, 127.0, 127.0]\n\
         std = [128.0, 128.0, 128.0]\nlayout = \"nchw\"\nchannels = \"rgb\"\nfeature_width = {WIDTH}\n\
         precision = \"fp32\"\n"
    )
}

fn value(name: &str, sizes: &[Option<u64>]) -> Vec<u8> {
    let size = |size: &Option<u64>| match size {
        Some(size) => bytes(1, &number(1, *size)),
        None => bytes(1, &bytes(2, b"N")),
    };
    let shape: Vec<u8> = sizes.iter().flat_map(size).collect();
    let tensor = [number(1, 1), bytes(2, &shape)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}
