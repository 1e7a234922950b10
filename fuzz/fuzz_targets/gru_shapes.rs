//! Draws layers of gated recurrent units and right calls of them, forward and backward.
//!
//! 1. Nothing ever panics, and every call succeeds.
//! 2. Two ways to run a call, on two instruction sets, with any threads, schedule and tape, give the same bits.
//! 3. The same sequence fed to `Gru::step` gives the same bits as the forward pass, where all rows run all steps.
//! 4. Each such step agrees with the oracle in f64, from the state that the crate had before it.
//!
//! Some cases sow infinities, NaNs and huge numbers into the data; they skip 4.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use quadgate::reference::{NaiveActivation, NaiveGru, NaiveOptions};
use quadgate::{
    Backward, Direction, Forward, GradientMode, Gru, GruConfig, GruWeights, Matrix, MatrixMut, ResetGate,
    Schedule, Sequence, SequenceMut, Split,
};
use quadgate_fuzz::call::{UNTOUCHED, assert_same};
use quadgate_fuzz::numbers::Numbers;
use quadgate_fuzz::oracle::widen;
use quadgate_fuzz::way::Way;

fuzz_target!(|case: Case| case.run());

#[derive(Debug)]
struct Case {
    /// T, B, X and H.
    sizes: [usize; 4],
    reset_gate: ResetGate,
    is_reverse: bool,
    lengths: Option<Vec<usize>>,
    has_biases: [bool; 2],
    ways: [Way<(Option<Schedule>, Option<Split>)>; 2],
    numbers: Numbers,
}

/// Everything that a call reads.
struct Data {
    weights: [Vec<f32>; 2],
    biases: [Vec<f32>; 2],
    x: Vec<f32>,
    initial: Vec<f32>,
    cotangents: [Vec<f32>; 2],
}

impl Arbitrary<'_> for Case {
    fn arbitrary(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let [steps, batch] = [u.int_in_range(0..=7)?, u.int_in_range(0..=9)?];
        let reset_gate = *u.choose(&[ResetGate::AfterProduct, ResetGate::BeforeProduct])?;
        let lengths = match u.arbitrary()? {
            false => None,
            true => Some((0..batch).map(|_| u.int_in_range(0..=steps)).collect::<Result<_, _>>()?),
        };
        Ok(Case {
            sizes: [steps, batch, u.int_in_range(0..=40)?, u.int_in_range(1..=70)?],
            reset_gate,
            is_reverse: u.arbitrary()?,
            lengths,
            has_biases: u.arbitrary()?,
            ways: Way::draw_two(u, |u| {
                // With the reset gate before the product, threads cannot share units.
                let split = match reset_gate {
                    ResetGate::AfterProduct => *u.choose(&[None, Some(Split::Rows), Some(Split::Units)])?,
                    ResetGate::BeforeProduct => *u.choose(&[None, Some(Split::Rows)])?,
                };
                Ok((*u.choose(&[None, Some(Schedule::Fused), Some(Schedule::Hoisted)])?, split))
            })?,
            numbers: Numbers::draw(u, &[0.3, 1e-3, 2.0, 100.0])?,
        })
    }
}

impl Case {
    fn run(self) {
        let data = self.data();
        let [first, second] = [0, 1].map(|way| self.call(&data, way));
        for (what, (first, second)) in
            ["output", "last h", "dx", "dh0", "gradients"].into_iter().zip(first.iter().zip(&second))
        {
            assert_same(second, first, what);
        }
        if self.lengths.is_none() {
            self.step_by_step(&data, &first[0]);
        }
    }

    fn data(&self) -> Data {
        let [steps, batch, inputs, units] = self.sizes;
        let mut numbers = self.numbers.clone();
        let scale = numbers.scale;
        let mut take = |len: usize, scale: f32| numbers.take(len, scale);
        Data {
            weights: [take(3 * units * inputs, scale), take(3 * units * units, scale)],
            biases: [take(3 * units, scale), take(3 * units, scale)],
            x: take(steps * batch * inputs, 1.0),
            initial: take(batch * units, 1.0),
            cotangents: [take(steps * batch * units, 1.0), take(batch * units, 1.0)],
        }
    }

