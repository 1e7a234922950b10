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
//! In a matrix of gates, the vectors of a panel are the gates of the same hidden units, so that all gates of a unit end
//! up in registers side by side. In any other matrix they are consecutive columns, and the last panel may be narrower.
//! Columns past the last are zero. A bias is the same with depth 1, and so is a row of sums.

/// Vectors in a panel of plain columns: as many as an LSTM has gates, so that both use tiles of the same shape.
const COLUMN_GROUP: usize = 4;

/// Shape of a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelLayout {
    group: usize,
    lanes: usize,
    vectors: usize,
    depth: usize,
}

impl PanelLayout {
    /// A matrix whose columns are the gates of hidden units, `lanes` units to a panel.
    pub const fn of_gates(gates: usize, units: usize, lanes: usize, depth: usize) -> Self {
        Self { group: gates, lanes, vectors: units.div_ceil(lanes) * gates, depth }
    }

    /// A matrix of plain columns.
    pub const fn of_columns(columns: usize, lanes: usize, depth: usize) -> Self {
        Self { group: COLUMN_GROUP, lanes, vectors: columns.div_ceil(lanes), depth }
    }

    /// Vectors in a panel: the gates of a gate matrix.
    pub const fn group(&self) -> usize {
        self.group
    }

    /// Elements in a vector.
    pub const fn lanes(&self) -> usize {
        self.lanes
    }

    /// Vectors in a row, over all panels.
    pub const fn vectors(&self) -> usize {
        self.vectors
    }

    /// Inputs: rows of a panel.
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Number of panels.
    pub const fn panels(&self) -> usize {
        self.vectors.div_ceil(self.group)
    }

    /// Elements in a row, over all panels.
    pub const fn width(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Elements in the packed matrix; `None` if that overflows a `usize`.
    pub const fn elements(&self) -> Option<usize> {
        let Some(width) = self.vectors.checked_mul(self.lanes) else { return None };
        width.checked_mul(self.depth)
    }

    /// The column of one gate of one unit in a gate matrix.
    pub const fn gate_column(&self, gate: usize, unit: usize) -> usize {
        ((unit / self.lanes) * self.group + gate) * self.lanes + unit % self.lanes
    }

    /// Where the weights of one column lie: the position of that of k = 0, and the distance from one k to the next.
    pub const fn column(&self, column: usize) -> (usize, usize) {
        let vector = column / self.lanes;
        let first = vector - vector % self.group;
        let rest = self.vectors - first;
        let width = if rest < self.group { rest } else { self.group };
        let start = (first * self.depth + vector % self.group) * self.lanes + column % self.lanes;
        (start, width * self.lanes)
    }

    /// Elements between two panels.
    pub(crate) const fn panel_stride(&self) -> usize {
        self.depth * self.group * self.lanes
    }
}

/// A packed matrix: a layout and data that has its length.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    layout: PanelLayout,
    data: &'a [f32],
}

impl<'a> Packed<'a> {
    /// `None` unless `data` has exactly the length that the layout asks for.
    pub fn new(layout: PanelLayout, data: &'a [f32]) -> Option<Self> {
        (layout.elements() == Some(data.len())).then_some(Self { layout, data })
    }

    /// The shape.
    pub fn layout(&self) -> PanelLayout {
        self.layout
    }

    /// The packed elements.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn every_weight_has_a_position_of_its_own_inside_the_matrix() {
        for columns in 1..70 {
            for layout in [PanelLayout::of_columns(columns, 4, 3), PanelLayout::of_gates(4, columns, 8, 3)] {
                let mut seen = vec![false; layout.elements().unwrap()];
                for column in 0..layout.width() {
                    let (start, step) = layout.column(column);
                    for k in 0..3 {
                        assert!(!std::mem::replace(&mut seen[start + k * step], true));
                    }
                }
                assert!(seen.iter().all(|&seen| seen));
            }
        }
    }

    #[test]
    fn gates_of_a_unit_lie_one_vector_apart() {
        let layout = PanelLayout::of_gates(4, 20, 8, 1);
        assert_eq!(layout.gate_column(0, 0), 0);
        assert_eq!(layout.gate_column(3, 7), 31);
        assert_eq!(layout.gate_column(1, 9), 32 + 8 + 1);
    }
}
