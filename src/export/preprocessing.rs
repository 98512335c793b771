//! The program's preprocessing in ONNX operators, for frames of any size.
//!
//! A triangle filter that widens when shrinking is a product with a matrix `[S, length]` on either
//! axis. Like the resize of [`Preprocess`](crate::vision::Preprocess), the graph shrinks the height
//! first, rounds after each axis, and has weights of 15 significant bits. So its pixels are the
//! program's own, except where a sum lies so close to the border between two levels that the
//! rounding of floats decides.

use prost::Message as _;

use super::nodes::Nodes;
use super::value_of;
use crate::backbone::BackboneSpec;
use crate::backbone::onnx::{ModelProto, tensor_shape_proto::dimension::Value};
use crate::{Error, Result};

/// The input that takes the place of the image: `uint8 [N, H, W, 3]`, RGB.
const FRAMES: &str = "frames";
/// The prefix of every name that is added.
const PREFIX: &str = "kaizen/preprocessing/";
/// `TensorProto.DataType` UINT8.
const UINT8: i32 = 2;
/// A weight in fixed point is below this.
const WEIGHT_LIMIT: f32 = 32_767.5;
/// The most bits behind the point of a weight.
const MOST_BITS: f32 = 21.0;

/// Puts the preprocessing of `spec` in front of `file`, whose first input is the image.
///
/// # Errors
/// [`Error::Model`] if the file cannot be read, has no input or a value with the new input's name.
pub(crate) fn with_preprocessing(spec: &BackboneSpec, file: &[u8]) -> Result<Vec<u8>> {
    let refuse = |reason: String| Error::Model { path: spec.path.clone(), reason };
    let mut model = ModelProto::decode(file).map_err(|e| refuse(format!("not a readable ONNX file: {e}")))?;
    let graph = model.graph.as_mut().ok_or_else(|| refuse("it has no graph".to_owned()))?;
    let image = graph.input.first().map(|input| input.name.clone());
    let image = image.ok_or_else(|| refuse("it has no input".to_owned()))?;
    let values = graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output));
    if values.into_iter().any(|name| name == FRAMES) {
        return Err(refuse(format!("it has a value named `{FRAMES}`, which the export needs: rename it")));
    }
    let mut nodes = Nodes::new(PREFIX);
    write(&mut nodes, spec, &image);
    nodes.nodes.append(&mut graph.node);
    graph.node = nodes.nodes;
    graph.initializer.extend(nodes.initializers);
    let any = |name: &str| Value::DimParam(name.to_owned());
    graph.input[0] = value_of(FRAMES, UINT8, vec![any("N"), any("H"), any("W"), Value::DimValue(3)]);
    Ok(model.encode_to_vec())
}

/// Adds all that makes the value `image` `[N, 3, S, S]` of the frames.
fn write(nodes: &mut Nodes, spec: &BackboneSpec, image: &str) {
    let side = spec.input_size;
    let shape = nodes.op("Shape", &[FRAMES]);
    let pixels = nodes.as_floats(FRAMES);
    let rows = nodes.reshaped(&pixels, &[0, 0, -1]);
    let weights = filter(nodes, &shape, 1, side);
    let rows = nodes.op("MatMul", &[&weights, &rows]);
    let rows = levels(nodes, &rows);
    let planes = nodes.reshaped(&rows, &[0, 0, -1, 3]);
    let planes = nodes.transposed(&planes, &[0, 3, 1, 2]);
    let weights = filter(nodes, &shape, 2, side);
    let weights = nodes.transposed(&weights, &[1, 0]);
    let planes = nodes.op("MatMul", &[&planes, &weights]);
    let planes = levels(nodes, &planes);
    let [mean, std] = [spec.mean, spec.std].map(|values| nodes.floats(&[1, 3, 1, 1], &values));
    let centred = nodes.op("Sub", &[&planes, &mean]);
    nodes.node("Div", &[&centred, &std], image, &[]);
}

