//! Products of rows and weights: arguments, and the checks that make calling their kernels safe.

use crate::dispatch::Kernels;
use crate::gemm::column_sums::ColumnSums;
use crate::gemm::panel::{Blank, PANEL_VECTORS, Packed, PanelLayout};
use crate::gemm::store::Store;
use crate::gemm::sweep::{self, Sweep};
use crate::views::{Rows, RowsMut};
use core::ops::Range;
use core::ptr;

/// Rows times the packed weights of inputs `from..from + rows.width()`, to be added to the sums.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// The left factor: one row per row of the sweep.
    pub rows: Rows<'a>,
    /// The right factor.
    pub weights: Packed<'a>,
    /// First input of `weights` that counts.
    pub from: usize,
}

/// What the sums start from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// A packed row that all rows share.
    Bias(&'a [f32]),
    /// A packed row for each row, such as a [`Kernels::product`] wrote.
    Sums(Rows<'a>),
}

impl<'a> Start<'a> {
    /// That of some columns.
    pub fn columns(self, columns: Range<usize>) -> Self {
        match self {
            Start::Zero => Start::Zero,
            Start::Bias(bias) => {
                let end = columns.end.min(bias.len());
                Start::Bias(&bias[columns.start.min(end)..end])
            }
            Start::Sums(sums) => Start::Sums(sums.columns(columns)),
        }
    }
}

/// The direction in which panels are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the first to the last.
    Forward,
    /// From the last to the first.
    Backward,
}

impl Order {
    /// Forward on even steps, backward on odd ones: each step starts with the weights that the last one left in cache.
    #[inline]
    pub fn zigzag(step: usize) -> Self {
        if step.is_multiple_of(2) { Order::Forward } else { Order::Backward }
    }
}

/// A product of rows and packed weights: to = start + Σ terms.
#[derive(Debug)]
pub struct Product<'a> {
    /// What the sums start from.
    pub start: Start<'a>,
    /// What is added, in this order.
    pub terms: [Option<Term<'a>>; 2],
    /// The vectors of columns of the weights to compute.
    pub vectors: Range<usize>,
    /// The sums: as many columns as these vectors have, or fewer.
    pub to: RowsMut<'a>,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

/// A product of two factors that both have a row per k: to\[i\]\[j\] = Σ left\[k\]\[from + i\] · right\[k\]\[j\].
#[derive(Debug)]
pub struct ColumnProduct<'a> {
    /// The left factor.
    pub left: Rows<'a>,
    /// The column of the left factor that belongs to row 0 of the result.
    pub from: usize,
    /// The right factor, rows padded to whole vectors.
    pub right: Rows<'a>,
    /// The result.
    pub to: RowsMut<'a>,
    /// Whether to add to what is there.
    pub add: bool,
}

impl Kernels {
    /// to = start + Σ rows · weights, in the column order of the weights.
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn product(&self, product: Product<'_>) {
        let Product { start, terms, vectors, mut to, scratch } = product;
        let layout = PanelLayout::of_columns(to.width(), self.lanes(), 1);
        assert_eq!(vectors.len(), layout.vectors(), "vectors of {} columns", to.width());
        let sweep = check_sweep(layout, vectors.start, to.rows(), Order::Forward, start, terms, scratch);
        let store = Store { columns: to.width(), add: false, to: to.raw() };
        // SAFETY: `check_sweep` checked what the sweep reads; each row of `to` has `columns` elements, exclusively
        // borrowed.
        unsafe { sweep::run(&self.tiles, &sweep, &self.store, &store) }
    }

    /// to = leftᵀ · right, or to += leftᵀ · right: see [`ColumnProduct`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn column_product(&self, product: ColumnProduct<'_>) {
        let ColumnProduct { left, from, right, mut to, add } = product;
        let layout = PanelLayout::of_columns(to.width(), self.lanes(), 1);
        assert_eq!(left.rows(), right.rows(), "rows of both factors");
        assert!(from <= left.width() && to.rows() <= left.width() - from, "columns of the left factor");
        assert!(right.width() >= layout.width(), "columns of the right factor, padded");
        let term = sweep::Term {
            left: left.as_ptr().wrapping_add(from),
            left_stride: left.stride(),
            right: right.as_ptr(),
            right_stride: right.stride(),
            from: 0,
            depth: left.rows(),
        };
        let sweep = Sweep {
            rows: to.rows(),
            vectors: [0, layout.vectors()],
            all_vectors: layout.vectors(),
            backward: false,
            by_columns: true,
            is_staggered: false,
            start: ptr::null(),
            start_stride: 0,
            terms: [term, sweep::Term::NONE],
            scratch: ptr::null_mut(),
        };
        let store = Store { columns: to.width(), add, to: to.raw() };
        // SAFETY: by the assertions, row k of `left` has an element for each row of `to`, and row k of `right` all
        // vectors; each row of `to` has `columns` elements, exclusively borrowed.
        unsafe { sweep::run(&self.tiles, &sweep, &self.store, &store) }
    }

    /// sums\[column\] = Σ over rows of rows\[row\]\[column\].
    ///
    /// # Panics
    /// If there are more sums than columns.
    pub fn column_sums(&self, rows: Rows<'_>, sums: &mut [f32]) {
        assert!(sums.len() <= rows.width(), "columns of the rows");
        // SAFETY: each row has as many elements as `sums`, which is exclusively borrowed.
        unsafe {
            let (to, columns) = (sums.as_mut_ptr(), sums.len());
            (self.column_sums)(ColumnSums::new(rows.as_ptr(), rows.rows(), rows.stride(), to, columns));
        }
    }
}

