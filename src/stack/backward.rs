//! The backward pass of a stack: its layers from the last to the first.

use crate::error::Error;
use crate::lstm::MaskArguments;
use crate::memory::views;
use crate::parallel;
use crate::stack::config::{Arrangement, Directions};
use crate::stack::layers::Layers;
use crate::stack::memory::{StackTape, StackWorkspace, buffers_from};
use crate::stack::plan::StackPlan;
use crate::training::{Backward, TapeAccess};
use crate::view::{Matrix, MatrixMut, Sequence, SequenceMut, check_sequence};
use std::marker::PhantomData;

/// The arguments of [`Stack::backward`](crate::Stack::backward).
pub type StackBackward<'a> = Backward<'a, StackTape>;

/// What directed layers write beside gradients of sequences: gradients of the initial h and c, and of parameters, one
/// layer after the other.
struct Written<'a> {
    initial: [Option<MatrixMut<'a>>; 2],
    parameters: Option<&'a mut [f32]>,
}

impl<'a> Written<'a> {
    /// Cuts off what comes from a row of the states, of whose rows the first elements, and from an element of the
    /// parameters on.
    fn cut(&mut self, row: usize, widths: [usize; 2], parameter: usize) -> Self {
        let [hidden, cell] = &mut self.initial;
        let initial = [(hidden, widths[0]), (cell, widths[1])].map(|(rest, width)| {
            let (before, own) = rest.take()?.split(row);
            *rest = Some(before);
            Some(own.first_columns(width))
        });
        let (before, own) = self.parameters.take().map(|rest| rest.split_at_mut(parameter)).unzip();
        self.parameters = before;
        Self { initial, parameters: own }
    }
}