/// Adds the weights `[side, length]` of each output position over the frame's positions along
/// `axis`, in fixed point.
fn filter(nodes: &mut Nodes, shape: &str, axis: i64, side: usize) -> String {
    let at = nodes.index(axis);
    let length = nodes.op_with("Gather", &[shape, &at], &[("axis", 0)]);
    let [none, one] = [0, 1].map(|value| nodes.index(value));
    let positions = nodes.op("Range", &[&none, &length, &one]);
    let [positions, length] = [positions, length].map(|value| nodes.as_floats(&value));
    // The distance (x + 1/2) - (i + 1/2) n / S over max(n / S, 1) as a ratio of whole numbers.
    #[expect(clippy::cast_precision_loss, reason = "sides of images")]
    let (odd, width) = ((0..side).map(|i| (2 * i + 1) as f32).collect::<Vec<_>>(), side as f32);
    let (odd, width) = (nodes.floats(&[side, 1], &odd), nodes.scalar(width));
    let [half, whole, two] = [0.5, 1.0, 2.0].map(|value| nodes.scalar(value));
    let doubled = nodes.op("Mul", &[&positions, &two]);
    let doubled = nodes.op("Add", &[&doubled, &whole]);
    let sources = nodes.op("Mul", &[&doubled, &width]);
    let centres = nodes.op("Mul", &[&odd, &length]);
    let apart = nodes.op("Sub", &[&sources, &centres]);
    let reach = nodes.op("Max", &[&length, &width]);
    let reach = nodes.op("Mul", &[&reach, &two]);
    let apart = nodes.op("Div", &[&apart, &reach]);
    let apart = nodes.op("Abs", &[&apart]);
    let weights = nodes.op("Sub", &[&whole, &apart]);
    let weights = nodes.op("Relu", &[&weights]);
    let total = nodes.sum_last(&weights, true);
    let weights = nodes.op("Div", &[&weights, &total]);
    // As many bits as keep the largest weight below the limit.
    let largest = nodes.op_with("ReduceMax", &[&weights], &[("keepdims", 0)]);
    let limit = nodes.scalar(WEIGHT_LIMIT);
    let room = nodes.op("Div", &[&limit, &largest]);
    let room = nodes.op("Log", &[&room]);
    let ln_2 = nodes.scalar(std::f32::consts::LN_2);
    let bits = nodes.op("Div", &[&room, &ln_2]);
    let bits = nodes.op("Floor", &[&bits]);
    let most = nodes.scalar(MOST_BITS);
    let bits = nodes.op("Min", &[&bits, &most]);
    let unit = nodes.op("Pow", &[&two, &bits]);
    let weights = nodes.op("Mul", &[&weights, &unit]);
    let weights = nodes.op("Add", &[&weights, &half]);
    let weights = nodes.op("Floor", &[&weights]);
    nodes.op("Div", &[&weights, &unit])
}

