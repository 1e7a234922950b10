//! Tensors that nodes make of those of the file by moving their elements, as exporters do to bring gates into order.

use crate::Error;
use crate::tensors::{Tensor, Value, Values};
use rten_onnx::onnx::{AttributeProto, DataType, NodeProto};
use std::cell::Cell;
use std::ops::Range;

/// Nodes and tensors from which one may be made: more would be a circle, or take for ever.
const MOST_PARTS: usize = 1000;

/// Rows of a matrix without columns.
const MOST_ROWS_WITHOUT_ELEMENTS: usize = 1 << 24;

/// How many times the elements of the file one may have: both directions may share their weights.
const MOST_REPEATED: usize = 8;

impl Values<'_> {
    /// The tensor of a name: one of the file, or what nodes make of such by moving their elements.
    pub(crate) fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        self.part(name, &Cell::new(MOST_PARTS))
    }

    /// The same, of no more parts than are left.
    fn part(&self, name: &str, left: &Cell<usize>) -> Result<Tensor, Error> {
        let expected = |found: &str| format!("expected {name} to be a tensor of the file, found {found}");
        let Some(fewer) = left.get().checked_sub(1) else {
            return Err(Error::new(expected("what too many nodes make")));
        };
        left.set(fewer);
        let (shape, elements) = match self.find(name) {
            Value::Tensor(tensor) => self.floats(tensor)?,
            Value::Input => return Err(Error::new(expected("an input of the graph"))),
            Value::Computed(node, output) => {
                let moved = Moved { values: *self, node, left }.tensor(output);
                let kind = node.op_type.as_deref().unwrap_or("a node");
                moved.map_err(|error| error.of(kind).of(name))?.ok_or_else(|| {
                    let advice = "export the model with constants folded";
                    Error::new(expected(&format!("what {kind} computes: {advice}")))
                })?
            }
        };
        // Of one without elements any size would do: those that can be counted.
        let sizes =
            shape.iter().filter(|&&size| size > 0).try_fold(1usize, |all, &size| all.checked_mul(size));
        if elements.is_empty() && sizes.is_none_or(|sizes| sizes > MOST_ROWS_WITHOUT_ELEMENTS) {
            return Err(Error::new(expected(&format!("one of shape {shape:?}"))));
        }
        Ok((shape, elements))
    }

    /// A list of integers, of the file or of a constant.
    fn integers_of(&self, name: &str) -> Result<Vec<i64>, Error> {
        match self.find(name) {
            Value::Tensor(tensor) if tensor.data_type == Some(DataType::INT32) => {
                Ok(self.integers(tensor)?.into_iter().map(i64::from).collect())
            }
            Value::Tensor(tensor) => self.long_integers(tensor),
            Value::Computed(node, _) if node.op_type.as_deref() == Some("Constant") => {
                let all =
                    node.attribute.iter().flat_map(|attribute| attribute.ints.iter().chain(&attribute.i));
                Ok(all.copied().collect())
            }
            _ => {
                Err(Error::new(format!("expected {name} to be integers of the file, found what is computed")))
            }
        }
    }

    /// Elements of all tensors of the file.
    fn elements_of_file(&self) -> usize {
        let constants = self.graph.node.iter().flat_map(|node| &node.attribute);
        let tensors =
            self.graph.initializer.iter().chain(constants.filter_map(|constant| constant.t.as_ref()));
        let sizes = tensors.map(|tensor| {
            tensor.dims.iter().fold(1usize, |all, &size| all.saturating_mul(size.try_into().unwrap_or(0)))
        });
        sizes.fold(0, usize::saturating_add)
    }
}

/// A node that may move elements.
struct Moved<'a> {
    values: Values<'a>,
    node: &'a NodeProto,
    left: &'a Cell<usize>,
}

