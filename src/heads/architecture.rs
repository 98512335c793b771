//! Layer lists and their first parameters.

use serde::{Deserialize, Serialize};

use super::extractor::Extractor;
use super::first::{init_linear, init_norm};
use super::parameters::{Parameters, Tensor};
use crate::rng::Rng;
use crate::{Error, Result};

/// Normalisation of the hidden layers of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// None.
    #[default]
    None,
    /// Batch normalisation, as the paper has it.
    Batch,
    /// Layer normalisation: independent of the batch, fit for small ones.
    Layer,
}

/// One layer of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// `y = x · weightᵀ + bias`, weight `[outputs, inputs]`.
    Linear {
        /// Width in.
        inputs: usize,
        /// Width out.
        outputs: usize,
    },
    /// Batch normalisation with weight, bias and running statistics, all `[width]`.
    BatchNorm(usize),
    /// Layer normalisation with weight and bias `[width]`.
    LayerNorm(usize),
    /// `max(x, 0)`.
    Relu,
}

impl Layer {
    /// Widths in and out; a ReLU takes any.
    fn widths(self) -> Option<[usize; 2]> {
        match self {
            Self::Linear { inputs, outputs } => Some([inputs, outputs]),
            Self::BatchNorm(width) | Self::LayerNorm(width) => Some([width; 2]),
            Self::Relu => None,
        }
    }
}

/// A head as a list of layers, numbered from 0 as in `name.0.weight`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mlp(pub Vec<Layer>);

impl Mlp {
    /// Linear layers of the given widths (at least two), ReLU between them, each hidden layer
    /// normalised by `norm`.
    #[must_use]
    pub fn new(widths: &[usize], norm: Norm) -> Self {
        let mut layers = Vec::new();
        for (i, pair) in widths.windows(2).enumerate() {
            layers.push(Layer::Linear { inputs: pair[0], outputs: pair[1] });
            if i + 2 < widths.len() {
                match norm {
                    Norm::None => {}
                    Norm::Batch => layers.push(Layer::BatchNorm(pair[1])),
                    Norm::Layer => layers.push(Layer::LayerNorm(pair[1])),
                }
                layers.push(Layer::Relu);
            }
        }
        Self(layers)
    }

    /// Width that the head takes.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.0.iter().find_map(|layer| layer.widths()).map_or(0, |[inputs, _]| inputs)
    }

    /// Width that the head gives.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.0.iter().rev().find_map(|layer| layer.widths()).map_or(0, |[_, outputs]| outputs)
    }

    /// Checks that neighbouring layers fit.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the layer, or the list if it does not start and end with a linear
    /// layer.
    pub fn check(&self, name: &str) -> Result<()> {
        let is_linear = |layer: Option<&Layer>| matches!(layer, Some(Layer::Linear { .. }));
        let doubled = self.0.windows(2).any(|pair| pair == [Layer::Relu, Layer::Relu]);
        if !is_linear(self.0.first()) || !is_linear(self.0.last()) || doubled {
            let expected = "a linear layer first and last, no ReLU twice";
            return Err(Error::shape(format!("layers of {name}"), expected, &self.0));
        }
        let mut width = None;
        let widths = self.0.iter().enumerate().filter_map(|(i, layer)| Some((i, layer.widths()?)));
        for (i, [takes, gives]) in widths {
            if takes == 0 || gives == 0 || width.is_some_and(|w| w != takes) {
                return Err(Error::shape(format!("{name}.{i}"), width.unwrap_or(1), takes));
            }
            width = Some(gives);
        }
        Ok(())
    }

    fn init(&self, name: &str, rng: &mut Rng, into: &mut Parameters) {
        for (i, layer) in self.0.iter().enumerate() {
            let name = format!("{name}.{i}");
            match *layer {
                Layer::Linear { inputs, outputs } => init_linear(&name, inputs, outputs, rng, into),
                Layer::BatchNorm(width) => {
                    init_norm(&name, width, into);
                    into.insert(format!("{name}.running_mean"), Tensor::zeros(&[width]));
                    into.insert(format!("{name}.running_var"), Tensor::filled(&[width], 1.0));
                }
                Layer::LayerNorm(width) => init_norm(&name, width, into),
                Layer::Relu => {}
            }
        }
    }
}

