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

/// Writes `white.onnx`, the same backbone but that it cannot compute a white picture (of mean 1 after
/// normalisation): it looks up row 1 of a table of one row.
pub(crate) fn write_that_fails_on_white(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let keeps_no_axes = [bytes(1, b"keepdims"), number(3, 0), number(20, 2)].concat();
    let to_integer = [bytes(1, b"to"), number(3, 7), number(20, 2)].concat();
    let [flat, rest] = layer(0);
    let graph = [
        flat,
        node("MatMul", &["flat", "w"], "mixed", &[]),
        node("ReduceMean", &["image"], "mean", &[keeps_no_axes]),
        node("Cast", &["mean"], "row", &[to_integer]),
        node("Gather", &["table", "row"], "found", &[]),
        node("Add", &["mixed", "found"], "sum", &[]),
        node("Relu", &["sum"], "features", &[]),
        bytes(2, b"white"),
        bytes(5, &tensor("table", &[1], &[0.0])),
        rest,
    ];
    let entry = finish(folder, "white", &graph.concat());
    fs::write(folder.join("manifest.toml"), format!("default = \"white\"\n{entry}")).unwrap();
}

/// Adds a backbone `other` of other weights.
pub(crate) fn write_another(folder: &Path) {
    let manifest = folder.join("manifest.toml");
    let entries = fs::read_to_string(&manifest).unwrap() + &model(folder, "other", 1);
    fs::write(manifest, entries).unwrap();
}

/// Writes `cut.onnx`, a small convolutional backbone, and its manifest into `folder`, with or
/// without its `cut` there: a trunk of one layer, behind it pointwise, depthwise and pointwise
/// convolutions with an addition, and the mean.
pub(crate) fn write_cut(folder: &Path, at: Option<&str>) {
    fs::create_dir_all(folder).unwrap();
    let side = SIDE as u64;
    let graph = [
        convolution("image", "trunk", [8, 3, 4, 4], 4, 0, 1),
        node("Relu", &["trunk"], "latent", &[]),
        convolution("latent", "wide", [16, 8, 1, 1], 1, 0, 1),
        node("Clip", &["wide", "least", "most"], "wide6", &[]),
        convolution("wide6", "deep", [16, 1, 3, 3], 1, 1, 16),
        node("Relu", &["deep"], "deep_relu", &[]),
        node("Add", &["deep_relu", "wide6"], "sum", &[]),
        convolution("sum", "last", [WIDTH as u64, 16, 1, 1], 1, 0, 1),
        node("Relu", &["last"], "last_relu", &[]),
        node("GlobalAveragePool", &["last_relu"], "mean", &[]),
        node("Flatten", &["mean"], "features", &[]),
        bytes(2, b"cut"),
        bytes(5, &tensor("least", &[], &[0.0])),
        bytes(5, &tensor("most", &[], &[6.0])),
        bytes(11, &value("image", &[None, Some(3), Some(side), Some(side)])),
        bytes(12, &value("features", &[None, Some(WIDTH as u64)])),
    ];
    let cut = at.map_or(String::new(), |at| format!("cut = \"{at}\"\n"));
    let entry = finish(folder, "cut", &graph.concat()) + &cut;
    fs::write(folder.join("manifest.toml"), format!("default = \"cut\"\n{entry}")).unwrap();
}

/// A convolution with weights of its own, and its constants.
fn convolution(input: &str, output: &str, shape: [u64; 4], stride: u64, pad: u64, groups: u64) -> Vec<u8> {
    let fan_in = (shape[1] * shape[2] * shape[3]) as f32;
    let seed = output.bytes().map(usize::from).sum::<usize>();
    let count = shape.iter().product::<u64>() as usize;
    let weight: Vec<f32> = (0..count).map(|i| 3.0 * noise(i + 1000 * seed) / fan_in.sqrt()).collect();
    let (weights, biases) = (format!("{output}_w"), format!("{output}_b"));
    let attributes = [
        integers("kernel_shape", &shape[2..]),
        integers("strides", &[stride; 2]),
        integers("pads", &[pad; 4]),
        [bytes(1, b"group"), number(3, groups), number(20, 2)].concat(),
    ];
    [
        node("Conv", &[input, &weights, &biases], output, &attributes),
        bytes(5, &tensor(&weights, &shape, &weight)),
        bytes(5, &tensor(&biases, &shape[..1], &vec![0.1; shape[0] as usize])),
    ]
    .concat()
}

/// A number from -1/2 to 1/2 that follows from `i`.
fn noise(i: usize) -> f32 {
    let mixed = (i as u32).wrapping_mul(2_654_435_761) >> 16;
    mixed as f32 / 65_536.0 - 0.5
}

fn integers(name: &str, values: &[u64]) -> Vec<u8> {
    let values = values.iter().flat_map(|&value| number(8, value));
    bytes(1, name.as_bytes()).into_iter().chain(values).chain(number(20, 7)).collect()
}

fn tensor(name: &str, sizes: &[u64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let sizes = sizes.iter().flat_map(|&size| number(1, size));
    let rest = [number(2, 1), bytes(8, name.as_bytes()), bytes(9, &raw)].concat();
    sizes.chain(rest).collect()
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|name| bytes(1, name.as_bytes()));
    let attributes = attributes.iter().flat_map(|attribute| bytes(5, attribute));
    let rest = bytes(2, output.as_bytes()).into_iter().chain(bytes(4, op.as_bytes()));
    bytes(1, &inputs.chain(rest).chain(attributes).collect::<Vec<_>>())
}

/// Writes a model and gives its entry of the manifest. Recorded states hold the SHA-256 of its bytes.
fn model(folder: &Path, name: &str, seed: usize) -> String {
    let [flat, rest] = layer(seed);
    let graph = [
        flat,
        node("MatMul", &["flat", "w"], "mixed", &[]),
        node("Relu", &["mixed"], "features", &[]),
        bytes(2, b"tiny"),
        rest,
    ];
    finish(folder, name, &graph.concat())
}

/// The node that makes the image `flat`; and the weights `w` of a layer, the input and the output.
fn layer(seed: usize) -> [Vec<u8>; 2] {
    let inputs = 3 * SIDE * SIDE;
    let weight: Vec<f32> = (0..inputs * WIDTH).map(|i| noise(i + 7777 * seed) / 8.0).collect();
    let side = SIDE as u64;
    let rest = [
        bytes(5, &tensor("w", &[inputs as u64, WIDTH as u64], &weight)),
        bytes(11, &value("image", &[None, Some(3), Some(side), Some(side)])),
        bytes(12, &value("features", &[None, Some(WIDTH as u64)])),
    ];
    [node("Flatten", &["image"], "flat", &[]), rest.concat()]
}

/// Writes the model of a graph and gives its entry of the manifest.
fn finish(folder: &Path, name: &str, graph: &[u8]) -> String {
    let model = [number(1, 7), bytes(7, graph), bytes(8, &number(2, 13))].concat();
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
