//! One table of kernels per instruction set, and the checks that make calling them safe.
//!
//! A table is only handed out when the CPU has its instruction set, so holding a [`Kernels`] is the proof that its
//! functions may run. The choice is made once, when a layer is made; calls go through a function pointer.

use crate::activation::{Apply, Sigmoid, Tanh};
use crate::cell::{LSTM_GATES, LstmCell, LstmRows};
use crate::cell_backward::LstmCellBackward;
use crate::column_sums::ColumnSums;
use crate::function::ActivationFunction;
use crate::general_cell::{CellOptions, Family, GeneralForward, Normalisation, RawNormalisation};
use crate::general_cell_backward::{GeneralBackward, NORMALISATION_TERMS, PEEPHOLE_TERMS};
use crate::panel::{GROUP, Packed, PanelLayout};
use crate::probe::{FmaLoop, Read};
use crate::simd::Simd;
use crate::store::Store;
use crate::tile::{self, RunSweep, Sweep};
use crate::views::{RawRows, RawRowsMut, Rows, RowsMut};
use crate::{Isa, portable};
use core::ops::Range;
use core::ptr;

/// Rows of dZ that are left of the K loop of a weight gradient when its totals are fetched. With fewer they come too late,
/// with more the panels push them out again. A training step at T,B,X,H = 100,32,256,256 is 3.6 % faster than with a fetch
/// before the first row, at 50,64,512,512 2.3 %; 24 and 128 rows are as good, 256 are not.
const ROWS_AFTER_FETCH: usize = 64;

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
    pub fn zigzag(step: usize) -> Self {
        if step.is_multiple_of(2) { Order::Forward } else { Order::Backward }
    }
}

/// What an LSTM step records for its backward pass.
#[derive(Debug)]
pub struct Tape<'a> {
    /// c of the step before, padded to whole panels. Without a tape, `cell` is replaced in place.
    pub previous_cell: Rows<'a>,
    /// Where σ(i), σ(f), tanh(g) and σ(o) go, a packed row each.
    pub gates: RowsMut<'a>,
}

/// One LSTM step for some rows: sums = start + Σ terms, then the cell.
#[derive(Debug)]
pub struct LstmStep<'a> {
    /// What the sums start from.
    pub start: Start<'a>,
    /// What is added, in this order.
    pub terms: [Option<Term<'a>>; 2],
    /// The panels of the weights to compute. All other arguments are of the hidden units in these panels alone.
    pub panels: Range<usize>,
    /// The direction in which panels are walked.
    pub order: Order,
    /// c, replaced by c'; with a tape, where c' goes. Rows padded to whole panels.
    pub cell: RowsMut<'a>,
    /// h', rows padded to whole panels.
    pub hidden: RowsMut<'a>,
    /// h' once more, one element per unit.
    pub output: Option<RowsMut<'a>>,
    /// What to record.
    pub tape: Option<Tape<'a>>,
    /// Hidden units in the panels, not padded.
    pub units: usize,
    /// Makes long sums of many rows faster, if it has room for a full panel of sums for each row.
    pub scratch: &'a mut [f32],
}

/// The backward pass of one LSTM step for some rows.
///
/// dh = start + dZ' · R + cotangent; then dZ and dc of the cell. All but `cotangent` and `gate_gradients` are padded to
/// whole vectors.
#[derive(Debug)]
pub struct LstmBackwardStep<'a> {
    /// What dh starts from: the gradient of the last h, at the last step.
    pub start: Start<'a>,
    /// dZ' of the step after this one, times R with a column per unit; none at the last step.
    pub recurrent: Option<Term<'a>>,
    /// The vectors of units to compute. All other arguments are of the hidden units in these vectors alone.
    pub vectors: Range<usize>,
    /// Cotangent of h, one element per unit.
    pub cotangent: Option<Rows<'a>>,
    /// σ(i), σ(f), tanh(g) and σ(o) as recorded, a packed row each.
    pub gates: Rows<'a>,
    /// c of this step.
    pub cell: Rows<'a>,
    /// c of the step before.
    pub previous_cell: Rows<'a>,
    /// dc, replaced by that of the step before.
    pub cell_gradient: RowsMut<'a>,
    /// Where dZ goes: for each row four rows, one for each gate, one element per unit (or more).
    pub gate_gradients: RowsMut<'a>,
    /// Hidden units in the vectors, not padded.
    pub units: usize,
    /// As of [`LstmStep`].
    pub scratch: &'a mut [f32],
}