/// Every part that learns, with its widths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Architecture {
    /// From h, or from the latent at the cut, to features u of width D.
    pub extractor: Extractor,
    /// `u -> z`, width P.
    pub projector: Mlp,
    /// `z -> p`, for the methods that predict (BYOL, SimSiam).
    pub predictor: Option<Mlp>,
    /// `z -> r`, which must recover the teacher's projection.
    pub distill_predictor: Mlp,
    /// `u -> logits`, width C.
    pub classifier: Mlp,
}

/// An architecture as state files have it: those of older versions name the width of the features
/// and an adapter.
#[derive(Deserialize)]
struct Stored {
    extractor: Option<Extractor>,
    features: Option<usize>,
    adapter: Option<StoredAdapter>,
    projector: Mlp,
    predictor: Option<Mlp>,
    distill_predictor: Mlp,
    classifier: Mlp,
}

#[derive(Deserialize)]
struct StoredAdapter {
    bottleneck: usize,
    layer_norm: bool,
}

impl TryFrom<Stored> for Architecture {
    type Error = String;

    fn try_from(stored: Stored) -> std::result::Result<Self, String> {
        let Stored { extractor, features, adapter, projector, predictor, distill_predictor, classifier } =
            stored;
        let extractor = match (extractor, features, adapter) {
            (Some(extractor), ..) => extractor,
            (None, Some(features), Some(StoredAdapter { bottleneck, layer_norm })) => {
                Extractor::adapter(features, bottleneck, layer_norm)
            }
            (None, ..) => return Err("neither `extractor` nor `features` and `adapter`".to_owned()),
        };
        Ok(Self { extractor, projector, predictor, distill_predictor, classifier })
    }
}

impl Architecture {
    /// Checks that all parts fit together.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the part.
    pub fn check(&self) -> Result<()> {
        self.extractor.check()?;
        let features = self.features();
        let projection = self.projector.outputs();
        let parts = [
            ("projector", Some(&self.projector), features, projection),
            ("predictor", self.predictor.as_ref(), projection, projection),
            ("distill_predictor", Some(&self.distill_predictor), projection, projection),
            ("classifier", Some(&self.classifier), features, self.classifier.outputs()),
        ];
        for (name, mlp, inputs, outputs) in parts {
            let Some(mlp) = mlp else { continue };
            mlp.check(name)?;
            if (mlp.inputs(), mlp.outputs()) != (inputs, outputs) {
                return Err(Error::shape(name, [inputs, outputs], [mlp.inputs(), mlp.outputs()]));
            }
        }
        Ok(())
    }

    /// Width D of the features u.
    #[must_use]
    pub fn features(&self) -> usize {
        self.extractor.features()
    }

