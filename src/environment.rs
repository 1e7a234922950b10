//! What the environment says: the one place where it is read.
//!
//! `QUADGATE_ISA` names the instruction set of layers whose configuration names none, by one of the names of [`Isa`] in any
//! case of letters. Empty means unset. Anything else is an error, so that a misspelled name is not measured for another.

use crate::error::Error;
use quadgate_kernels::{Isa, Kernels};

const ISA_VARIABLE: &str = "QUADGATE_ISA";

/// The kernels of `isa`, else of the environment's choice, else the best of the CPU.
pub(crate) fn kernels(isa: Option<Isa>) -> Result<&'static Kernels, Error> {
    let chosen = match isa {
        Some(isa) => Some(isa),
        None => match std::env::var_os(ISA_VARIABLE) {
            Some(name) if !name.is_empty() => {
                let name = name.to_string_lossy();
                let isa = Isa::from_name(&name);
                Some(isa.ok_or_else(|| Error::UnknownIsa { found: name.into_owned() })?)
            }
            _ => None,
        },
    };
    let Some(isa) = chosen else { return Ok(Kernels::best()) };
    Kernels::new(isa).ok_or(Error::UnsupportedIsa { expected: isa, found: Kernels::best().isa() })
}
