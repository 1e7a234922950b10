//! A file: its recurrent nodes, and what else there is.

use crate::Error;
use crate::layer::Clipping;
use crate::node::{OnnxNode, read};
use crate::operator::Operator;
use crate::tensors::Values;
use rten_onnx::onnx::{GraphProto, ModelProto};
use std::collections::BTreeMap;
use std::path::Path;

/// The recurrent nodes of a file.
#[derive(Debug)]
pub struct Model {
    nodes: Vec<OnnxNode>,
    others: BTreeMap<String, usize>,
}

impl Model {
    /// Reads a file, and what lies beside it if the file says so.
    ///
    /// # Errors
    /// Names the node and what of it does not fit; a file without recurrent nodes says what it has instead.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, Clipping::default())
    }

    /// The same with the `clip` of another.
    ///
    /// # Errors
    /// As for [`Model::open`].
    pub fn open_with(path: &Path, clipping: Clipping) -> Result<Self, Error> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| Error::new(error.to_string()).of(&name))?;
        parse(&bytes, path.parent(), clipping).map_err(|error| error.of(&name))
    }

    /// Reads the bytes of a file that has all of its tensors in it.
    ///
    /// # Errors
    /// As for [`Model::open`].
    pub fn parse(bytes: &[u8], clipping: Clipping) -> Result<Self, Error> {
        parse(bytes, None, clipping)
    }

    /// Its LSTM, GRU and RNN nodes, in the order of the file.
    pub fn nodes(&self) -> &[OnnxNode] {
        &self.nodes
    }

    /// How many nodes of each other kind there are, which are not run; those of the bodies of `If`, `Loop` and `Scan`
    /// as `Loop/LSTM`.
    pub fn other_nodes(&self) -> &BTreeMap<String, usize> {
        &self.others
    }
}

fn parse(bytes: &[u8], directory: Option<&Path>, clipping: Clipping) -> Result<Model, Error> {
    let model = ModelProto::parse_buf(bytes);
    let model = model.map_err(|error| Error::new(format!("expected an ONNX file: {error:?}")))?;
    let graph = model.graph.ok_or_else(|| Error::new("expected a graph, found none"))?;
    let values = Values { graph: &graph, directory };
    let mut nodes = Vec::new();
    for (index, node) in graph.node.iter().enumerate() {
        if let Some(operator) = Operator::of(node) {
            let name = match node.name.as_deref() {
                Some(name) if !name.is_empty() => name.to_owned(),
                _ => format!("node {index}"),
            };
            nodes.push(read(values, operator, node, &name, clipping).map_err(|error| error.of(&name))?);
        }
    }
    let mut others = BTreeMap::new();
    count(&graph, "", &mut others);
    if nodes.is_empty() { Err(Error::new(without_nodes(&others))) } else { Ok(Model { nodes, others }) }
}

/// Counts the nodes of a graph and of those inside of it, but for those that are read.
fn count(graph: &GraphProto, within: &str, others: &mut BTreeMap<String, usize>) {
    for node in &graph.node {
        let kind = format!("{within}{}", node.op_type.as_deref().unwrap_or("?"));
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            count(body, &format!("{kind}/"), others);
        }
        if !within.is_empty() || Operator::of(node).is_none() {
            *others.entry(kind).or_default() += 1;
        }
    }
}

/// What a file without recurrent nodes has instead, and what to do about it.
fn without_nodes(others: &BTreeMap<String, usize>) -> String {
    let has = |kind: &str| others.keys().any(|other| other == kind);
    let inside = others.keys().find(|kind| {
        kind.rsplit_once('/').is_some_and(|(_, kind)| Operator::ALL.iter().any(|of| of.name() == kind))
    });
    let advice = if let Some(kind) = inside {
        format!("they are inside of another node, {kind}, which this reader does not look into")
    } else if has("DynamicQuantizeLSTM") {
        "its weights are quantized: export it without quantization".to_owned()
    } else if has("Loop") || has("Scan") {
        "its layers may be loops over single operations: export them as layers, not as cells".to_owned()
    } else if has("Sigmoid") && has("Tanh") {
        "its gates may be single operations: export layers, not cells, and do not unroll them".to_owned()
    } else {
        "it may have no recurrent layer".to_owned()
    };
    let mut kinds: Vec<(&String, &usize)> = others.iter().collect();
    kinds.sort_by_key(|&(kind, count)| (std::cmp::Reverse(count), kind));
    let kinds: Vec<String> = kinds.iter().take(20).map(|(kind, count)| format!("{count} {kind}")).collect();
    let kinds = if kinds.is_empty() { "no node at all".to_owned() } else { kinds.join(", ") };
    format!("expected LSTM, GRU or RNN nodes, found none; {advice}. It has {kinds}")
}
