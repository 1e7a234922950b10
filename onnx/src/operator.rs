//! The recurrent operators, and what a node of each has.

use rten_onnx::onnx::NodeProto;
use std::fmt;

/// A recurrent operator of ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operator {
    /// `LSTM`
    Lstm,
    /// `GRU`
    Gru,
    /// `RNN`
    Rnn,
}

impl Operator {
    pub(crate) const ALL: [Operator; 3] = [Operator::Lstm, Operator::Gru, Operator::Rnn];

    /// That of a node, if it is one of these.
    pub(crate) fn of(node: &NodeProto) -> Option<Self> {
        let is_standard = matches!(node.domain.as_deref(), None | Some("" | "ai.onnx"));
        Self::ALL.into_iter().find(|of| is_standard && node.op_type.as_deref() == Some(of.name()))
    }

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Operator::Lstm => "LSTM",
            Operator::Gru => "GRU",
            Operator::Rnn => "RNN",
        }
    }

    /// Rows of W for each unit.
    pub(crate) fn gates(self) -> usize {
        match self {
            Operator::Lstm => 4,
            Operator::Gru => 3,
            Operator::Rnn => 1,
        }
    }

    /// Activation functions of each direction.
    pub(crate) fn functions(self) -> usize {
        match self {
            Operator::Lstm => 3,
            Operator::Gru => 2,
            Operator::Rnn => 1,
        }
    }

    /// Whether there is a c beside h.
    pub(crate) fn has_cell(self) -> bool {
        self == Operator::Lstm
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
