//! candle. It reads `[B, T, X]` only, so x is turned before the clock starts.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::rnn::{LSTM, LSTMConfig, LSTMState, RNN, lstm};
use candle_nn::{VarBuilder, VarMap};
use worker::{Call, Case, Mode, serve_in_pool, swap_batch};

struct Candle {
    lstm: LSTM,
    mode: Mode,
    /// x and the parameters.
    variables: Vec<Var>,
    cotangent: Tensor,
    hidden: Option<Tensor>,
    gradients: Option<GradStore>,
    /// The steps of a stream, `[1, X]`.
    steps: Vec<Tensor>,
    next: usize,
    state: LSTMState,
    case: Case,
}

impl Candle {
    fn new(mode: Mode, case: Case) -> Result<Self> {
        let &Case { t, b, x, h, .. } = &case;
        let device = &Device::Cpu;
        let variable =
            |values: &[f32], shape: &[usize]| Var::from_tensor(&Tensor::from_slice(values, shape, device)?);
        let named = [
            ("weight_ih_l0", variable(&case.weight_ih, &[4 * h, x])?),
            ("weight_hh_l0", variable(&case.weight_hh, &[4 * h, h])?),
            ("bias_ih_l0", variable(&case.bias, &[4 * h])?),
            ("bias_hh_l0", variable(&vec![0.0; 4 * h], &[4 * h])?),
        ];
        let mut variables = vec![variable(&swap_batch(&case.input, [t, b], x), &[b, t, x])?];
        variables.extend(named.iter().map(|(_, variable)| variable.clone()));
        let builder = if mode == Mode::Train {
            let map = VarMap::new();
            map.data().lock().unwrap().extend(named.map(|(name, variable)| (name.to_string(), variable)));
            VarBuilder::from_varmap(&map, DType::F32, device)
        } else {
            // Without gradients nothing is recorded.
            let tensors =
                named.iter().map(|(name, variable)| (name.to_string(), variable.as_detached_tensor()));
            VarBuilder::from_tensors(tensors.collect(), DType::F32, device)
        };
        let lstm = lstm(x, h, LSTMConfig::default(), builder)?;
        let cotangent = Tensor::from_slice(&swap_batch(&case.cotangent, [t, b], h), (b, t, h), device)?;
        let step = |values: &[f32]| Tensor::from_slice(values, (1, x), device);
        let steps = case.input.chunks(x).map(step).collect::<Result<_>>()?;
        let state = lstm.zero_state(1)?;
        let (hidden, gradients) = (None, None);
        Ok(Self { lstm, mode, variables, cotangent, hidden, gradients, steps, next: 0, state, case })
    }

    fn try_run(&mut self) -> Result<()> {
        if self.mode == Mode::Step {
            self.state = self.lstm.step(&self.steps[self.next], &self.state)?;
            self.next = (self.next + 1) % self.steps.len();
            self.hidden = Some(self.state.h().clone());
            return Ok(());
        }
        let training = self.mode == Mode::Train;
        let input = &self.variables[0];
        let input = if training { input.as_tensor().clone() } else { input.as_detached_tensor() };
        let hidden = self.lstm.states_to_tensor(&self.lstm.seq(&input)?)?;
        if training {
            self.gradients = Some((&hidden * &self.cotangent)?.sum_all()?.backward()?);
        }
        self.hidden = Some(hidden);
        Ok(())
    }
}

impl Call for Candle {
    fn run(&mut self) {
        self.try_run().expect("shapes fit");
    }

    fn answer(&mut self) -> Vec<f32> {
        let &Case { t, b, x, h, .. } = &self.case;
        let values = |tensor: &Tensor| -> Vec<f32> {
            tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("f32")
        };
        let hidden = values(self.hidden.as_ref().expect("run before"));
        if self.mode == Mode::Step {
            return hidden;
        }
        let mut answer = swap_batch(&hidden, [b, t], h);
        if let Some(gradients) = &self.gradients {
            let gradient = |index: usize| values(gradients.get(&self.variables[index]).expect("a gradient"));
            answer.extend(swap_batch(&gradient(0), [b, t], x));
            answer.extend((1..4).flat_map(gradient));
        }
        answer
    }
}

fn load(mode: Mode, case: Case) -> Box<dyn Call> {
    Box::new(Candle::new(mode, case).expect("shapes fit"))
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    serve_in_pool(load)
}
