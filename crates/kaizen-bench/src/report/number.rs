//! How figures are written, read back from cells and placed on an axis.

/// What stands for a figure that does not exist.
pub(super) const MISSING: &str = "–";

/// Unit of the numbers of a figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Fractions, written as percent with one decimal: 0.5 is "50.0%".
    Percent,
    /// Plain numbers, three to four significant digits.
    #[default]
    Number,
    /// Seconds, written as µs, ms, s, min or h.
    Seconds,
    /// Bytes, written in decimal multiples.
    Bytes,
}

/// `fraction` as percent with one decimal ("81.2%"); "–" if it is not finite.
pub fn percent(fraction: f64) -> String {
    Unit::Percent.format(fraction)
}

/// `value` with `decimals`, a true minus sign and no negative zero.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

impl Unit {
    /// `value` as text with its unit; "–" if it is not finite.
    pub fn format(self, value: f64) -> String {
        if !value.is_finite() {
            return MISSING.to_owned();
        }
        let size = value.abs();
        match self {
            Self::Percent => format!("{}%", fixed(value * 100.0, 1)),
            Self::Number => significant(value),
            Self::Seconds => match size {
                _ if size == 0.0 => "0 s".to_owned(),
                ..1e-3 => format!("{} µs", significant(value * 1e6)),
                ..1.0 => format!("{} ms", significant(value * 1e3)),
                ..120.0 => format!("{} s", significant(value)),
                ..7200.0 => format!("{} min", significant(value / 60.0)),
                _ => format!("{} h", significant(value / 3600.0)),
            },
            Self::Bytes => match size {
                ..1e3 => format!("{} B", fixed(value, 0)),
                ..1e6 => format!("{} kB", significant(value / 1e3)),
                ..1e9 => format!("{} MB", significant(value / 1e6)),
                _ => format!("{} GB", significant(value / 1e9)),
            },
        }
    }

    /// `value` as the label of an axis whose ticks are `step` apart.
    pub(super) fn tick(self, value: f64, step: f64) -> String {
        match self {
            Self::Percent => format!("{}%", fixed(value * 100.0, decimals_of(step * 100.0))),
            Self::Number if value.abs() < 1e7 && step >= 1e-6 => fixed(value, decimals_of(step)),
            _ => self.format(value),
        }
    }
}

fn significant(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 => "0".to_owned(),
        ..1e-3 => format!("{value:.1e}").replace('-', "−"),
        ..1.0 => fixed(value, 3),
        ..10.0 => fixed(value, 2),
        ..100.0 => fixed(value, 1),
        ..1e9 => fixed(value, 0),
        _ => format!("{value:.2e}").replace('-', "−"),
    }
}

/// A position on a horizontal axis: whole numbers without decimals.
pub(super) fn position(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e9 { fixed(x, 0) } else { Unit::Number.format(x) }
}

/// Decimals that tell multiples of `step` apart.
fn decimals_of(step: f64) -> usize {
    let whole = |scaled: f64| (scaled - scaled.round()).abs() < 1e-6;
    (0..6u8).find(|&d| whole(step * 10f64.powi(i32::from(d)))).map_or(6, usize::from)
}

/// Multiples of a round step that cover `low..=high` (finite, low < high) with about `count` intervals; ends included.
pub(super) fn ticks(low: f64, high: f64, count: u32) -> Vec<f64> {
    let rough = (high - low) / f64::from(count.max(1));
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|&s| s >= rough * 0.999)
        .unwrap_or(rough);
    let first = (low / step + 1e-9).floor();
    let last = (high / step - 1e-9).ceil();
    let mut at = first;
    let mut out = Vec::new();
    while at <= last && out.len() < 64 {
        out.push(at * step);
        at += 1.0;
    }
    out
}

/// A cell that starts with a number: the number in a base unit, and the unit it can be compared in.
pub(super) fn measured(cell: &str) -> Option<(f64, String)> {
    let cell = cell.trim().replace('−', "-");
    let end =
        cell.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-' | 'e' | 'E')).unwrap_or(cell.len());
    let (end, value) =
        (1..=end).rev().find_map(|end| cell[..end].parse::<f64>().ok().map(|value| (end, value)))?;
    let rest = &cell[end..];
    if rest.starts_with(['-', '.', ':', '/', '+']) {
        return None;
    }
    let unit = rest.split(['±', '(']).next().unwrap_or_default().trim();
    let (scale, base) = match unit {
        "B" => (1.0, "B"),
        "kB" => (1e3, "B"),
        "MB" => (1e6, "B"),
        "GB" => (1e9, "B"),
        "KiB" => (1024.0, "B"),
        "MiB" => (1_048_576.0, "B"),
        "GiB" => (1_073_741_824.0, "B"),
        "ns" => (1e-9, "s"),
        "µs" => (1e-6, "s"),
        "ms" => (1e-3, "s"),
        "s" => (1.0, "s"),
        "min" => (60.0, "s"),
        "h" => (3600.0, "s"),
        other => (1.0, other),
    };
    Some((value * scale, base.to_owned()))
}