/// What the general cell and its backward pass have in common. All is of the hidden units to compute alone.
#[derive(Clone, Copy, Debug)]
pub struct CellFamily<'a> {
    /// Hidden units, not padded.
    pub units: usize,
    /// The options that are not tensors.
    pub options: CellOptions,
    /// p_i, p_f and p_o: three rows, padded to whole vectors.
    pub peepholes: Option<Rows<'a>>,
    /// Layer normalisation; all units of the layer must be there then.
    pub normalisation: Option<Normalisation<'a>>,
    /// Zoneout: how much of c̃ to take, one element per unit.
    pub cell_share: Option<Rows<'a>>,
}

/// The cell with all options, over gate sums that a [`Kernels::product`] wrote.
#[derive(Debug)]
pub struct GeneralCell<'a> {
    /// The options.
    pub family: CellFamily<'a>,
    /// W·x + R·h + b, packed rows. They get the terms of the peepholes; the backward pass reads them.
    pub sums: RowsMut<'a>,
    /// c of the step before, padded; without it, `cell` is replaced in place.
    pub previous_cell: Option<Rows<'a>>,
    /// Where c′ goes, padded.
    pub cell: RowsMut<'a>,
    /// Where o·h(c̃) goes, padded: h′, unless there is a projection or zoneout of h.
    pub exposed: RowsMut<'a>,
}

/// The backward pass of the general cell.
#[derive(Debug)]
pub struct GeneralCellBackward<'a> {
    /// The options.
    pub family: CellFamily<'a>,
    /// The sums as the forward pass left them.
    pub sums: Rows<'a>,
    /// c of the step before, padded.
    pub previous_cell: Rows<'a>,
    /// dc′, replaced by dc. Padded.
    pub cell_gradient: RowsMut<'a>,
    /// The gradient of o·h(c̃), padded; what it holds afterwards means nothing.
    pub exposed_gradient: RowsMut<'a>,
    /// Where the gradients of the sums go: for each row four rows, one for each gate, one element per unit.
    pub gate_gradients: RowsMut<'a>,
    /// Where o·h(c̃) goes once more, padded.
    pub exposed: Option<RowsMut<'a>>,
    /// Where the products go whose sums over all rows are the gradients of the peepholes: for each row three rows, of i,
    /// f and o. Needed if there are peepholes.
    pub peephole_terms: Option<RowsMut<'a>>,
    /// The same of the normalisation: for each row the gates' rows of the scale, then those of the shift. Needed if there
    /// is one.
    pub normalisation_terms: Option<RowsMut<'a>>,
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
    /// As of [`LstmStep`].
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