impl Layers {
    /// See [`Stack::backward`](crate::Stack::backward).
    pub(super) fn backward<'a>(
        &self,
        workspace: &mut StackWorkspace,
        tape: &mut StackTape,
        mut call: StackBackward<'a>,
    ) -> Result<(), Error> {
        let plan = self.check_backward(workspace, tape, &mut call)?;
        let [steps, batch, inputs] = call.input.shape;
        let (directions, layers) = (self.config.directions(), self.config.layers());
        let StackWorkspace { layers: workspaces, between, second, .. } = workspace;
        // What directed layers write lies one after the other: it is cut off from the end, as they are run.
        let initial = [call.initial_hidden_gradient, call.initial_cell_gradient];
        let (parameters, mode) = call.parameter_gradients.unzip();
        let mut rest = Written { initial, parameters };
        for layer in (0..layers).rev() {
            let (input, features) = match layer.checked_sub(1) {
                None => (call.input, inputs),
                Some(below) => {
                    let width = self.config.output_size_of(below);
                    (Sequence::time_major(&tape.activations[below], steps, batch, width), width)
                }
            };
            let width = self.config.output_size_of(layer);
            let mut buffers = buffers_from(between, &self.config, layer, [steps, batch]);
            let mut gradient = match layer {
                0 => call.input_gradient.as_mut().map(SequenceMut::all),
                _ => Some(SequenceMut::time_major(
                    views::present(buffers.next(), "buffer below layer", layer, self.layers.len()),
                    steps,
                    batch,
                    features,
                )),
            };
            let cotangent = if layer + 1 == layers {
                call.output_cotangent
            } else {
                let above = views::present(buffers.next(), "buffer below layer", layer, self.layers.len());
                if let Some(dropout) = tape.dropout {
                    dropout.multiply(layer, 0, batch, width, above, plan.threads);
                }
                Some(Sequence::time_major(above, steps, batch, width))
            };
            let index = layer * directions.count();
            let mut backward = |direction: usize, input_gradient| -> Result<Backward<'_>, Error> {
                let index = index + direction;
                let widths = self.layers[index].config().state_widths();
                let parameter = self.config.parameters(index)?.weight_ih.start;
                let written = rest.cut(index * batch, widths, parameter);
                let [initial_hidden_gradient, initial_cell_gradient] = written.initial;
                let from = if directions == Directions::Summed { 0 } else { direction * widths[0] };
                let part = |all: Option<Matrix<'a>>, width| {
                    Some(all?.part(index * batch, batch).first_columns(width))
                };
                Ok(Backward {
                    given: None,
                    sums_gradient: None,
                    table_gradient: None,
                    input,
                    output_cotangent: cotangent.map(|all| all.columns(from, widths[0])),
                    cell_output_cotangent: None,
                    last_hidden_cotangent: part(call.last_hidden_cotangent, widths[0]),
                    last_cell_cotangent: part(call.last_cell_cotangent, widths[1]),
                    input_gradient,
                    initial_hidden_gradient,
                    initial_cell_gradient,
                    parameter_gradients: written.parameters.zip(mode),
                    tensor_gradients: None,
                    masks: MaskArguments::default(),
                    row_steps: call.row_steps,
                    tape: PhantomData,
                })
            };
            let (lstms, tapes) = (&self.layers[index..], &mut tape.tapes[index..]);
            let is_wanted = gradient.is_some();
            let own = gradient.as_mut().map(SequenceMut::all);
            if directions.count() == 1 {
                lstms[0].backward(&mut workspaces.of(layer)[0], &mut tapes[0], backward(0, own)?)?;
                continue;
            }
            let other = is_wanted.then(|| SequenceMut::time_major(&mut *second, steps, batch, features));
            // The reverse direction comes last, so it is cut off first.
            let (reverse, forward) = (backward(1, other)?, backward(0, own)?);
            let (forward_tape, reverse_tapes) = tapes.split_at_mut(1);
            match (plan.arrangement, workspaces.of(layer)) {
                (Arrangement::SideBySide, [first, second]) => {
                    let most = plan.threads_of_layer(&self.config);
                    let results = parallel::both(
                        || {
                            lstms[0].backward_on(
                                most,
                                first,
                                TapeAccess::Write(&mut forward_tape[0]),
                                forward,
                            )
                        },
                        || {
                            lstms[1].backward_on(
                                most,
                                second,
                                TapeAccess::Write(&mut reverse_tapes[0]),
                                reverse,
                            )
                        },
                    );
                    results.0.and(results.1)?;
                }
                (_, workspaces) => {
                    lstms[0].backward(&mut workspaces[0], &mut forward_tape[0], forward)?;
                    lstms[1].backward(&mut workspaces[0], &mut reverse_tapes[0], reverse)?;
                }
            }
            if let Some(gradient) = &mut gradient {
                gradient.add(Sequence::time_major(second, steps, batch, features));
            }
        }
        Ok(())
    }

    /// `Ok` if every argument fits.
    fn check_backward(
        &self,
        workspace: &StackWorkspace,
        tape: &StackTape,
        call: &mut StackBackward<'_>,
    ) -> Result<StackPlan, Error> {
        if !self.config.is_for_training() {
            return Err(Error::NotForTraining { argument: "stack" });
        }
        let [steps, batch, _] = call.input.shape;
        let (inputs, [hidden, cell]) = (self.config.input_size(), self.config.state_widths());
        check_sequence("input", [steps, batch, inputs], call.input.shape)?;
        call.input.check_bounds("input")?;
        if let Some(cotangent) = call.output_cotangent {
            check_sequence("output_cotangent", [steps, batch, self.config.output_size()], cotangent.shape)?;
            cotangent.check_bounds("output_cotangent")?;
        }
        let rows = self.state_rows(batch)?;
        for (argument, states, width) in [
            ("last_hidden_cotangent", call.last_hidden_cotangent, hidden),
            ("last_cell_cotangent", call.last_cell_cotangent, cell),
        ] {
            self.config.layer(0).check_cell_state(argument, states.is_some() && width == 0)?;
            states.map(|states| states.checked(argument, rows, width)).transpose()?;
        }
        let gradient = call.input_gradient.as_mut();
        gradient.map(|rows| rows.all().checked("input_gradient", [steps, batch, inputs])).transpose()?;
        for (argument, states, width) in [
            ("initial_hidden_gradient", &mut call.initial_hidden_gradient, hidden),
            ("initial_cell_gradient", &mut call.initial_cell_gradient, cell),
        ] {
            self.config.layer(0).check_cell_state(argument, states.is_some() && width == 0)?;
            states.as_mut().map(|states| states.all().checked(argument, rows, width)).transpose()?;
        }
        if let Some((gradients, _)) = &call.parameter_gradients {
            let (expected, found) = (self.config.total_parameters()?, gradients.len());
            if found != expected {
                return Err(Error::length("parameter_gradients", expected, found));
            }
        }
        self.check_recorded(tape, [steps, batch], call.row_steps.checked([steps, batch])?)?;
        // Layers of one direction do not run side by side yet.
        let most = if self.config.directions().count() == 1 { 1 } else { usize::MAX };
        let plan = self.plan_within(workspace, [steps, batch], most)?;
        if workspace.is_for_training() {
            Ok(plan)
        } else {
            Err(Error::NotForTraining { argument: "workspace" })
        }
    }
}