    fn layer(&self, data: &Data, way: usize) -> Gru {
        let [.., inputs, units] = self.sizes;
        let Way { isa, threads, plan: (schedule, split), .. } = self.ways[way];
        let direction = if self.is_reverse { Direction::Reverse } else { Direction::Forward };
        let mut config = GruConfig::new(inputs, units)
            .reset_gate(self.reset_gate)
            .direction(direction)
            .isa(isa)
            .threads(threads)
            .training();
        config = schedule.into_iter().fold(config, GruConfig::schedule);
        config = split.into_iter().fold(config, GruConfig::split);
        let [first, second] = [0, 1].map(|bias| self.has_biases[bias].then_some(&data.biases[bias][..]));
        let weights = GruWeights::pytorch(&config, &data.weights[0], &data.weights[1], first, second);
        Gru::new(&config, &weights.unwrap()).unwrap()
    }

    /// Every h, the last h, and the gradients of x, of the first h, and of the parameters.
    fn call(&self, data: &Data, way: usize) -> [Vec<f32>; 5] {
        let [steps, batch, inputs, units] = self.sizes;
        let (gru, way) = (self.layer(data, way), self.ways[way]);
        let [room_steps, room_rows] = way.room([steps, batch]);
        let mut workspace = gru.workspace(room_rows).unwrap();
        let mut tape = match way.every {
            None => gru.tape(room_steps, room_rows).unwrap(),
            every => gru.checkpointed_tape(room_steps, room_rows, every).unwrap(),
        };
        let parameters = gru.config().parameters().unwrap().total();
        let lens = [steps * batch * units, batch * units, data.x.len(), batch * units, parameters];
        let [mut output, mut last, mut dx, mut dh, mut gradients] = lens.map(|len| vec![UNTOUCHED; len]);
        let input = Sequence::time_major(&data.x, steps, batch, inputs);
        let mut call = Forward::new(input)
            .initial_hidden(Matrix::new(&data.initial, batch, units))
            .output(SequenceMut::time_major(&mut output, steps, batch, units))
            .last_hidden(MatrixMut::new(&mut last, batch, units))
            .tape(&mut tape);
        let mut backward = Backward::new(input)
            .output_cotangent(Sequence::time_major(&data.cotangents[0], steps, batch, units))
            .last_hidden_cotangent(Matrix::new(&data.cotangents[1], batch, units))
            .input_gradient(SequenceMut::time_major(&mut dx, steps, batch, inputs))
            .initial_hidden_gradient(MatrixMut::new(&mut dh, batch, units))
            .parameter_gradients(&mut gradients, GradientMode::Overwrite);
        if let Some(lengths) = &self.lengths {
            (call, backward) = (call.lengths(lengths), backward.lengths(lengths));
        }
        gru.forward(&mut workspace, call).unwrap();
        gru.backward(&mut workspace, &mut tape, backward).unwrap();
        [output, last, dx, dh, gradients]
    }

    fn step_by_step(&self, data: &Data, output: &[f32]) {
        let [steps, batch, inputs, units] = self.sizes;
        let gru = self.layer(data, 1);
        let bias = |bias: usize| match self.has_biases[bias] {
            true => widen(&data.biases[bias]),
            false => vec![0.0; 3 * units],
        };
        let oracle = NaiveGru {
            input_size: inputs,
            hidden_size: units,
            resets_before: self.reset_gate == ResetGate::BeforeProduct,
            gate: NaiveActivation::Sigmoid,
            candidate: NaiveActivation::Tanh,
            weight_ih: widen(&data.weights[0]),
            weight_hh: widen(&data.weights[1]),
            bias_ih: bias(0),
            bias_hh: bias(1),
            options: NaiveOptions::default(),
        };
        let mut state = gru.state(batch).unwrap();
        state.set_hidden(Matrix::new(&data.initial, batch, units)).unwrap();
        for step in 0..steps {
            let t = if self.is_reverse { steps - 1 - step } else { step };
            let x = &data.x[t * batch * inputs..][..batch * inputs];
            let before: Vec<f32> = (0..batch).flat_map(|row| state.hidden(row).unwrap().to_vec()).collect();
            gru.step(&mut state, Matrix::new(x, batch, inputs)).unwrap();
            let after: Vec<f32> = (0..batch).flat_map(|row| state.hidden(row).unwrap().to_vec()).collect();
            assert_same(&after, &output[t * batch * units..][..batch * units], "h of a step");
            if self.numbers.special {
                continue;
            }
            let expected = oracle.forward(1, batch, &widen(x), &widen(&before));
            // Rounding errors of sums grow with the weights, and gates with that of what enters them.
            let bound = 1e-5 * (1.0 + f64::from(self.numbers.scale) * (inputs + units) as f64);
            for (found, expected) in after.iter().zip(&expected) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= bound, "{found} is not {expected}: {error} > {bound}");
            }
        }
    }
}
