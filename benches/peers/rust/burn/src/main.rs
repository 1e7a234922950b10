//! burn on its backend flex. Weights are `[inputs, H]` for each gate; x is turned to `[B, T, X]` before the clock
//! starts.

use burn::module::Param;
use burn::nn::{
    GateController, Gru, GruConfig, Linear, Lstm, LstmConfig, LstmState, Rnn, RnnConfig, RnnState,
};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use worker::{Call, Case, Cell, Mode, serve_in_pool, swap_batch};

enum Layer {
    Lstm(Lstm),
    Gru(Gru),
    Rnn(Rnn),
}

enum State {
    Lstm(LstmState<2>),
    Hidden(Tensor<2>),
}

impl Layer {
    fn new(case: &Case, device: &Device) -> Self {
        let &Case { x, h, .. } = case;
        match case.cell {
            Cell::Lstm => Layer::Lstm(LstmConfig::new(x, h, true).init(device)),
            Cell::Gru => Layer::Gru(GruConfig::new(x, h, true).init(device)),
            Cell::GruResetBefore => {
                Layer::Gru(GruConfig::new(x, h, true).with_reset_after(false).init(device))
            }
            Cell::Rnn => Layer::Rnn(RnnConfig::new(x, h, true).init(device)),
        }
    }

    /// i, f, g, o, or r, z, n.
    fn gates(&mut self) -> Vec<&mut GateController> {
        match self {
            Layer::Lstm(lstm) => {
                let forget = lstm.forget_gate.as_mut().expect("made without coupled gates");
                vec![&mut lstm.input_gate, forget, &mut lstm.cell_gate, &mut lstm.output_gate]
            }
            Layer::Gru(gru) => vec![&mut gru.reset_gate, &mut gru.update_gate, &mut gru.new_gate],
            Layer::Rnn(rnn) => vec![&mut rnn.gate],
        }
    }

    fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        match self {
            Layer::Lstm(lstm) => lstm.forward(input, None).0,
            Layer::Gru(gru) => gru.forward(input, None),
            Layer::Rnn(rnn) => rnn.forward(input, None).0,
        }
    }

    fn step(&self, input: Tensor<3>, state: Option<State>) -> (Tensor<3>, State) {
        let (of_lstm, hidden) = match state {
            Some(State::Lstm(state)) => (Some(state), None),
            Some(State::Hidden(hidden)) => (None, Some(hidden)),
            None => (None, None),
        };
        match self {
            Layer::Lstm(lstm) => {
                let (hidden, state) = lstm.forward(input, of_lstm);
                (hidden, State::Lstm(state))
            }
            Layer::Gru(gru) => {
                let hidden = gru.forward(input, hidden);
                (hidden.clone(), State::Hidden(hidden.squeeze_dim(1)))
            }
            Layer::Rnn(rnn) => {
                let (hidden, state) = rnn.forward(input, hidden.map(RnnState::new));
                (hidden, State::Hidden(state.hidden))
            }
        }
    }
}

struct Burn {
    layer: Layer,
    mode: Mode,
    input: Tensor<3>,
    cotangent: Tensor<3>,
    hidden: Option<Tensor<3>>,
    gradients: Option<Gradients>,
    /// The steps of a stream, `[1, 1, X]`.
    steps: Vec<Tensor<3>>,
    next: usize,
    state: Option<State>,
    case: Case,
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn transpose(values: &[f32], rows: usize) -> Vec<f32> {
    swap_batch(values, [rows, values.len() / rows], 1)
}

fn set(linear: &mut Linear, weight: &[f32], bias: Vec<f32>, device: &Device) {
    let h = bias.len();
    let inputs = weight.len() / h;
    linear.weight = Param::from_tensor(tensor(transpose(weight, h), [inputs, h], device));
    linear.bias = Some(Param::from_tensor(tensor(bias, [h], device)));
}

impl Burn {
    fn new(mode: Mode, case: Case) -> Self {
        let &Case { t, b, x, h, .. } = &case;
        let device = if mode == Mode::Train { Device::flex().autodiff() } else { Device::flex() };
        let mut layer = Layer::new(&case, &device);
        let [first, second] = case.biases();
        for (index, gate) in layer.gates().into_iter().enumerate() {
            let rows = |values: &[f32], inputs: usize| values[index * h * inputs..][..h * inputs].to_vec();
            set(&mut gate.input_transform, &rows(&case.weight_ih, x), rows(&first, 1), &device);
            set(&mut gate.hidden_transform, &rows(&case.weight_hh, h), rows(&second, 1), &device);
        }
        let input = tensor(swap_batch(&case.input, [t, b], x), [b, t, x], &device);
        let input = if mode == Mode::Train { input.require_grad() } else { input };
        let cotangent = tensor(swap_batch(&case.cotangent, [t, b], h), [b, t, h], &device);
        let steps = case.input.chunks(x).map(|step| tensor(step.to_vec(), [1, 1, x], &device));
        let steps = if mode == Mode::Step { steps.collect() } else { Vec::new() };
        let (hidden, gradients, state) = (None, None, None);
        Self { layer, mode, input, cotangent, hidden, gradients, steps, next: 0, state, case }
    }
}

impl Call for Burn {
    fn run(&mut self) {
        if self.mode == Mode::Step {
            let (hidden, state) = self.layer.step(self.steps[self.next].clone(), self.state.take());
            (self.hidden, self.state) = (Some(hidden), Some(state));
            self.next = (self.next + 1) % self.steps.len();
            return;
        }
        let hidden = self.layer.forward(self.input.clone());
        if self.mode == Mode::Train {
            self.gradients = Some((hidden.clone() * self.cotangent.clone()).sum().backward());
        }
        self.hidden = Some(hidden);
    }

    fn answer(&mut self) -> Vec<f32> {
        fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
            tensor.into_data().to_vec().expect("f32")
        }
        let &Case { t, b, x, h, .. } = &self.case;
        let hidden = values(self.hidden.clone().expect("run before"));
        if self.mode == Mode::Step {
            return hidden;
        }
        let mut answer = swap_batch(&hidden, [b, t], h);
        if let Some(gradients) = &self.gradients {
            let input = self.input.grad(gradients).expect("a gradient");
            answer.extend(swap_batch(&values(input), [b, t], x));
            let gates = self.layer.gates();
            let weight = |linear: &Linear| {
                let gradient = values(linear.weight.val().grad(gradients).expect("a gradient"));
                transpose(&gradient, gradient.len() / h)
            };
            answer.extend(gates.iter().flat_map(|gate| weight(&gate.input_transform)));
            answer.extend(gates.iter().flat_map(|gate| weight(&gate.hidden_transform)));
            let bias = |linear: &Linear| {
                let bias = linear.bias.as_ref().expect("made with biases");
                values(bias.val().grad(gradients).expect("a gradient"))
            };
            let first: Vec<f32> = gates.iter().flat_map(|gate| bias(&gate.input_transform)).collect();
            let second: Vec<f32> = gates.iter().flat_map(|gate| bias(&gate.hidden_transform)).collect();
            answer.extend(self.case.joined(&first, &second));
        }
        answer
    }
}

fn load(mode: Mode, case: Case) -> Box<dyn Call> {
    Box::new(Burn::new(mode, case))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve_in_pool(load)
}
