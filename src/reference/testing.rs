//! Central differences in `f64` against the hand-derived backward passes.

use crate::rng::Rng;

/// Checks `d_x`, the claimed gradient of `loss` at `x`: some coordinates and one random direction.
/// Returns the first disagreement.
pub(crate) fn disagreement(x: &[f64], d_x: &[f64], mut loss: impl FnMut(&[f64]) -> f64) -> Option<String> {
    assert_eq!(x.len(), d_x.len());
    let mut rng = Rng::new(11, 3);
    let mut probe = x.to_vec();
    let scale = d_x.iter().fold(1e-3_f64, |m, v| m.max(v.abs()));
    let tolerance = |size: f64| 1e-7 + 1e-5 * size;
    for _ in 0..x.len().min(24) {
        let i = rng.below(x.len());
        let h = 1e-5 * x[i].abs().max(1.0);
        probe[i] = x[i] + h;
        let up = loss(&probe);
        probe[i] = x[i] - h;
        let down = loss(&probe);
        probe[i] = x[i];
        let numeric = (up - down) / (2.0 * h);
        if (numeric - d_x[i]).abs() > tolerance(scale) || !numeric.is_finite() {
            return Some(format!("coordinate {i}: derived {}, numeric {numeric}", d_x[i]));
        }
    }
    let direction: Vec<f64> = x.iter().map(|_| f64::from(rng.normal())).collect();
    let h = 1e-6;
    let at = |sign: f64| x.iter().zip(&direction).map(|(a, d)| a + sign * h * d).collect::<Vec<_>>();
    let numeric = (loss(&at(1.0)) - loss(&at(-1.0))) / (2.0 * h);
    let derived: f64 = d_x.iter().zip(&direction).map(|(g, d)| g * d).sum();
    let size = d_x.iter().zip(&direction).map(|(g, d)| (g * d).abs()).sum::<f64>();
    ((numeric - derived).abs() > tolerance(size))
        .then(|| format!("direction: derived {derived}, numeric {numeric}"))
}

/// Fails where [`disagreement`] finds one.
#[track_caller]
pub(crate) fn check(what: &str, x: &[f64], d_x: &[f64], loss: impl FnMut(&[f64]) -> f64) {
    if let Some(line) = disagreement(x, d_x, loss) {
        panic!("{what}: {line}");
    }
}

/// Seeded values in -1..1.
pub(crate) fn values(seed: u64, len: usize) -> Vec<f64> {
    let mut rng = Rng::new(seed, 1);
    (0..len).map(|_| f64::from(rng.between(-1.0, 1.0))).collect()
}

#[test]
fn the_check_sees_a_wrong_sign_and_a_swapped_index() {
    let x = values(1, 4);
    let loss = |x: &[f64]| x[0] * x[0] + 3.0 * x[1] * x[2] + x[3];
    let right = [2.0 * x[0], 3.0 * x[2], 3.0 * x[1], 1.0];
    assert_eq!(disagreement(&x, &right, loss), None);
    assert!(disagreement(&x, &[-right[0], right[1], right[2], right[3]], loss).is_some());
    assert!(disagreement(&x, &[right[0], right[2], right[1], right[3]], loss).is_some());
}
