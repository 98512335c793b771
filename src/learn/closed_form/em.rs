//! Semi-supervised discriminant analysis: expectation-maximisation over unlabelled rows.

use super::class_sums::ClassSums;
use super::features::{FeatureMap, RowSet};
use super::head::softmax_rows;
use super::lda::{LdaModel, LdaSettings};
use super::moments::Moments;
use super::responsibilities::Responsibilities;
use crate::error::{Error, Result};
use crate::ids::ClassId;

/// Rounds of expectation and maximisation.
const ROUNDS: usize = 4;
/// Shrinkage of the shared covariance while responsibilities are being found.
const SHRINKAGE: f64 = 0.6;

/// Returns the shares [N, K] of unlabelled rows h `open` [N, D] in the K classes of the labelled
/// rows h `known` [M, D], `labels` `[M]`, in ascending order of the classes. A row sums to 1; an
/// outlier's row is zero.
///
/// This is expectation-maximisation for a mixture of Gaussians in equal proportions with one shared
/// covariance, a component per class, the labelled rows fixed in their classes (Nigam et al., 2000,
/// for this mixture). An unlabelled row that is, before any round, farther from every class than
/// the quantile `outlier_quantile` (0..=1) of the labelled rows from their own is an outlier;
/// `None` keeps every row.
///
/// # Errors
/// As [`FeatureMap::apply`]; [`Error::Shape`] when rows and labels differ in number;
/// [`Error::Config`] for a quantile outside 0..=1; [`Error::NotReady`] without labelled rows.
pub(super) fn responsibilities(
    map: &FeatureMap,
    outlier_quantile: Option<f64>,
    known: RowSet<'_>,
    labels: &[ClassId],
    open: RowSet<'_>,
) -> Result<Vec<f32>> {
    let width = map.width();
    let settings = LdaSettings { shrinkage: SHRINKAGE };
    let mut moments = Moments::new(width);
    moments.add(map, known, Responsibilities::Labels(labels))?;
    let labelled_sums = moments.sums.clone();
    let mut model = LdaModel::fit(map, &moments, settings)?;
    let outliers = match outlier_quantile {
        Some(quantile) => outliers(map, &model, quantile, known, labels, open)?,
        None => vec![false; map.check(open)?],
    };
    // Kept rows weigh 1 in every round, so the second moment is the same in all of them.
    let kept: Vec<f64> = outliers.iter().map(|&outlier| f64::from(u8::from(!outlier))).collect();
    map.for_each_block(open, |rows, mapped| {
        moments.gram.add(mapped, &kept[rows]);
        Ok(())
    })?;
    let mut shares = shares(map, &model, open, &outliers)?;
    for _ in 1..ROUNDS {
        moments.sums = labelled_sums.clone();
        let soft = Responsibilities::Soft { classes: &model.head.classes, shares: &shares };
        map.for_each_block(open, |rows, mapped| {
            moments.sums.add(&ClassSums::of_rows(width, mapped, soft.rows(rows))?);
            Ok(())
        })?;
        model = LdaModel::fit(map, &moments, settings)?;
        shares = self::shares(map, &model, open, &outliers)?;
    }
    Ok(shares)
}

/// Returns the class probabilities of each row [N, K], zero for outliers.
fn shares(map: &FeatureMap, model: &LdaModel, open: RowSet<'_>, outliers: &[bool]) -> Result<Vec<f32>> {
    let columns = model.head.classes.len();
    let mut shares = Vec::with_capacity(outliers.len() * columns);
    map.for_each_block(open, |_, mapped| {
        shares.extend(model.head.logits_of_mapped(mapped));
        Ok(())
    })?;
    softmax_rows(&mut shares, columns);
    for (row, _) in shares.chunks_exact_mut(columns).zip(outliers).filter(|(_, outlier)| **outlier) {
        row.fill(0.0);
    }
    Ok(shares)
}

/// Returns which rows are of higher novelty than the quantile of the labelled rows' own, each left
/// out ([`LdaModel::left_out_novelty`]). No row is an outlier while no class has two rows.
fn outliers(
    map: &FeatureMap,
    model: &LdaModel,
    quantile: f64,
    known: RowSet<'_>,
    labels: &[ClassId],
    open: RowSet<'_>,
) -> Result<Vec<bool>> {
    if !(0.0..=1.0).contains(&quantile) {
        return Err(Error::config("outlier_quantile", quantile, "0..=1"));
    }
    let rows = map.check(open)?;
    let mut own = Vec::with_capacity(labels.len());
    map.for_each_block(known, |rows, mapped| {
        own.extend(model.left_out_novelty_of_mapped(mapped, &labels[rows]));
        Ok(())
    })?;
    if own.is_empty() {
        return Ok(vec![false; rows]);
    }
    own.sort_by(f32::total_cmp);
    let threshold = own[quantile_rank(own.len(), quantile)];
    let mut outliers = Vec::with_capacity(rows);
    map.for_each_block(open, |_, mapped| {
        let novelty = model.geometry.novelty_of_mapped(mapped);
        outliers.extend(novelty.iter().map(|novelty| *novelty > threshold));
        Ok(())
    })?;
    Ok(outliers)
}

