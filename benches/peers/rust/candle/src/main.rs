//! candle. It reads `[B, T, X]` only, so x is turned before the clock starts.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::rnn::{GRUConfig, LSTMConfig, RNN, gru, lstm};
use candle_nn::{VarBuilder, VarMap};
use worker::{Call, Case, Cell, Mode, serve_in_pool, swap_batch};

struct Candle<L: RNN> {
    layer: L,
    mode: Mode,
    /// x and the parameters.
    variables: Vec<Var>,
    cotangent: Tensor,
    hidden: Option<Tensor>,
    gradients: Option<GradStore>,
    /// The steps of a stream, `[1, X]`.
    steps: Vec<Tensor>,
    next: usize,
    state: L::State,
    case: Case,
}

impl<L: RNN> Candle<L> {
    fn new(mode: Mode, case: Case, layer: fn([usize; 2], VarBuilder) -> Result<L>) -> Result<Self> {
        let &Case { t, b, x, h, .. } = &case;
        let device = &Device::Cpu;
        let (rows, [first, second]) = (case.cell.gates() * h, case.biases());
        let variable =
            |values: &[f32], shape: &[usize]| Var::from_tensor(&Tensor::from_slice(values, shape, device)?);
        let named = [
            ("weight_ih_l0", variable(&case.weight_ih, &[rows, x])?),
            ("weight_hh_l0", variable(&case.weight_hh, &[rows, h])?),
            ("bias_ih_l0", variable(&first, &[rows])?),
            ("bias_hh_l0", variable(&second, &[rows])?),
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
        let layer = layer([x, h], builder)?;
        let cotangent = Tensor::from_slice(&swap_batch(&case.cotangent, [t, b], h), (b, t, h), device)?;
        let step = |values: &[f32]| Tensor::from_slice(values, (1, x), device);
        let steps = case.input.chunks(x).map(step).collect::<Result<_>>()?;
        let state = layer.zero_state(1)?;
        let (hidden, gradients) = (None, None);
        Ok(Self { layer, mode, variables, cotangent, hidden, gradients, steps, next: 0, state, case })
    }

    fn try_run(&mut self) -> Result<()> {
        if self.mode == Mode::Step {
            self.state = self.layer.step(&self.steps[self.next], &self.state)?;
            self.next = (self.next + 1) % self.steps.len();
            return Ok(());
        }
        let training = self.mode == Mode::Train;
        let input = &self.variables[0];
        let input = if training { input.as_tensor().clone() } else { input.as_detached_tensor() };
        // candle's GRU joins steps without a dimension of their own.
        let hidden =
            self.layer.states_to_tensor(&self.layer.seq(&input)?)?.reshape(self.cotangent.shape())?;
        if training {
            self.gradients = Some((&hidden * &self.cotangent)?.sum_all()?.backward()?);
        }
        self.hidden = Some(hidden);
        Ok(())
    }
}

impl<L: RNN> Call for Candle<L> {
    fn run(&mut self) {
        self.try_run().expect("shapes fit");
    }

    fn answer(&mut self) -> Vec<f32> {
        let &Case { t, b, x, h, .. } = &self.case;
        let values = |tensor: &Tensor| -> Vec<f32> {
            tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("f32")
        };
        if self.mode == Mode::Step {
            return values(&self.layer.states_to_tensor(std::slice::from_ref(&self.state)).expect("a state"));
        }
        let hidden = values(self.hidden.as_ref().expect("run before"));
        let mut answer = swap_batch(&hidden, [b, t], h);
        if let Some(gradients) = &self.gradients {
            let gradient = |index: usize| values(gradients.get(&self.variables[index]).expect("a gradient"));
            answer.extend(swap_batch(&gradient(0), [b, t], x));
            answer.extend((1..3).flat_map(gradient));
            answer.extend(self.case.joined(&gradient(3), &gradient(4)));
        }
        answer
    }
}

fn load(mode: Mode, case: Case) -> Box<dyn Call> {
    const FITS: &str = "shapes fit";
    match case.cell {
        Cell::Lstm => {
            let layer = |[x, h]: [usize; 2], builder: VarBuilder| lstm(x, h, LSTMConfig::default(), builder);
            Box::new(Candle::new(mode, case, layer).expect(FITS))
        }
        Cell::Gru => {
            let layer = |[x, h]: [usize; 2], builder: VarBuilder| gru(x, h, GRUConfig::default(), builder);
            Box::new(Candle::new(mode, case, layer).expect(FITS))
        }
        Cell::GruResetBefore | Cell::Rnn => unreachable!("the driver does not ask candle for these"),
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    serve_in_pool(load)
}