/// The kernels of one instruction set.
#[derive(Debug)]
pub struct Kernels {
    isa: Isa,
    lanes: usize,
    lstm_step: unsafe fn(&Sweep<f32>, &LstmCell<false>),
    lstm_step_with_tape: unsafe fn(&Sweep<f32>, &LstmCell<true>),
    lstm_backward_step: unsafe fn(&Sweep<f32>, &LstmCellBackward),
    product: unsafe fn(&Sweep<f32>, &Store),
    column_product: unsafe fn(&Sweep<f32>, &Store),
    column_sums: unsafe fn(ColumnSums),
    general_cell: unsafe fn(GeneralForward),
    general_cell_backward: unsafe fn(GeneralBackward),
    sigmoid: unsafe fn(&mut [f32]),
    tanh: unsafe fn(&mut [f32]),
    activate: unsafe fn(&mut [f32], ActivationFunction),
    fma_loop: unsafe fn(FmaLoop) -> (u64, f32),
    read: unsafe fn(Read<'_>) -> f32,
}

// Each of these functions may run only where the instruction set `S` exists; `Kernels::new` sees to it.

unsafe fn lstm_step<S: Simd<Element = f32>, const TAPE: bool>(sweep: &Sweep<f32>, cell: &LstmCell<TAPE>) {
    // SAFETY: the table exists, so the CPU has `S`; `Kernels::lstm_step` checked the sweep and the cell.
    unsafe { S::assume().vectorize(RunSweep::<f32, _, false>::new(sweep, cell)) }
}

unsafe fn lstm_backward_step<S: Simd<Element = f32>>(sweep: &Sweep<f32>, cell: &LstmCellBackward) {
    // SAFETY: the table exists, so the CPU has `S`; `Kernels::lstm_backward_step` checked the sweep and the cell.
    unsafe { S::assume().vectorize(RunSweep::<f32, _, false>::new(sweep, cell)) }
}

unsafe fn product<S: Simd<Element = f32>, const BY_COLUMNS: bool>(sweep: &Sweep<f32>, store: &Store) {
    // SAFETY: the table exists, so the CPU has `S`; `Kernels::product` or `column_product` checked the sweep.
    unsafe { S::assume().vectorize(RunSweep::<f32, _, BY_COLUMNS>::new(sweep, store)) }
}

unsafe fn column_sums<S: Simd<Element = f32>>(sums: ColumnSums) {
    // SAFETY: the table exists, so the CPU has `S`.
    unsafe { S::assume() }.vectorize(sums)
}

unsafe fn general_cell<S: Simd<Element = f32>>(cell: GeneralForward) {
    // SAFETY: the table exists, so the CPU has `S`.
    unsafe { S::assume() }.vectorize(cell)
}

unsafe fn general_cell_backward<S: Simd<Element = f32>>(cell: GeneralBackward) {
    // SAFETY: the table exists, so the CPU has `S`.
    unsafe { S::assume() }.vectorize(cell)
}

unsafe fn sigmoid<S: Simd<Element = f32>>(values: &mut [f32]) {
    // SAFETY: the table exists, so the CPU has `S`.
    unsafe { S::assume() }.vectorize(Apply::new(values, Sigmoid))
}

unsafe fn tanh<S: Simd<Element = f32>>(values: &mut [f32]) {
    // SAFETY: the table exists, so the CPU has `S`.
    unsafe { S::assume() }.vectorize(Apply::new(values, Tanh))
}

unsafe fn activate<S: Simd<Element = f32>>(values: &mut [f32], function: ActivationFunction) {
    // SAFETY: the table exists, so the CPU has `S`.
    unsafe { S::assume() }.vectorize(Apply::new(values, function))
}

unsafe fn fma_loop<S: Simd<Element = f32>>(fma_loop: FmaLoop) -> (u64, f32) {
    // SAFETY: the table exists, so the CPU has `S`.
    unsafe { S::assume() }.vectorize(fma_loop)
}

unsafe fn read<S: Simd<Element = f32>>(read: Read<'_>) -> f32 {
    // SAFETY: the table exists, so the CPU has `S`.
    unsafe { S::assume() }.vectorize(read)
}

const fn table<S: Simd<Element = f32>>(isa: Isa) -> Kernels {
    Kernels {
        isa,
        lanes: S::LANES,
        lstm_step: lstm_step::<S, false>,
        lstm_step_with_tape: lstm_step::<S, true>,
        lstm_backward_step: lstm_backward_step::<S>,
        product: product::<S, false>,
        column_product: product::<S, true>,
        column_sums: column_sums::<S>,
        general_cell: general_cell::<S>,
        general_cell_backward: general_cell_backward::<S>,
        sigmoid: sigmoid::<S>,
        tanh: tanh::<S>,
        activate: activate::<S>,
        fma_loop: fma_loop::<S>,
        read: read::<S>,
    }
}

static PORTABLE: Kernels = table::<portable::Portable>(Isa::Portable);
#[cfg(target_arch = "x86_64")]
static AVX2: Kernels = table::<crate::x86_64::Avx2>(Isa::Avx2);
#[cfg(target_arch = "x86_64")]
static AVX512: Kernels = table::<crate::x86_64::Avx512>(Isa::Avx512);
#[cfg(target_arch = "aarch64")]
static NEON: Kernels = table::<crate::aarch64::Neon>(Isa::Neon);

impl Kernels {
    /// The kernels of `isa`; `None` if this CPU (or this build) lacks it.
    pub fn new(isa: Isa) -> Option<&'static Kernels> {
        match isa {
            Isa::Portable => Some(&PORTABLE),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => crate::x86_64::Avx2::try_new().map(|_| &AVX2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => crate::x86_64::Avx512::try_new().map(|_| &AVX512),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => crate::aarch64::Neon::try_new().map(|_| &NEON),
            _ => None,
        }
    }

