//! Line charts, labelled at the line's end.

use super::markup::{escape, one_line, shorten, text_width};
use super::number::{Unit, position, ticks};
use super::palette::Palette;
use super::{Column, Series, table};

const WIDTH: f64 = 500.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// Distance between two end labels, and the font size that margins are planned for (the largest in the sheet).
const LABEL_STEP: f64 = 19.0;
const LABEL_FONT: f64 = 15.0;
const LABEL_COLUMNS: usize = 18;
/// Lines with more points than this carry no markers, and their numbers are summarised.
const FEW_POINTS: usize = 30;
/// Lines with more points than this are thin and without dashes, which noise would hide.
const MANY_POINTS: usize = 300;
/// Larger numbers overflow when scaled and count as not finite.
const LARGEST: f64 = 1e150;
const DASHES: [&str; 5] = ["", "8 4", "2 4", "10 4 2 4", "5 3"];

/// Everything of a chart but its heading.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    pub(super) unit: Unit,
    pub(super) series: &'a [Series],
    pub(super) y_range: Option<(f64, f64)>,
}

/// Where data lands in the drawing.
struct Plane {
    left: f64,
    right: f64,
    bottom: f64,
    height: f64,
    x: (f64, f64),
    y_ticks: Vec<f64>,
}

impl Plane {
    fn px(&self, x: f64) -> f64 {
        self.left + (x - self.x.0) / (self.x.1 - self.x.0) * (self.right - self.left)
    }

    fn py(&self, y: f64) -> f64 {
        let (low, high) = (self.y_ticks[0], self.y_ticks[self.y_ticks.len() - 1]);
        self.bottom - (y - low) / (high - low) * (self.bottom - TOP)
    }
}

fn is_finite(point: &(f64, f64)) -> bool {
    point.0.abs() < LARGEST && point.1.abs() < LARGEST
}

fn finite(series: &Series) -> impl Iterator<Item = (f64, f64)> + '_ {
    series.points.iter().copied().filter(is_finite)
}

/// Smallest and largest of `values`, widened where they are equal; `None` without values.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return None;
    }
    let pad = if high - low > 1e-12 * high.abs().max(low.abs()) { 0.0 } else { (high.abs() * 0.1).max(0.5) };
    Some((low - pad, high + pad))
}

/// The figure: drawing, notes on lines without data, folded table.
pub(super) fn html(chart: &Chart<'_>, palette: &Palette) -> String {
    let drawn: Vec<&Series> = chart.series.iter().filter(|line| finite(line).next().is_some()).collect();
    let missing: Vec<String> = chart
        .series
        .iter()
        .filter(|line| finite(line).next().is_none())
        .map(|line| escape(&line.name))
        .collect();
    let Some(plane) = plane(chart, &drawn) else {
        return "<p class=\"note\">No data yet.</p>".to_owned();
    };
    let mut out = format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{}: {} over {}, {} lines\" viewBox=\"0 0 {WIDTH} {:.0}\">",
        escape(chart.title),
        escape(chart.y_label),
        escape(chart.x_label),
        drawn.len(),
        plane.height
    );
    axes(&mut out, chart, &plane, &drawn);
    for line in &drawn {
        draw(&mut out, line, &plane, palette, chart.unit);
    }
    end_labels(&mut out, &drawn, &plane, palette, chart.unit);
    out.push_str("</svg>");
    if !missing.is_empty() {
        out.push_str(&format!("<p class=\"note\">No data: {}</p>", missing.join(", ")));
    }
    out.push_str(&numbers(chart, &drawn));
    out
}

/// Text at the end of a line: (name, last value).
fn end_label(line: &Series, unit: Unit) -> (String, String) {
    let last = finite(line).last().map_or(f64::NAN, |(_, y)| y);
    (shorten(&one_line(&line.name), LABEL_COLUMNS), unit.format(last))
}

