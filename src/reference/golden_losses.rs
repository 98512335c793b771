//! The definitions composed into whole losses: golden vectors of an automatic differentiation in double precision,
//! and reference values worked out on small inputs.

use safetensors::{Dtype, SafeTensors};

use super::classify::{CrossEntropy, cross_entropy};
use super::contrast::{
    Correlation, InfoNce, NtXent, Variance, column_lse, correlation, info_nce, nt_xent, row_lse, symmetric,
    variance,
};
use super::distill::{Cosine, Mse, SoftLabel, cosine, mse, soft_label};
use super::linear::{Epilogue, Layout, gemm};

/// An array with its number of columns.
#[derive(Clone, Debug, PartialEq)]
struct Rows {
    columns: usize,
    values: Vec<f64>,
}

impl Rows {
    fn count(&self) -> usize {
        self.values.len() / self.columns
    }

    /// The same shape, all zero.
    fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.values.len()]
    }

    fn with(&self, values: Vec<f64>) -> Self {
        Self { columns: self.columns, values }
    }

    /// `self` above `other`.
    fn over(&self, other: &Self) -> Self {
        self.with([&self.values[..], &other.values].concat())
    }

    fn halves(&self) -> [Self; 2] {
        let (top, bottom) = self.values.split_at(self.values.len() / 2);
        [top, bottom].map(|half| self.with(half.to_vec()))
    }

    /// Unit rows and `T_x`, which carries a gradient for them back to the raw rows.
    fn unit(&self) -> (Self, impl Fn(&[f64]) -> Vec<f64> + use<>) {
        let norm = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>().sqrt();
        let norms: Vec<_> = self.values.chunks(self.columns).map(norm).collect();
        let columns = self.columns;
        let unit: Vec<_> = (0..self.values.len()).map(|i| self.values[i] / norms[i / columns]).collect();
        let kept = unit.clone();
        let back = move |d: &[f64]| {
            let along = |i: usize| {
                let row = i / columns * columns..(i / columns + 1) * columns;
                d[row.clone()].iter().zip(&kept[row]).map(|(d, u)| d * u).sum::<f64>()
            };
            (0..d.len()).map(|i| (d[i] - along(i) * kept[i]) / norms[i / columns]).collect()
        };
        (self.with(unit), back)
    }
}

/// The unweighted loss and the gradients of its leading inputs.
type Outcome = (f64, Vec<Rows>);

fn product(
    layout: Layout,
    shape: [usize; 3],
    a: &[f64],
    b: &[f64],
    alpha: f64,
    y: &mut [f64],
    accumulate: bool,
) {
    gemm(layout, shape, a, b, y, &Epilogue { alpha, accumulate, ..Epilogue::none() });
}

fn line(p: &Rows, z: &Rows, [offset, slope, loss_scale]: [f64; 3]) -> Outcome {
    let scalars =
        Cosine { row_shift: 0, loss_scale, slope, offset, weight: 1.0, eps: 1e-8, accumulate: false };
    let (mut loss, mut d_p) = (vec![0.0; p.count()], p.zeros());
    cosine([p.count(), p.columns], &scalars, &p.values, &z.values, &mut loss, &mut d_p);
    (loss.iter().sum(), vec![p.with(d_p)])
}

fn squares(r: &Rows, o: &Rows) -> Outcome {
    let scale = 1.0 / r.values.len() as f64;
    let scalars =
        Mse { row_shift: 0, loss_scale: scale, gradient_scale: scale, weight: 1.0, accumulate: false };
    let (mut loss, mut d_r) = (vec![0.0; r.count()], r.zeros());
    mse([r.count(), r.columns], &scalars, &r.values, &o.values, &mut loss, &mut d_r);
    (loss.iter().sum(), vec![r.with(d_r)])
}

fn views_contrast(z1: &Rows, z2: &Rows, temperature: f64) -> Outcome {
    let (unit, back) = z1.over(z2).unit();
    let (rows, columns) = (unit.count(), unit.columns);
    let (mut s, mut loss, mut d) = (vec![0.0; rows * rows], vec![0.0; rows], unit.zeros());
    product(Layout::Nt, [rows, rows, columns], &unit.values, &unit.values, 1.0 / temperature, &mut s, false);
    let scalars = NtXent { decoupled: false, scale: 1.0 / rows as f64, weight: 1.0 };
    nt_xent(rows / 2, &scalars, &mut loss, &mut s);
    product(Layout::Nn, [rows, columns, rows], &s, &unit.values, 1.0 / temperature, &mut d, false);
    product(Layout::Tn, [rows, columns, rows], &s, &unit.values, 1.0 / temperature, &mut d, true);
    (loss.iter().sum(), unit.with(back(&d)).halves().to_vec())
}