impl Moved<'_> {
    /// What it puts out; `None` if it computes.
    fn tensor(&self, output: usize) -> Result<Option<Tensor>, Error> {
        Ok(Some(match self.node.op_type.as_deref() {
            Some("Cast") if self.integer("to") == Some(1) => self.part(0)?,
            Some("Reshape") => {
                let shape =
                    self.list(1, "shape")?.ok_or_else(|| Error::new("expected a shape, found none"))?;
                reshaped(self.part(0)?, &shape)?
            }
            Some("Unsqueeze") => unsqueezed(self.part(0)?, &self.list(1, "axes")?.unwrap_or_default())?,
            Some("Squeeze") => squeezed(self.part(0)?, self.list(1, "axes")?)?,
            Some("Transpose") => {
                transposed(self.part(0)?, self.attribute("perm").map(|order| &order.ints[..]))?
            }
            Some("Slice") => self.slice()?,
            Some("Split") => self.split(output)?,
            Some("Concat") => self.concatenation()?,
            _ => return Ok(None),
        }))
    }

    fn input(&self, number: usize) -> Option<&str> {
        self.node.input.get(number).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }

    fn integer(&self, name: &str) -> Option<i64> {
        // A zero may be left out.
        self.attribute(name).map(|attribute| attribute.i.unwrap_or(0))
    }

    /// The tensor of an input.
    fn part(&self, number: usize) -> Result<Tensor, Error> {
        let name = self.input(number).ok_or_else(|| Error::new("expected an input, found none"))?;
        self.values.part(name, self.left)
    }

    /// Integers that are an input, or an attribute of older versions of the operator.
    fn list(&self, number: usize, name: &str) -> Result<Option<Vec<i64>>, Error> {
        match self.input(number) {
            Some(name) => self.values.integers_of(name).map(Some),
            None => Ok(self.attribute(name).map(|attribute| attribute.ints.clone())),
        }
    }

    fn slice(&self) -> Result<Tensor, Error> {
        let (mut tensor, missing) = (self.part(0)?, || Error::new("expected starts and ends, found none"));
        let starts = self.list(1, "starts")?.ok_or_else(missing)?;
        let ends = self.list(2, "ends")?.ok_or_else(missing)?;
        let axes = self.list(3, "axes")?.unwrap_or_else(|| (0..).take(starts.len()).collect());
        let steps = self.list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.iter().any(|&step| step != 1) {
            return Err(Error::new(format!(
                "expected as many ends, axes and steps of 1 as starts, found {starts:?}, {ends:?}, {axes:?}, {steps:?}"
            )));
        }
        for ((start, end), at) in starts.into_iter().zip(ends).zip(axes) {
            let axis = axis(at, tensor.0.len())?;
            let size = tensor.0[axis];
            // From the end, if negative; those past it mean the end.
            let place = |at: i64| {
                let from_end = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
                if at < 0 { size.saturating_sub(from_end) } else { from_end.min(size) }
            };
            tensor = cut(&tensor, axis, place(start)..place(end).max(place(start)));
        }
        Ok(tensor)
    }

    fn split(&self, output: usize) -> Result<Tensor, Error> {
        let tensor = self.part(0)?;
        let axis = axis(self.integer("axis").unwrap_or(0), tensor.0.len())?;
        let (size, outputs) = (tensor.0[axis], self.node.output.len());
        let sizes = match self.list(1, "split")? {
            Some(sizes) => {
                sizes.into_iter().map(|size| usize::try_from(size).unwrap_or(usize::MAX)).collect()
            }
            None if size.is_multiple_of(outputs) => vec![size / outputs; outputs],
            None => Vec::new(),
        };
        let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        if sizes.len() != outputs || total != Some(size) {
            return Err(Error::new(format!("expected {outputs} parts of {size}, found {sizes:?}")));
        }
        let start = sizes[..output].iter().sum();
        Ok(cut(&tensor, axis, start..start + sizes[output]))
    }

    fn concatenation(&self) -> Result<Tensor, Error> {
        let parts = (0..self.node.input.len()).map(|number| self.part(number));
        let parts: Vec<Tensor> = parts.collect::<Result<_, _>>()?;
        let (mut shape, _) =
            parts.first().ok_or_else(|| Error::new("expected an input, found none"))?.clone();
        let axis = axis(self.integer("axis").unwrap_or(0), shape.len())?;
        shape[axis] = 0;
        for (part, _) in &parts {
            let is_like = part.len() == shape.len()
                && part.iter().zip(&shape).enumerate().all(|(at, (a, b))| at == axis || a == b);
            if !is_like {
                return Err(Error::new(format!("expected parts alike but for axis {axis}, found {part:?}")));
            }
            shape[axis] = shape[axis].saturating_add(part[axis]);
        }
        let len = parts.iter().map(|(_, elements)| elements.len()).fold(0, usize::saturating_add);
        let most = self.values.elements_of_file().saturating_mul(MOST_REPEATED);
        if len > most {
            return Err(Error::new(format!("expected at most {most} elements, found {len}")));
        }
        let mut elements = Vec::with_capacity(len);
        for outer in 0..shape[..axis].iter().product::<usize>() {
            for (part, from) in &parts {
                let inner: usize = part[axis..].iter().product();
                elements.extend_from_slice(&from[outer * inner..][..inner]);
            }
        }
        Ok((shape, elements))
    }
}

