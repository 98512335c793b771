//! Runs any ONNX file once, to compare what was written with what it was made from.

use std::io::Cursor;
use std::path::Path;

use ort::session::Session;
use ort::value::TensorRef;
use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModelExt, IntoRunnable, IntoTValue, TVec, Tensor, TractResult,
};

use super::environment::Environment;
use super::library;
use super::provider::Provider;
use crate::error::Result;

/// The messages of an ONNX file.
pub(crate) use tract_onnx::pb as onnx;

/// A value that an input can have in both runtimes.
pub trait InputValue: Datum + ort::value::PrimitiveTensorElementType + Copy + std::fmt::Debug {}

impl InputValue for f32 {}
impl InputValue for u8 {}

/// Returns all outputs of `file` for one input of `shape`, by tract. The shape's first dimension is
/// the batch.
///
/// # Errors
/// [`crate::Error::Provider`] if tract cannot run it.
pub fn run_in_tract<T: InputValue>(file: &[u8], shape: &[usize], input: &[T]) -> Result<Vec<Vec<f32>>> {
    let run = || -> TractResult<Vec<Vec<f32>>> {
        let dims: TVec<usize> = shape.iter().copied().collect();
        let model = tract_onnx::onnx().with_ignore_value_info(true).model_for_read(&mut Cursor::new(file))?;
        let fact = InferenceFact::dt_shape(T::datum_type(), dims);
        let model = model.with_input_fact(0, fact)?.into_optimized()?.into_runnable()?;
        let tensor = Tensor::from_shape(shape, input)?.into_tvalue();
        let outputs = model.run([tensor].into_iter().collect())?;
        outputs.iter().map(|o| Ok(o.to_plain_array_view::<f32>()?.iter().copied().collect())).collect()
    };
    run().map_err(|e| Provider::Tract.refused(format!("{e:#}")))
}

/// Returns the sizes of the output of `file` for an input of `shape`.
///
/// # Errors
/// The reason, if tract cannot tell.
pub(crate) fn output_sizes(file: &[u8], shape: &[usize]) -> std::result::Result<Vec<usize>, String> {
    let sizes = || -> TractResult<Option<Vec<usize>>> {
        let dims: TVec<usize> = shape.iter().copied().collect();
        let model = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let model = model.model_for_read(&mut Cursor::new(file))?;
        let fact = InferenceFact::dt_shape(f32::datum_type(), dims);
        let model = model.with_input_fact(0, fact)?.into_typed()?;
        Ok(model.output_fact(0)?.shape.as_concrete().map(<[usize]>::to_vec))
    };
    let sizes = sizes().map_err(|error| format!("its sizes cannot be told: {error:#}"))?;
    sizes.ok_or_else(|| "the sizes of its output depend on the batch".to_owned())
}

/// Returns all outputs of `file` for one input of `shape`, by ONNX Runtime on the CPU; `None` where
/// there is no library.
///
/// # Errors
/// [`crate::Error::Provider`] if ONNX Runtime refuses the file.
pub fn run_in_onnx_runtime<T: InputValue>(
    file: &[u8],
    shape: &[usize],
    input: &[T],
    ort_lib: Option<&Path>,
) -> Result<Option<Vec<Vec<f32>>>> {
    let Ok(runtime) = library::runtime(ort_lib, &Environment::of_process()?) else { return Ok(None) };
    let run = || -> ort::Result<Vec<Vec<f32>>> {
        let mut session = Session::builder(&runtime.environment)?.commit_from_memory(file)?;
        let outputs = session.run(ort::inputs![TensorRef::from_array_view((shape.to_vec(), input))?])?;
        let names: Vec<String> = outputs.keys().map(str::to_owned).collect();
        let values = names.iter().map(|name| outputs[name.as_str()].try_extract_tensor::<f32>());
        values.map(|value| Ok(value?.1.to_vec())).collect()
    };
    run().map(Some).map_err(|e| Provider::Cpu.refused(e.to_string()))
}
