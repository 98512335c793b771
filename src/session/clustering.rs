//! Average-link clustering of unit rows by cosine, in two passes: rows join small groups as they
//! come, then the groups are merged, nearest first. A group is kept as the sum of its rows, since
//! the mean cosine between two groups of unit rows is the product of their sums over the product of
//! their sizes.

/// Most groups of the first pass. Beyond them each further row joins the nearest group.
const MOST_GROUPS: usize = 512;

/// The mean cosine from which on rows belong together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Thresholds {
    /// For a row and a group, in the first pass.
    pub(super) join: f32,
    /// For two groups, in the second pass.
    pub(super) merge: f32,
}

/// A group of rows and the sum of them.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Indices of its rows, ascending.
    pub(super) rows: Vec<usize>,
    /// Sum of its rows, `[D]`.
    pub(super) sum: Vec<f32>,
}

impl Group {
    /// Mean cosine of a row of the group with another one; 1 for a single row.
    #[allow(clippy::cast_precision_loss, reason = "counts of rows")]
    pub(super) fn cohesion(&self) -> f32 {
        let count = self.rows.len() as f32;
        if self.rows.len() < 2 { 1.0 } else { (dot(&self.sum, &self.sum) - count) / (count * (count - 1.0)) }
    }

    /// The row nearest to the mean of all; the first of equals.
    pub(super) fn middle(&self, rows: &[f32]) -> usize {
        let width = self.sum.len();
        let mut best = (0, f32::NEG_INFINITY);
        for &row in &self.rows {
            let value = dot(&rows[row * width..][..width], &self.sum);
            if value > best.1 {
                best = (row, value);
            }
        }
        best.0
    }
}

/// Groups of unit rows `[N, width]`, the largest first; among equals the one with the earliest row
/// first. The cost is at most N · `MOST_GROUPS` · width, and the cube of `MOST_GROUPS`.
pub(super) fn cluster(rows: &[f32], width: usize, thresholds: Thresholds) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, row) in rows.chunks_exact(width).enumerate() {
        let mut best = (0, f32::NEG_INFINITY);
        for (at, group) in groups.iter().enumerate() {
            let value = dot(row, &group.sum) / size(group);
            if value > best.1 {
                best = (at, value);
            }
        }
        if best.1 >= thresholds.join || groups.len() == MOST_GROUPS {
            let group = &mut groups[best.0];
            group.rows.push(index);
            group.sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        } else {
            groups.push(Group { rows: vec![index], sum: row.to_vec() });
        }
    }
    merge(&mut groups, thresholds.merge);
    groups.iter_mut().for_each(|group| group.rows.sort_unstable());
    groups.sort_by_key(|group| (std::cmp::Reverse(group.rows.len()), group.rows[0]));
    groups
}

fn merge(groups: &mut Vec<Group>, threshold: f32) {
    // products[a][b], b < a: product of the sums.
    let mut products: Vec<Vec<f32>> =
        (0..groups.len()).map(|a| (0..a).map(|b| dot(&groups[a].sum, &groups[b].sum)).collect()).collect();
    loop {
        let mut best = (0, 0, f32::NEG_INFINITY);
        for (a, row) in products.iter().enumerate() {
            for (b, product) in row.iter().enumerate() {
                let value = product / (size(&groups[a]) * size(&groups[b]));
                if value > best.2 {
                    best = (a, b, value);
                }
            }
        }
        let (gone, into, value) = best;
        if gone == into || value < threshold {
            return;
        }
        for other in (0..groups.len()).filter(|&other| other != gone && other != into) {
            let at = |a: usize, b: usize| if a > b { (a, b) } else { (b, a) };
            let (from, to) = (at(gone, other), at(into, other));
            products[to.0][to.1] += products[from.0][from.1];
        }
        products.remove(gone);
        for row in products.iter_mut().skip(gone) {
            row.remove(gone);
        }
        let Group { rows, sum } = groups.remove(gone);
        groups[into].rows.extend(rows);
        groups[into].sum.iter_mut().zip(sum).for_each(|(mine, value)| *mine += value);
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of rows")]
fn size(group: &Group) -> f32 {
    group.rows.len() as f32
}

/// Product of two rows, summed in eight lanes.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in left.zip(right) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Scales a row to unit length; a zero row stays zero.
pub(super) fn normalize(row: &mut [f32]) {
    let norm = dot(row, row).sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|value| *value /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const WIDTH: usize = 20;

    fn rows(middles: usize, count: usize, noise: f32, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed, 0);
        let middles: Vec<Vec<f32>> =
            (0..middles).map(|_| (0..WIDTH).map(|_| rng.normal()).collect()).collect();
        let mut rows = Vec::new();
        for index in 0..count {
            let middle = &middles[index % middles.len()];
            let mut row: Vec<f32> = middle.iter().map(|value| value + noise * rng.normal()).collect();
            normalize(&mut row);
            rows.extend(row);
        }
        rows
    }

    #[test]
    fn rows_about_three_middles_become_three_groups() {
        let rows = rows(3, 90, 0.3, 1);
        let groups = cluster(&rows, WIDTH, Thresholds { join: 0.95, merge: 0.6 });
        assert_eq!(groups.iter().map(|group| group.rows.len()).collect::<Vec<_>>(), [30, 30, 30]);
        for group in &groups {
            assert!(group.rows.iter().all(|row| row % 3 == group.rows[0] % 3));
            assert!(group.cohesion() > 0.8 && group.rows.contains(&group.middle(&rows)));
        }
        // The control: the same rows without a threshold are one group, and rows of noise do not
        // come together.
        assert_eq!(cluster(&rows, WIDTH, Thresholds { join: 0.95, merge: -1.0 }).len(), 1);
        let noise = self::rows(90, 90, 0.0, 2);
        assert!(cluster(&noise, WIDTH, Thresholds { join: 0.95, merge: 0.6 }).len() > 60);
    }

    #[test]
    fn merged_products_are_those_of_the_merged_sums() {
        let rows = rows(4, 40, 0.8, 3);
        for group in cluster(&rows, WIDTH, Thresholds { join: 0.99, merge: 0.3 }) {
            let mut sum = [0.0; WIDTH];
            for &row in &group.rows {
                sum.iter_mut().zip(&rows[row * WIDTH..]).for_each(|(sum, value)| *sum += value);
            }
            assert!(sum.iter().zip(&group.sum).all(|(a, b)| (a - b).abs() < 1e-4));
            let pairs = group.rows.iter().flat_map(|&a| group.rows.iter().map(move |&b| (a, b)));
            let cosines: Vec<f32> = pairs
                .filter(|(a, b)| a != b)
                .map(|(a, b)| dot(&rows[a * WIDTH..][..WIDTH], &rows[b * WIDTH..][..WIDTH]))
                .collect();
            if !cosines.is_empty() {
                let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
                assert!((mean - group.cohesion()).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn more_rows_apart_than_groups_are_still_all_there() {
        let rows = rows(700, 700, 0.0, 4);
        let groups = cluster(&rows, WIDTH, Thresholds { join: 2.0, merge: 2.0 });
        assert_eq!(groups.len(), MOST_GROUPS);
        assert_eq!(groups.iter().map(|group| group.rows.len()).sum::<usize>(), 700);
        assert!(cluster(&[], WIDTH, Thresholds { join: 0.9, merge: 0.5 }).is_empty());
    }
}
