//! One LSTM node.

use crate::Error;
use crate::tensors::{Tensor, Value, Values};
use quadgate::{ActivationFunction, Activations, Clip, Coupling, Direction, Lstm, LstmConfig, LstmWeights};
use rten_onnx::onnx::{AttributeProto, NodeProto};

/// Whose `clip` a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clipping {
    /// ONNX Runtime's: what enters the activations of the gates.
    #[default]
    Runtime,
    /// The standard's: what enters the activation of h, too.
    Standard,
}

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

/// An LSTM node: a layer for each direction.
#[derive(Debug)]
pub struct OnnxLstm {
    name: String,
    pub(crate) layers: Vec<Lstm>,
    /// `layout` = 1
    pub(crate) is_batch_major: bool,
    pub(crate) initial: [Initial; 2],
    lengths: Option<String>,
    input: String,
    outputs: [Option<String>; 3],
}

impl OnnxLstm {
    /// The name of the node, or its number if it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layer of each direction: forward before reverse.
    pub fn layers(&self) -> &[Lstm] {
        &self.layers
    }

    /// X
    pub fn input_size(&self) -> usize {
        self.layers[0].config().input_size()
    }

    /// H
    pub fn hidden_size(&self) -> usize {
        self.layers[0].config().hidden_size()
    }

    /// Whether the batch comes before the steps: `layout` = 1.
    pub fn is_batch_major(&self) -> bool {
        self.is_batch_major
    }

    /// Where h and c before the first step come from.
    pub fn initial(&self) -> &[Initial; 2] {
        &self.initial
    }

    /// The name of its `sequence_lens`, if it has some: they are to be given with each call.
    pub fn lengths(&self) -> Option<&str> {
        self.lengths.as_deref()
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
    node: &NodeProto,
    name: &str,
    clipping: Clipping,
) -> Result<OnnxLstm, Error> {
    // X, W, R, B, sequence_lens, initial_h, initial_c, P; a name may be empty.
    let input = |number: usize| node.input.get(number).map(String::as_str).filter(|name| !name.is_empty());
    let tensor = |number: usize, what: &str| -> Result<Option<Tensor>, Error> {
        input(number).map(|name| values.tensor(name)).transpose().map_err(|error| error.of(what))
    };
    let needed = |what: &str| Error::new("expected a tensor, found none").of(what);
    let (shape, w) = tensor(1, "W")?.ok_or_else(|| needed("W"))?;
    let (_, r) = tensor(2, "R")?.ok_or_else(|| needed("R"))?;
    let (bias, peepholes) = (tensor(3, "B")?, tensor(7, "P")?);
    let &[count, rows, inputs] = shape.as_slice() else {
        return Err(Error::new(format!("W: expected [directions, 4H, X], found {shape:?}")));
    };
    let hidden = rows / 4;
    let attributes = Attributes::read(&node.attribute, hidden, clipping)?;
    if attributes.directions.len() != count {
        let expected = attributes.directions.len();
        return Err(Error::new(format!("W: expected {expected} directions, found {count}")));
    }
    let mut layers = Vec::new();
    for (number, &direction) in attributes.directions.iter().enumerate() {
        fn part(all: &[f32], number: usize, count: usize) -> &[f32] {
            all.chunks(all.len().div_ceil(count).max(1)).nth(number).unwrap_or_default()
        }
        let config = LstmConfig::new(inputs, hidden)
            .direction(direction)
            .clip(attributes.clip)
            .coupling(attributes.coupling)
            .activations(attributes.activations[number]);
        let config = if peepholes.is_some() { config.peepholes() } else { config };
        let part_of = |tensor: &'_ Option<Tensor>| -> Option<Vec<f32>> {
            tensor.as_ref().map(|(_, all)| part(all, number, count).to_vec())
        };
        let (bias, peepholes) = (part_of(&bias), part_of(&peepholes));
        let weights = LstmWeights::onnx(
            &config,
            part(&w, number, count),
            part(&r, number, count),
            bias.as_deref(),
            peepholes.as_deref(),
        )?;
        layers.push(Lstm::new(&config, &weights)?);
    }
    let initial = |number: usize, what: &str| match input(number) {
        None => Ok(Initial::Filled(0.0)),
        Some(name) => initial_state(values, name).map_err(|error| error.of(what)),
    };
    let output = |number: usize| node.output.get(number).filter(|name| !name.is_empty()).cloned();
    Ok(OnnxLstm {
        name: name.to_owned(),
        layers,
        is_batch_major: attributes.is_batch_major,
        initial: [initial(5, "initial_h")?, initial(6, "initial_c")?],
        lengths: input(4).map(str::to_owned),
        input: input(0).unwrap_or_default().to_owned(),
        outputs: [output(0), output(1), output(2)],
    })
}

