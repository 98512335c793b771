//! Horizontal bars from zero.

use super::markup::{escape, one_line, shorten, text_width};
use super::number::Unit;
use super::palette::Palette;
use super::{Bar, Column, table};

const WIDTH: f64 = 500.0;
const ROW: f64 = 46.0;
const THICK: f64 = 15.0;

/// Text beside a bar.
fn label(bar: &Bar, unit: Unit) -> String {
    match bar.spread.filter(|spread| spread.is_finite() && bar.value.is_finite()) {
        Some(spread) => format!("{} ± {}", unit.format(bar.value), unit.format(spread).trim_end_matches('%')),
        None => unit.format(bar.value),
    }
}

fn reach(bar: &Bar) -> (f64, f64) {
    let spread = bar.spread.filter(|spread| spread.is_finite()).unwrap_or(0.0).abs();
    if bar.value.is_finite() { (bar.value - spread, bar.value + spread) } else { (0.0, 0.0) }
}

/// Where values land in the drawing.
struct Scale {
    low: f64,
    span: f64,
    width: f64,
}

impl Scale {
    fn of(bars: &[Bar], unit: Unit) -> Self {
        let low = bars.iter().map(|bar| reach(bar).0).fold(0.0, f64::min);
        let high = bars.iter().map(|bar| reach(bar).1).fold(0.0, f64::max);
        let margin = bars.iter().map(|bar| text_width(&label(bar, unit), 15.0)).fold(0.0, f64::max);
        Self { low, span: if high > low { high - low } else { 1.0 }, width: WIDTH - margin - 18.0 }
    }

    fn px(&self, value: f64) -> f64 {
        2.0 + (value - self.low) / self.span * self.width
    }
}

/// The figure: drawing and folded table.
#[expect(clippy::cast_precision_loss, reason = "a chart has far fewer than 2^52 bars")]
pub(super) fn html(title: &str, unit: Unit, bars: &[Bar], palette: &Palette) -> String {
    if bars.is_empty() {
        return "<p class=\"note\">No data yet.</p>".to_owned();
    }
    let scale = Scale::of(bars, unit);
    let height = (bars.len() as f64).mul_add(ROW, 4.0);
    let mut out = format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{}: {} bars\" viewBox=\"0 0 {WIDTH} {height:.0}\">",
        escape(title),
        bars.len()
    );
    for (i, bar) in bars.iter().enumerate() {
        draw(&mut out, bar, unit, &scale, (i as f64).mul_add(ROW, 22.0), &palette.class(&bar.name));
    }
    out.push_str("</svg>");
    let rows: Vec<Vec<String>> = bars.iter().map(|bar| vec![bar.name.clone(), label(bar, unit)]).collect();
    out.push_str(&table::details(&[Column::plain("name"), Column::plain("value")], &rows, title));
    out
}

/// One bar whose upper edge is at `y`, its name above and its value behind it.
fn draw(out: &mut String, bar: &Bar, unit: Unit, scale: &Scale, y: f64, class: &str) {
    out.push_str(&format!(
        "<text class=\"end\" x=\"2\" y=\"{:.1}\">{}</text>",
        y - 6.0,
        escape(&shorten(&one_line(&bar.name), 50))
    ));
    let mut end = scale.px(0.0);
    if bar.value.is_finite() {
        let (from, to) = (scale.px(bar.value.min(0.0)), scale.px(bar.value.max(0.0)));
        out.push_str(&format!(
            "<rect class=\"bar {class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{THICK}\" rx=\"3\"/>",
            to - from
        ));
        end = to;
    }
    let (from, to) = reach(bar);
    if bar.spread.is_some() && to > from {
        let (left, right, middle) = (scale.px(from), scale.px(to), y + THICK / 2.0);
        end = end.max(right);
        out.push_str(&format!(
            "<path class=\"whisker\" d=\"M{left:.1} {middle:.1}H{right:.1}m0 -4v8M{left:.1} {:.1}v8\"/>",
            middle - 4.0
        ));
    }
    out.push_str(&format!(
        "<text class=\"end val\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        end + 9.0,
        y + 12.5,
        label(bar, unit)
    ));
}