/// An axis, which may be counted from the end.
fn axis(axis: i64, rank: usize) -> Result<usize, Error> {
    let from_end = usize::try_from(axis.unsigned_abs()).unwrap_or(usize::MAX);
    let place = if axis < 0 { rank.checked_sub(from_end) } else { Some(from_end) };
    let found = || Error::new(format!("expected an axis of {rank}, found {axis}"));
    place.filter(|&place| place < rank).ok_or_else(found)
}

/// Some places of an axis.
fn cut((shape, from): &Tensor, axis: usize, places: Range<usize>) -> Tensor {
    let [outer, inner] = [&shape[..axis], &shape[axis + 1..]].map(|sizes| sizes.iter().product::<usize>());
    let mut cut = shape.clone();
    cut[axis] = places.len();
    let row = |outer: usize| &from[(outer * shape[axis] + places.start) * inner..][..places.len() * inner];
    (cut, (0..outer).flat_map(row).copied().collect())
}

/// With its axes in another order: the other way round without one.
fn transposed((shape, from): Tensor, order: Option<&[i64]>) -> Result<Tensor, Error> {
    let rank = shape.len();
    let order: Vec<usize> = match order {
        Some(order) => order.iter().map(|&place| axis(place, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(Error::new(format!("expected each of {rank} axes once, found {order:?}")));
    }
    let strides: Vec<usize> = (0..rank).map(|axis| shape[axis + 1..].iter().product()).collect();
    let to: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    let mut elements = Vec::with_capacity(from.len());
    for number in 0..from.len() {
        let (mut rest, mut at) = (number, 0);
        for (&axis, &size) in order.iter().zip(&to).rev() {
            at += rest % size * strides[axis];
            rest /= size;
        }
        elements.push(from[at]);
    }
    Ok((to, elements))
}

fn unsqueezed((mut shape, elements): Tensor, axes: &[i64]) -> Result<Tensor, Error> {
    let rank = shape.len().saturating_add(axes.len());
    let mut axes: Vec<usize> = axes.iter().map(|&place| axis(place, rank)).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    for axis in axes {
        if axis > shape.len() {
            return Err(Error::new(format!("expected other axes than {axis} twice")));
        }
        shape.insert(axis, 1);
    }
    Ok((shape, elements))
}

/// Without these axes, of one element each; without any such, if there is no list.
fn squeezed((shape, elements): Tensor, axes: Option<Vec<i64>>) -> Result<Tensor, Error> {
    let rank = shape.len();
    let axes: Vec<usize> = match axes {
        Some(axes) => axes.into_iter().map(|place| axis(place, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).filter(|&axis| shape[axis] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&axis| shape[axis] != 1) {
        return Err(Error::new(format!("expected 1 element of axis {axis}, found {}", shape[*axis])));
    }
    let left = (0..rank).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect();
    Ok((left, elements))
}

/// In another shape: 0 is the size that there was, −1 what is left over.
fn reshaped((shape, elements): Tensor, to: &[i64]) -> Result<Tensor, Error> {
    let refused = || Error::new(format!("expected a shape of {} elements, found {to:?}", elements.len()));
    let mut open = None;
    let mut sizes = Vec::with_capacity(to.len());
    for (at, &size) in to.iter().enumerate() {
        sizes.push(match size {
            0 => *shape.get(at).ok_or_else(refused)?,
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            size => usize::try_from(size).map_err(|_| refused())?,
        });
    }
    let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
    if let Some(open) = open {
        let known = product(&sizes).filter(|&known| known > 0).ok_or_else(refused)?;
        sizes[open] = elements.len() / known;
    }
    if product(&sizes) == Some(elements.len()) { Ok((sizes, elements)) } else { Err(refused()) }
}