/// Returns the index of the `quantile` (0..=1) among `count` sorted values, rounded up; `count` is
/// 1 or more.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the result lies in 0..count"
)]
fn quantile_rank(count: usize, quantile: f64) -> usize {
    ((count - 1) as f64 * quantile).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::super::tests::clusters;
    use super::*;
    use crate::learn::closed_form::{FeatureTransform, StreamingLda};

    const DIM: usize = 10;

    fn map() -> FeatureMap {
        FeatureMap::new(DIM, FeatureTransform::None).unwrap()
    }

    fn responsibilities(
        quantile: Option<f64>,
        known: &[f32],
        labels: &[ClassId],
        open: &[f32],
    ) -> Result<Vec<f32>> {
        super::responsibilities(&map(), quantile, known.into(), labels, open.into())
    }

    fn right(named: &[ClassId], labels: &[ClassId]) -> usize {
        named.iter().zip(labels).filter(|(a, b)| a == b).count()
    }

    #[test]
    fn unlabelled_rows_improve_a_head_of_few_labels() {
        let (h, labels) = clusters(21, 5, 80, DIM, 1.1);
        let (known, rest) = h.split_at(10 * DIM);
        let shares = responsibilities(None, known, &labels[..10], rest).unwrap();
        let mut lda = StreamingLda::new(map());
        lda.add(known, Responsibilities::Labels(&labels[..10])).unwrap();
        let few = lda.fit(LdaSettings::default()).unwrap().head.predict(rest).unwrap();
        let classes: Vec<_> = (0..5).map(ClassId).collect();
        lda.add(rest, Responsibilities::Soft { classes: &classes, shares: &shares }).unwrap();
        let more = lda.fit(LdaSettings::default()).unwrap().head.predict(rest).unwrap();
        let (few, more) = (right(&few, &labels[10..]), right(&more, &labels[10..]));
        assert!(more > few + 10, "{few} without, {more} with unlabelled rows");
    }

    #[test]
    fn outliers_get_no_share_and_the_others_keep_theirs() {
        let (h, labels) = clusters(22, 4, 60, DIM, 0.3);
        let (known, rest) = h.split_at(40 * DIM);
        let far: Vec<f32> = clusters(99, 3, 10, DIM, 0.3).0.into_iter().map(|value| value + 4.0).collect();
        let mixed = [rest, &far].concat();
        let totals = |quantile| -> Vec<f32> {
            let shares = responsibilities(quantile, known, &labels[..40], &mixed).unwrap();
            shares.chunks_exact(4).map(|row| row.iter().sum()).collect()
        };
        let with_outliers = totals(Some(1.0));
        let (own, strange) = with_outliers.split_at(200);
        let outliers = |rows: &[f32]| rows.iter().filter(|total| **total == 0.0).count();
        assert!(outliers(strange) >= 29 && outliers(own) <= 20);
        let is_whole = |total: f32| (total - 1.0).abs() < 1e-5;
        assert!(with_outliers.iter().all(|&total| total == 0.0 || is_whole(total)));
        assert!(totals(None).into_iter().all(is_whole));
    }

    #[test]
    fn edges_are_handled_and_a_bad_quantile_is_refused() {
        let (h, labels) = clusters(24, 2, 2, DIM, 0.5);
        assert!(responsibilities(None, &h, &labels, &[]).unwrap().is_empty());
        assert_eq!(responsibilities(Some(0.9), &h[..DIM], &labels[..1], &h[..DIM]).unwrap(), [1.0]);
        assert!(matches!(responsibilities(None, &[], &[], &h), Err(Error::NotReady { .. })));
        assert!(matches!(responsibilities(None, &h, &labels[..1], &h), Err(Error::Shape { .. })));
        for bad in [-0.1, 1.5, f64::NAN] {
            assert!(matches!(responsibilities(Some(bad), &h, &labels, &h), Err(Error::Config { .. })));
        }
    }
}