fn queue_contrast(query: &Rows, key: &Rows, queue: &Rows, temperature: f64) -> Outcome {
    let ((q, back), (key, _)) = (query.unit(), key.unit());
    let (rows, columns, negatives) = (q.count(), q.columns, queue.count());
    let (mut s, mut loss, mut d_q) = (vec![0.0; rows * negatives], vec![0.0; rows], q.zeros());
    product(
        Layout::Nt,
        [rows, negatives, columns],
        &q.values,
        &queue.values,
        1.0 / temperature,
        &mut s,
        false,
    );
    let scalars = InfoNce {
        rows,
        columns,
        negatives,
        row_shift: 0,
        inverse_temperature: 1.0 / temperature,
        scale: 1.0 / rows as f64,
        weight: 1.0,
    };
    info_nce(&scalars, &q.values, &key.values, &mut loss, &mut d_q, &mut s);
    product(Layout::Nn, [rows, columns, negatives], &s, &queue.values, 1.0 / temperature, &mut d_q, true);
    (loss.iter().sum(), vec![q.with(back(&d_q))])
}

fn teacher_contrast(student: [&Rows; 2], teacher: [&Rows; 2], temperature: f64) -> Outcome {
    let ((r, back), (o, _)) = (student[0].over(student[1]).unit(), teacher[0].over(teacher[1]).unit());
    let (rows, columns) = (r.count(), r.columns);
    let (mut s, mut loss, mut d) = (vec![0.0; rows * rows], vec![0.0; rows], r.zeros());
    let (mut by_row, mut by_column) = (vec![0.0; rows], vec![0.0; rows]);
    product(Layout::Nt, [rows, rows, columns], &r.values, &o.values, 1.0 / temperature, &mut s, false);
    row_lse([rows, rows], &s, &mut by_row);
    column_lse([rows, rows], &s, &mut by_column);
    symmetric(rows, [0.5 / rows as f64, 1.0], &by_row, &by_column, &mut loss, &mut s);
    product(Layout::Nn, [rows, columns, rows], &s, &o.values, 1.0 / temperature, &mut d, false);
    (loss.iter().sum(), r.with(back(&d)).halves().to_vec())
}

/// VICReg's covariance term of the centred rows of one view; adds its gradient to `d`.
fn redundancy(view: &[f64], columns: usize, weight: f64, d: &mut [f64]) -> f64 {
    let rows = view.len() / columns;
    let degrees = rows as f64 - 1.0;
    let scalars =
        Correlation { diagonal_target: 0.0, diagonal_scale: 0.0, off_scale: 1.0 / columns as f64, weight };
    let (mut c, mut loss) = (vec![0.0; columns * columns], vec![0.0; columns]);
    let square = [columns, columns, rows];
    product(Layout::Tn, square, view, view, 1.0 / degrees, &mut c, false);
    correlation(columns, &scalars, &mut loss, &mut c);
    let back = [rows, columns, columns];
    product(Layout::Nn, back, view, &c, 2.0 / degrees, d, true);
    loss.iter().sum()
}

/// `[MSE, variance sum, covariance sum]` and the gradient of their sum under `weights`.
fn vicreg(z1: &Rows, z2: &Rows, weights: [f64; 3]) -> ([f64; 3], Vec<Rows>) {
    let z = z1.over(z2);
    let (rows, columns, half) = (z.count(), z.columns, z1.count());
    let (mut d, mut pairs, mut hinges) = (z.zeros(), vec![0.0; rows], vec![0.0; 2 * columns]);
    let mut centred = z.zeros();
    let mean = 1.0 / z1.values.len() as f64;
    let invariance = Mse {
        row_shift: half,
        loss_scale: mean / 2.0,
        gradient_scale: mean,
        weight: weights[0],
        accumulate: false,
    };
    mse([rows, columns], &invariance, &z.values, &z.values, &mut pairs, &mut d);
    let spread = Variance {
        rows,
        columns,
        groups: 2,
        loss_scale: 1.0 / columns as f64,
        weight: weights[1],
        target_std: 1.0,
        eps: 1e-4,
    };
    variance(&spread, &z.values, &mut centred, &mut hinges, &mut d);
    let views = centred.chunks(half * columns).zip(d.chunks_mut(half * columns));
    let covariance = views.map(|(view, d)| redundancy(view, columns, weights[2], d)).sum();
    let losses = [pairs.iter().sum(), hinges.iter().sum(), covariance];
    (losses, z.with(d).halves().to_vec())
}

