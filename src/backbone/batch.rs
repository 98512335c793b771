//! Checks that every runtime makes: of the images before it runs, of the features after.

use ndarray::{Array2, Array4, ArrayView4, Axis};

use super::spec::BackboneSpec;
use crate::error::{Error, Result};

/// The number of images that run at once. It bounds the memory of the activations, and is the
/// largest batch of a TensorRT engine.
pub(super) const CHUNK: usize = 32;

/// Checks that images are `[B, 3, S, S]` with finite values, for the model of `spec`.
pub(super) fn check_images(spec: &BackboneSpec, images: &ArrayView4<'_, f32>) -> Result<()> {
    let (batch, side) = (images.dim().0, spec.input_size);
    let expected = [batch, 3, side, side];
    if images.shape() != expected {
        return Err(Error::shape(format!("images for backbone `{}`", spec.name), expected, images.shape()));
    }
    // A clamp in the network can turn NaN into an ordinary number, so the features would not show
    // it.
    let bad = images.axis_iter(Axis(0)).position(|image| image.iter().any(|value| !value.is_finite()));
    bad.map_or(Ok(()), |row| Err(not_finite(row, "a pixel is not finite")))
}

/// Returns `values` as features `[rows, D]`, all finite.
pub(super) fn check_features(spec: &BackboneSpec, rows: usize, values: Vec<f32>) -> Result<Array2<f32>> {
    let (width, got) = (spec.feature_width, values.len());
    let features = Array2::from_shape_vec((rows, width), values).map_err(|_| Error::Shape {
        what: format!("features of {}", spec.path.display()),
        expected: format!("[{rows}, {width}]"),
        got: format!("{got} values"),
    })?;
    let bad = features.rows().into_iter().position(|row| row.iter().any(|value| !value.is_finite()));
    bad.map_or(Ok(features), |row| Err(not_finite(row, "its features are not finite")))
}

fn not_finite(row: usize, reason: &str) -> Error {
    Error::Frame { name: format!("row {row} of the batch"), reason: reason.into() }
}

/// Checks that a model has one input and one output.
pub(super) fn check_one_in_one_out(spec: &BackboneSpec, inputs: usize, outputs: usize) -> Result<()> {
    if (inputs, outputs) == (1, 1) {
        return Ok(());
    }
    let reason =
        format!("it has {inputs} inputs and {outputs} outputs, a backbone has one image in, one feature out");
    Err(Error::Model { path: spec.path.clone(), reason })
}

/// Checks that the shapes that a file declares are those of its manifest entry: `[any, 3, S, S]`
/// in, `[any, D]` out. An empty `output` or a `None` dimension is one that the file leaves open;
/// the first inference settles it.
pub(super) fn check_declared(
    spec: &BackboneSpec,
    input: &[Option<usize>],
    output: &[Option<usize>],
) -> Result<()> {
    let fits = |declared: &[Option<usize>], needed: &[Option<usize>]| {
        declared.len() == needed.len()
            && declared.iter().zip(needed).all(|(d, n)| d.is_none() || n.is_none() || d == n)
    };
    let side = Some(spec.input_size);
    let needed_input = [None, Some(3), side, side];
    if !fits(input, &needed_input) {
        return Err(wrong(spec, "input", &needed_input, input));
    }
    let needed_output = [None, Some(spec.feature_width)];
    if !output.is_empty() && !fits(output, &needed_output) {
        return Err(wrong(spec, "output", &needed_output, output));
    }
    Ok(())
}

fn wrong(spec: &BackboneSpec, which: &str, expected: &[Option<usize>], got: &[Option<usize>]) -> Error {
    let text = |dims: &[Option<usize>]| {
        let dims: Vec<_> = dims.iter().map(|d| d.map_or_else(|| "any".into(), |d| d.to_string())).collect();
        format!("[{}]", dims.join(", "))
    };
    Error::Shape {
        what: format!("{which} of {} (expected by manifest entry `{}`)", spec.path.display(), spec.name),
        expected: text(expected),
        got: text(got),
    }
}

/// Returns fixed images `[batch, 3, side, side]` within -1..1, all different, to try a backbone
/// with.
pub(crate) fn pattern(batch: usize, side: usize) -> Array4<f32> {
    Array4::from_shape_fn((batch, 3, side, side), |(b, c, y, x)| {
        let level = (x * (3 + b) + y * 5 + c * 67 + b * 29 + (x * y) % 37) % 256;
        u8::try_from(level).map_or(0.0, |level| (f32::from(level) - 127.0) / 128.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> BackboneSpec {
        BackboneSpec { input_size: 4, feature_width: 2, ..BackboneSpec::example() }
    }

    #[test]
    fn images_of_another_shape_or_not_finite_are_refused_by_row() {
        let mut images = pattern(3, 4);
        check_images(&spec(), &images.view()).unwrap();
        check_images(&spec(), &pattern(0, 4).view()).unwrap();
        for wrong in [Array4::zeros((3, 1, 4, 4)), Array4::zeros((3, 3, 4, 5)), Array4::zeros((1, 4, 4, 3))] {
            assert!(matches!(check_images(&spec(), &wrong.view()), Err(Error::Shape { .. })));
        }
        images[[1, 2, 3, 0]] = f32::NAN;
        let message = check_images(&spec(), &images.view()).unwrap_err().to_string();
        assert!(message.contains("row 1"), "{message}");
    }

    #[test]
    fn features_of_another_width_or_not_finite_are_refused_by_row() {
        assert_eq!(check_features(&spec(), 2, vec![1.0; 4]).unwrap(), Array2::from_elem((2, 2), 1.0));
        assert!(matches!(check_features(&spec(), 2, vec![1.0; 6]), Err(Error::Shape { .. })));
        let message = check_features(&spec(), 2, vec![1.0, 1.0, 1.0, f32::INFINITY]).unwrap_err().to_string();
        assert!(message.contains("row 1"), "{message}");
    }

    #[test]
    fn declared_shapes_must_be_those_of_the_manifest() {
        let some = |dims: &[usize]| dims.iter().map(|d| Some(*d)).collect::<Vec<_>>();
        let open = [None, Some(3), None, Some(4)];
        check_declared(&spec(), &some(&[1, 3, 4, 4]), &some(&[1, 2])).unwrap();
        check_declared(&spec(), &open, &[]).unwrap();
        for input in [&[1, 4, 4, 3][..], &[1, 3, 8, 8], &[1, 3, 4]] {
            let message = check_declared(&spec(), &some(input), &[]).unwrap_err().to_string();
            assert!(message.contains("input of m.onnx"), "{message}");
        }
        let message = check_declared(&spec(), &open, &[None, Some(5)]).unwrap_err().to_string();
        assert!(message.contains("output of m.onnx") && message.contains("[any, 2]"), "{message}");
    }

    #[test]
    fn the_pattern_has_different_images() {
        let images = pattern(4, 8);
        for (a, b) in [(0, 1), (1, 2), (0, 3)] {
            assert_ne!(images.index_axis(Axis(0), a), images.index_axis(Axis(0), b));
        }
    }
}
