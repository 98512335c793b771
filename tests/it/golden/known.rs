//! Losses of small waves, worked out by hand for the method (its appendix A).

use kaizen_edge::low_level::learn::objective::{Objective, SslMethod};

use super::cases;
use super::file::File;
use super::run::{Case, Expect, Runner};

/// An array with its number of columns.
pub(super) struct Rows {
    pub(super) columns: usize,
    pub(super) values: Vec<f64>,
}

type Wave = fn(f64) -> f64;

/// `wave(start + step i + j)` in rows of `columns`.
fn waves(wave: Wave, start: f64, step: f64, [rows, columns]: [usize; 2]) -> Rows {
    let at = |i: usize| start + step * (i / columns) as f64 + (i % columns) as f64;
    Rows { columns, values: (0..rows * columns).map(|i| wave(at(i))).collect() }
}

/// The queue is written as 3 x 5 with unit columns; its rows are those columns.
fn queue() -> Rows {
    let across = waves(f64::sin, 2.0, 5.0, [3, 5]).values;
    let mut values: Vec<_> = (0..15).map(|i| across[i % 3 * 5 + i / 3]).collect();
    for row in values.chunks_mut(3) {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.iter_mut().for_each(|v| *v /= norm);
    }
    Rows { columns: 3, values }
}

/// The loss that a case gives on a runner.
fn loss(runner: &Runner, mut case: Case) -> f64 {
    case.expected.retain(|(_, expect, ..)| matches!(expect, Expect::Term(_)));
    runner.run(&case)[0].1[0]
}

fn case(op: &str, settings: &[(&str, f64)], inputs: &[(&str, &Rows)]) -> Case {
    cases::case(&File::new(op, settings, inputs))
}

/// Name, value and what it is the sum of: factors and cases.
type Known = (&'static str, f64, Vec<(f64, Case)>);

fn table() -> Vec<Known> {
    let (sin, cos): (Wave, Wave) = (f64::sin, f64::cos);
    let [z1, z2, p1, p2, f1, f2] = [(sin, 1.0), (sin, 1.3), (sin, 0.7), (sin, 0.9), (cos, 0.5), (cos, 0.8)]
        .map(|(wave, start)| waves(wave, start, 3.0, [4, 3]));
    let logits = |wave: Wave, start: f64| waves(wave, start, 4.0, [4, 4]);
    let [l1, l2, o1, o2] =
        [(sin, 1.0), (sin, 1.3), (cos, 1.0), (cos, 1.3)].map(|(wave, start)| logits(wave, start));
    let (queue, tau) = (queue(), |temperature| vec![("temperature", temperature)]);
    let pair = |op: &str, settings: &[_], z1, z2| case(op, settings, &[("z1", z1), ("z2", z2)]);
    let both =
        |op: &str, factor: f64| vec![(factor, pair(op, &[], &p1, &z2)), (factor, pair(op, &[], &p2, &z1))];
    let moco = |query, key| {
        (0.5, case("info_nce_queue", &tau(0.2), &[("query", query), ("key", key), ("queue", &queue)]))
    };
    let vicreg = |weights: [f64; 3]| {
        let names = ["sim_weight", "var_weight", "cov_weight"];
        let settings: Vec<_> = names.into_iter().zip(weights).collect();
        vec![(1.0, pair("vicreg", &settings, &z1, &z2))]
    };
    let distilled = |method| {
        let inputs = [("p1", &p1), ("p2", &p2), ("t1", &f1), ("t2", &f2)];
        vec![(1.0, cases::distillation(&File::new("distillation", &[], &inputs), &Objective::new(method)))]
    };
    let hard = |labels: [f64; 4]| {
        let labels = Rows { columns: 1, values: labels.to_vec() };
        [&l1, &l2]
            .map(|logits| (1.0, case("cross_entropy", &[], &[("logits", logits), ("labels", &labels)])))
            .into()
    };
    let soft = |logits, teacher| {
        (0.5, case("soft_label_distill", &[], &[("logits", logits), ("teacher_logits", teacher)]))
    };
    let nt_xent = |temperature| vec![(1.0, pair("nt_xent", &tau(temperature), &z1, &z2))];
    let barlow = [("scale", 0.1), ("lamb", 5e-3)];
    vec![
        ("byol", 0.328_633, both("byol", 1.0)),
        ("simsiam", -0.917_842, both("simsiam", 0.5)),
        ("nt_xent 0.1", 1.066_184, nt_xent(0.1)),
        ("nt_xent 0.2", 1.066_285, nt_xent(0.2)),
        ("moco", 0.847_030, vec![moco(&p1, &z2), moco(&p2, &z1)]),
        ("vicreg invariance", 0.042_901, vicreg([1.0, 0.0, 0.0])),
        ("vicreg variance", 0.530_454, vicreg([0.0, 1.0, 0.0])),
        ("vicreg covariance", 1.393_666, vicreg([0.0, 0.0, 1.0])),
        ("vicreg", 15.727_533, vicreg([25.0, 25.0, 1.0])),
        ("barlow twins", 0.013_022, vec![(1.0, pair("barlow_twins", &barlow, &z1, &z2))]),
        ("contrastive distillation", 2.234_392, distilled(SslMethod::Simclr)),
        ("predictive distillation", 1.689_988, distilled(SslMethod::Byol)),
        ("mse distillation", 0.846_308, distilled(SslMethod::Vicreg)),
        ("decorrelative distillation", 0.438_530, distilled(SslMethod::BarlowTwins)),
        ("labels", 3.611_380, hard([0.0, 1.0, 2.0, 3.0])),
        ("two labels", 2.961_203, hard([0.0, -1.0, 2.0, -1.0])),
        ("soft labels", 1.517_214, vec![soft(&l1, &o1), soft(&l2, &o2)]),
    ]
}

/// Fails unless every value is met; the values are printed with six decimals.
pub(super) fn check(runner: &Runner, (relative, absolute): (f64, f64)) {
    for (name, want, parts) in table() {
        let got: f64 = parts.into_iter().map(|(factor, case)| factor * loss(runner, case)).sum();
        let bound = relative * want.abs() + absolute;
        assert!((got - want).abs() <= bound, "{name} [{}]: {got} for {want}", runner.name());
    }
}
