//! Which backbone made the stored features, kept in `meta`.

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Outcome};
use super::seal;

const FORMAT: &str = "kaizen-state";

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
}

impl FeatureIdentity {
    fn pairs(&self) -> [(&'static str, String); 5] {
        [
            ("backbone_name", self.backbone_name.clone()),
            ("backbone_sha256", self.backbone_sha256.clone()),
            ("feature_width", self.feature_width.to_string()),
            ("feature_class", self.feature_class.clone()),
            ("preprocessing", self.preprocessing.clone()),
        ]
    }

    /// Refuses, saying what to do, unless `asked` makes the same features as this one.
    pub(super) fn require(&self, asked: &Self) -> Outcome<()> {
        let sentence = if self.backbone_name != asked.backbone_name {
            format!(
                "it was made with backbone `{}`, not `{}`: choose that backbone, or start a new state file",
                self.backbone_name, asked.backbone_name
            )
        } else if self.backbone_sha256 != asked.backbone_sha256 {
            format!(
                "it was made with another file of backbone `{}` (sha256 {}, now {}): put that file back, \
                 or start a new state file",
                self.backbone_name, self.backbone_sha256, asked.backbone_sha256
            )
        } else if self.feature_width != asked.feature_width {
            format!(
                "it holds features of width {}, and the backbone gives {}: choose the output used before, \
                 or start a new state file",
                self.feature_width, asked.feature_width
            )
        } else if self.feature_class != asked.feature_class {
            format!(
                "it holds features of class `{}`, and the provider gives `{}`: choose the provider and \
                 precision used before, or start a new state file",
                self.feature_class, asked.feature_class
            )
        } else if self.preprocessing != asked.preprocessing {
            format!(
                "its images were prepared by `{}`, and now by `{}`: choose the preprocessing used before, \
                 or start a new state file",
                self.preprocessing, asked.preprocessing
            )
        } else {
            return Ok(());
        };
        Err(Fault::Refused(sentence))
    }
}

/// Writes the identity of a new state file.
pub(super) fn write(connection: &Connection, identity: &FeatureIdentity, created_millis: i64) -> Outcome<()> {
    let mut pairs = identity.pairs().to_vec();
    pairs.push(("format", FORMAT.to_owned()));
    pairs.push(("created_millis", created_millis.to_string()));
    for (key, value) in &pairs {
        let row = [ValueRef::Text(key.as_bytes()), ValueRef::Text(value.as_bytes())];
        seal::insert(connection, &seal::META, &row, &[])?;
    }
    Ok(())
}

/// Reads and verifies the identity of a state file.
pub(super) fn read(connection: &Connection) -> Outcome<FeatureIdentity> {
    if let Some(row) = seal::damaged(connection, &seal::META)?.1.first() {
        return Err(Fault::Refused(format!("row {row} of `meta` is damaged: put back a copy of the file")));
    }
    let value = |key: &str| -> Outcome<String> {
        let found = connection.query_row("SELECT value FROM meta WHERE key=?1", [key], |row| row.get(0));
        found.map_err(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => {
                Fault::Refused(format!("`meta` lacks `{key}`: put back a copy of the file"))
            }
            other => Fault::Sql(other),
        })
    };
    if value("format")? != FORMAT {
        return Err(Fault::Refused("it is not a state of kaizen: name another file".to_owned()));
    }
    let width = value("feature_width")?;
    Ok(FeatureIdentity {
        backbone_name: value("backbone_name")?,
        backbone_sha256: value("backbone_sha256")?,
        feature_width: width
            .parse()
            .map_err(|_| Fault::Refused(format!("feature width `{width}` is no number: put back a copy")))?,
        feature_class: value("feature_class")?,
        preprocessing: value("preprocessing")?,
    })
}
