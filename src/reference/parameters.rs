//! What a cell learns.

use super::real::Real;

/// The parameters of a [`NaiveCell`](super::NaiveCell), or their gradients. Row-major, gates in the order i, f, g, o;
/// of a gated recurrent unit r, z, n, of a plain recurrent cell the one there is.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveParameters<R> {
    /// W, `[4H, X]`
    pub weight_ih: Vec<R>,
    /// R, `[4H, P]`
    pub weight_hh: Vec<R>,
    /// b, `[4H]`: the sum of all biases. Of a gated recurrent unit with the reset gate after the product: of r, z, W·x
    /// of n and R·h of n
    pub bias: Vec<R>,
    /// p_i, p_f and p_o, `[3, H]`: what the gates see of the cell state
    pub peephole: Option<Vec<R>>,
    /// A scale of the layer normalization for each bias; `None` for none
    pub normalization: Option<Vec<R>>,
    /// V, `[P, H]`: from o ⊙ h(c) to the output; `None` for none, and then P = H
    pub projection: Option<Vec<R>>,
    /// v, `[P]`
    pub projection_bias: Option<Vec<R>>,
}

impl<R: Real> NaiveParameters<R> {
    /// Weights and bias of a cell without options.
    pub fn new(weight_ih: Vec<R>, weight_hh: Vec<R>, bias: Vec<R>) -> Self {
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
        let zeros = |of: &Vec<R>| vec![R::ZERO; of.len()];
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
    pub fn named(&self) -> Vec<(&'static str, &[R])> {
        let Self { weight_ih, weight_hh, bias, peephole, normalization, projection, projection_bias } = self;
        let mut named: Vec<(_, &[R])> =
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
    pub fn named_mut(&mut self) -> Vec<(&'static str, &mut [R])> {
        let Self { weight_ih, weight_hh, bias, peephole, normalization, projection, projection_bias } = self;
        let mut named: Vec<(_, &mut [R])> =
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