/// Units whose padded widths, of all gates, fit a `usize`. Where there is any unit, a padded row has elements, so that
/// a view bounds the number of rows as well.
#[inline]
pub(crate) fn check_units(units: usize) {
    assert!(units <= usize::MAX / 8, "{units} units");
}

#[inline]
pub(crate) fn check_rows(name: &str, found: (usize, usize), rows: usize, width: usize) {
    assert!(found.0 == rows && found.1 >= width, "{name}: {rows} rows of {width}, found {found:?}");
}

/// The sweep over columns of `layout`, which begin at the vector `first` of the weights, after checking all that it
/// reads: the contract of [`sweep::run`].
#[inline]
pub(crate) fn check_sweep(
    layout: PanelLayout,
    first: usize,
    rows: usize,
    order: Order,
    start: Start<'_>,
    terms: [Option<Term<'_>>; 2],
    scratch: &mut [f32],
) -> Sweep {
    let (start, start_stride) = match start {
        Start::Zero => (ptr::null(), 0),
        Start::Bias(bias) => {
            assert!(bias.len() >= layout.width(), "a bias for every panel");
            (bias.as_ptr(), 0)
        }
        Start::Sums(sums) => {
            check_rows("sums", (sums.rows(), sums.width()), rows, layout.width());
            (sums.as_ptr(), sums.stride())
        }
    };
    let end = first.checked_add(layout.vectors()).expect("vectors of a matrix");
    let mut all_vectors = end;
    for term in terms.iter().flatten() {
        let packed = term.weights.layout();
        assert!(
            packed.group() == PANEL_VECTORS && packed.lanes() == layout.lanes(),
            "weights for {layout:?}"
        );
        assert!(end <= packed.vectors(), "weights for every column");
        assert!(
            term.from <= packed.depth() && term.rows.width() <= packed.depth() - term.from,
            "weights for every input"
        );
        assert_eq!(term.rows.rows(), rows, "rows of a term");
        all_vectors = packed.vectors();
    }
    let same =
        |term: &Option<Term<'_>>| term.is_none_or(|term| term.weights.layout().vectors() == all_vectors);
    assert!(terms.iter().all(same), "weights of the same columns");
    let is_staggered = terms.iter().flatten().any(|term| term.weights.layout().blank() != Blank::None);
    let terms = if is_staggered {
        assert!(
            first.is_multiple_of(PANEL_VECTORS) && layout.vectors().is_multiple_of(PANEL_VECTORS),
            "full panels of {layout:?}"
        );
        staggered(terms)
    } else {
        terms
    };
    let terms = terms.map(raw_term);
    Sweep {
        rows,
        vectors: [first, end],
        all_vectors,
        backward: order == Order::Backward,
        by_columns: false,
        is_staggered,
        start,
        start_stride,
        terms,
        scratch: if scratch.len() / (PANEL_VECTORS * layout.lanes()) >= rows {
            scratch.as_mut_ptr()
        } else {
            ptr::null_mut()
        },
    }
}

/// Terms each of which lacks a vector of each panel, at their places: first that which lacks the last.
fn staggered(terms: [Option<Term<'_>>; 2]) -> [Option<Term<'_>>; 2] {
    let is_at = |at: usize, blank: Blank| terms[at].is_none_or(|term| term.weights.layout().blank() == blank);
    match terms {
        [Some(_), None] if is_at(0, Blank::First) => [None, terms[0]],
        _ => {
            assert!(
                is_at(0, Blank::Last) && is_at(1, Blank::First),
                "terms with a vector of each panel missing"
            );
            terms
        }
    }
}

/// A term as a sweep sees it, after its checks.
#[inline]
fn raw_term(term: Option<Term<'_>>) -> sweep::Term {
    let Some(Term { rows: left, weights, from }) = term else { return sweep::Term::NONE };
    sweep::Term {
        left: left.as_ptr(),
        left_stride: left.stride(),
        right: weights.data().as_ptr(),
        right_stride: weights.layout().panel_stride(),
        from,
        depth: left.width(),
    }
}
