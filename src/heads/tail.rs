//! The tail of a backbone: an extractor with its weights.

use std::collections::BTreeMap;

use super::extractor::Extractor;
use super::parameters::Parameters;
use super::prefixes::TAIL;
use crate::{Error, Result};

/// Key of the metadata that holds the extractor.
const EXTRACTOR: &str = "extractor";

/// A tail, from a latent to features `[D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// Its nodes.
    pub extractor: Extractor,
    /// Their weights.
    pub parameters: Parameters,
}

impl Tail {
    /// The tail with its weights rounded to half precision, in which [`Tail::store`] keeps them.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming a tensor that half precision cannot hold.
    pub fn rounded(&self) -> Result<Self> {
        let mut parameters = self.parameters.copied(&[TAIL], "");
        parameters.round_to_half();
        match parameters.first_non_finite() {
            Some(name) => Err(Error::NonFinite { term: format!("`{name}` in half precision"), step: 0 }),
            None => Ok(Self { extractor: self.extractor.clone(), parameters }),
        }
    }

    /// Adds the tail to what is stored of a head.
    ///
    /// # Errors
    /// [`Error::Refused`] if its nodes cannot be written.
    pub fn store(&self, parameters: &mut Parameters, metadata: &mut BTreeMap<String, String>) -> Result<()> {
        let nodes = serde_json::to_string(&self.extractor)
            .map_err(|error| Error::refused("storing the tail", error.to_string(), "report this as a bug"))?;
        metadata.insert(EXTRACTOR.to_owned(), nodes);
        parameters.extend(self.parameters.clone());
        Ok(())
    }

    /// Takes out what [`Tail::store`] added, if it did.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a tail that is not whole.
    pub fn take(parameters: &mut Parameters, metadata: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let Some(nodes) = metadata.get(EXTRACTOR) else { return Ok(None) };
        let damaged = |reason: String| {
            let way_out = "run `kaizen check`, or put back a copy of the state file";
            Error::corrupt("the stored tail", reason, way_out)
        };
        let extractor: Extractor = serde_json::from_str(nodes).map_err(|error| damaged(error.to_string()))?;
        extractor.check().map_err(|error| damaged(error.to_string()))?;
        let mut own = Parameters::default();
        for (name, shape) in extractor.parameters()? {
            match parameters.remove(&name) {
                Some(tensor) if tensor.shape == shape => own.insert(name, tensor),
                Some(_) | None => return Err(damaged(format!("it has no tensor `{name}` {shape:?}"))),
            }
        }
        Ok(Some(Self { extractor, parameters: own }))
    }
}

#[cfg(test)]
impl Tail {
    /// A tail of one pointwise convolution, with weights drawn from `seed`.
    pub(crate) fn example(seed: u64) -> Self {
        use crate::heads::{MapShape, Node, NodeOp};
        use crate::reference::activation::Activation;

        let node = |name: &str, input, op| Node {
            name: format!("{TAIL}{name}"),
            input,
            op,
            residual: None,
            activation: Activation::None,
        };
        let extractor = Extractor {
            input: MapShape { size: [3, 2], channels: 3 },
            nodes: vec![node("a", 0, NodeOp::Linear { outputs: 4 }), node("pool", 1, NodeOp::AveragePool)],
        };
        let mut parameters = Parameters::default();
        extractor.init(seed, &mut parameters);
        Self { extractor, parameters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail() -> Tail {
        Tail::example(3)
    }

    #[test]
    fn what_is_stored_is_the_rounded_tail() {
        let rounded = tail().rounded().unwrap();
        assert_ne!(rounded, tail());
        let (mut parameters, mut metadata) = (Parameters::default(), BTreeMap::new());
        rounded.store(&mut parameters, &mut metadata).unwrap();
        let bytes = parameters.to_safetensors(&metadata).unwrap();
        let mut read = Parameters::from_safetensors(&bytes).unwrap();
        let metadata = Parameters::metadata(&bytes).unwrap();
        assert_eq!(Tail::take(&mut read, &metadata).unwrap().as_ref(), Some(&rounded));
        assert_eq!(read.elements(), 0);
        // Two bytes a weight.
        assert!(bytes.len() < 2 * rounded.parameters.elements() + 1200, "{}", bytes.len());
        assert_eq!(Tail::take(&mut read, &BTreeMap::new()).unwrap(), None);
        assert!(matches!(Tail::take(&mut read, &metadata), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn weights_beyond_half_precision_are_refused_by_name() {
        let mut tail = tail();
        let mut weight = tail.parameters.get("tail.a.weight").unwrap().clone();
        weight.data[0] = 1e6;
        tail.parameters.insert("tail.a.weight", weight);
        assert!(tail.rounded().unwrap_err().to_string().contains("tail.a.weight"));
    }
}
