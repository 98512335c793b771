//! The identity of the backbone that made the stored features. The table `meta` keeps it.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Outcome};
use super::{query, seal};

const FORMAT: &str = "kaizen-state";
/// The key of `meta` that tells where the backbone is cut.
const CUT: &str = "cut";
/// The class of features that are computed in single precision everywhere.
const UNROUNDED: &str = "fp32";
/// The keys of `meta` in the order of [`FeatureIdentity::values`], each with what a difference
/// means and what to do about it.
const PARTS: [[&str; 3]; 5] = [
    ["backbone_name", "it was made with backbone", "choose that backbone"],
    [
        "backbone_sha256",
        "it was made with another file of the backbone: its SHA-256 was",
        "put that file back",
    ],
    ["feature_width", "it holds features of width", "choose the output used before"],
    ["feature_class", "it holds features of class", "choose the provider and precision used before"],
    ["preprocessing", "its images were prepared by", "choose the preprocessing used before"],
];

/// Everything that must be the same for two feature vectors to be comparable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureIdentity {
    /// Name of the backbone, as in the model manifest.
    pub backbone_name: String,
    /// SHA-256 of its ONNX file, in hexadecimal.
    pub backbone_sha256: String,
    /// Features per sample, D.
    pub feature_width: usize,
    /// Precision and provider class, for instance `fp32` or `int8-tensorrt`.
    pub feature_class: String,
    /// Size, resize rule, mean and scale in one line of text.
    pub preprocessing: String,
    /// Where the backbone is cut, with the shape of its latents; `None` for features of the whole
    /// backbone.
    pub cut: Option<String>,
}

impl FeatureIdentity {
    fn values(&self) -> [String; 5] {
        let Self { backbone_name, backbone_sha256, feature_width, feature_class, preprocessing, cut: _ } =
            self.clone();
        [backbone_name, backbone_sha256, feature_width.to_string(), feature_class, preprocessing]
    }

    /// Refuses, and says what to do, unless `asked` makes the same features as this one.
    pub(super) fn require(&self, asked: &Self) -> Outcome<()> {
        let values = self.values().into_iter().zip(asked.values());
        match PARTS.iter().zip(values).find(|(_, (held, asked))| held != asked) {
            None => self.require_cut(asked),
            Some(([_, what, way_out], (held, asked))) => Err(Fault::Unusable(format!(
                "{what} `{held}`, and now it is `{asked}`: {way_out}, or start a new state file"
            ))),
        }
    }
}

impl FeatureIdentity {
    /// Whether a cut backbone makes the features that the whole one makes, up to rounding: not
    /// where the trunk computes in another precision than the tail.
    #[must_use]
    pub fn may_be_cut(&self) -> bool {
        self.cut.is_some() || self.feature_class == UNROUNDED
    }

    fn require_cut(&self, asked: &Self) -> Outcome<()> {
        let refuse = |reason: String| Err(Fault::Unusable(reason));
        match (&self.cut, &asked.cut) {
            (None, None) => Ok(()),
            (Some(held), Some(asked)) if held == asked => Ok(()),
            (None, Some(_)) if self.may_be_cut() => Ok(()),
            (None, Some(cut)) => refuse(format!(
                "it holds `{}` features of the whole backbone, and now it is cut behind `{cut}`: \
                 `kaizen rebase` goes over to the latents there",
                self.feature_class
            )),
            (Some(cut), Some(asked)) => refuse(format!(
                "it holds latents at `{cut}`, and now the backbone is cut at `{asked}`: put back the `cut` of the \
                 model's manifest entry, or go over by `kaizen rebase`"
            )),
            (Some(cut), None) => refuse(format!(
                "it holds latents at `{cut}`, and now the backbone is not cut: put back the `cut` of the model's \
                 manifest entry, or start a new state file"
            )),
        }
    }
}

/// Writes the cut into a state that had none.
pub(super) fn adopt_cut(connection: &Connection, cut: &str) -> Outcome<()> {
    seal::insert(connection, &seal::META, params![CUT, cut], &[])
}

/// Writes the identity of a new state file.
pub(super) fn write(connection: &Connection, identity: &FeatureIdentity, created_millis: i64) -> Outcome<()> {
    let more = [("format", FORMAT.to_owned()), ("created_millis", created_millis.to_string())];
    let parts = PARTS.iter().map(|[key, ..]| *key).zip(identity.values());
    let cut = identity.cut.clone().map(|cut| (CUT, cut));
    for (key, value) in parts.chain(more).chain(cut) {
        seal::insert(connection, &seal::META, params![key, value], &[])?;
    }
    Ok(())
}

/// Reads and verifies the identity of a state file.
pub(super) fn read(connection: &Connection) -> Outcome<FeatureIdentity> {
    if let Some(&row) = seal::damaged(connection, &seal::META)?.1.first() {
        return Err(Fault::damaged("meta", row));
    }
    let find = |key: &str| -> Outcome<Option<String>> {
        query::first(connection, "SELECT value FROM meta WHERE key=?1", [key], |row| Ok(row.get(0)?))
    };
    let value = |key: &str| find(key)?.ok_or_else(|| Fault::corrupt("`meta`", format!("it lacks `{key}`")));
    if value("format")? != FORMAT {
        return Err(Fault::Unusable("it is not a state of kaizen: name another file".to_owned()));
    }
    let width = value("feature_width")?;
    Ok(FeatureIdentity {
        backbone_name: value("backbone_name")?,
        backbone_sha256: value("backbone_sha256")?,
        feature_width: width
            .parse()
            .map_err(|_| Fault::corrupt("`meta`", format!("feature width `{width}` is no number")))?,
        feature_class: value("feature_class")?,
        preprocessing: value("preprocessing")?,
        cut: find(CUT)?,
    })
}
