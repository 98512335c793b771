//! One colour a name across the page.

use super::style::HUES;
use super::{Report, Section};

/// Names with their positions, from which hue, dash and marker follow.
pub(super) struct Palette(Vec<(String, usize)>);

impl Palette {
    /// Every chart's names: one that an earlier chart showed keeps its position, a new one takes the first that its
    /// own chart has free.
    pub(super) fn of(report: &Report) -> Self {
        let mut palette = Self(Vec::new());
        for section in &report.sections {
            let Section::Curves { series, .. } = section else {
                continue;
            };
            let mut taken: Vec<usize> = series.iter().filter_map(|line| palette.find(&line.name)).collect();
            for line in series {
                if palette.find(&line.name).is_none() {
                    let free = (0..).find(|position| !taken.contains(position)).unwrap_or(0);
                    taken.push(free);
                    palette.0.push((line.name.clone(), free));
                }
            }
        }
        palette
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, position)| *position)
    }

    /// Position of `name`; names without a curve share the first.
    pub(super) fn index(&self, name: &str) -> usize {
        self.find(name).unwrap_or(0)
    }

    /// CSS class that sets the colour of `name`; hues repeat after [`HUES`], dashes and markers then differ.
    pub(super) fn class(&self, name: &str) -> String {
        format!("c{}", self.index(name) % HUES)
    }
}
