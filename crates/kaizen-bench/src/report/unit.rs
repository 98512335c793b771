//! How figures are written.

use plotters::data::float::FloatPrettyPrinter;

/// What stands for a figure that does not exist.
pub(super) const MISSING: &str = "–";

/// How the numbers of a figure are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Fractions, written as percent with one decimal: 0.5 is "50.0%".
    Percent,
    /// Plain numbers with three to four significant digits.
    #[default]
    Number,
    /// Plain numbers with this many decimals.
    Decimals(u8),
    /// Differences with a sign and one decimal: 0.5 is "+0.5".
    Change,
}

/// `fraction` as percent with one decimal ("81.2%"); "–" if it is not finite.
#[must_use]
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
    /// `value` as text; "–" if it is not finite.
    pub(super) fn format(self, value: f64) -> String {
        if !value.is_finite() {
            return MISSING.to_owned();
        }
        match self {
            Self::Percent => format!("{}%", fixed(value * 100.0, 1)),
            Self::Number => significant(value),
            Self::Decimals(decimals) => fixed(value, decimals.into()),
            Self::Change if value >= 0.0 => format!("+{}", fixed(value, 1)),
            Self::Change => fixed(value, 1),
        }
    }

    /// `value` as the label of an axis.
    pub(super) fn tick(self, value: f64) -> String {
        let printer = FloatPrettyPrinter { allow_scientific: false, min_decimal: 0, max_decimal: 6 };
        match self {
            Self::Percent => format!("{}%", printer.print(100.0 * value)),
            Self::Number | Self::Decimals(_) | Self::Change => printer.print(value),
        }
        .replace('-', "−")
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
