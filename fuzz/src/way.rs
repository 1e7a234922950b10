//! How a layer or a stack runs and remembers.

use libfuzzer_sys::arbitrary::{self, Unstructured};
use quadgate::{Activation, Isa, Lstm, Tape, Threads};
use std::num::NonZeroUsize;

/// How a layer or a stack runs and remembers.
#[derive(Clone, Copy, Debug)]
pub struct Way<P> {
    pub isa: Isa,
    pub threads: Threads,
    /// What else is demanded.
    pub plan: P,
    /// Steps between checkpoints; `None` for a full tape.
    pub every: Option<NonZeroUsize>,
    /// Steps and rows for which memory has room, beyond those that are needed.
    pub spare: [usize; 2],
}

impl<P> Way<P> {
    /// Two ways that must give the same bits.
    pub fn draw_two(
        u: &mut Unstructured<'_>,
        plan: impl Fn(&mut Unstructured<'_>) -> arbitrary::Result<P>,
    ) -> arbitrary::Result<[Self; 2]> {
        let isas = draw_isas(u)?;
        let mut draw = |isa| {
            Ok(Self {
                isa,
                threads: draw_threads(u)?,
                plan: plan(u)?,
                every: NonZeroUsize::new(u.int_in_range(0..=9)?),
                spare: [u.int_in_range(0..=9)?, u.int_in_range(0..=9)?],
            })
        };
        Ok([draw(isas[0])?, draw(isas[1])?])
    }

    /// Room for a call of so many steps and rows.
    pub fn room(&self, [steps, batch]: [usize; 2]) -> [usize; 2] {
        [steps + self.spare[0], batch + self.spare[1]]
    }

    /// A tape with such room.
    pub fn tape(&self, lstm: &Lstm, [steps, batch]: [usize; 2]) -> Tape {
        let tape = match self.every {
            None => lstm.tape(steps, batch),
            Some(_) => lstm.checkpointed_tape(steps, batch, self.every),
        };
        tape.unwrap()
    }
}

/// Two instruction sets of this CPU that have the same bits.
pub fn draw_isas(u: &mut Unstructured<'_>) -> arbitrary::Result<[Isa; 2]> {
    let available: Vec<Isa> =
        Isa::ALL.iter().copied().filter(|&isa| Activation::with_isa(isa).is_ok()).collect();
    let isa = *u.choose(&available)?;
    let has_same_bits = |other: &Isa| (*other == Isa::Portable) == (isa == Isa::Portable);
    let with_same_bits: Vec<Isa> = available.into_iter().filter(has_same_bits).collect();
    Ok([isa, *u.choose(&with_same_bits)?])
}

pub fn draw_threads(u: &mut Unstructured<'_>) -> arbitrary::Result<Threads> {
    Ok(match u.int_in_range(0..=5)? {
        0 => Threads::Serial,
        1 => Threads::Auto,
        pieces => Threads::Exactly(NonZeroUsize::new(pieces - 1).unwrap()),
    })
}