    /// Number of classes the classifier can name.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classifier.outputs()
    }

    /// Shape of a tensor by name (copies and optimiser moments have the shape of the tensor they
    /// follow); `None` for a name that is no tensor of these parts.
    #[must_use]
    pub fn shape_of(&self, name: &str) -> Option<Vec<usize>> {
        if let Some(shape) = self.extractor.shape_of(name) {
            return Some(shape);
        }
        let (stem, part) = name.rsplit_once('.')?;
        let (head, number) = stem.rsplit_once('.')?;
        let mlp = match head {
            "projector" => &self.projector,
            "predictor" => self.predictor.as_ref()?,
            "distill_predictor" => &self.distill_predictor,
            "classifier" => &self.classifier,
            _ => return None,
        };
        match *mlp.0.get(number.parse::<usize>().ok()?)? {
            Layer::Linear { inputs, outputs } => match part {
                "weight" => Some(vec![outputs, inputs]),
                "bias" => Some(vec![outputs]),
                _ => None,
            },
            layer => Some(vec![layer.widths()?[0]]),
        }
    }

    /// First parameters from a seed; each part draws from its own stream.
    #[must_use]
    pub fn init(&self, seed: u64) -> Parameters {
        let mut parameters = Parameters::default();
        self.extractor.init(seed, &mut parameters);
        let parts = [
            ("projector", Some(&self.projector)),
            ("predictor", self.predictor.as_ref()),
            ("distill_predictor", Some(&self.distill_predictor)),
            ("classifier", Some(&self.classifier)),
        ];
        for (name, mlp) in parts.into_iter().filter_map(|(name, mlp)| Some((name, mlp?))) {
            mlp.init(name, &mut Rng::named(seed, name), &mut parameters);
        }
        parameters
    }

    /// Widens the classifier to `classes` outputs. Old rows keep their bits; new rows start as a
    /// fresh layer would.
    ///
    /// # Errors
    /// [`Error::Refused`] if that would take classes away, [`Error::NotFound`] if a tensor is
    /// missing.
    pub fn grow(&mut self, parameters: &mut Parameters, classes: usize, seed: u64) -> Result<()> {
        let old = self.classes();
        if classes < old {
            let what = format!("a classifier of {classes} classes");
            return Err(Error::refused(what, format!("it has {old}"), "forget a class to remove it"));
        }
        let index = self.classifier.0.len().saturating_sub(1);
        let Some(Layer::Linear { inputs, outputs }) = self.classifier.0.last_mut() else {
            return Err(Error::shape("layers of classifier", "a linear layer last", &self.classifier.0));
        };
        *outputs = classes;
        let (inputs, name) = (*inputs, format!("classifier.{index}"));
        let mut fresh = Parameters::default();
        init_linear(&name, inputs, classes - old, &mut Rng::named(seed, &format!("grow {old}")), &mut fresh);
        for (part, row) in [("weight", inputs), ("bias", 1)] {
            let key = format!("{name}.{part}");
            let mut data = parameters.get(&key)?.data.clone();
            data.extend(&fresh.get(&key)?.data);
            let shape = if part == "weight" { vec![classes, row] } else { vec![classes] };
            parameters.insert(key, Tensor::new(&shape, data)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Architecture {
        Architecture {
            extractor: Extractor::adapter(8, 4, true),
            projector: Mlp::new(&[8, 6, 5], Norm::Batch),
            predictor: None,
            distill_predictor: Mlp::new(&[5, 7, 5], Norm::Layer),
            classifier: Mlp::new(&[8, 3], Norm::None),
        }
    }

    #[test]
    fn names_are_numbered_as_layers() {
        let parameters = small().init(1);
        for name in
            ["adapter.norm.weight", "projector.1.running_var", "projector.3.bias", "classifier.0.weight"]
        {
            assert!(parameters.contains(name), "{name} in {:?}", parameters.names());
        }
        assert!(parameters.get("adapter.up.weight").unwrap().data.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn every_first_tensor_has_the_shape_that_its_name_says() {
        let architecture = small();
        for (name, tensor) in architecture.init(1).iter() {
            assert_eq!(architecture.shape_of(name).as_ref(), Some(&tensor.shape), "{name}");
        }
        assert_eq!(architecture.shape_of("projector.2.weight"), None);
    }

    #[test]
    fn growth_keeps_old_rows_bit_for_bit() {
        let mut architecture = small();
        let mut parameters = architecture.init(1);
        let before = parameters.get("classifier.0.weight").unwrap().clone();
        architecture.grow(&mut parameters, 5, 1).unwrap();
        let after = parameters.get("classifier.0.weight").unwrap();
        assert_eq!((after.shape.as_slice(), &after.data[..24]), ([5, 8].as_slice(), &before.data[..]));
        assert!(architecture.grow(&mut parameters, 2, 1).is_err());
        architecture.check().unwrap();
    }

    #[test]
    fn an_architecture_of_an_older_state_is_read_as_the_adapter_that_it_was() {
        let architecture = small();
        let mut json = serde_json::to_value(&architecture).unwrap();
        assert_eq!(serde_json::from_value::<Architecture>(json.clone()).unwrap(), architecture);
        let object = json.as_object_mut().unwrap();
        object.remove("extractor");
        assert!(serde_json::from_value::<Architecture>(serde_json::json!(object)).is_err());
        object.insert("features".to_owned(), 8.into());
        object.insert("adapter".to_owned(), serde_json::json!({ "bottleneck": 4, "layer_norm": true }));
        assert_eq!(serde_json::from_value::<Architecture>(json).unwrap(), architecture);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused_by_name() {
        let mut architecture = small();
        architecture.distill_predictor = Mlp::new(&[4, 7, 5], Norm::None);
        assert!(architecture.check().unwrap_err().to_string().contains("distill_predictor"));
    }
}
