//! One recurrent node.

use crate::Error;
use crate::attributes::Attributes;
use crate::layer::{Clipping, Layer, Tensors};
use crate::operator::Operator;
use crate::tensors::{Tensor, Value, Values};
use rten_onnx::onnx::NodeProto;

/// Where an initial state comes from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Initial {
    /// All elements are this number, for any batch: 0 if the node has no such input.
    Filled(f32),
    /// The file holds it, in the layout of the node.
    Stored(Vec<f32>),
    /// It is to be given with each call.
    Given {
        /// Its name in the graph.
        name: String,
        /// What makes it: `an input of the graph`, or the kind of a node.
        from: String,
    },
}

/// Where lengths of rows come from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RowLengths {
    /// Every row has all steps: the node has no such input.
    Full,
    /// The file holds them.
    Stored(Vec<i32>),
    /// They are to be given with each call.
    Given {
        /// Their name in the graph.
        name: String,
    },
}

/// A recurrent node: a layer for each direction.
#[derive(Debug)]
pub struct OnnxNode {
    name: String,
    operator: Operator,
    layers: Vec<Layer>,
    is_batch_major: bool,
    initial: Vec<Initial>,
    lengths: RowLengths,
    input: String,
    outputs: [Option<String>; 3],
}

impl OnnxNode {
    /// The name of the node, or its number if it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The layer of each direction: forward before reverse.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// X
    pub fn input_size(&self) -> usize {
        self.layers[0].input_size()
    }

    /// H
    pub fn hidden_size(&self) -> usize {
        self.layers[0].hidden_size()
    }

    /// Whether the batch comes before the steps: `layout` = 1.
    pub fn is_batch_major(&self) -> bool {
        self.is_batch_major
    }

    /// Where h, and of an LSTM c, before the first step come from.
    pub fn initial(&self) -> &[Initial] {
        &self.initial
    }

    /// Where its `sequence_lens` come from.
    pub fn lengths(&self) -> &RowLengths {
        &self.lengths
    }

    /// The name of its X in the graph.
    pub fn input(&self) -> &str {
        &self.input
    }

    /// The names of its Y, Y_h and Y_c in the graph, of those that the graph uses.
    pub fn outputs(&self) -> [Option<&str>; 3] {
        self.outputs.each_ref().map(Option::as_deref)
    }
}

/// Reads a node.
pub(crate) fn read(
    values: Values<'_>,
    operator: Operator,
    node: &NodeProto,
    name: &str,
    clipping: Clipping,
) -> Result<OnnxNode, Error> {
    // X, W, R, B, sequence_lens, initial_h, initial_c, P; a name may be empty.
    let input = |number: usize| node.input.get(number).map(String::as_str).filter(|name| !name.is_empty());
    let tensor = |number: usize, what: &str| -> Result<Option<Tensor>, Error> {
        input(number).map(|name| values.tensor(name)).transpose().map_err(|error| error.of(what))
    };
    let needed = |what: &str| Error::new("expected a tensor, found none").of(what);
    let (shape, w) = tensor(1, "W")?.ok_or_else(|| needed("W"))?;
    let (r_shape, r) = tensor(2, "R")?.ok_or_else(|| needed("R"))?;
    let bias = tensor(3, "B")?;
    let peepholes = if operator == Operator::Lstm { tensor(7, "P")? } else { None };
    let gates = operator.gates();
    let &[count, rows, inputs] = shape.as_slice() else {
        return Err(Error::new(format!(
            "W: expected [directions, {gates} · units, inputs], found {shape:?}"
        )));
    };
    let hidden = rows / gates;
    let attributes = Attributes::read(operator, &node.attribute, hidden)?;
    if attributes.directions.len() != count {
        let expected = attributes.directions.len();
        return Err(Error::new(format!("W: expected {expected} directions, found {count}")));
    }
    check_shape("R", &[count, rows, hidden], &r_shape)?;
    bias.as_ref().map_or(Ok(()), |(shape, _)| check_shape("B", &[count, 2 * rows], shape))?;
    peepholes.as_ref().map_or(Ok(()), |(shape, _)| check_shape("P", &[count, 3 * hidden], shape))?;
    let layer = |number: usize| {
        fn part(all: &[f32], number: usize, count: usize) -> &[f32] {
            let len = all.len() / count;
            &all[number * len..][..len]
        }
        let tensors = Tensors {
            w: part(&w, number, count),
            r: part(&r, number, count),
            bias: bias.as_ref().map(|(_, all)| part(all, number, count)),
            peepholes: peepholes.as_ref().map(|(_, all)| part(all, number, count)),
        };
        Layer::new(operator, [inputs, hidden], (&attributes, number), clipping, tensors)
    };
    let sizes = [(usize::from(attributes.is_batch_major), count), (2, hidden)];
    let initial = |number: usize, what: &str| match input(number) {
        None => Ok(Initial::Filled(0.0)),
        Some(name) => initial_state(values, name, sizes).map_err(|error| error.of(what)),
    };
    let mut states = vec![initial(5, "initial_h")?];
    if operator.has_cell() {
        states.push(initial(6, "initial_c")?);
    }
    let lengths = match input(4).map(|name| (name, values.find(name))) {
        None => RowLengths::Full,
        Some((_, Value::Tensor(tensor))) => {
            RowLengths::Stored(values.integers(tensor).map_err(|error| error.of("sequence_lens"))?)
        }
        Some((name, _)) => RowLengths::Given { name: name.to_owned() },
    };
    let output = |number: usize| node.output.get(number).filter(|name| !name.is_empty()).cloned();
    Ok(OnnxNode {
        name: name.to_owned(),
        operator,
        layers: (0..count).map(layer).collect::<Result<_, _>>()?,
        is_batch_major: attributes.is_batch_major,
        initial: states,
        lengths,
        input: input(0).unwrap_or_default().to_owned(),
        outputs: [output(0), output(1), output(2)],
    })
}

