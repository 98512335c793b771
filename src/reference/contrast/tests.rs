use super::*;
use crate::reference::testing::{check, disagreement, values};

const NT_XENT: NtXent = NtXent { decoupled: false, scale: 0.125, weight: 2.0 };
const INFO_NCE: InfoNce = InfoNce {
    rows: 4,
    columns: 3,
    negatives: 5,
    row_shift: 2,
    inverse_temperature: 5.0,
    scale: 0.25,
    weight: 3.0,
};
const VARIANCE: Variance =
    Variance { rows: 8, columns: 3, groups: 2, loss_scale: 0.5, weight: 2.0, target_std: 1.0, eps: 1e-4 };
const CORRELATION: Correlation =
    Correlation { diagonal_target: 1.0, diagonal_scale: 0.1, off_scale: 0.005, weight: 3.0 };

fn total(loss: &[f64]) -> f64 {
    loss.iter().sum()
}

fn pairs(half: usize, settings: &NtXent, s: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut loss, mut s) = (vec![9.0; 2 * half], s.to_vec());
    nt_xent(half, settings, &mut loss, &mut s);
    (loss, s)
}

#[test]
fn nt_xent_gradient_agrees_with_differences() {
    let s: Vec<_> = values(1, 64).iter().map(|v| v * 5.0).collect();
    for decoupled in [false, true] {
        let settings = NtXent { decoupled, ..NT_XENT };
        let objective = |s: &[f64]| 2.0 * total(&pairs(4, &settings, s).0);
        let (_, d_s) = pairs(4, &settings, &s);
        check("d_s", &s, &d_s, objective);
        let other = NtXent { decoupled: !decoupled, ..NT_XENT };
        assert!(disagreement(&s, &pairs(4, &other, &s).1, objective).is_some());
        for (i, row) in d_s.chunks(8).enumerate() {
            assert!(total(row).abs() < 1e-15 && row[i] == 0.0);
        }
    }
}

#[test]
fn nt_xent_edges() {
    assert_eq!(pairs(1, &NT_XENT, &[3.0, 80.0, -80.0, 3.0]), (vec![0.0; 2], vec![0.0; 4]));
    let (loss, _) = pairs(3, &NT_XENT, &[80.0; 36]);
    assert!(loss.iter().all(|l| (l - 0.125 * 5.0_f64.ln()).abs() < 1e-14));
    let only_pair = NtXent { decoupled: true, ..NT_XENT };
    assert!(pairs(1, &only_pair, &[0.0; 4]).0.iter().all(|l| !l.is_finite()));
    for bad in [f64::NAN, f64::INFINITY] {
        let mut s = vec![0.0; 16];
        s[1] = bad;
        let (loss, d_s) = pairs(2, &NT_XENT, &s);
        assert!(!loss[0].is_finite() && d_s[..4].iter().any(|d| !d.is_finite()));
        assert!(loss[1..].iter().all(|l| l.is_finite()));
    }
}

fn queue(q: &[f64], key: &[f64], s: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mut loss, mut d_q, mut s) = (vec![9.0; 4], vec![9.0; 12], s.to_vec());
    info_nce(&INFO_NCE, q, key, &mut loss, &mut d_q, &mut s);
    (loss, d_q, s)
}

#[test]
fn info_nce_gradients_agree_with_differences() {
    let (q, key, s) = (values(2, 12), values(3, 12), values(4, 20));
    let (_, d_q, d_s) = queue(&q, &key, &s);
    check("d_q", &q, &d_q, |q| 3.0 * total(&queue(q, &key, &s).0));
    check("d_s", &s, &d_s, |s| 3.0 * total(&queue(&q, &key, s).0));
    let wrong = queue(&q, &q, &s).1;
    assert!(disagreement(&q, &wrong, |q| 3.0 * total(&queue(q, &key, &s).0)).is_some());
    let (loss, d_q, _) = queue(&[0.0; 12], &key, &[0.0; 20]);
    assert!(loss.iter().all(|l| (l - 0.25 * 6.0_f64.ln()).abs() < 1e-15));
    assert!(d_q.iter().all(|d| d.is_finite()));
    for bad in [f64::NAN, f64::INFINITY] {
        let mut s = s.clone();
        s[0] = bad;
        let (loss, d_q, d_s) = queue(&q, &key, &s);
        assert!(!loss[0].is_finite() && d_s[..5].iter().any(|d| !d.is_finite()));
        assert!(d_q[3..].iter().all(|d| d.is_finite()));
    }
}

