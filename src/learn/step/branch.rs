//! The way from features to projection, through adapter and projector, and back.

use super::layers::{self, Pass, Trace};
use super::writer::Writer;
use crate::Result;
use crate::learn::op::{Buf, Finish, NormTrace};

/// Buffers of a pass through adapter and projector.
pub(super) struct Branch {
    /// Adapted features.
    pub u: Buf,
    pub projector: Trace,
    adapter: Adapter,
}

struct Adapter {
    /// Statistics of its layer norm.
    stats: Option<Buf>,
    input: Buf,
    hidden: Buf,
}

impl Branch {
    /// `u = h + up(relu(down(norm(h))))`, `z = projector(u)`.
    pub(super) fn forward(writer: &mut Writer<'_>, pass: Pass<'_>, h: Buf) -> Result<Self> {
        let (d, adapter) = (writer.spec.architecture.features, writer.spec.architecture.adapter);
        let name = |part: &str| format!("{}adapter.{part}", pass.prefix);
        let program = &mut writer.program;
        let (input, stats) = if adapter.layer_norm {
            let (y, stats) = layers::layer_norm(program, &name("norm"), [pass.rows, d], h, false);
            (y, Some(stats))
        } else {
            (h, None)
        };
        let shape = [pass.rows, d, adapter.bottleneck];
        let hidden = layers::linear_forward(program, &name("down"), shape, input, true, None);
        let shape = [pass.rows, adapter.bottleneck, d];
        let u = layers::linear_forward(program, &name("up"), shape, hidden, false, Some(h));
        let projector = &writer.spec.architecture.projector;
        let projector = layers::mlp_forward(program, pass, "projector", projector, u)?;
        Ok(Self { u, projector, adapter: Adapter { stats, input, hidden } })
    }

    /// Gradients of the adapter from that of u; h needs none.
    pub(super) fn adapter_backward(&self, writer: &mut Writer<'_>, h: Buf, d_u: Buf) {
        let (d, bottleneck) =
            (writer.spec.architecture.features, writer.spec.architecture.adapter.bottleneck);
        let (m, program) = (writer.m, &mut writer.program);
        let Adapter { stats, input, hidden } = self.adapter;
        layers::linear_backward_parameters(program, "adapter.up", [m, bottleneck, d], d_u, hidden);
        let (d_hidden, finish) = (program.scratch(m * bottleneck), Finish::masked(Some(hidden)));
        layers::linear_backward_input(program, "adapter.up", [m, bottleneck, d], d_u, d_hidden, finish);
        let shape = [m, d, bottleneck];
        layers::linear_backward_parameters(program, "adapter.down", shape, d_hidden, input);
        if let Some(stats) = stats {
            let d_y = program.scratch(m * d);
            layers::linear_backward_input(program, "adapter.down", shape, d_hidden, d_y, Finish::PLAIN);
            let trace = NormTrace { d_y, x: h, mask: None, stats };
            layers::layer_norm_backward_affine(program, "adapter.norm", [m, d], trace);
        }
    }
}
