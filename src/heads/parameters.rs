//! Named tensors and their file form.

use std::collections::BTreeMap;

use safetensors::Dtype;
use sha2::{Digest as _, Sha256};

use super::prefixes::TAIL;
use crate::number::hex;
use crate::{Error, Result};

/// A dense `f32` array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of zeros.
    #[must_use]
    pub fn zeros(shape: &[usize]) -> Self {
        Self::filled(shape, 0.0)
    }

    /// A tensor of one value.
    #[must_use]
    pub fn filled(shape: &[usize], value: f32) -> Self {
        Self { shape: shape.to_vec(), data: vec![value; shape.iter().product()] }
    }

    /// A tensor from its elements.
    ///
    /// # Errors
    /// [`Error::Shape`] if their number is not the product of the sizes.
    pub fn new(shape: &[usize], data: Vec<f32>) -> Result<Self> {
        if shape.iter().product::<usize>() == data.len() {
            Ok(Self { shape: shape.to_vec(), data })
        } else {
            Err(Error::shape("tensor", shape, data.len()))
        }
    }
}

/// Named tensors in name order: heads, teacher, momentum copies, optimiser moments, queues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(BTreeMap<String, Tensor>);

impl Parameters {
    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), tensor);
    }

    /// Removes a tensor.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    /// A tensor by name.
    ///
    /// # Errors
    /// [`Error::NotFound`] naming the missing tensor and those that are there.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        let missing = || Error::not_found("tensor", name, format!("there are {:?}", self.names()));
        self.0.get(name).ok_or_else(missing)
    }

    /// Whether a tensor of that name is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The tensors, in name order.
    pub fn into_tensors(self) -> impl Iterator<Item = (String, Tensor)> {
        self.0.into_iter()
    }

    /// Names in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Names and tensors in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Copies the tensors whose names start with one of `prefixes`, with `add` before each name.
    #[must_use]
    pub fn copied(&self, prefixes: &[&str], add: &str) -> Self {
        let kept = self.0.iter().filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        Self(kept.map(|(name, tensor)| (format!("{add}{name}"), tensor.clone())).collect())
    }

    /// Drops the tensors whose names start with one of `prefixes`.
    pub fn drop_prefixed(&mut self, prefixes: &[&str]) {
        self.0.retain(|name, _| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
    }

    /// Adds or replaces all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Number of elements in all tensors.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.0.values().map(|tensor| tensor.data.len()).sum()
    }

    /// The name of the first tensor that holds a NaN or an infinity.
    #[must_use]
    pub fn first_non_finite(&self) -> Option<&str> {
        self.0.iter().find(|(_, t)| t.data.iter().any(|v| !v.is_finite())).map(|(name, _)| name.as_str())
    }

    /// Rounds every value to half precision.
    pub(super) fn round_to_half(&mut self) {
        let values = self.0.values_mut().flat_map(|tensor| &mut tensor.data);
        values.for_each(|value| *value = half::f16::from_f32(*value).to_f32());
    }

    /// The tensors as a safetensors file, with `metadata`. A tail's take two bytes a value where
    /// half precision has every value of the tensor, all others four.
    ///
    /// # Errors
    /// [`Error::Refused`] if the format refuses them (it does not for tensors made here).
    pub fn to_safetensors(&self, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        let halves: BTreeMap<&str, Vec<u8>> = self.0.iter().filter_map(|(name, t)| halved(name, t)).collect();
        let views = self.0.iter().map(|(name, tensor)| {
            let (dtype, bytes) = match halves.get(name.as_str()) {
                Some(bytes) => (Dtype::F16, bytes.as_slice()),
                None => (Dtype::F32, bytemuck::cast_slice(&tensor.data)),
            };
            let view = safetensors::tensor::TensorView::new(dtype, tensor.shape.clone(), bytes);
            view.map(|view| (name.clone(), view))
        });
        let refused = |error: safetensors::SafeTensorError| {
            Error::refused("writing tensors", error.to_string(), "report it as a bug")
        };
        let views = views.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let metadata = metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        safetensors::serialize(views, Some(metadata)).map_err(refused)
    }

    /// Reads what [`Parameters::to_safetensors`] wrote.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for bytes that are no such file or tensors that are neither f32 nor f16.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let file =
            safetensors::SafeTensors::deserialize(bytes).map_err(|error| damaged(error.to_string()))?;
        let mut parameters = Self::default();
        for (name, view) in file.iter() {
            let data = match view.dtype() {
                Dtype::F32 => bytemuck::pod_collect_to_vec(view.data()),
                Dtype::F16 => {
                    let halves = view.data().as_chunks().0.iter();
                    halves.map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()
                }
                other => return Err(damaged(format!("`{name}` is {other:?} and neither F32 nor F16"))),
            };
            parameters.insert(name, Tensor::new(view.shape(), data)?);
        }
        Ok(parameters)
    }

    /// The metadata that [`Parameters::to_safetensors`] was given.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for bytes that are no such file.
    pub fn metadata(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
        let read = safetensors::SafeTensors::read_metadata(bytes);
        let (_, header) = read.map_err(|error| damaged(error.to_string()))?;
        Ok(header.metadata().clone().unwrap_or_default().into_iter().collect())
    }

    /// SHA-256 over names, shapes and bits, in hexadecimal: equal for bit-equal parameters.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, tensor) in &self.0 {
            hash.update(name.as_bytes());
            hash.update(format!("{:?}", tensor.shape).as_bytes());
            hash.update(bytemuck::cast_slice::<f32, u8>(&tensor.data));
        }
        hex(&hash.finalize())
    }
}

