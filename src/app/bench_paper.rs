//! What a training step would take on a Jetson, computed from its arithmetic and its bytes.

use std::collections::BTreeMap;

use super::table::Table;
use crate::learn::cost::{Cost, cost};
use crate::learn::program::Program;

/// A board's limits in 32-bit FLOP and bytes a second: CUDA cores times two times the GPU's clock,
/// and the memory's bandwidth (NVIDIA's data sheets).
pub(super) struct Board {
    pub(super) name: &'static str,
    limits: [f64; 2],
}

/// Orin Nano 8 GB (1024 cores at 625 MHz), Orin NX 16 GB (1024 at 918 MHz), AGX Orin 64 GB (2048 at
/// 1.3 GHz).
pub(super) const BOARDS: [Board; 3] = [
    Board { name: "orin_nano", limits: [1.28e12, 68e9] },
    Board { name: "orin_nx", limits: [1.88e12, 102.4e9] },
    Board { name: "agx_orin", limits: [5.32e12, 204.8e9] },
];

/// Share of its limits that a kernel is taken to reach.
const REACHED: f64 = 0.6;

/// Costs of a step by kernel, one for each call.
pub(super) struct Paper(BTreeMap<&'static str, Vec<Cost>>);

impl Paper {
    pub(super) fn of(program: &Program) -> Self {
        let mut kernels: BTreeMap<&'static str, Vec<Cost>> = BTreeMap::new();
        for op in &program.ops {
            let (name, cost) = cost(op);
            kernels.entry(name).or_default().push(cost);
        }
        Self(kernels)
    }

    /// Seconds of a step on a board. Each call is bounded by arithmetic or by memory on its own.
    pub(super) fn seconds(&self, board: &Board) -> f64 {
        self.0.values().map(|costs| seconds(costs, board)).sum()
    }

    /// Cost of a step.
    pub(super) fn total(&self) -> Cost {
        sum(self.0.values().flatten())
    }

    /// A line a kernel, the dearest first.
    pub(super) fn table(&self) -> Table {
        let [nano, nx, agx] = BOARDS.each_ref().map(|board| format!("{} ms", board.name));
        let mut table = Table::new(["kernel", "calls", "GFLOP", "MB", &nano, &nx, &agx]);
        let mut kernels: Vec<_> = self.0.iter().collect();
        kernels.sort_by(|a, b| seconds(b.1, &BOARDS[0]).total_cmp(&seconds(a.1, &BOARDS[0])));
        for (name, costs) in kernels {
            let Cost { flop, bytes } = sum(costs);
            let [nano, nx, agx] =
                BOARDS.each_ref().map(|board| format!("{:.3}", 1e3 * seconds(costs, board)));
            let (gflop, megabytes) = (format!("{:.3}", flop / 1e9), format!("{:.1}", bytes / 1e6));
            table.row([(*name).to_owned(), costs.len().to_string(), gflop, megabytes, nano, nx, agx]);
        }
        table
    }
}

fn sum<'a>(costs: impl IntoIterator<Item = &'a Cost>) -> Cost {
    let mut total = Cost::default();
    costs.into_iter().for_each(|cost| total.add(*cost));
    total
}

fn seconds(costs: &[Cost], board: &Board) -> f64 {
    costs.iter().map(|cost| cost.seconds(board.limits, REACHED)).sum()
}