#[expect(clippy::cast_precision_loss, reason = "a chart has far fewer than 2^52 lines")]
fn plane(chart: &Chart<'_>, drawn: &[&Series]) -> Option<Plane> {
    let x = span(drawn.iter().flat_map(|line| finite(line).map(|(x, _)| x)))?;
    let wanted = chart.y_range.filter(is_finite);
    let ends = wanted.into_iter().flat_map(|(low, high)| [low, high]);
    let y = span(drawn.iter().flat_map(|line| finite(line).map(|(_, y)| y)).chain(ends))?;
    let y_ticks = ticks(y.0, y.1, 5);
    let step = y_ticks.get(1)? - y_ticks[0];
    let widest =
        y_ticks.iter().map(|&tick| text_width(&chart.unit.tick(tick, step), LABEL_FONT)).fold(0.0, f64::max);
    let margin = drawn
        .iter()
        .map(|line| end_label(line, chart.unit))
        .map(|(name, value)| text_width(&format!("{name} {value}"), LABEL_FONT))
        .fold(0.0, f64::max);
    let height = (drawn.len() as f64).mul_add(LABEL_STEP, TOP + BOTTOM).max(310.0);
    Some(Plane {
        left: widest + 12.0,
        right: WIDTH - margin - 18.0,
        bottom: height - BOTTOM,
        height,
        x,
        y_ticks,
    })
}

/// Round numbers inside the horizontal range; the points themselves where they are few and whole.
fn x_ticks(plane: &Plane, drawn: &[&Series]) -> Vec<f64> {
    let mut whole: Vec<f64> = drawn.iter().flat_map(|line| finite(line).map(|(x, _)| x)).collect();
    whole.sort_by(f64::total_cmp);
    whole.dedup();
    if whole.len() <= 10 && whole.iter().all(|x| x.fract() == 0.0) {
        return whole;
    }
    let slack = (plane.x.1 - plane.x.0) * 1e-9;
    let inside = |x: &f64| *x >= plane.x.0 - slack && *x <= plane.x.1 + slack;
    ticks(plane.x.0, plane.x.1, 5).into_iter().filter(inside).collect()
}

fn axes(out: &mut String, chart: &Chart<'_>, plane: &Plane, drawn: &[&Series]) {
    let (left, right) = (plane.left, plane.right);
    let step = plane.y_ticks[1] - plane.y_ticks[0];
    for (i, &tick) in plane.y_ticks.iter().enumerate() {
        let y = plane.py(tick);
        let class = if i == 0 { "axis" } else { "grid" };
        out.push_str(&format!(
            "<path class=\"{class}\" d=\"M{left:.1} {y:.1}H{right:.1}\"/><text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left - 8.0,
            y + 4.5,
            escape(&chart.unit.tick(tick, step))
        ));
    }
    let xs = x_ticks(plane, drawn);
    let x_step = xs.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let x_step = if x_step.is_finite() { x_step } else { 1.0 };
    for tick in xs {
        let x = plane.px(tick);
        out.push_str(&format!(
            "<path class=\"axis\" d=\"M{x:.1} {:.1}v5\"/><text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            plane.bottom,
            plane.bottom + 20.0,
            Unit::Number.tick(tick, x_step)
        ));
    }
    out.push_str(&format!(
        "<text class=\"lab\" x=\"2\" y=\"14\">{}</text><text class=\"lab\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        escape(chart.y_label),
        f64::midpoint(left, right),
        plane.height - 6.0,
        escape(chart.x_label)
    ));
}

