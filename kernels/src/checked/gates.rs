//! Gates over their sums in memory: what cells with options have in common.

use crate::cells::gates::{Gates, Normalization, RawNormalization, WholeVectors};
use crate::checked::gemm::{check_rows, check_units};
use crate::dispatch::Kernels;
use crate::gemm::panel::PanelLayout;

/// The gates of some units, whose sums fill whole vectors, and what their options are. All is of these units alone.
#[derive(Clone, Copy, Debug)]
pub struct GateOptions<'a> {
    /// Hidden units, not padded.
    pub units: usize,
    /// Sums for each of them.
    pub gates: usize,
    /// Whether a packed row has the sums of all gates vector by vector of units, rather than gate by gate.
    pub by_vectors: bool,
    /// Limit of what enters their activations; infinite for none.
    pub limit: f32,
    /// Layer normalization; all units of the layer must be there then.
    pub normalization: Option<Normalization<'a>>,
}

impl Kernels {
    /// Gates as the kernels see them, and the units padded to whole vectors, after checking that a normalization has packed rows.
    /// Such a row has so many elements for each gate.
    pub(crate) fn check_gate_options(&self, options: GateOptions<'_>) -> (Gates<WholeVectors>, usize) {
        let GateOptions { units, gates, by_vectors, limit, normalization } = options;
        check_units(units);
        assert!((1..=4).contains(&gates), "{gates} gates");
        let padded = PanelLayout::of_columns(units, self.lanes(), 1).width();
        let layout = WholeVectors {
            gates,
            by_unit: if by_vectors { gates } else { 1 },
            width: if by_vectors { self.lanes() } else { padded },
        };
        (self.check_gates(units, layout, limit, normalization, gates * padded), padded)
    }

    /// Gates as the kernels see them, after checking that a normalization has rows of `width` elements.
    pub(crate) fn check_gates<L>(
        &self,
        units: usize,
        layout: L,
        limit: f32,
        normalization: Option<Normalization<'_>>,
        width: usize,
    ) -> Gates<L> {
        if let Some(Normalization { scale, shift, .. }) = &normalization {
            assert!(scale.len() >= width && shift.len() >= width, "scale and shift of all gates");
        }
        Gates {
            units,
            layout,
            limit,
            normalization: normalization.map(|Normalization { scale, shift, epsilon }| RawNormalization {
                scale: scale.as_ptr(),
                shift: shift.as_ptr(),
                epsilon,
            }),
            activate: self.activate,
            slopes: self.slopes,
        }
    }
}

/// The rows for a normalization's terms must be there, two for each gate of each row, if there is a normalization.
pub(crate) fn check_terms(
    is_normalized: bool,
    terms: Option<(usize, usize)>,
    gates: usize,
    rows: usize,
    units: usize,
) {
    assert!(!is_normalized || terms.is_some(), "room for the normalization's terms");
    if let Some(found) = terms {
        check_rows("normalization's terms", found, 2 * gates * rows, units);
    }
}
