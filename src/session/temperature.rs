//! The temperature of a head's probabilities.

/// Temperature under which the logits' probabilities fit the labels best (Guo et al. 2017), by
/// golden section on the logarithm between 1/64 and 64. 1 without rows. The targets are (n + 1) /
/// (n + 2) for the true class of each of n rows and the rest for the others (Platt 1999): a handful
/// of rows that are all right is no proof of certainty.
pub(super) fn fit_temperature(logits: &[f32], columns: usize, truth: &[usize]) -> f32 {
    if truth.is_empty() || columns < 2 {
        return 1.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "counts of rows and classes")]
    let (rows, others) = (truth.len() as f64, (columns - 1) as f64);
    let rest = 1.0 / (rows + 2.0);
    let loss = |log: f64| -> f64 {
        #[allow(clippy::cast_possible_truncation, reason = "a temperature needs no more digits")]
        let inverse = (-log).exp() as f32;
        let rows = logits.chunks(columns).zip(truth);
        rows.map(|(row, &class)| {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let scaled = |v: f32| f64::from((v - top) * inverse);
            let sum: f64 = row.iter().map(|&v| scaled(v).exp()).sum();
            let all: f64 = row.iter().map(|&v| scaled(v)).sum();
            let own = scaled(row[class]);
            sum.ln() - (1.0 - rest) * own - rest / others * (all - own)
        })
        .sum()
    };
    let (mut low, mut high) = (-(64.0_f64.ln()), 64.0_f64.ln());
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    for _ in 0..40 {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        if loss(a) < loss(b) { high = b } else { low = a }
    }
    #[allow(clippy::cast_possible_truncation, reason = "a temperature needs no more digits")]
    let temperature = f64::midpoint(low, high).exp() as f32;
    temperature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_recovers_the_scale_of_overconfident_logits() {
        // Two classes, right three times of four: the probability that fits is 3/4, a logit
        // difference of ln 3.
        let logits = [10.0, 0.0].repeat(40_000);
        let temperature = fit_temperature(&logits, 2, &[0, 0, 0, 1].repeat(10_000));
        assert!((10.0 / temperature - 3.0_f32.ln()).abs() < 1e-3, "{temperature}");
        assert!((fit_temperature(&[], 2, &[]) - 1.0).abs() < f32::EPSILON);
    }
    #[test]
    fn a_handful_of_right_answers_is_no_proof_of_certainty() {
        let temperature = fit_temperature(&[3.0, 0.0, 0.0, 3.0, 2.0, 0.0], 2, &[0, 1, 0]);
        let probability = 1.0 / (1.0 + (-3.0 / temperature).exp());
        assert!((0.75..0.95).contains(&probability), "{probability}");
    }
}
