//! Line charts with a legend in the order of the lines' ends.

use plotters::prelude::{
    ChartBuilder, Color as _, DrawingAreaErrorKind, EmptyElement, IntoDrawingArea as _, IntoFont as _,
    LineSeries, Polygon, RGBColor, SVGBackend, TRANSPARENT,
};

use super::colours::Colours;
use super::markup::{escape, one_line};
use super::table::{self, Cell, Column, Table};
use super::unit::Unit;

/// Size of the drawing. Its library knows whole pixels only, so it is larger than it is shown.
const SIZE: (u32, u32) = (1600, 1120);
const FONT: u32 = 52;
/// Marks of one line, at most; on longer lines they are spread out.
const MARKS: usize = 12;
/// The numbers of a chart with more points are summarised.
const FEW_POINTS: usize = 30;
/// Larger numbers overflow when scaled and count as not finite.
const LARGEST: f64 = 1e150;

/// A point `(x, y)` of a line.
type Point = (f64, f64);
type Drawn = Result<String, DrawingAreaErrorKind<std::io::Error>>;

/// Lines over common axes.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// What the horizontal axis counts.
    pub x_label: String,
    /// What the vertical axis measures.
    pub y_label: String,
    /// Unit of the vertical axis.
    pub unit: Unit,
    /// The lines.
    pub series: Vec<Series>,
    /// The vertical range to show at least, (low, high); it grows until every point is inside.
    pub y_range: Option<(f64, f64)>,
}

/// One line of [`Curves`].
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Name in the legend; lines and bars of one name share a colour across the page.
    pub name: String,
    /// Points `(x, y)` in drawing order; a point that is not finite leaves a gap.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    fn finite(&self) -> impl Iterator<Item = Point> + '_ {
        self.points.iter().copied().filter(is_finite)
    }

    fn last(&self) -> Option<f64> {
        self.finite().last().map(|(_, y)| y)
    }
}

fn is_finite(point: &Point) -> bool {
    point.0.abs() < LARGEST && point.1.abs() < LARGEST
}

/// Smallest and largest of `values`, widened where they are equal; `None` without values.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let is_flat = high - low <= 1e-12 * high.abs().max(low.abs());
    let pad = if is_flat { (high.abs() * 0.1).max(0.5) } else { 0.0 };
    (low <= high).then_some((low - pad, high + pad))
}

/// The figure: drawing, legend, lines without data, folded table.
pub(super) fn html(curves: &Curves, title: &str, colours: &Colours) -> String {
    let (mut lines, missing): (Vec<&Series>, Vec<&Series>) =
        curves.series.iter().partition(|line| line.last().is_some());
    let points = || lines.iter().flat_map(|line| line.finite());
    let wanted = curves.y_range.filter(is_finite).into_iter().flat_map(|(low, high)| [low, high]);
    let (Some(x), Some(y)) = (span(points().map(|p| p.0)), span(points().map(|p| p.1).chain(wanted))) else {
        return "<p class=\"note\">No data yet.</p>".to_owned();
    };
    let drawing = draw(curves, &lines, x, y, colours).unwrap_or_else(|error| error.to_string());
    let drawing = drawing.split_once('>').map_or(drawing.as_str(), |(_, inside)| inside);
    let mut out = format!(
        "<p class=\"axis\">{}</p><div class=\"figure\"><svg class=\"chart\" role=\"img\" aria-label=\"{}: {} lines\" viewBox=\"0 0 {} {}\">{drawing}<ul class=\"legend\">",
        escape(&curves.y_label),
        escape(title),
        lines.len(),
        SIZE.0,
        SIZE.1
    );
    let numbers = numbers(curves, &lines);
    lines.sort_by(|a, b| b.last().unwrap_or(0.0).total_cmp(&a.last().unwrap_or(0.0)));
    for line in lines {
        out.push_str(&format!(
            "<li class=\"c{}\"><i>{}</i> {} <b>{}</b></li>",
            colours.hue(&line.name),
            colours.mark(&line.name),
            escape(&line.name),
            curves.unit.format(line.last().unwrap_or(f64::NAN))
        ));
    }
    out.push_str("</ul></div>");
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|line| escape(&line.name)).collect();
        out.push_str(&format!("<p class=\"note\">No data: {}</p>", names.join(", ")));
    }
    out + &format!("<details><summary>Numbers</summary>{}</details>", table::html(&numbers, title, false))
}

