//! Horizontal bars from zero, as a table whose middle column is drawn by the style sheet.

use super::colours::Colours;
use super::markup::escape;
use super::table::Cell;
use super::unit::Unit;

/// One bar.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// The name before the bar.
    pub name: String,
    /// Length of the bar in the section's unit; a value that is not finite is shown as "–".
    pub value: f64,
    /// Half-width of the whisker (such as a standard deviation over seeds), in the same unit.
    pub spread: Option<f64>,
}

impl Bar {
    /// Where bar and whisker end; zero where there is no finite number.
    fn ends(&self) -> [f64; 3] {
        let value = if self.value.is_finite() { self.value } else { 0.0 };
        let spread = self.spread.filter(|spread| spread.is_finite()).map_or(0.0, f64::abs);
        [value, value - spread, value + spread]
    }
}

/// The table.
pub(super) fn html(unit: Unit, bars: &[Bar], label: &str, colours: &Colours) -> String {
    if bars.is_empty() {
        return "<p class=\"note\">No data yet.</p>".to_owned();
    }
    let low = bars.iter().flat_map(Bar::ends).fold(0.0, f64::min);
    let high = bars.iter().flat_map(Bar::ends).fold(low + f64::MIN_POSITIVE, f64::max);
    let stretch = |from: f64, to: f64| {
        let place = |value: f64| 100.0 * (value - low) / (high - low);
        format!("left:{:.2}%;width:{:.2}%", place(from), place(to) - place(from))
    };
    let mut out = format!("<table class=\"bars\" aria-label=\"{}\"><tbody>", escape(label));
    for bar in bars {
        let [value, from, to] = bar.ends();
        let whisker =
            if from < to { format!("<b style=\"{}\"></b>", stretch(from, to)) } else { String::new() };
        let figure = Cell::Figure { value: bar.value, spread: bar.spread, unit };
        out.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td class=\"track\"><i class=\"c{}\" style=\"{}\"></i>{whisker}</td><td class=\"n\">{}</td></tr>",
            escape(&bar.name),
            colours.hue(&bar.name),
            stretch(value.min(0.0), value.max(0.0)),
            escape(&figure.text())
        ));
    }
    out.push_str("</tbody></table>");
    out
}
