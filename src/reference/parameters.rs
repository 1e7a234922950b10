//! What a cell learns.

/// The parameters of a [`NaiveCell`](super::NaiveCell), or their gradients. Row-major, gates in the order i, f, g, o;
/// of a gated recurrent unit r, z, n, of a plain recurrent cell the one there is.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveParameters {
    /// W, `[4H, X]`
    pub weight_ih: Vec<f64>,
    /// R, `[4H, P]`
    pub weight_hh: Vec<f64>,
    /// b, `[4H]`: the sum of all biases. Of a gated recurrent unit with the reset gate after the product: of r, z, W·x
    /// of n and R·h of n
    pub bias: Vec<f64>,
    /// p_i, p_f and p_o, `[3, H]`: what the gates see of the cell state
    pub peephole: Option<Vec<f64>>,
    /// A scale of the layer normalization for each bias; `None` for none
    pub normalization: Option<Vec<f64>>,
    /// V, `[P, H]`: from o ⊙ h(c) to the output; `None` for none, and then P = H
    pub projection: Option<Vec<f64>>,
    /// v, `[P]`
    pub projection_bias: Option<Vec<f64>>,
}

impl NaiveParameters {
    /// Weights and bias of a cell without options.
    pub fn new(weight_ih: Vec<f64>, weight_hh: Vec<f64>, bias: Vec<f64>) -> Self {
        Self {
            weight_ih,
            weight_hh,
            bias,
            peephole: None,
            normalization: None,
            projection: None,
            projection_bias: None,
        }
    }

    /// Zeros in the shapes of these.
    pub fn zeros_like(&self) -> Self {
        let zeros = |of: &Vec<f64>| vec![0.0; of.len()];
        Self {
            weight_ih: zeros(&self.weight_ih),
            weight_hh: zeros(&self.weight_hh),
            bias: zeros(&self.bias),
            peephole: self.peephole.as_ref().map(zeros),
            normalization: self.normalization.as_ref().map(zeros),
            projection: self.projection.as_ref().map(zeros),
            projection_bias: self.projection_bias.as_ref().map(zeros),
        }
    }

    /// Every parameter that is there, with its name.
    pub fn named(&self) -> Vec<(&'static str, &[f64])> {
        let Self { weight_ih, weight_hh, bias, peephole, normalization, projection, projection_bias } = self;
        let mut named: Vec<(_, &[f64])> =
            vec![("weight_ih", weight_ih), ("weight_hh", weight_hh), ("bias", bias)];
        for (name, parameter) in [
            ("peephole", peephole),
            ("normalization", normalization),
            ("projection", projection),
            ("projection_bias", projection_bias),
        ] {
            named.extend(parameter.as_deref().map(|parameter| (name, parameter)));
        }
        named
    }

    /// The same, to be changed.
    pub fn named_mut(&mut self) -> Vec<(&'static str, &mut [f64])> {
        let Self { weight_ih, weight_hh, bias, peephole, normalization, projection, projection_bias } = self;
        let mut named: Vec<(_, &mut [f64])> =
            vec![("weight_ih", weight_ih), ("weight_hh", weight_hh), ("bias", bias)];
        for (name, parameter) in [
            ("peephole", peephole),
            ("normalization", normalization),
            ("projection", projection),
            ("projection_bias", projection_bias),
        ] {
            named.extend(parameter.as_deref_mut().map(|parameter| (name, parameter)));
        }
        named
    }
}