    /// The widest kernels that this CPU can run.
    pub fn best() -> &'static Kernels {
        [Isa::Avx512, Isa::Avx2, Isa::Neon].into_iter().find_map(Kernels::new).unwrap_or(&PORTABLE)
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Hidden units per panel.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// One LSTM step: σ and tanh of the gate sums, then c' = f∘c + i∘g and h' = o∘tanh(c').
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    #[inline]
    pub fn lstm_step(&self, step: LstmStep<'_>) {
        let LstmStep { start, terms, panels, order, mut cell, mut hidden, mut output, mut tape, .. } = step;
        let LstmStep { units, scratch, .. } = step;
        let rows = cell.rows();
        check_units(units);
        let layout = PanelLayout::of_gates(LSTM_GATES, units, self.lanes, 1);
        assert_eq!(panels.len(), layout.panels(), "panels of {units} units");
        let sweep =
            check_sweep(layout, panels.start.saturating_mul(LSTM_GATES), rows, order, start, terms, scratch);
        let padded = layout.panels() * self.lanes;
        check_rows("c", (cell.rows(), cell.width()), rows, padded);
        check_rows("h", (hidden.rows(), hidden.width()), rows, padded);
        if let Some(output) = &output {
            check_rows("output", (output.rows(), output.width()), rows, units);
        }
        if let Some(tape) = &tape {
            check_rows("previous c", (tape.previous_cell.rows(), tape.previous_cell.width()), rows, padded);
            check_rows("gates", (tape.gates.rows(), tape.gates.width()), rows, LSTM_GATES * padded);
        }
        let cell = cell.raw();
        let rows = LstmRows {
            // Without a tape, c is replaced in place.
            previous_cell: tape.as_ref().map_or(cell.to_read(), |tape| tape.previous_cell.raw()),
            cell,
            hidden: hidden.raw(),
            output: output.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            units,
            gates: tape.as_mut().map_or(RawRowsMut::NONE, |tape| tape.gates.raw()),
        };
        // SAFETY: `check_sweep` checked what the sweep reads; the states have a vector and the gates four for each row
        // and panel, and `output` has `units` elements for each row, all exclusively borrowed where written.
        unsafe {
            match tape {
                None => (self.lstm_step)(&sweep, &LstmCell(rows)),
                Some(_) => (self.lstm_step_with_tape)(&sweep, &LstmCell(rows)),
            }
        }
    }

    /// The backward pass of one LSTM step: see [`LstmBackwardStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    #[inline]
    pub fn lstm_backward_step(&self, step: LstmBackwardStep<'_>) {
        let LstmBackwardStep { start, recurrent, vectors, cotangent, gates, cell, previous_cell, .. } = step;
        let (mut cell_gradient, mut gate_gradients) = (step.cell_gradient, step.gate_gradients);
        let (rows, units) = (cell_gradient.rows(), step.units);
        check_units(units);
        let layout = PanelLayout::of_columns(units, self.lanes, 1);
        assert_eq!(vectors.len(), layout.vectors(), "vectors of {units} units");
        let terms = [recurrent, None];
        let sweep = check_sweep(layout, vectors.start, rows, Order::Forward, start, terms, step.scratch);
        let padded = layout.width();
        check_rows("gates", (gates.rows(), gates.width()), rows, LSTM_GATES * padded);
        check_rows("dZ", (gate_gradients.rows(), gate_gradients.width()), LSTM_GATES * rows, units);
        check_rows("c", (cell.rows(), cell.width()), rows, padded);
        check_rows("previous c", (previous_cell.rows(), previous_cell.width()), rows, padded);
        check_rows("dc", (cell_gradient.rows(), cell_gradient.width()), rows, padded);
        if let Some(cotangent) = &cotangent {
            check_rows("cotangent", (cotangent.rows(), cotangent.width()), rows, units);
        }
        let backward = LstmCellBackward {
            cotangent: cotangent.as_ref().map_or(RawRows::NONE, Rows::raw),
            gates: gates.raw(),
            cell: cell.raw(),
            previous_cell: previous_cell.raw(),
            cell_gradient: cell_gradient.raw(),
            gate_gradients: gate_gradients.raw(),
            units,
        };
        // SAFETY: `check_sweep` checked what the sweep reads; each padded array has its vectors for each row and panel,
        // `cotangent` and each gate of dZ have `units` elements for each row, and what is written is exclusively
        // borrowed.
        unsafe { (self.lstm_backward_step)(&sweep, &backward) }
    }

