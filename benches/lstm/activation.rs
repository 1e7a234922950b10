//! Group `activation`: sigmoid and tanh over a slice that fits into the first cache, on every instruction set of the
//! CPU or on that of `QUADGATE_ISA`.
//!
//! The functions work in place, and iterating one over its own output would soon leave all elements at a fixed point.
//! So each iteration first copies the same input into the slice; this copy is part of the time.

use crate::layer::random;
use crate::machine::available_isas;
use crate::run::{Case, Extra, Work};
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use quadgate::Activation;
use std::hint::black_box;

/// Elements of the slice.
const LEN: usize = 4096;

/// How an activation replaces the elements of a slice.
type Function = fn(&Activation, &mut [f32]);

/// Name and code.
const FUNCTIONS: [(&str, Function); 2] = [("sigmoid", Activation::sigmoid), ("tanh", Activation::tanh)];

pub(crate) fn run(group: &mut Group<'_>, settings: &Settings) {
    let isas = settings.isa.map_or_else(available_isas, |isa| vec![isa]);
    let input = random(LEN, 8.0, 1);
    let mut values = input.clone();
    for (name, function) in FUNCTIONS {
        for &isa in &isas {
            let activation = Activation::with_isa(isa).expect("the instruction set is available");
            let case = Case {
                name: name.to_owned(),
                isa,
                requested_threads: 1,
                threads: 1,
                schedule: None,
                split: None,
                shape: Shape { t: 1, b: 1, x: LEN, h: 1 },
                work: Work::Elements(LEN as u64),
            };
            let run = group.measure(case, None, || {
                values.copy_from_slice(black_box(&input));
                function(&activation, black_box(&mut values));
            });
            if let Some(mut run) = run {
                let gelements_per_s = 1e-9 * LEN as f64 / run.times.min;
                run.extra = Some(Extra::Elements { function: name, elements: LEN, gelements_per_s });
                group.keep([run]);
            }
        }
    }
}