impl FromIterator<(String, Tensor)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(tensors: I) -> Self {
        Self(tensors.into_iter().collect())
    }
}

/// The bytes of a tail's tensor in half precision, if that has every value of it.
fn halved<'a>(name: &'a str, tensor: &Tensor) -> Option<(&'a str, Vec<u8>)> {
    let bytes = tensor.data.iter().map(|&value| {
        let half = half::f16::from_f32(value);
        (half.to_f32().to_bits() == value.to_bits()).then_some(half.to_le_bytes())
    });
    let bytes: Option<Vec<[u8; 2]>> = if name.starts_with(TAIL) { bytes.collect() } else { None };
    Some((name, bytes?.concat()))
}

fn damaged(reason: String) -> Error {
    Error::corrupt("tensors", reason, "put back a sound copy of the file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Parameters {
        let mut parameters = Parameters::default();
        parameters
            .insert("adapter.down.weight", Tensor::new(&[2, 3], vec![1., -2., 3., 0.5, 0., -0.0]).unwrap());
        parameters.insert("classifier.0.bias", Tensor::zeros(&[0]));
        parameters
    }

    #[test]
    fn file_form_keeps_every_bit() {
        let parameters = sample();
        let bytes = parameters.to_safetensors(&BTreeMap::from([("step".into(), "7".into())])).unwrap();
        let read = Parameters::from_safetensors(&bytes).unwrap();
        assert_eq!(read.digest(), parameters.digest());
    }

    #[test]
    fn cut_or_foreign_bytes_are_refused() {
        let bytes = sample().to_safetensors(&BTreeMap::new()).unwrap();
        for end in 0..bytes.len() {
            assert!(Parameters::from_safetensors(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(Parameters::from_safetensors(b"not a file of tensors").is_err());
    }

    #[test]
    fn copies_and_removal_by_prefix() {
        let mut parameters = sample();
        parameters.extend(parameters.copied(&["adapter."], "teacher."));
        assert_eq!(
            parameters.names(),
            ["adapter.down.weight", "classifier.0.bias", "teacher.adapter.down.weight"]
        );
        parameters.drop_prefixed(&["teacher."]);
        assert_eq!(parameters, sample());
    }
}