    /// to = start + Σ rows · weights, in the column order of the weights.
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    #[inline]
    pub fn product(&self, product: Product<'_>) {
        let Product { start, terms, vectors, mut to, scratch } = product;
        let layout = PanelLayout::of_columns(to.width(), self.lanes, 1);
        assert_eq!(vectors.len(), layout.vectors(), "vectors of {} columns", to.width());
        let sweep = check_sweep(layout, vectors.start, to.rows(), Order::Forward, start, terms, scratch);
        let store = Store { columns: to.width(), add: false, to: to.raw() };
        // SAFETY: `check_sweep` checked what the sweep reads; each row of `to` has `columns` elements, exclusively
        // borrowed.
        unsafe { (self.product)(&sweep, &store) }
    }

    /// to = leftᵀ · right, or to += leftᵀ · right: see [`ColumnProduct`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn column_product(&self, product: ColumnProduct<'_>) {
        let ColumnProduct { left, from, right, mut to, add } = product;
        let layout = PanelLayout::of_columns(to.width(), self.lanes, 1);
        assert_eq!(left.rows(), right.rows(), "rows of both factors");
        assert!(from <= left.width() && to.rows() <= left.width() - from, "columns of the left factor");
        assert!(right.width() >= layout.width(), "columns of the right factor, padded");
        // The last rows are a term of their own, before which totals are fetched.
        let last = left.rows().min(ROWS_AFTER_FETCH);
        let depth = left.rows() - last;
        let term = tile::Product {
            left: left.as_ptr().wrapping_add(from),
            left_stride: left.stride(),
            right: right.as_ptr(),
            right_stride: right.stride(),
            from: 0,
            depth,
        };
        let last_term = tile::Product {
            left: term.left.wrapping_add(depth.wrapping_mul(left.stride())),
            right: term.right.wrapping_add(depth.wrapping_mul(right.stride())),
            depth: last,
            ..term
        };
        let sweep = Sweep {
            rows: to.rows(),
            vectors: [0, layout.vectors()],
            all_vectors: layout.vectors(),
            backward: false,
            start: ptr::null(),
            start_stride: 0,
            terms: [term, last_term],
            scratch: ptr::null_mut(),
        };
        let store = Store { columns: to.width(), add, to: to.raw() };
        // SAFETY: the terms are the first and the last of these rows. By the assertions, row k of `left` has an element for
        // each row of `to`, and row k of `right` all vectors; each row of `to` has `columns` elements, exclusively borrowed.
        unsafe { (self.column_product)(&sweep, &store) }
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

    /// The cell with all options: see [`GeneralCell`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn general_cell(&self, cell: GeneralCell<'_>) {
        let GeneralCell { family, mut sums, previous_cell, mut cell, mut exposed } = cell;
        let rows = sums.rows();
        check_units(family.units);
        let layout = PanelLayout::of_gates(LSTM_GATES, family.units, self.lanes, 1);
        let padded = layout.panels() * self.lanes;
        let family = check_family(family, layout, rows, padded);
        check_rows("sums", (rows, sums.width()), rows, layout.width());
        check_rows("c", (cell.rows(), cell.width()), rows, padded);
        check_rows("o·h(c)", (exposed.rows(), exposed.width()), rows, padded);
        if let Some(previous) = &previous_cell {
            check_rows("previous c", (previous.rows(), previous.width()), rows, padded);
        }
        let cell = cell.raw();
        let forward = GeneralForward {
            rows,
            family,
            sums: sums.raw(),
            previous_cell: previous_cell.as_ref().map_or(cell.to_read(), Rows::raw),
            cell,
            exposed: exposed.raw(),
        };
        // SAFETY: the states have whole vectors of all units for each row, the sums a packed row, the tensors of the
        // options what `check_family` checked, and what is written is exclusively borrowed.
        unsafe { (self.general_cell)(forward) }
    }

