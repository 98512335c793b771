//! The format of heads and training states in the state file: its number, and which tensors may be
//! there. What a newer program wrote is refused by name, and never read in part.

use std::collections::BTreeMap;

use crate::heads::Architecture;
use crate::{Error, Result};

/// The format that this program writes, and the newest that it reads. States from before there was
/// a number have format 1.
const NEWEST: u32 = 1;
/// The key of the number in the metadata.
const KEY: &str = "format";

/// The entry of the metadata that tells the format.
pub(super) fn entry() -> (String, String) {
    (KEY.to_owned(), NEWEST.to_string())
}

/// Refuses `what` of a format that this program does not know.
pub(super) fn require(what: &str, metadata: &BTreeMap<String, String>) -> Result<()> {
    let stored = metadata.get(KEY).map_or("1", String::as_str);
    match stored.parse::<u32>() {
        Ok(1..=NEWEST) => Ok(()),
        Ok(_) | Err(_) => {
            let reason = format!("it has format {stored}, and this program knows formats up to {NEWEST}");
            Err(Error::refused(format!("reading {what}"), reason, "use a newer kaizen"))
        }
    }
}

/// Refuses `what` for the first tensor that it should not have.
pub(super) fn refuse_unknown<'a>(what: &str, mut unknown: impl Iterator<Item = &'a str>) -> Result<()> {
    unknown.next().map_or(Ok(()), |name| {
        let reason = format!("it has a tensor `{name}`, which this program does not know");
        Err(Error::refused(format!("reading {what}"), reason, "use the kaizen that wrote it, or a newer one"))
    })
}

/// Whether a trained head of these parts, or what its training keeps, has a tensor of this name.
pub(super) fn has(architecture: &Architecture, name: &str) -> bool {
    let online = name.strip_prefix("momentum.").unwrap_or(name);
    matches!(name, "queue.1" | "queue.2") || architecture.shape_of(online).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_tensors_of_a_newer_program_are_refused_by_name() {
        let of = |number: &str| BTreeMap::from([(KEY.to_owned(), number.to_owned())]);
        require("the heads", &BTreeMap::new()).unwrap();
        require("the heads", &BTreeMap::from([entry()])).unwrap();
        for newer in ["2", "0", "-1", "one", ""] {
            let refused = require("the heads", &of(newer)).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("format {newer}")) && refused.contains("the heads"),
                "{refused}"
            );
        }
        refuse_unknown("the heads", std::iter::empty()).unwrap();
        let refused = refuse_unknown("the heads", ["gate.weight"].into_iter()).unwrap_err().to_string();
        assert!(refused.contains("`gate.weight`"), "{refused}");
    }
}