fn square(s: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut by_row, mut by_column, mut loss, mut s) = ([0.0; 5], [0.0; 5], vec![9.0; 5], s.to_vec());
    row_lse([5, 5], &s, &mut by_row);
    column_lse([5, 5], &s, &mut by_column);
    symmetric(5, [0.1, 2.0], &by_row, &by_column, &mut loss, &mut s);
    (loss, s)
}

#[test]
fn symmetric_gradient_agrees_with_differences() {
    let s: Vec<_> = values(5, 25).iter().map(|v| v * 5.0).collect();
    let objective = |s: &[f64]| 2.0 * total(&square(s).0);
    let (loss, d_s) = square(&s);
    check("d_s", &s, &d_s, objective);
    let transposed: Vec<_> = (0..25).map(|i| d_s[i % 5 * 5 + i / 5]).collect();
    assert!(disagreement(&s, &transposed, objective).is_some());
    assert!(total(&d_s).abs() < 1e-14);
    let across: Vec<_> = (0..25).map(|i| s[i % 5 * 5 + i / 5]).collect();
    assert!((total(&square(&across).0) - total(&loss)).abs() < 1e-14);
    let (loss, _) = square(&[-80.0; 25]);
    assert!((total(&loss) - 5.0_f64.ln()).abs() < 1e-12);
    for bad in [f64::NAN, f64::INFINITY] {
        let mut s = s.clone();
        s[7] = bad;
        assert!(!total(&square(&s).0).is_finite());
    }
}

#[test]
fn log_sum_exp_by_columns_is_by_rows_of_the_transpose() {
    let (rows, columns) = (3, 67);
    let s = values(6, rows * columns);
    let across: Vec<_> = (0..rows * columns).map(|i| s[i % rows * columns + i / rows]).collect();
    let (mut by_column, mut by_row) = (vec![0.0; columns], vec![0.0; columns]);
    column_lse([rows, columns], &s, &mut by_column);
    row_lse([columns, rows], &across, &mut by_row);
    assert_eq!(by_column, by_row);
    assert!((by_row[66] - (s[66].exp() + s[133].exp() + s[200].exp()).ln()).abs() < 1e-14);
}

fn spread(settings: &Variance, z: &[f64]) -> [Vec<f64>; 3] {
    let (mut centred, mut loss) = (vec![9.0; z.len()], vec![9.0; settings.groups * settings.columns]);
    let mut d_z = vec![7.0; z.len()];
    variance(settings, z, &mut centred, &mut loss, &mut d_z);
    d_z.iter_mut().for_each(|d| *d -= 7.0);
    [centred, loss, d_z]
}

#[test]
fn variance_gradient_agrees_with_differences_on_both_sides_of_the_hinge() {
    let mut z = values(7, 24);
    z.iter_mut().step_by(3).for_each(|v| *v *= 10.0);
    let objective = |z: &[f64]| 2.0 * total(&spread(&VARIANCE, z)[1]);
    let [centred, loss, d_z] = spread(&VARIANCE, &z);
    check("d_z", &z, &d_z, objective);
    let one_group = Variance { groups: 1, ..VARIANCE };
    assert!(disagreement(&z, &spread(&one_group, &z)[2], objective).is_some());
    assert!(loss[0] == 0.0 && loss[1] > 0.0 && d_z[0] == 0.0);
    for group in centred.chunks(12) {
        for j in 0..3 {
            assert!(total(&group.iter().skip(j).step_by(3).copied().collect::<Vec<_>>()).abs() < 1e-12);
        }
    }
}