    /// Its backward pass: see [`GeneralCellBackward`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn general_cell_backward(&self, cell: GeneralCellBackward<'_>) {
        let GeneralCellBackward { family, sums, previous_cell, mut cell_gradient, .. } = cell;
        let (mut exposed_gradient, mut gate_gradients) = (cell.exposed_gradient, cell.gate_gradients);
        let (mut exposed, mut peephole_terms) = (cell.exposed, cell.peephole_terms);
        let mut normalisation_terms = cell.normalisation_terms;
        let (rows, units) = (sums.rows(), family.units);
        check_units(units);
        let layout = PanelLayout::of_gates(LSTM_GATES, units, self.lanes, 1);
        let padded = layout.panels() * self.lanes;
        assert!(family.peepholes.is_none() || peephole_terms.is_some(), "room for the peepholes' terms");
        assert!(
            family.normalisation.is_none() || normalisation_terms.is_some(),
            "room for the normalisation's terms"
        );
        let family = check_family(family, layout, rows, padded);
        check_rows("sums", (rows, sums.width()), rows, layout.width());
        check_rows("previous c", (previous_cell.rows(), previous_cell.width()), rows, padded);
        check_rows("dc", (cell_gradient.rows(), cell_gradient.width()), rows, padded);
        check_rows("gradient", (exposed_gradient.rows(), exposed_gradient.width()), rows, padded);
        check_rows("dZ", (gate_gradients.rows(), gate_gradients.width()), LSTM_GATES * rows, units);
        if let Some(exposed) = &exposed {
            check_rows("o·h(c)", (exposed.rows(), exposed.width()), rows, padded);
        }
        if let Some(terms) = &peephole_terms {
            check_rows("peepholes' terms", (terms.rows(), terms.width()), PEEPHOLE_TERMS * rows, units);
        }
        if let Some(terms) = &normalisation_terms {
            let found = (terms.rows(), terms.width());
            check_rows("normalisation's terms", found, NORMALISATION_TERMS * rows, units);
        }
        let backward = GeneralBackward {
            rows,
            family,
            sums: sums.raw(),
            previous_cell: previous_cell.raw(),
            cell_gradient: cell_gradient.raw(),
            exposed_gradient: exposed_gradient.raw(),
            gate_gradients: gate_gradients.raw(),
            exposed: exposed.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            peephole_terms: peephole_terms.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            normalisation_terms: normalisation_terms.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
        };
        // SAFETY: as in `general_cell`; each gate of dZ and each row of terms has all units.
        unsafe { (self.general_cell_backward)(backward) }
    }

    /// Replaces each x by σ(x) = 1 / (1 + e⁻ˣ).
    pub fn sigmoid(&self, values: &mut [f32]) {
        // SAFETY: holding the table is the proof that the CPU has the instruction set.
        unsafe { (self.sigmoid)(values) }
    }

    /// Replaces each x by tanh(x).
    pub fn tanh(&self, values: &mut [f32]) {
        // SAFETY: holding the table is the proof that the CPU has the instruction set.
        unsafe { (self.tanh)(values) }
    }

    /// Replaces each x by φ(x).
    pub fn activate(&self, function: ActivationFunction, values: &mut [f32]) {
        // SAFETY: holding the table is the proof that the CPU has the instruction set.
        unsafe { (self.activate)(values, function) }
    }

    /// Multiply-adds on registers alone, to find the peak of one core.
    ///
    /// Returns how many floating point operations it did, and a value to keep alive.
    pub fn fma_loop(&self, iterations: usize, seed: f32) -> (u64, f32) {
        // SAFETY: holding the table is the proof that the CPU has the instruction set.
        unsafe { (self.fma_loop)(FmaLoop { iterations, seed }) }
    }

    /// Reads `data` from end to end, to find the bandwidth of the cache that holds it. Returns a value to keep alive.
    pub fn read(&self, data: &[f32]) -> f32 {
        // SAFETY: holding the table is the proof that the CPU has the instruction set.
        unsafe { (self.read)(Read(data)) }
    }
}

