//! What the environment says: the one place where it is read.
//!
//! `QUADGATE_ISA` names the instruction set of layers whose configuration names none, by one of the names of [`Isa`] in
//! any case of letters. Empty means unset. Anything else is an error, so that a misspelled name is not measured for
//! another.

use crate::error::Error;
use quadgate_kernels::{Isa, Kernels};
use std::ffi::OsStr;

const ISA_VARIABLE: &str = "QUADGATE_ISA";

/// The kernels of `isa`, else of the environment's choice, else the best of the CPU for so many units.
pub(crate) fn kernels(isa: Option<Isa>, units: usize) -> Result<&'static Kernels, Error> {
    let chosen = match isa {
        Some(isa) => Some(isa),
        None => named(std::env::var_os(ISA_VARIABLE).as_deref())?,
    };
    let Some(isa) = chosen else { return Ok(Kernels::best_for(units)) };
    Kernels::new(isa).ok_or(Error::UnsupportedIsa { expected: isa, found: Kernels::best().isa() })
}

/// The instruction set that a value of the variable names, if any.
fn named(value: Option<&OsStr>) -> Result<Option<Isa>, Error> {
    match value {
        Some(name) if !name.is_empty() => {
            let name = name.to_string_lossy();
            let isa = Isa::from_name(&name);
            isa.map(Some).ok_or_else(|| Error::UnknownIsa { found: name.into_owned() })
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(value: &str) -> Result<Option<Isa>, Error> {
        super::named(Some(OsStr::new(value)))
    }

    #[test]
    fn an_empty_variable_is_an_unset_one() {
        assert_eq!((named(""), super::named(None)), (Ok(None), Ok(None)));
    }

    #[test]
    fn names_are_read_in_any_case_of_letters() {
        for &isa in Isa::ALL {
            let name = isa.name();
            let mixed = name[..1].to_uppercase() + &name[1..];
            for name in [name, &name.to_uppercase(), &mixed] {
                assert_eq!(named(name), Ok(Some(isa)), "{name}");
            }
        }
    }

    #[test]
    fn any_other_name_is_refused_by_its_name() {
        for name in ["avx", "avx512f", " avx2", "none"] {
            assert_eq!(named(name), Err(Error::UnknownIsa { found: name.to_string() }));
        }
    }
}
