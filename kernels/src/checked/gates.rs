//! Gates over their sums in memory: what cells with options have in common.

use crate::cells::gates::{GateGradients, Gates, Normalization, RawNormalization, WholeVectors};
use crate::checked::gemm::{check_rows, check_units};
use crate::dispatch::Kernels;
use crate::gemm::panel::PanelLayout;
use crate::views::{RawRowsMut, RowsMut};

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
    /// Gates as the kernels see them, and the units padded to whole vectors, after checking that a normalization has
    /// packed rows. Such a row has so many elements for each gate.
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

/// Where gradients of `gates` sums of `units` units go, after checking that there is room for each row: a row for each
/// gate, and twice as many for the terms of a normalization, which must be there if there is one.
pub(crate) fn check_gate_gradients(
    sums: &mut RowsMut<'_>,
    terms: &mut Option<RowsMut<'_>>,
    is_normalized: bool,
    [rows, gates, units]: [usize; 3],
) -> GateGradients {
    check_rows("dZ", (sums.rows(), sums.width()), gates * rows, units);
    assert!(!is_normalized || terms.is_some(), "room for the normalization's terms");
    if let Some(terms) = terms {
        check_rows("normalization's terms", (terms.rows(), terms.width()), 2 * gates * rows, units);
    }
    GateGradients { sums: sums.raw(), terms: terms.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw) }
}