/// Adds x rounded to a level of 0..=255.
fn levels(nodes: &mut Nodes, x: &str) -> String {
    let half = nodes.scalar(0.5);
    let raised = nodes.op("Add", &[x, &half]);
    let whole = nodes.op("Floor", &[&raised]);
    nodes.clip(&whole, 0.0, 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{run_in_onnx_runtime, run_in_tract};
    use crate::export::{model, value};
    use crate::rng::Rng;
    use crate::vision::{Frame, Preprocess};

    fn spec(side: usize) -> BackboneSpec {
        let (mean, std) = ([127.0, 100.5, 0.0], [128.0, 64.0, 1.0]);
        BackboneSpec { input_size: side, mean, std, ..BackboneSpec::example() }
    }

    /// A model that gives its image back.
    fn nothing_but_the_image(side: usize) -> Vec<u8> {
        let mut nodes = Nodes::new("");
        nodes.node("Identity", &["image"], "same", &[]);
        let sizes = [Some(3), Some(side), Some(side)];
        model("image", nodes, value("image", &sizes), vec![value("same", &sizes)]).encode_to_vec()
    }

    fn noise(width: u32, height: u32) -> Frame {
        let mut rng = Rng::named(7, &format!("{width}x{height}"));
        let rgb = (0..3 * width * height).map(|_| u8::try_from(rng.below(256)).unwrap()).collect();
        Frame::new(width, height, rgb, "noise").unwrap()
    }

    #[test]
    fn frames_of_any_size_become_the_pixels_that_the_program_makes_of_them() {
        for (side, sizes) in [
            (24_u32, &[(24, 24), (1, 1), (7, 90), (25, 24), (24, 31), (640, 480), (37, 53)][..]),
            (160, &[(640, 480), (1280, 720), (161, 159), (99, 40)]),
        ] {
            let mut preprocess = Preprocess::new(side, spec(0).mean, spec(0).std).unwrap();
            let side = side as usize;
            let spec = spec(side);
            let file = with_preprocessing(&spec, &nothing_but_the_image(side)).unwrap();
            for &(width, height) in sizes {
                let frame = noise(width, height);
                let mut want = vec![0.0; 3 * side * side];
                preprocess.run(&frame, &mut want).unwrap();
                let shape = [1, height as usize, width as usize, 3];
                let mut runs = vec![run_in_tract(&file, &shape, &frame.rgb).unwrap()];
                runs.extend(run_in_onnx_runtime(&file, &shape, &frame.rgb, None).unwrap());
                for outputs in runs {
                    assert_eq!(outputs[0].len(), want.len());
                    let plane = side * side;
                    let steps = |at: usize| ((outputs[0][at] - want[at]) * spec.std[at / plane]).abs();
                    let what = format!("{width}x{height} to {side}");
                    let worst = (0..want.len()).map(steps).fold(0.0_f32, f32::max);
                    assert!(worst < 1.001, "{what}: {worst} levels");
                    let other = (0..want.len()).filter(|&at| steps(at) > 0.001).count();
                    assert!(other * 200 <= want.len(), "{what}: {other} of {} differ", want.len());
                }
            }
            // The control: another frame's pixels are others.
            let (frame, mut want) = (noise(64, 48), vec![0.0; 3 * side * side]);
            preprocess.run(&noise(48, 64), &mut want).unwrap();
            let got = run_in_tract(&file, &[1, 48, 64, 3], &frame.rgb).unwrap().remove(0);
            let other = got.iter().zip(&want).filter(|(a, b)| (*a - *b).abs() > 0.01).count();
            assert!(other * 2 > want.len(), "{other} of {}", want.len());
        }
    }

    #[test]
    fn several_frames_are_each_as_alone() {
        let file = with_preprocessing(&spec(8), &nothing_but_the_image(8)).unwrap();
        let frames = [noise(13, 11), Frame { rgb: noise(11, 13).rgb, ..noise(13, 11) }];
        let both: Vec<u8> = frames.iter().flat_map(|frame| frame.rgb.clone()).collect();
        let got = run_in_tract(&file, &[2, 11, 13, 3], &both).unwrap().remove(0);
        let alone = frames.map(|frame| run_in_tract(&file, &[1, 11, 13, 3], &frame.rgb).unwrap().remove(0));
        assert_eq!(got, alone.concat());
        assert_ne!(alone[0], alone[1]);
    }

    #[test]
    fn a_model_with_a_value_of_the_inputs_name_is_refused() {
        let file = String::from_utf8_lossy(&nothing_but_the_image(8)).into_owned();
        let file = file.replace("image", FRAMES.trim_end_matches('s'));
        assert!(with_preprocessing(&spec(8), file.as_bytes()).is_ok());
        let twice = with_preprocessing(&spec(8), &nothing_but_the_image(8)).unwrap();
        let refused = with_preprocessing(&spec(8), &twice).unwrap_err().to_string();
        assert!(refused.contains("`frames`"), "{refused}");
    }
}