#[test]
fn variance_edges() {
    let [_, loss, d_z] = spread(&VARIANCE, &[4.0; 24]);
    assert!(loss.iter().all(|l| (l - 0.5 * (1.0 - 0.01)).abs() < 1e-12) && d_z == [0.0; 24]);
    let single = Variance { rows: 2, ..VARIANCE };
    assert!(spread(&single, &[1.0; 6])[1].iter().all(|l| l.is_nan()));
    for bad in [f64::NAN, f64::INFINITY] {
        let mut z = values(8, 24);
        z[0] = bad;
        let [centred, loss, d_z] = spread(&VARIANCE, &z);
        assert!(!loss[0].is_finite() && !centred[0].is_finite() && !d_z[0].is_finite());
        assert!(loss[1..].iter().all(|l| l.is_finite()));
    }
}

#[test]
fn correlation_gradient_agrees_with_differences() {
    let c = values(9, 25);
    let run = |c: &[f64], settings: &Correlation| {
        let (mut loss, mut c) = (vec![9.0; 5], c.to_vec());
        correlation(5, settings, &mut loss, &mut c);
        (loss, c)
    };
    let objective = |c: &[f64]| 3.0 * total(&run(c, &CORRELATION).0);
    check("d_c", &c, &run(&c, &CORRELATION).1, objective);
    let other = Correlation { diagonal_target: -1.0, ..CORRELATION };
    assert!(disagreement(&c, &run(&c, &other).1, objective).is_some());
    let identity: Vec<_> = (0..25).map(|i| if i % 6 == 0 { 1.0 } else { 0.0 }).collect();
    assert_eq!(run(&identity, &CORRELATION), (vec![0.0; 5], vec![0.0; 25]));
    for bad in [f64::NAN, f64::INFINITY] {
        for at in [0, 1] {
            let mut c = c.clone();
            c[at] = bad;
            let (loss, d_c) = run(&c, &CORRELATION);
            assert!(!loss[0].is_finite() && !d_c[at].is_finite());
        }
    }
}

#[test]
fn no_weight_means_no_gradient_and_the_same_loss() {
    let (s, q) = (values(10, 16), values(11, 12));
    let unweighted = NtXent { weight: 0.0, ..NT_XENT };
    let (loss, d_s) = pairs(2, &unweighted, &s);
    assert_eq!(loss, pairs(2, &NT_XENT, &s).0);
    assert!(d_s.iter().all(|d| *d == 0.0));
    let (mut loss, mut d_q, mut d_s) = (vec![0.0; 4], vec![9.0; 12], values(12, 20));
    let unweighted = InfoNce { weight: 0.0, ..INFO_NCE };
    info_nce(&unweighted, &q, &q, &mut loss, &mut d_q, &mut d_s);
    assert!(loss.iter().all(|l| *l > 0.0) && d_q.iter().chain(&d_s).all(|d| *d == 0.0));
    let unweighted = Variance { weight: 0.0, ..VARIANCE };
    let [_, loss, d_z] = spread(&unweighted, &values(13, 24));
    assert!(loss.iter().any(|l| *l > 0.0) && d_z.iter().all(|d| *d == 0.0));
    let (mut loss, mut c) = ([0.0; 4], s.clone());
    correlation(4, &Correlation { weight: 0.0, ..CORRELATION }, &mut loss, &mut c);
    assert!(loss.iter().all(|l| *l > 0.0) && c.iter().all(|d| *d == 0.0));
}

#[test]
fn swapped_views_give_swapped_losses() {
    let s = values(14, 16);
    let turned: Vec<_> = (0..16).map(|i| s[(i / 4 + 2) % 4 * 4 + (i % 4 + 2) % 4]).collect();
    let ((loss, _), (other, _)) = (pairs(2, &NT_XENT, &s), pairs(2, &NT_XENT, &turned));
    for i in 0..4 {
        assert!((loss[i] - other[(i + 2) % 4]).abs() < 1e-15);
    }
}
