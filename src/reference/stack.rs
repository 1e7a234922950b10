//! A stack of layers, with dropout between them.

use super::layer::{NaiveCall, NaiveCallGradients, NaiveLayer, NaiveResult};
use super::real::masked;

/// Layers, each of which reads the output of the one before it.
///
/// ```
/// use quadgate::reference::{NaiveCall, NaiveCell, NaiveDirections, NaiveLayer, NaiveParameters, NaiveStack};
///
/// // One unit that reads one number, both ways.
/// let cell = NaiveCell::new(1, 1, NaiveParameters::new(vec![1.0; 4], vec![1.0; 4], vec![0.0; 4]));
/// let cells = vec![cell.clone(), cell];
/// let call = NaiveCall::new([3, 1], vec![0.5, -0.25, 1.0], &cells);
/// let layer = NaiveLayer { cells, directions: NaiveDirections::Concatenated };
/// let result = NaiveStack { layers: vec![layer] }.forward(&call, &[]);
/// assert_eq!(result.output[4], result.last[0].hidden[0]);
/// assert_eq!(result.output[1], result.last[1].hidden[0]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveStack {
    /// The first layer reads x.
    pub layers: Vec<NaiveLayer>,
}

impl NaiveStack {
    /// Runs all layers.
    ///
    /// `dropout` has the factors of what goes from each layer to the next, `[T, B, width]`; an empty slice is none.
    pub fn forward(&self, call: &NaiveCall, dropout: &[Option<Vec<f64>>]) -> NaiveResult {
        let passes = self.passes(call, dropout);
        NaiveResult {
            output: passes.last().map_or(call.input.clone(), |pass| pass.result.output.clone()),
            last: passes.into_iter().flat_map(|pass| pass.result.last).collect(),
        }
    }

    /// Backpropagation through time of the pass that [`NaiveStack::forward`] makes of the same arguments.
    pub fn backward(
        &self,
        call: &NaiveCall,
        dropout: &[Option<Vec<f64>>],
        cotangents: &NaiveResult,
    ) -> NaiveCallGradients {
        let mut gradients = NaiveCallGradients {
            input: cotangents.output.clone(),
            initial: Vec::new(),
            parameters: Vec::new(),
        };
        let mut last = cotangents.last.clone();
        for (index, pass) in self.passes(call, dropout).iter().enumerate().rev() {
            let layer = &self.layers[index];
            let cotangents = NaiveResult {
                output: masked(&gradients.input, dropout.get(index).and_then(Option::as_deref)),
                last: last.split_off(last.len() - layer.cells.len()),
            };
            let of_layer = layer.backward(&pass.call, &cotangents);
            gradients.input = of_layer.input;
            gradients.initial.splice(0..0, of_layer.initial);
            gradients.parameters.splice(0..0, of_layer.parameters);
        }
        gradients
    }

    fn passes(&self, call: &NaiveCall, dropout: &[Option<Vec<f64>>]) -> Vec<Pass> {
        assert!(dropout.is_empty() || dropout.len() + 1 == self.layers.len(), "one mask between two layers");
        let mut passes: Vec<Pass> = Vec::new();
        let mut cells = 0;
        for layer in &self.layers {
            let input = match passes.last() {
                None => call.input.clone(),
                Some(below) => {
                    masked(&below.result.output, dropout.get(passes.len() - 1).and_then(Option::as_deref))
                }
            };
            let those = cells..cells + layer.cells.len();
            cells = those.end;
            let call = NaiveCall {
                input,
                initial: call.initial[those.clone()].to_vec(),
                masks: call.masks[those].to_vec(),
                ..call.clone()
            };
            passes.push(Pass { result: layer.forward(&call), call });
        }
        passes
    }
}

/// What one layer reads and yields.
struct Pass {
    call: NaiveCall,
    result: NaiveResult,
}