/// Columns with mean 0 and, but for 1e-5, biased variance 1, and the way back for a gradient.
fn standardise(z: &Rows) -> (Rows, impl Fn(&[f64]) -> Rows + use<>) {
    let (rows, columns) = (z.count() as f64, z.columns);
    let means = move |of: &dyn Fn(usize) -> f64, len: usize| -> Vec<f64> {
        let mean = |j: usize| (j..len).step_by(columns).map(of).sum::<f64>() / rows;
        (0..columns).map(mean).collect()
    };
    let len = z.values.len();
    let mean = means(&|i| z.values[i], len);
    let spread = means(&|i| (z.values[i] - mean[i % columns]).powi(2), len);
    let deviation = move |i: usize| (spread[i % columns] + 1e-5).sqrt();
    let unit = z.with((0..len).map(|i| (z.values[i] - mean[i % columns]) / deviation(i)).collect());
    let kept = unit.clone();
    let back = move |d: &[f64]| {
        let (level, along) = (means(&|i| d[i], len), means(&|i| d[i] * kept.values[i], len));
        let raw = |i: usize| (d[i] - level[i % columns] - kept.values[i] * along[i % columns]) / deviation(i);
        kept.with((0..len).map(raw).collect())
    };
    (unit, back)
}

fn barlow(z1: &Rows, z2: &Rows, lambda: f64, scale: f64) -> Outcome {
    let (rows, columns, per_row) = (z1.count(), z1.columns, 1.0 / z1.count() as f64);
    let ((a, back1), (b, back2)) = (standardise(z1), standardise(z2));
    let (mut c, mut loss) = (vec![0.0; columns * columns], vec![0.0; columns]);
    let square = [columns, columns, rows];
    product(Layout::Tn, square, &a.values, &b.values, per_row, &mut c, false);
    let scalars =
        Correlation { diagonal_target: 1.0, diagonal_scale: scale, off_scale: scale * lambda, weight: 1.0 };
    correlation(columns, &scalars, &mut loss, &mut c);
    let (mut d1, mut d2, back) = (z1.zeros(), z2.zeros(), [rows, columns, columns]);
    product(Layout::Nt, back, &b.values, &c, per_row, &mut d1, false);
    product(Layout::Nn, back, &a.values, &c, per_row, &mut d2, false);
    (loss.iter().sum(), vec![back1(&d1), back2(&d2)])
}

fn hard_labels(logits: &Rows, labels: &[i32]) -> Outcome {
    let labelled = labels.iter().filter(|label| **label >= 0).count();
    let scalars = CrossEntropy { inverse_labelled: 1.0 / labelled as f64, weight: 1.0 };
    let (mut loss, mut d) = (vec![0.0; logits.count()], logits.zeros());
    cross_entropy([logits.count(), logits.columns], &scalars, &logits.values, labels, &mut loss, &mut d);
    (loss.iter().sum(), vec![logits.with(d)])
}

fn teacher_labels(logits: &Rows, teacher: &Rows) -> Outcome {
    let scalars = SoftLabel {
        rows: logits.count(),
        classes: logits.columns,
        teacher_classes: teacher.columns,
        known: teacher.columns,
        loss_scale: 1.0 / logits.count() as f64,
        weight: 1.0,
        overwrite: true,
    };
    let (mut loss, mut d) = (vec![0.0; logits.count()], logits.zeros());
    soft_label(&scalars, &logits.values, &teacher.values, &mut loss, &mut d);
    (loss.iter().sum(), vec![logits.with(d)])
}

fn read(file: &SafeTensors<'_>, name: &str) -> Rows {
    let tensor = file.tensor(name).unwrap();
    let data = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        Dtype::I64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
        other => panic!("{name}: {other:?}"),
    };
    Rows { columns: *tensor.shape().last().unwrap(), values }
}