/// What a state of a name is.
fn initial_state(values: Values<'_>, name: &str) -> Result<Initial, Error> {
    let given = |from: &str| Initial::Given { name: name.to_owned(), from: from.to_owned() };
    match values.find(name) {
        Value::Tensor(tensor) => values.floats(tensor).map(|(_, data)| Initial::Stored(data)),
        Value::Input => Ok(given("an input of the graph")),
        Value::Computed(node) => match node.op_type.as_deref() {
            Some("ConstantOfShape") => {
                let value =
                    node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some("value"));
                let Some(tensor) = value.and_then(|value| value.t.as_ref()) else {
                    return Ok(Initial::Filled(0.0));
                };
                let (_, data) = values.floats(tensor)?;
                Ok(Initial::Filled(data.first().copied().unwrap_or(0.0)))
            }
            // Of a number, or of many that are the same.
            Some("Expand") => {
                let source = node.input.first().map(|source| values.find(source));
                let Some(Value::Tensor(tensor)) = source else { return Ok(given("Expand")) };
                let (_, data) = values.floats(tensor)?;
                match data.split_first() {
                    Some((&first, rest)) if rest.iter().all(|x| x.to_bits() == first.to_bits()) => {
                        Ok(Initial::Filled(first))
                    }
                    _ => Ok(given("Expand")),
                }
            }
            other => Ok(given(other.unwrap_or("a node"))),
        },
    }
}

/// What the attributes of a node say.
struct Attributes {
    directions: Vec<Direction>,
    is_batch_major: bool,
    clip: Clip,
    coupling: Coupling,
    /// Of each direction.
    activations: Vec<Activations>,
}

impl Attributes {
    fn read(attributes: &[AttributeProto], hidden: usize, clipping: Clipping) -> Result<Self, Error> {
        let mut found = Self {
            directions: vec![Direction::Forward],
            is_batch_major: false,
            clip: Clip::default(),
            coupling: Coupling::Independent,
            activations: Vec::new(),
        };
        let (mut names, mut alphas, mut betas) = (&[][..], &[][..], &[][..]);
        for attribute in attributes {
            let name = attribute.name.as_deref().unwrap_or_default();
            let unknown = |value: &dyn std::fmt::Debug| {
                Err(Error::new(format!("attribute {name}: expected a known value, found {value:?}")))
            };
            match (name, attribute.i) {
                ("direction", _) => {
                    found.directions = match attribute.s.as_deref() {
                        Some("forward") => vec![Direction::Forward],
                        Some("reverse") => vec![Direction::Reverse],
                        Some("bidirectional") => vec![Direction::Forward, Direction::Reverse],
                        other => return unknown(&other),
                    }
                }
                ("hidden_size", size) if size == i64::try_from(hidden).ok() => {}
                ("hidden_size", size) => {
                    return Err(Error::new(format!(
                        "hidden_size: expected {hidden} as in W, found {size:?}"
                    )));
                }
                ("clip", _) => {
                    found.clip = attribute.f.map_or(Clip::default(), |limit| match clipping {
                        Clipping::Runtime => Clip::onnx_runtime(limit),
                        Clipping::Standard => Clip::onnx(limit),
                    });
                }
                ("input_forget", Some(1)) => found.coupling = Coupling::ForgetFromInput,
                ("layout", Some(1)) => found.is_batch_major = true,
                // The same that is said by leaving them out.
                ("input_forget" | "layout", Some(0)) => {}
                ("activations", _) => names = &attribute.strings,
                ("activation_alpha", _) => alphas = &attribute.floats,
                ("activation_beta", _) => betas = &attribute.floats,
                (_, value) => return unknown(&value),
            }
        }
        let count = found.directions.len();
        let functions = functions(names, alphas, betas)?;
        found.activations = match functions.len() {
            0 => vec![Activations::default(); count],
            len if len == 3 * count => {
                let (threes, _) = functions.as_chunks::<3>();
                threes.iter().map(|&[gate, candidate, cell]| Activations { gate, candidate, cell }).collect()
            }
            len => {
                return Err(Error::new(format!(
                    "activations: expected three for each direction, found {len}"
                )));
            }
        };
        Ok(found)
    }
}

/// Functions by name. Those that have α or β take the next one of the lists, or ONNX's default.
fn functions(names: &[String], alphas: &[f32], betas: &[f32]) -> Result<Vec<ActivationFunction>, Error> {
    let (mut alphas, mut betas) = (alphas.iter().copied(), betas.iter().copied());
    let function = |name: &String| {
        let mut alpha = |default| alphas.next().unwrap_or(default);
        let mut beta = |default| betas.next().unwrap_or(default);
        Ok(match name.as_str() {
            "Sigmoid" => ActivationFunction::Sigmoid,
            "Tanh" => ActivationFunction::Tanh,
            "Relu" => ActivationFunction::Relu,
            "Softsign" => ActivationFunction::Softsign,
            "Softplus" => ActivationFunction::Softplus,
            "HardSigmoid" => ActivationFunction::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) },
            "Affine" => ActivationFunction::Affine { alpha: alpha(1.0), beta: beta(0.0) },
            "LeakyRelu" => ActivationFunction::LeakyRelu { alpha: alpha(0.01) },
            "ThresholdedRelu" => ActivationFunction::ThresholdedRelu { alpha: alpha(1.0) },
            "ScaledTanh" => ActivationFunction::ScaledTanh { alpha: alpha(1.0), beta: beta(1.0) },
            "Elu" => ActivationFunction::Elu { alpha: alpha(1.0) },
            other => {
                return Err(Error::new(format!("activations: expected one of ONNX's list, found {other}")));
            }
        })
    };
    names.iter().map(function).collect()
}
