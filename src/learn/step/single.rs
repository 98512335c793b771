//! Parts of a step on their own, for checks against expected values and for benches.

use super::layers::{self, Pass, Statistics};
use super::ssl::Projection;
use super::{StepSpec, Writer, distillation, ssl};
use crate::heads::Mlp;
use crate::learn::program::{Buf, Finish, Program, Role};

/// The self-supervised term of `spec` alone: state `z` (and `z.momentum` where the method has a momentum branch),
/// `[2N, P]` with view 1 first; gradient `z`.
#[must_use]
pub fn ssl_program(spec: &StepSpec<'_>) -> Program {
    let mut writer = Writer::new(spec);
    let len = writer.m * writer.projection();
    let z = writer.program.shared(Role::State("z".to_owned()), len);
    let momentum = spec.objective.method.has_momentum();
    let momentum = momentum.then(|| writer.program.shared(Role::State("z.momentum".to_owned()), len));
    let mut projection = Projection::new(&mut writer, z);
    ssl::write(&mut writer, &mut projection, momentum);
    let d_z = projection.backward(&mut writer);
    name_gradient(&mut writer.program, d_z, "z");
    writer.program
}

/// The matching feature distillation alone: state `r` (student) and `o` (teacher), `[2N, P]`; gradient `r`.
#[must_use]
pub fn distillation_program(spec: &StepSpec<'_>) -> Program {
    let mut writer = Writer::new(spec);
    let len = writer.m * writer.projection();
    let [r, o] = ["r", "o"].map(|name| writer.program.shared(Role::State(name.to_owned()), len));
    let d_r = distillation::term(&mut writer, r, o);
    name_gradient(&mut writer.program, Some(d_r), "r");
    writer.program
}

/// A layer list forward and backward: state `x` `[rows, inputs]`, `d_y` `[rows, outputs]` and the parameters
/// `mlp.*`; leaves `y` and the gradients of `x` and the parameters.
#[must_use]
pub fn mlp_program(mlp: &Mlp, rows: usize) -> Program {
    let mut program = Program::default();
    let x = program.shared(Role::State("x".to_owned()), rows * mlp.inputs());
    let d_y = program.shared(Role::State("d_y".to_owned()), rows * mlp.outputs());
    let pass = Pass { prefix: "", rows, groups: 1, statistics: Statistics::Batch };
    let trace = layers::mlp_forward(&mut program, pass, "mlp", mlp, x);
    program.buffers[trace.y.0].role = Role::State("y".to_owned());
    let d_x = program.buffer(Role::Gradient("x".to_owned()), rows * mlp.inputs());
    layers::mlp_backward(&mut program, &trace, d_y, Some((d_x, Finish::PLAIN)));
    program
}

fn name_gradient(program: &mut Program, gradient: Option<Buf>, name: &str) {
    if let Some(gradient) = gradient {
        program.buffers[gradient.0].role = Role::Gradient(name.to_owned());
    }
}