/// Units whose padded widths, of all gates, fit a `usize`. Where there is any unit, a padded row has elements, so that a view
/// bounds the number of rows as well.
#[inline]
fn check_units(units: usize) {
    assert!(units <= usize::MAX / 8, "{units} units");
}

#[inline]
fn check_rows(name: &str, found: (usize, usize), rows: usize, width: usize) {
    assert!(found.0 == rows && found.1 >= width, "{name}: {rows} rows of {width}, found {found:?}");
}

/// The family as the kernels see it, after checking its tensors: those that there are have what [`Family`] says.
fn check_family(family: CellFamily<'_>, layout: PanelLayout, rows: usize, padded: usize) -> Family {
    let CellFamily { units, options, peepholes, normalisation, cell_share } = family;
    if let Some(peepholes) = &peepholes {
        check_rows("peepholes", (peepholes.rows(), peepholes.width()), PEEPHOLE_TERMS, padded);
    }
    if let Some(share) = &cell_share {
        check_rows("share of c", (share.rows(), share.width()), rows, units);
    }
    if let Some(Normalisation { scale, shift, .. }) = &normalisation {
        assert!(
            scale.len() >= layout.width() && shift.len() >= layout.width(),
            "scale and shift of all gates"
        );
    }
    Family {
        units,
        options,
        peepholes: peepholes.as_ref().map_or(RawRows::NONE, Rows::raw),
        normalisation: normalisation.map(|Normalisation { scale, shift, epsilon }| RawNormalisation {
            scale: scale.as_ptr(),
            shift: shift.as_ptr(),
            epsilon,
        }),
        cell_share: cell_share.as_ref().map_or(RawRows::NONE, Rows::raw),
    }
}

/// The sweep over columns of `layout`, which begin at the vector `first` of the weights, after checking all that it
/// reads: the contract of [`RunSweep`].
#[inline]
fn check_sweep(
    layout: PanelLayout,
    first: usize,
    rows: usize,
    order: Order,
    start: Start<'_>,
    terms: [Option<Term<'_>>; 2],
    scratch: &mut [f32],
) -> Sweep<f32> {
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
        assert!(packed.group() == GROUP && packed.lanes() == layout.lanes(), "weights for {layout:?}");
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
    let terms = terms.map(|term| {
        term.map_or(tile::Product::NONE, |Term { rows: left, weights, from }| tile::Product {
            left: left.as_ptr(),
            left_stride: left.stride(),
            right: weights.data().as_ptr(),
            right_stride: weights.layout().panel_stride(),
            from,
            depth: left.width(),
        })
    });
    Sweep {
        rows,
        vectors: [first, end],
        all_vectors,
        backward: order == Order::Backward,
        start,
        start_stride,
        terms,
        scratch: if scratch.len() / (GROUP * layout.lanes()) >= rows {
            scratch.as_mut_ptr()
        } else {
            ptr::null_mut()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::{Rows, RowsMut};

    #[test]
    #[should_panic(expected = "units")]
    fn units_whose_padded_width_would_wrap_are_refused() {
        let kernels = Kernels::best();
        kernels.lstm_step(LstmStep {
            start: Start::Zero,
            terms: [None, None],
            panels: 0..usize::MAX / kernels.lanes() + 1,
            order: Order::Forward,
            cell: RowsMut::new(&mut [], 1, 0, 0).unwrap(),
            hidden: RowsMut::new(&mut [], 1, 0, 0).unwrap(),
            output: None,
            tape: None,
            units: usize::MAX,
            scratch: &mut [],
        });
    }

    #[test]
    fn a_product_of_no_rows_writes_nothing_however_wide_it_is() {
        let kernels = Kernels::best();
        let width = 16 * kernels.lanes();
        kernels.product(Product {
            start: Start::Sums(Rows::new(&[], 0, width, width).unwrap()),
            terms: [None, None],
            vectors: 0..16,
            to: RowsMut::new(&mut [], 0, width, width).unwrap(),
            scratch: &mut [],
        });
    }
}