/// The outcome of one case and the names of the inputs whose gradients it holds; `None` for ops that are no loss.
fn outcome(
    op: &str,
    setting: &dyn Fn(&str) -> f64,
    input: &dyn Fn(&str) -> Rows,
) -> Option<(Outcome, Vec<&'static str>)> {
    let (z1, z2) = (|| input("z1"), || input("z2"));
    let both = || vec!["z1", "z2"];
    let rows = 1.0 / 16.0;
    Some(match op {
        "nt_xent" => (views_contrast(&z1(), &z2(), setting("temperature")), both()),
        "vicreg" => {
            let weights = ["sim_weight", "var_weight", "cov_weight"].map(setting);
            let (losses, d) = vicreg(&z1(), &z2(), weights);
            ((losses.iter().zip(weights).map(|(l, w)| l * w).sum(), d), both())
        }
        "barlow_twins" => (barlow(&z1(), &z2(), setting("lamb"), setting("scale")), both()),
        "byol" => (line(&z1(), &z2(), [2.0, -2.0, rows]), vec!["z1"]),
        "simsiam" => (line(&z1(), &z2(), [0.0, -1.0, rows]), vec!["z1"]),
        "mse" => (squares(&z1(), &z2()), vec!["z1"]),
        "info_nce_queue" => (
            queue_contrast(&input("query"), &input("key"), &input("queue"), setting("temperature")),
            vec!["query"],
        ),
        "contrastive_distill" => (
            teacher_contrast(
                [&input("p1"), &input("p2")],
                [&input("t1"), &input("t2")],
                setting("temperature"),
            ),
            vec!["p1", "p2"],
        ),
        "soft_label_distill" => (teacher_labels(&input("logits"), &input("teacher_logits")), vec!["logits"]),
        "cross_entropy" => {
            #[expect(clippy::cast_possible_truncation, reason = "labels are small integers")]
            let labels: Vec<_> = input("labels").values.iter().map(|label| *label as i32).collect();
            (hard_labels(&input("logits"), &labels), vec!["logits"])
        }
        "mlp" | "optimizer" | "kaizen_step" => return None,
        other => panic!("unknown op `{other}`"),
    })
}

/// The worst difference beyond 1e-9 of the value plus 1e-11.
fn excess(got: &[f64], want: &[f64]) -> Option<String> {
    assert_eq!(got.len(), want.len());
    let off = |(g, w): (&f64, &f64)| {
        ((g - w).abs() > 1e-9 * w.abs() + 1e-11 || g.is_nan()).then(|| format!("{g} for {w}"))
    };
    got.iter().zip(want).find_map(off)
}

#[test]
fn losses_and_gradients_meet_the_golden_vectors() {
    let folder = std::env::var_os("KAIZEN_GOLDEN_DIR").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden"),
        Into::into,
    );
    let mut met = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "safetensors") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let (settings, file) =
            (header.metadata().clone().unwrap(), SafeTensors::deserialize(&bytes).unwrap());
        let setting = |name: &str| settings[name].parse().unwrap();
        let input = |name: &str| read(&file, &format!("input.{name}"));
        let Some(((loss, gradients), names)) = outcome(&settings["op"], &setting, &input) else {
            continue;
        };
        let case = path.display();
        assert_eq!(excess(&[loss], &read(&file, "expected.loss").values), None, "{case}: loss");
        assert_eq!(gradients.len(), names.len());
        for (gradient, name) in gradients.iter().zip(names) {
            let want = read(&file, &format!("grad.{name}"));
            assert_eq!(excess(&gradient.values, &want.values), None, "{case}: {name}");
            let flipped: Vec<_> = gradient.values.iter().map(|v| -v).collect();
            assert!(excess(&flipped, &want.values).is_some(), "{case}: a wrong sign must be seen");
        }
        met.push(settings["op"].clone());
    }
    met.sort();
    met.dedup();
    assert_eq!(met.len(), 10, "{met:?}");
}

type Wave = fn(f64) -> f64;

/// `wave(start + step i + j)` for `rows` rows of `columns`.
fn waves(wave: Wave, start: f64, step: f64, [rows, columns]: [usize; 2]) -> Rows {
    let at = |i: usize| start + step * (i / columns) as f64 + (i % columns) as f64;
    Rows { columns, values: (0..rows * columns).map(|i| wave(at(i))).collect() }
}