fn check_shape(what: &str, expected: &[usize], found: &[usize]) -> Result<(), Error> {
    if expected == found {
        Ok(())
    } else {
        Err(Error::new(format!("expected {expected:?} as W has it, found {found:?}")).of(what))
    }
}

/// Nodes through which a number that fills a state may go: more would be a circle.
const MOST_NODES: usize = 64;

/// What a state of a name is, whose shape has these sizes at these places.
fn initial_state(values: Values<'_>, name: &str, sizes: [(usize, usize); 2]) -> Result<Initial, Error> {
    let stored = |(shape, data): Tensor| {
        if shape.len() == 3 && sizes.iter().all(|&(axis, size)| shape[axis] == size) {
            Ok(Initial::Stored(data))
        } else {
            let [(axis, count), (_, hidden)] = sizes;
            let said = if axis == 0 { "[directions, batch, units]" } else { "[batch, directions, units]" };
            let found = format!("{count} directions and {hidden} units, found {shape:?}");
            Err(Error::new(format!("expected {said} with {found}")))
        }
    };
    let given = |from: &str| Ok(Initial::Given { name: name.to_owned(), from: from.to_owned() });
    match values.find(name) {
        Value::Tensor(tensor) => stored(values.floats(tensor)?),
        Value::Input => given("an input of the graph"),
        Value::Computed(node, _) => match filling(values, name, MOST_NODES)? {
            Some(value) => Ok(Initial::Filled(value)),
            None => match values.tensor(name) {
                Ok(tensor) => stored(tensor),
                Err(_) => given(node.op_type.as_deref().unwrap_or("a node")),
            },
        },
    }
}

/// The number that all elements of a value are, if a node fills it and others at most move its elements.
fn filling(values: Values<'_>, name: &str, most: usize) -> Result<Option<f32>, Error> {
    let (Value::Computed(node, _), Some(fewer)) = (values.find(name), most.checked_sub(1)) else {
        return Ok(None);
    };
    let source = node.input.first();
    match node.op_type.as_deref() {
        Some("ConstantOfShape") => {
            let value = node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some("value"));
            let Some(tensor) = value.and_then(|value| value.t.as_ref()) else { return Ok(Some(0.0)) };
            let (_, data) = values.floats(tensor)?;
            Ok(Some(data.first().copied().unwrap_or(0.0)))
        }
        // Of a number, or of many that are the same.
        Some("Expand") => {
            let Some(Value::Tensor(tensor)) = source.map(|source| values.find(source)) else {
                return Ok(None);
            };
            let (_, data) = values.floats(tensor)?;
            let Some((&first, rest)) = data.split_first() else { return Ok(None) };
            Ok(rest.iter().all(|x| x.to_bits() == first.to_bits()).then_some(first))
        }
        Some("Slice" | "Squeeze" | "Unsqueeze" | "Reshape" | "Transpose") => {
            source.map_or(Ok(None), |source| filling(values, source, fewer))
        }
        _ => Ok(None),
    }
}