fn draw(out: &mut String, line: &Series, plane: &Plane, palette: &Palette, unit: Unit) {
    let index = palette.index(&line.name);
    let class = palette.class(&line.name);
    let count = finite(line).count();
    let dash = match DASHES[index % DASHES.len()] {
        _ if count > MANY_POINTS => " stroke-width=\"1.3\"".to_owned(),
        "" => " stroke-width=\"2.4\"".to_owned(),
        dash => format!(" stroke-width=\"2.4\" stroke-dasharray=\"{dash}\""),
    };
    let mut path = String::new();
    for run in line.points.split(|point| !is_finite(point)) {
        let pixels: Vec<(f64, f64)> = run.iter().map(|&(x, y)| (plane.px(x), plane.py(y))).collect();
        for (i, (x, y)) in thin(&pixels).into_iter().enumerate() {
            path.push_str(&format!("{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' }));
        }
    }
    out.push_str(&format!("<path class=\"line {class}\"{dash} d=\"{path}\"/>"));
    if count > FEW_POINTS {
        return;
    }
    for (x, y) in finite(line) {
        out.push_str(&format!(
            "<path class=\"dot {class}\" d=\"{}\"><title>{}, {}: {}</title></path>",
            marker(index, plane.px(x), plane.py(y)),
            escape(&line.name),
            position(x),
            unit.format(y)
        ));
    }
}

/// First, lowest, highest and last point of each pixel column: looks the same and stays small.
fn thin(pixels: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    for column in pixels.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let extreme = |pick: fn(&f64, &f64) -> std::cmp::Ordering| {
            (0..column.len()).max_by(|&a, &b| pick(&column[a].1, &column[b].1)).unwrap_or(0)
        };
        let mut keep = [0, extreme(f64::total_cmp), extreme(|a, b| b.total_cmp(a)), column.len() - 1];
        keep.sort_unstable();
        for (i, &k) in keep.iter().enumerate() {
            if i == 0 || keep[i - 1] != k {
                out.push(column[k]);
            }
        }
    }
    out
}

/// Outline of the marker of line `index`: circle, square, triangle, diamond, in turn.
fn marker(index: usize, x: f64, y: f64) -> String {
    match index % 4 {
        0 => format!("M{:.1} {y:.1}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z", x - 4.5),
        1 => format!("M{:.1} {:.1}h8v8h-8z", x - 4.0, y - 4.0),
        2 => format!("M{x:.1} {:.1}l5 9h-10z", y - 5.5),
        _ => format!("M{x:.1} {:.1}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", y - 5.5),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a chart has far fewer than 2^52 lines")]
fn end_labels(out: &mut String, drawn: &[&Series], plane: &Plane, palette: &Palette, unit: Unit) {
    let mut ends: Vec<(f64, f64, &Series)> = drawn
        .iter()
        .filter_map(|line| finite(line).last().map(|(x, y)| (plane.px(x), plane.py(y), *line)))
        .collect();
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut places: Vec<f64> = Vec::with_capacity(ends.len());
    for (_, y, _) in &ends {
        let free = places.last().map_or(f64::NEG_INFINITY, |above| above + LABEL_STEP);
        places.push(y.max(free));
    }
    let count = places.len();
    for (i, place) in places.iter_mut().enumerate() {
        let below = (count - 1 - i) as f64;
        *place = place.min(below.mul_add(-LABEL_STEP, plane.bottom));
    }
    for ((x, y, line), place) in ends.into_iter().zip(places) {
        let (name, value) = end_label(line, unit);
        let class = palette.class(&line.name);
        let start = plane.right + 16.0;
        if (place - y).abs() > 3.0 || plane.right - x > 1.0 {
            out.push_str(&format!(
                "<path class=\"lead {class}\" d=\"M{:.1} {y:.1}L{:.1} {place:.1}\"/>",
                x + 6.0,
                start - 3.0
            ));
        }
        out.push_str(&format!(
            "<text class=\"end\" x=\"{start:.1}\" y=\"{:.1}\"><tspan class=\"{class}\">{}</tspan> <tspan class=\"val\">{}</tspan></text>",
            place + 5.0,
            escape(&name),
            escape(&value)
        ));
    }
}

/// All points by x where they are few, else first, last, lowest and highest of each line.
fn numbers(chart: &Chart<'_>, drawn: &[&Series]) -> String {
    let mut xs: Vec<f64> = drawn.iter().flat_map(|line| finite(line).map(|(x, _)| x)).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let unit = chart.unit;
    if xs.len() <= FEW_POINTS {
        let mut columns = vec![Column::plain(chart.x_label)];
        columns.extend(drawn.iter().map(|line| Column::plain(line.name.clone())));
        let value = |line: &Series, x: f64| {
            finite(line).filter(|point| point.0 == x).last().map_or(f64::NAN, |point| point.1)
        };
        let rows: Vec<Vec<String>> = xs
            .iter()
            .map(|&x| {
                let cells = drawn.iter().map(|line| unit.format(value(line, x)));
                std::iter::once(position(x)).chain(cells).collect()
            })
            .collect();
        return table::details(&columns, &rows, chart.title);
    }
    let columns = ["line", "points", "first", "last", "lowest", "highest"].map(Column::plain);
    let rows: Vec<Vec<String>> = drawn
        .iter()
        .map(|line| {
            let ys: Vec<f64> = finite(line).map(|(_, y)| y).collect();
            let fold = |pick: fn(f64, f64) -> f64| ys.iter().copied().reduce(pick).unwrap_or(f64::NAN);
            let figures =
                [fold(|a, _| a), fold(|_, b| b), fold(f64::min), fold(f64::max)].map(|y| unit.format(y));
            [line.name.clone(), ys.len().to_string()].into_iter().chain(figures).collect()
        })
        .collect();
    table::details(&columns, &rows, chart.title)
}