/// z1, z2, p1, p2, f1, f2.
fn small_waves() -> [Rows; 6] {
    let view = |wave: Wave, start: f64| waves(wave, start, 3.0, [4, 3]);
    let (sin, cos): (Wave, Wave) = (f64::sin, f64::cos);
    [(sin, 1.0), (sin, 1.3), (sin, 0.7), (sin, 0.9), (cos, 0.5), (cos, 0.8)]
        .map(|(wave, start)| view(wave, start))
}

#[track_caller]
fn assert_known(known: &[(&str, f64, f64)]) {
    for (what, got, want) in known {
        assert!((got - want).abs() < 1e-6, "{what}: {got} for {want}");
    }
}

fn sum(a: &Outcome, b: &Outcome) -> f64 {
    a.0 + b.0
}

#[test]
fn contrastive_and_predictive_losses_of_small_waves_are_known() {
    let [z1, z2, p1, p2, f1, f2] = small_waves();
    // The queue is written as 3 x 5 with unit columns; here its rows are those columns.
    let across = waves(f64::sin, 2.0, 5.0, [3, 5]).values;
    let queue = z1.with((0..15).map(|i| across[i % 3 * 5 + i / 3]).collect()).unit().0;
    let byol = |p: &Rows, z: &Rows| line(p, z, [2.0, -2.0, 0.25]);
    let simsiam = |p: &Rows, z: &Rows| line(p, z, [0.0, -1.0, 0.125]);
    let moco = |q: &Rows, key: &Rows| queue_contrast(q, key, &queue, 0.2);
    let contrastive = teacher_contrast([&p1, &p2], [&f1, &f2], 0.2).0;
    assert_known(&[
        ("byol", sum(&byol(&p1, &z2), &byol(&p2, &z1)), 0.328_633),
        ("simsiam", sum(&simsiam(&p1, &z2), &simsiam(&p2, &z1)), -0.917_842),
        ("predictive", sum(&byol(&p1, &f1), &byol(&p2, &f2)) / 2.0, 1.689_988),
        ("nt_xent 0.1", views_contrast(&z1, &z2, 0.1).0, 1.066_184),
        ("nt_xent 0.2", views_contrast(&z1, &z2, 0.2).0, 1.066_285),
        ("contrastive", contrastive, 2.234_392),
        ("info_nce", sum(&moco(&p1, &z2), &moco(&p2, &z1)) / 2.0, 0.847_030),
    ]);
}

#[test]
fn decorrelating_and_classifier_losses_of_small_waves_are_known() {
    let [z1, z2, p1, p2, f1, f2] = small_waves();
    let ([pairs, spread, covariance], _) = vicreg(&z1, &z2, [25.0, 25.0, 1.0]);
    let twins = |a: &Rows, b: &Rows| barlow(a, b, 5e-3, 0.1);
    let logits = |wave: Wave, start: f64| waves(wave, start, 4.0, [4, 4]);
    let [l1, l2] = [1.0, 1.3].map(|start| logits(f64::sin, start));
    let [o1, o2] = [1.0, 1.3].map(|start| logits(f64::cos, start));
    let hard = |labels: &[i32]| sum(&hard_labels(&l1, labels), &hard_labels(&l2, labels));
    let soft = sum(&teacher_labels(&l1, &o1), &teacher_labels(&l2, &o2)) / 2.0;
    assert_known(&[
        ("vicreg mse", pairs, 0.042_901),
        ("vicreg variance", spread, 0.530_454),
        ("vicreg covariance", covariance, 1.393_666),
        ("vicreg", 25.0 * (pairs + spread) + covariance, 15.727_533),
        ("mse", sum(&squares(&p1, &f1), &squares(&p2, &f2)) / 2.0, 0.846_308),
        ("barlow", twins(&z1, &z2).0, 0.013_022),
        ("decorrelative", sum(&twins(&p1, &f1), &twins(&p2, &f2)) / 2.0, 0.438_530),
        ("cross-entropy", hard(&[0, 1, 2, 3]), 3.611_380),
        ("cross-entropy, two labelled", hard(&[0, -1, 2, -1]), 2.961_203),
        ("soft labels", soft, 1.517_214),
    ]);
}
