//! The packed weight format.
//!
//! A matrix of `depth` inputs by some columns is cut into panels of `group` vectors of columns. A panel holds, for each
//! input k, those vectors side by side, so that a tile reads consecutive memory:
//!
//! ```text
//! panel p:   k = 0        [vector 0 × lanes | vector 1 × lanes | … ]
//!            k = 1        [vector 0 × lanes | vector 1 × lanes | … ]
//!            …
//!            k = depth−1  [vector 0 × lanes | vector 1 × lanes | … ]
//! ```
//!
//! In a matrix of gates, the vectors of a panel are the gates of the same `lanes` hidden units, so that all gates of a
//! unit end up in registers side by side. Units that do not fill a panel share vectors: their gates follow each other
//! without gaps, all units of the first gate, then of the second, so that two units of four gates take one vector of
//! eight lanes rather than four. In any other matrix the vectors are consecutive columns. In both, the last panel may
//! be narrower, and columns past the last are zero. A bias is the same with depth 1, and so is a row of sums.

use core::ops::Range;

/// Vectors in a full panel. An LSTM has as many gates, so a panel of its weights holds all gates of a vector of units.
pub const PANEL_VECTORS: usize = 4;

/// A vector of each panel that is not there: nothing is added to its sums.
///
/// The sums of a panel may be fed by two matrices that do not feed all of them: those of a gated recurrent unit are x̂,
/// r, z and ĥ, and W has no ĥ, R no x̂. The vector counts among the columns of the matrix, and takes no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blank {
    /// All are there.
    None,
    /// The first.
    First,
    /// The last.
    Last,
}

/// Shape of a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelLayout {
    group: usize,
    lanes: usize,
    vectors: usize,
    depth: usize,
    /// Hidden units; in a matrix of plain columns the columns.
    units: usize,
    blank: Blank,
}

impl PanelLayout {
    /// A matrix whose columns are the gates of hidden units, `lanes` units to a panel. Lanes are a power of two.
    #[inline]
    pub const fn of_gates(gates: usize, units: usize, lanes: usize, depth: usize) -> Self {
        // Shifts, since divisions take as long as a few units of a narrow layer.
        let shift = lanes.trailing_zeros();
        let rest = vectors_of((units & (lanes - 1)) * gates, lanes);
        Self {
            group: gates,
            lanes,
            vectors: (units >> shift) * gates + rest,
            depth,
            units,
            blank: Blank::None,
        }
    }

    /// A matrix of plain columns. Lanes are a power of two.
    #[inline]
    pub const fn of_columns(columns: usize, lanes: usize, depth: usize) -> Self {
        Self {
            group: PANEL_VECTORS,
            lanes,
            vectors: vectors_of(columns, lanes),
            depth,
            units: columns,
            blank: Blank::None,
        }
    }

    /// The same with a vector of each panel that is not there. All panels must be full.
    #[inline]
    pub const fn with_blank(self, blank: Blank) -> Self {
        Self { blank, ..self }
    }

    /// The vector of each panel that is not there.
    #[inline]
    pub const fn blank(&self) -> Blank {
        self.blank
    }

    /// Vectors in a full panel: the gates of a gate matrix.
    #[inline]
    pub const fn group(&self) -> usize {
        self.group
    }

    /// Elements in a vector.
    #[inline]
    pub const fn lanes(&self) -> usize {
        self.lanes
    }

    /// Vectors in a row, over all panels.
    #[inline]
    pub const fn vectors(&self) -> usize {
        self.vectors
    }

    /// Inputs: rows of a panel.
    #[inline]
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Number of panels.
    #[inline]
    pub const fn panels(&self) -> usize {
        self.vectors.div_ceil(self.group)
    }

    /// Elements in a row, over all panels.
    #[inline]
    pub const fn width(&self) -> usize {
        self.vectors * self.lanes
    }

    /// The vectors of some panels.
    #[inline]
    pub const fn vectors_of(&self, panels: Range<usize>) -> Range<usize> {
        let end = if panels.end < self.panels() { panels.end * self.group } else { self.vectors };
        panels.start * self.group..end
    }

    /// The elements of some panels in a row.
    #[inline]
    pub const fn columns_of(&self, panels: Range<usize>) -> Range<usize> {
        let width = self.group * self.lanes;
        let end = if panels.end < self.panels() { panels.end * width } else { self.width() };
        panels.start * width..end
    }

    /// Elements in the packed matrix; `None` if that overflows a `usize`.
    #[inline]
    pub const fn elements(&self) -> Option<usize> {
        let vectors = self.vectors - self.panels() * (self.group - self.stored());
        let Some(width) = vectors.checked_mul(self.lanes) else { return None };
        width.checked_mul(self.depth)
    }

    /// Vectors in a full panel that take memory.
    #[inline]
    const fn stored(&self) -> usize {
        match self.blank {
            Blank::None => self.group,
            Blank::First | Blank::Last => self.group - 1,
        }
    }

    /// Elements in the first so many panels, of those that there are.
    #[inline]
    pub const fn elements_before(&self, panels: usize) -> usize {
        let (vectors, panels) = if panels < self.panels() {
            (panels * self.group, panels)
        } else {
            (self.vectors, self.panels())
        };
        (vectors - panels * (self.group - self.stored())) * self.lanes * self.depth
    }

    /// The column of one gate of one unit in a gate matrix.
    #[inline]
    pub const fn gate_column(&self, gate: usize, unit: usize) -> usize {
        let first = unit / self.lanes * self.group;
        let rest = self.units - unit / self.lanes * self.lanes;
        let gate_width = if self.vectors - first < self.group { rest } else { self.lanes };
        first * self.lanes + gate * gate_width + unit % self.lanes
    }

    /// Where the weights of one column that is not blank lie: the position of that of k = 0, and the distance from one
    /// k to the next.
    #[inline]
    pub const fn column(&self, column: usize) -> (usize, usize) {
        let (panel, vector) = (column / self.lanes / self.group, column / self.lanes % self.group);
        let rest = self.vectors - panel * self.group;
        let width = if rest < self.group { rest } else { self.stored() };
        let vector = match self.blank {
            Blank::First => vector - 1,
            Blank::None | Blank::Last => vector,
        };
        debug_assert!(vector < width);
        (panel * self.panel_stride() + vector * self.lanes + column % self.lanes, width * self.lanes)
    }

    /// Elements between two panels.
    #[inline]
    pub(crate) const fn panel_stride(&self) -> usize {
        self.depth * self.stored() * self.lanes
    }
}

/// Vectors that hold `columns` columns.
#[inline]
const fn vectors_of(columns: usize, lanes: usize) -> usize {
    debug_assert!(lanes.is_power_of_two());
    let whole = columns >> lanes.trailing_zeros();
    if columns & (lanes - 1) == 0 { whole } else { whole + 1 }
}

/// A packed matrix: a layout and data that has its length.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    layout: PanelLayout,
    data: &'a [f32],
}

impl<'a> Packed<'a> {
    /// `None` unless `data` has exactly the length that the layout asks for.
    #[inline]
    pub fn new(layout: PanelLayout, data: &'a [f32]) -> Option<Self> {
        (layout.elements() == Some(data.len())).then_some(Self { layout, data })
    }

    /// The shape.
    #[inline]
    pub fn layout(&self) -> PanelLayout {
        self.layout
    }

    /// The packed elements.
    #[inline]
    pub fn data(&self) -> &'a [f32] {
        self.data
    }
}
