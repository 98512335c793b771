//! One colour a name across the page.

use super::{Report, Section};

/// The number of colours `--c0`, `--c1`, … of the style sheet.
const HUES: usize = 7;
/// The marks that tell lines of one colour apart.
const MARKS: [char; 4] = ['●', '■', '▲', '◆'];

/// Names with their positions, from which colour and mark follow.
pub(super) struct Colours(Vec<(String, usize)>);

impl Colours {
    /// The colours of every chart: a name that an earlier chart showed keeps its position, a new
    /// one takes the first that its own chart has free.
    pub(super) fn of(report: &Report) -> Self {
        let mut colours = Self(Vec::new());
        for (_, section) in &report.sections {
            let Section::Curves(curves) = section else {
                continue;
            };
            let known = curves.series.iter().filter_map(|line| colours.find(&line.name));
            let mut taken: Vec<usize> = known.collect();
            for line in &curves.series {
                if colours.find(&line.name).is_none() {
                    let free = (0..).find(|position| !taken.contains(position)).unwrap_or(0);
                    taken.push(free);
                    colours.0.push((line.name.clone(), free));
                }
            }
        }
        colours
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, position)| *position)
    }

    /// The number of the colour of `name`; names without a curve share the first.
    pub(super) fn hue(&self, name: &str) -> usize {
        self.find(name).unwrap_or(0) % HUES
    }

    /// The mark of `name`.
    pub(super) fn mark(&self, name: &str) -> char {
        MARKS[self.find(name).unwrap_or(0) % MARKS.len()]
    }
}
