//! A golden file: metadata and tensors, widened to f64.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

pub(super) struct File {
    pub(super) name: String,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl File {
    pub(super) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            let data = view.data();
            let (words, longs) = (data.as_chunks().0.iter(), data.as_chunks().0.iter());
            let values = match view.dtype() {
                Dtype::F32 => words.map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
                Dtype::F64 => longs.map(|b| f64::from_le_bytes(*b)).collect(),
                Dtype::I64 => longs.map(|b| i64::from_le_bytes(*b) as f64).collect(),
                other => panic!("{}: {name} is {other:?}", path.display()),
            };
            (name.to_owned(), (view.shape().to_vec(), values))
        });
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Self { name, metadata, tensors: tensors.collect() }
    }

    /// A file made here: `input.*` of two dimensions, and zeros where losses and gradients are
    /// expected.
    pub(super) fn new(op: &str, settings: &[(&str, f64)], inputs: &[(&str, &super::known::Rows)]) -> Self {
        let mut metadata: BTreeMap<_, _> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect();
        metadata.insert("op".to_owned(), op.to_owned());
        let mut tensors = BTreeMap::new();
        for (name, rows) in inputs {
            let shape = vec![rows.values.len() / rows.columns, rows.columns];
            tensors.insert(format!("grad.{name}"), (shape.clone(), vec![0.0; rows.values.len()]));
            tensors.insert(format!("input.{name}"), (shape, rows.values.clone()));
        }
        if !inputs.is_empty() {
            tensors.insert("expected.loss".to_owned(), (vec![1], vec![0.0]));
        }
        Self { name: op.to_owned(), metadata, tensors }
    }

    pub(super) fn meta(&self, key: &str) -> &str {
        self.metadata.get(key).unwrap_or_else(|| panic!("{}: no metadata `{key}`", self.name))
    }

    pub(super) fn number(&self, key: &str) -> f64 {
        self.meta(key).parse().unwrap_or_else(|_| panic!("{}: `{key}` is no number", self.name))
    }

    pub(super) fn numbers<const N: usize>(&self, keys: [&str; N]) -> [f64; N] {
        keys.map(|key| self.number(key))
    }

    pub(super) fn tensor(&self, key: &str) -> &[f64] {
        &self.tensors.get(key).unwrap_or_else(|| panic!("{}: no tensor `{key}`", self.name)).1
    }

    pub(super) fn narrow(&self, key: &str) -> Vec<f32> {
        self.tensor(key).iter().map(|&v| v as f32).collect()
    }

    pub(super) fn labels(&self, key: &str) -> Vec<i32> {
        self.tensor(key).iter().map(|&v| v as i32).collect()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    pub(super) fn shape(&self, key: &str) -> [usize; 2] {
        match self.tensors.get(key).map(|t| t.0.as_slice()) {
            Some(&[rows, columns]) => [rows, columns],
            other => panic!("{}: `{key}` has shape {other:?}", self.name),
        }
    }

    /// Sizes of a tensor of any rank.
    pub(super) fn sizes(&self, key: &str) -> &[usize] {
        &self.tensors.get(key).unwrap_or_else(|| panic!("{}: no tensor `{key}`", self.name)).0
    }

    /// A tensor `[N, C, H, W]` as `[N, H, W, C]`; others as they are.
    pub(super) fn channels_last(&self, key: &str) -> Vec<f64> {
        let values = self.tensor(key);
        let &[images, channels, rows, columns] = self.sizes(key) else { return values.to_vec() };
        let of = |at: usize| {
            let (c, position) = (at % channels, at / channels);
            let (image, position) = (position / (rows * columns), position % (rows * columns));
            values[(image * channels + c) * rows * columns + position]
        };
        assert_eq!(values.len(), images * channels * rows * columns);
        (0..values.len()).map(of).collect()
    }

    /// Filters `[out, in / groups, k, k]` as the program has them: `[out, in]` of a pointwise
    /// convolution, `[k, k, channels]` of a depthwise one.
    pub(super) fn filters(&self, key: &str) -> Vec<f64> {
        let &[channels, 1, rows, columns] = self.sizes(key) else { return self.tensor(key).to_vec() };
        let values = self.tensor(key);
        let of = |at: usize| values[at % channels * rows * columns + at / channels];
        (0..values.len()).map(of).collect()
    }

    pub(super) fn rank(&self, key: &str) -> Option<usize> {
        self.tensors.get(key).map(|t| t.0.len())
    }

    /// Names that start with `prefix`, without it.
    pub(super) fn names(&self, prefix: &str) -> Vec<&str> {
        self.tensors.keys().filter_map(|name| name.strip_prefix(prefix)).collect()
    }
}
