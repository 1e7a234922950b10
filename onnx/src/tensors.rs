//! Tensors of a graph that are known before it runs.

use crate::Error;
use half::{bf16, f16};
use rten_onnx::onnx::{DataLocation, DataType, GraphProto, NodeProto, TensorProto};
use std::path::{Component, Path};

/// Steps from a name to what it is a copy of: more would be a circle.
const MOST_COPIES: usize = 64;

/// Shape and elements.
pub(crate) type Tensor = (Vec<usize>, Vec<f32>);

fn of_f16(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

fn of_bf16(bytes: [u8; 2]) -> f32 {
    bf16::from_le_bytes(bytes).to_f32()
}

fn other_type(expected: &str, found: Option<DataType>) -> Error {
    let found = found.map_or("no type".to_owned(), |found| found.to_string());
    Error::new(format!("expected elements of type {expected}, found {found}"))
}

/// What a value of a graph is.
pub(crate) enum Value<'g> {
    /// A tensor of the file.
    Tensor(&'g TensorProto),
    /// What this node computes, as the output of this number.
    Computed(&'g NodeProto, usize),
    /// An input of the graph, or nothing that the graph names.
    Input,
}

/// The values of a graph.
#[derive(Clone, Copy)]
pub(crate) struct Values<'g> {
    pub(crate) graph: &'g GraphProto,
    /// Where external data lie.
    pub(crate) directory: Option<&'g Path>,
}

impl<'g> Values<'g> {
    /// What the value of a name is, through nodes that copy.
    pub(crate) fn find(&self, name: &str) -> Value<'g> {
        let mut name = name;
        for _ in 0..MOST_COPIES {
            if let Some(tensor) =
                self.graph.initializer.iter().find(|tensor| tensor.name.as_deref() == Some(name))
            {
                return Value::Tensor(tensor);
            }
            let made = |node: &'g NodeProto| {
                node.output.iter().position(|output| output == name).map(|number| (node, number))
            };
            let Some((node, number)) = self.graph.node.iter().find_map(made) else { return Value::Input };
            match node.op_type.as_deref() {
                Some("Constant") => {
                    let value =
                        node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some("value"));
                    return value
                        .and_then(|value| value.t.as_ref())
                        .map_or(Value::Computed(node, number), Value::Tensor);
                }
                Some("Identity") if !node.input.is_empty() => name = &node.input[0],
                _ => return Value::Computed(node, number),
            }
        }
        Value::Input
    }

    /// Shape and elements of a tensor of floats of 32 bits, or of 16, which are widened.
    pub(crate) fn floats(&self, tensor: &TensorProto) -> Result<Tensor, Error> {
        // Where they are listed, the bits of such a float are those of an integer.
        let bits = |widen: fn([u8; 2]) -> f32| {
            let widen = move |&bits: &i32| widen((bits as u16).to_le_bytes());
            tensor.int32_data.iter().map(widen).collect()
        };
        match tensor.data_type {
            Some(DataType::FLOAT) => self.elements(tensor, f32::from_le_bytes, || tensor.float_data.clone()),
            Some(DataType::FLOAT16) => self.elements(tensor, of_f16, || bits(of_f16)),
            Some(DataType::BFLOAT16) => self.elements(tensor, of_bf16, || bits(of_bf16)),
            found => Err(other_type("FLOAT, FLOAT16 or BFLOAT16", found)),
        }
    }

    /// Elements of a tensor of integers of 32 bits.
    pub(crate) fn integers(&self, tensor: &TensorProto) -> Result<Vec<i32>, Error> {
        if tensor.data_type != Some(DataType::INT32) {
            return Err(other_type("INT32", tensor.data_type));
        }
        let tensor = self.elements(tensor, i32::from_le_bytes, || tensor.int32_data.clone());
        tensor.map(|(_, elements)| elements)
    }

    /// The same of 64 bits.
    pub(crate) fn long_integers(&self, tensor: &TensorProto) -> Result<Vec<i64>, Error> {
        if tensor.data_type != Some(DataType::INT64) {
            return Err(other_type("INT64", tensor.data_type));
        }
        let tensor = self.elements(tensor, i64::from_le_bytes, || tensor.int64_data.clone());
        tensor.map(|(_, elements)| elements)
    }

    /// Shape and elements of a tensor, which may lie in bytes or in a list of their own.
    fn elements<E, const BYTES: usize>(
        &self,
        tensor: &TensorProto,
        element: fn([u8; BYTES]) -> E,
        list: impl FnOnce() -> Vec<E>,
    ) -> Result<(Vec<usize>, Vec<E>), Error> {
        let from_bytes = |bytes: &[u8]| -> Vec<E> {
            let (elements, _) = bytes.as_chunks::<BYTES>();
            elements.iter().map(|bytes| element(*bytes)).collect()
        };
        let size = |&size: &i64| usize::try_from(size);
        let shape: Vec<usize> = tensor
            .dims
            .iter()
            .map(size)
            .collect::<Result<_, _>>()
            .map_err(|_| Error::new(format!("expected a shape, found {:?}", tensor.dims)))?;
        let data = if tensor.data_location == Some(DataLocation::EXTERNAL) {
            from_bytes(&self.external(tensor)?)
        } else if let Some(raw) = &tensor.raw_data {
            from_bytes(&raw.borrow())
        } else {
            list()
        };
        if shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size)) != Some(data.len()) {
            return Err(Error::new(format!(
                "expected as many elements as {shape:?} has, found {}",
                data.len()
            )));
        }
        Ok((shape, data))
    }

    /// The bytes of a tensor that lie beside the file.
    fn external(&self, tensor: &TensorProto) -> Result<Vec<u8>, Error> {
        let entry = |key: &str| {
            let found = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
            found.and_then(|entry| entry.value.as_deref())
        };
        let number = |key: &str| {
            let parse =
                |value: &str| value.parse().map_err(|_| Error::new(format!("{key}: found {value:?}")));
            entry(key).map(parse).transpose()
        };
        let directory = self.directory.ok_or_else(|| {
            Error::new("expected its data in the file, found them beside it: open it by its path")
        })?;
        let location =
            entry("location").ok_or_else(|| Error::new("expected the location of its data, found none"))?;
        // A file says nothing about others than those beside it.
        let is_beside = Path::new(location)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_beside {
            return Err(Error::new(format!(
                "location: expected a file beside the model, found {location:?}"
            )));
        }
        let path = directory.join(location);
        let bytes =
            std::fs::read(&path).map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        let offset: usize = number("offset")?.unwrap_or(0);
        let length = match number("length")? {
            Some(length) => length,
            None => bytes.len().saturating_sub(offset),
        };
        let range = offset.checked_add(length).and_then(|end| bytes.get(offset..end));
        range.map(<[u8]>::to_vec).ok_or_else(|| {
            Error::new(format!("{location}: expected {length} bytes from {offset} on, found {}", bytes.len()))
        })
    }
}