/// The drawing, whose colours are variables of the style sheet.
fn draw(curves: &Curves, lines: &[&Series], x: Point, y: Point, colours: &Colours) -> Drawn {
    let mut svg = String::new();
    // Red stands for the variables of lines, green for those of the axes, until they are named.
    let hue = |line: &Series| RGBColor(u8::try_from(colours.hue(&line.name)).unwrap_or(0), 0, 1);
    let (soft, rule) = (RGBColor(0, 1, 0), RGBColor(0, 2, 0));
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(FONT / 2)
            .margin_right(FONT)
            .x_label_area_size(2 * FONT + FONT / 2)
            .y_label_area_size(3 * FONT)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        let is_whole = lines.iter().flat_map(|line| line.finite()).all(|(x, _)| x.fract() == 0.0);
        let x_tick =
            |x: &f64| if is_whole && x.fract() != 0.0 { String::new() } else { Unit::Number.tick(*x) };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .set_all_tick_mark_size(FONT / 3)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&x_tick)
            .y_label_formatter(&|y| curves.unit.tick(*y))
            .x_desc(one_line(&curves.x_label))
            .label_style(("sans-serif", FONT).into_font().color(&soft))
            .axis_style(soft)
            .bold_line_style(rule.stroke_width(3))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for line in lines {
            let style = hue(line).stroke_width(8);
            for run in line.points.split(|point| !is_finite(point)) {
                chart.draw_series(LineSeries::new(thin(run, x), style))?;
            }
            let every = line.finite().count().div_ceil(MARKS);
            let offsets = mark(colours.mark(&line.name));
            let marks = line.finite().step_by(every);
            chart.draw_series(
                marks.map(|at| EmptyElement::at(at) + Polygon::new(offsets.clone(), style.filled())),
            )?;
        }
        area.present()?;
    }
    for hue in 0..16 {
        svg = svg.replace(&format!("\"#{hue:02X}0001\""), &format!("\"var(--c{hue})\""));
    }
    Ok(svg.replace("\"#000100\"", "\"var(--soft)\"").replace("\"#000200\"", "\"var(--rule)\""))
}

/// The outline of a mark around its point, in pixels.
fn mark(mark: char) -> Vec<(i32, i32)> {
    match mark {
        '■' => vec![(-15, -15), (15, -15), (15, 15), (-15, 15)],
        '▲' => vec![(0, -20), (19, 15), (-19, 15)],
        '◆' => vec![(0, -21), (21, 0), (0, 21), (-21, 0)],
        _ => vec![(-7, -17), (7, -17), (17, -7), (17, 7), (7, 17), (-7, 17), (-17, 7), (-17, -7)],
    }
}

/// First, lowest, highest and last point of each pixel column: looks the same and stays small.
fn thin(points: &[Point], x: Point) -> Vec<Point> {
    let column = |point: &Point| ((point.0 - x.0) / (x.1 - x.0) * f64::from(SIZE.0) / 4.0).floor();
    let mut out = Vec::new();
    for column in points.chunk_by(|a, b| column(a) == column(b)) {
        let by_height = |&a: &usize, &b: &usize| column[a].1.total_cmp(&column[b].1);
        let extremes = [(0..column.len()).min_by(by_height), (0..column.len()).max_by(by_height)];
        let mut keep = vec![0, column.len() - 1];
        keep.extend(extremes.into_iter().flatten());
        keep.sort_unstable();
        keep.dedup();
        out.extend(keep.into_iter().map(|at| column[at]));
    }
    out
}

/// All points by x where they are few, else first, last, lowest and highest of each line.
fn numbers(curves: &Curves, lines: &[&Series]) -> Table {
    let cell = |value: Option<f64>| Cell::figure(value.unwrap_or(f64::NAN), curves.unit);
    let mut xs: Vec<f64> = lines.iter().flat_map(|line| line.finite().map(|(x, _)| x)).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    if xs.len() <= FEW_POINTS {
        let names = lines.iter().map(|line| line.name.as_str());
        let columns = std::iter::once(curves.x_label.as_str()).chain(names).map(Column::plain).collect();
        let at =
            |line: &Series, x: f64| line.finite().filter(|point| point.0 == x).last().map(|point| point.1);
        let row = |&x: &f64| {
            let values = lines.iter().map(|line| cell(at(line, x)));
            std::iter::once(Cell::figure(x, Unit::Number)).chain(values).collect()
        };
        return Table { columns, rows: xs.iter().map(row).collect(), caption: String::new() };
    }
    let columns = ["line", "points", "first", "last", "lowest", "highest"].map(Column::plain).into();
    let row = |line: &&Series| {
        let ys: Vec<f64> = line.finite().map(|(_, y)| y).collect();
        let fold = |pick: fn(f64, f64) -> f64| cell(ys.iter().copied().reduce(pick));
        let count = Cell::Words(ys.len().to_string());
        let [first, last] = [cell(ys.first().copied()), cell(ys.last().copied())];
        vec![line.name.as_str().into(), count, first, last, fold(f64::min), fold(f64::max)]
    };
    Table { columns, rows: lines.iter().map(row).collect(), caption: String::new() }
}
