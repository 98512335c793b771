//! Parts of a step on their own, for checks against expected values.

use super::extractor::ExtractorPass;
use super::layers::{self, Pass};
use super::projection::Projection;
use super::spec::StepSpec;
use super::writer::Writer;
use super::{distillation, ssl};
use crate::Result;
use crate::heads::Mlp;
use crate::learn::objective::CopyNorm;
use crate::learn::op::{Buf, Finish};
use crate::learn::program::{Program, Role};

/// The self-supervised term of `spec` alone: state `z` (and `z.momentum` where the method has a
/// momentum branch), `[2N, P]` with view 1 first; gradient `z`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for too few rows.
pub fn ssl_program(spec: &StepSpec<'_>) -> Result<Program> {
    let mut writer = Writer::new(spec);
    let len = writer.m * writer.p;
    let z = writer.program.state("z", len);
    let momentum = spec.objective.method.has_momentum().then(|| writer.program.state("z.momentum", len));
    let mut projection = Projection::new(&mut writer, z);
    ssl::write(&mut writer, &mut projection, momentum)?;
    let d_z = projection.backward(&mut writer);
    Ok(with_gradient(writer.program, d_z, "z"))
}

/// The matching feature distillation alone: state `r` (student) and `o` (teacher), `[2N, P]`;
/// gradient `r`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for too few rows.
pub fn distillation_program(spec: &StepSpec<'_>) -> Result<Program> {
    let mut writer = Writer::new(spec);
    let [r, o] = ["r", "o"].map(|name| writer.program.state(name, writer.m * writer.p));
    let d_r = distillation::term(&mut writer, r, o)?;
    Ok(with_gradient(writer.program, Some(d_r), "r"))
}

/// A layer list forward and backward: state `x` `[rows, inputs]`, `d_y` `[rows, outputs]` and the
/// parameters `mlp.*`; leaves `y` and the gradients of `x` and the parameters.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for batch norm of fewer than two rows.
pub fn mlp_program(mlp: &Mlp, rows: usize) -> Result<Program> {
    let mut program = Program::default();
    let x = program.state("x", rows * mlp.inputs());
    let d_y = program.state("d_y", rows * mlp.outputs());
    let pass = Pass { prefix: "", rows, groups: 1, norm: CopyNorm::Batch };
    let trace = layers::mlp_forward(&mut program, pass, "mlp", mlp, x)?;
    program.buffers[trace.y.0].role = Role::State("y".to_owned());
    let d_x = program.gradient("x", rows * mlp.inputs());
    layers::mlp_backward(&mut program, &trace, d_y, Some((d_x, Finish::PLAIN)));
    Ok(program)
}

/// The extractor of `spec` alone, forward and backward on `spec.rows` images: state `x`
/// `[rows, I]`, `d_u` `[rows, D]` and the parameters; leaves `u` and the gradients of `x` and the
/// parameters. The last node may give a map.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for nodes that do not fit together.
pub fn extractor_program(spec: &StepSpec<'_>) -> Result<Program> {
    let (mut writer, rows) = (Writer::new(spec), spec.rows);
    let x = writer.program.state("x", rows * spec.architecture.extractor.input_len());
    let d_u = writer.program.state("d_u", rows * spec.architecture.features());
    let pass = ExtractorPass::forward(&mut writer, "", rows, x)?;
    writer.program.buffers[pass.u.0].role = Role::State("u".to_owned());
    let d_x = pass.backward(&mut writer, d_u, true)?;
    Ok(with_gradient(writer.program, d_x, "x"))
}

fn with_gradient(mut program: Program, gradient: Option<Buf>, name: &str) -> Program {
    if let Some(gradient) = gradient {
        program.buffers[gradient.0].role = Role::Gradient(name.to_owned());
    }
    program
}
