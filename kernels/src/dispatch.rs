//! One table of kernels per instruction set.
//!
//! A table is only handed out when the CPU has its instruction set, so holding a [`Kernels`] is the proof that its
//! functions may run. The choice is made once, when a layer is made; calls go through function pointers.

use crate::cells::activation::{Apply, Reciprocal};
use crate::cells::function::{Activate, ActivationFunction, Slopes};
use crate::cells::gru::{GruRowCell, GruRows};
use crate::cells::gru_backward::GruBackwardRows;
use crate::cells::gru_options::GruOptionsRows;
use crate::cells::gru_options_backward::GruOptionsBackwardRows;
use crate::cells::gru_reset_before::{GruCandidateRows, GruGateRows};
use crate::cells::gru_reset_before_backward::GruResetBeforeBackwardRows;
use crate::cells::lines::Finish;
use crate::cells::lstm::{LstmRowCell, LstmRows};
use crate::cells::lstm_backward::LstmBackwardRows;
use crate::cells::lstm_normalized::LstmNormalizedRows;
use crate::cells::lstm_normalized_backward::LstmNormalizedBackwardRows;
use crate::cells::lstm_options::LstmOptionsRows;
use crate::cells::lstm_options_backward::LstmOptionsBackwardRows;
use crate::cells::rnn::RnnRows;
use crate::cells::rnn_backward::RnnBackwardRows;
use crate::cells::rnn_options::RnnOptionsRows;
use crate::cells::rnn_options_backward::RnnOptionsBackwardRows;
use crate::cells::row::Row;
use crate::gemm::column_sums::ColumnSums;
use crate::gemm::micro::{Deferred, Immediate, ImmediateStaggered, MOST_LINES, RunTile, Sums, Tile};
use crate::gemm::pack::Rearrange;
use crate::gemm::panel::PANEL_VECTORS;
use crate::gemm::store::{FinishStore, Store};
use crate::gemm::sweep::{Epilogue, PART_BYTES, SHAPES, TileTable, Tiles, shape_index};
use crate::probe::{FmaLoop, Read};
#[cfg(target_arch = "aarch64")]
use crate::simd::aarch64;
use crate::simd::isa::Isa;
use crate::simd::{Simd, portable};
#[cfg(target_arch = "x86_64")]
use crate::simd::{cpu::has_adders_beside_multipliers, x86_64};
use crate::small::HasSmall;
use core::fmt;

/// The kernels of one instruction set.
pub struct Kernels {
    isa: Isa,
    pub(crate) tiles: Tiles,
    pub(crate) store: Epilogue<Store>,
    pub(crate) lstm: Epilogue<LstmRows>,
    pub(crate) lstm_row: unsafe fn(&Row<LstmRowCell>),
    pub(crate) lstm_backward: Epilogue<LstmBackwardRows>,
    pub(crate) gru: Epilogue<GruRows>,
    pub(crate) gru_row: unsafe fn(&Row<GruRowCell>),
    pub(crate) gru_backward: Epilogue<GruBackwardRows>,
    pub(crate) gru_gates: Epilogue<GruGateRows>,
    pub(crate) gru_candidate: Epilogue<GruCandidateRows>,
    pub(crate) gru_candidate_backward: Epilogue<GruResetBeforeBackwardRows<false>>,
    pub(crate) gru_gates_backward: Epilogue<GruResetBeforeBackwardRows<true>>,
    pub(crate) rnn: Epilogue<RnnRows>,
    pub(crate) rnn_backward: Epilogue<RnnBackwardRows>,
    pub(crate) lstm_options: Epilogue<LstmOptionsRows>,
    pub(crate) lstm_options_backward: unsafe fn(LstmOptionsBackwardRows),
    pub(crate) lstm_normalized: unsafe fn(LstmNormalizedRows),
    pub(crate) lstm_normalized_backward: unsafe fn(LstmNormalizedBackwardRows),
    pub(crate) gru_options: unsafe fn(GruOptionsRows),
    pub(crate) gru_options_backward: unsafe fn(GruOptionsBackwardRows),
    pub(crate) rnn_options: unsafe fn(RnnOptionsRows),
    pub(crate) rnn_options_backward: unsafe fn(RnnOptionsBackwardRows),
    pub(crate) column_sums: unsafe fn(ColumnSums),
    pub(crate) rearrange: unsafe fn(Rearrange),
    pub(crate) activate: unsafe fn(&mut [f32], ActivationFunction),
    pub(crate) slopes: unsafe fn(&mut [f32], &[f32], ActivationFunction),
    pub(crate) reciprocals: unsafe fn(&mut [f32]),
    pub(crate) has_small: unsafe fn(&[f32]) -> bool,
    pub(crate) fma_loop: unsafe fn(FmaLoop) -> (u64, f32),
    pub(crate) read: unsafe fn(Read<'_>) -> f32,
}

/// A function of the table: work that is compiled for the instruction set `S`. It may run only where that exists;
/// `Kernels::new` sees to it.
macro_rules! kernels {
    ($($(#[$safety:meta])* fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)? { $work:expr })*) => {$(
        $(#[$safety])*
        unsafe fn $name<S: Simd<Element = f32>>($($argument: $type),*) $(-> $output)? {
            // SAFETY: the table exists, so the CPU has `S`; whoever calls through it vouches for the arguments.
            unsafe { S::assume().vectorize($work) }
        }
    )*};
}

kernels! {
    fn store(to: &Store, tiles: &[Sums]) { FinishStore::new(to, tiles) }
    fn lstm(rows: &LstmRows, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn lstm_row(row: &Row<LstmRowCell>) { row }
    fn lstm_backward(rows: &LstmBackwardRows, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn gru(rows: &GruRows, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn gru_row(row: &Row<GruRowCell>) { row }
    fn gru_backward(rows: &GruBackwardRows, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn gru_gates(rows: &GruGateRows, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn gru_candidate(rows: &GruCandidateRows, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn gru_candidate_backward(rows: &GruResetBeforeBackwardRows<false>, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn gru_gates_backward(rows: &GruResetBeforeBackwardRows<true>, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn rnn(rows: &RnnRows, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn rnn_backward(rows: &RnnBackwardRows, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn lstm_options(rows: &LstmOptionsRows, tiles: &[Sums]) { Finish::new(rows, tiles) }
    fn lstm_options_backward(cell: LstmOptionsBackwardRows) { cell }
    fn lstm_normalized(cell: LstmNormalizedRows) { cell }
    fn lstm_normalized_backward(cell: LstmNormalizedBackwardRows) { cell }
    fn gru_options(cell: GruOptionsRows) { cell }
    fn gru_options_backward(cell: GruOptionsBackwardRows) { cell }
    fn rnn_options(cell: RnnOptionsRows) { cell }
    fn rnn_options_backward(cell: RnnOptionsBackwardRows) { cell }
    fn column_sums(sums: ColumnSums) { sums }
    fn rearrange(rearrange: Rearrange) { rearrange }
    fn activate(values: &mut [f32], function: ActivationFunction) { Activate::new(values, function) }
    fn slopes(inputs: &mut [f32], values: &[f32], function: ActivationFunction) { Slopes::new(inputs, values, function) }
    fn has_small(values: &[f32]) -> bool { HasSmall(values) }
    fn reciprocals(values: &mut [f32]) { Apply::new(values, Reciprocal) }
    fn fma_loop(fma_loop: FmaLoop) -> (u64, f32) { fma_loop }
    fn read(read: Read<'_>) -> f32 { read }
}

unsafe fn tile<S: Simd<Element = f32>, const G: usize, const R: usize, const P: usize>(tile: &Tile) {
    // SAFETY: the table exists, so the CPU has `S`; whoever calls through it vouches for the tile, and none waits.
    unsafe { S::assume().vectorize(RunTile::<_, G, R, P>::new(tile, &Immediate, &Sums::NONE)) }
}

unsafe fn staggered_tile<S: Simd<Element = f32>, const G: usize, const R: usize, const P: usize>(
    tile: &Tile,
) {
    // SAFETY: as of `tile`.
    unsafe { S::assume().vectorize(RunTile::<_, G, R, P>::new(tile, &ImmediateStaggered, &Sums::NONE)) }
}

unsafe fn deferring_tile<S, D, const G: usize, const R: usize, const P: usize>(
    tile: &Tile,
    epilogue: &D,
    waiting: &Sums,
) where
    S: Simd<Element = f32>,
    D: Deferred<S>,
{
    // SAFETY: the table exists, so the CPU has `S`; whoever calls through it vouches for the tile and the one that
    // waits.
    unsafe { S::assume().vectorize(RunTile::<_, G, R, P>::new(tile, epilogue, waiting)) }
}

/// A table of shapes: those of one panel that take no more than `most` registers, and with panels of full width those
/// of two.
macro_rules! shapes {
    ($function:ident::<$S:ident $(, $D:ident)?>, $G:expr, $most:expr) => {{
        let mut shapes = [None; SHAPES];
        shapes!(@fill shapes, $function::<$S $(, $D)?>, $G, $most,
            1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 1 x 2 2 x 2 3 x 2);
        shapes
    }};
    (@fill $shapes:ident, $function:ident::<$S:ident>, $G:expr, $most:expr, $($R:literal x $P:literal)*) => {
        $(if is_used::<$S>($G, $R, $P, $most) {
            $shapes[shape_index($R, $P)] = Some($function::<$S, { $G }, $R, $P> as unsafe fn(&Tile));
        })*
    };
    (@fill $shapes:ident, $function:ident::<$S:ident, $D:ident>, $G:expr, $most:expr, $($R:literal x $P:literal)*) => {
        $(if is_used::<$S>($G, $R, $P, $most) {
            $shapes[shape_index($R, $P)] =
                Some($function::<$S, $D, { $G }, $R, $P> as unsafe fn(&Tile, &$D, &Sums));
        })*
    };
}

/// Whether a sweep asks for such tiles, and their sums and inputs take no more than `most` registers.
const fn is_used<S: Simd>(width: usize, rows: usize, panels: usize, most: usize) -> bool {
    let fits = rows <= S::TILE_ROWS / panels && width * rows * panels + rows <= most;
    fits && (panels == 1 || width == PANEL_VECTORS)
}

const fn tiles<S: Simd<Element = f32>>(hiding_rows: usize) -> Tiles {
    let table: TileTable<unsafe fn(&Tile)> = [
        shapes!(tile::<S>, 1, usize::MAX),
        shapes!(tile::<S>, 2, usize::MAX),
        shapes!(tile::<S>, 3, usize::MAX),
        shapes!(tile::<S>, 4, usize::MAX),
    ];
    let staggered = shapes!(staggered_tile::<S>, 4, usize::MAX);
    let part_depth = PART_BYTES / size_of::<f32>() / (PANEL_VECTORS * S::LANES);
    Tiles { lanes: S::LANES, rows: S::TILE_ROWS, part_depth, hiding_rows, table, staggered }
}

/// An epilogue that finishes each tile at once.
const fn immediate<C>(finish: unsafe fn(&C, &[Sums])) -> Epilogue<C> {
    Epilogue { finish, deferring: &[], pieces: 0 }
}

/// An epilogue that runs beside the next tile where the instruction set has the registers for it. docs/PERFORMANCE.md
/// has what that buys: it must earn what it takes to compile. Unoptimized, its frames would be too large.
const fn deferred<S: Simd<Element = f32>, C: Deferred<S> + 'static>(
    finish: unsafe fn(&C, &[Sums]),
) -> Epilogue<C> {
    Epilogue {
        finish,
        deferring: if S::DEFERRING_REGISTERS > 0 && !cfg!(unoptimized) {
            const { &shapes!(deferring_tile::<S, C>, 4, S::DEFERRING_REGISTERS) }
        } else {
            &[]
        },
        pieces: C::PIECES,
    }
}

/// `hiding_rows`: see [`Tiles`].
const fn table<S: Simd<Element = f32>>(isa: Isa, hiding_rows: usize) -> Kernels {
    Kernels {
        isa,
        tiles: tiles::<S>(hiding_rows),
        store: immediate(store::<S>),
        lstm: deferred::<S, LstmRows>(lstm::<S>),
        lstm_row: lstm_row::<S>,
        lstm_backward: immediate(lstm_backward::<S>),
        gru: immediate(gru::<S>),
        gru_row: gru_row::<S>,
        gru_backward: immediate(gru_backward::<S>),
        gru_gates: immediate(gru_gates::<S>),
        gru_candidate: immediate(gru_candidate::<S>),
        gru_candidate_backward: immediate(gru_candidate_backward::<S>),
        gru_gates_backward: immediate(gru_gates_backward::<S>),
        rnn: immediate(rnn::<S>),
        rnn_backward: immediate(rnn_backward::<S>),
        lstm_options: immediate(lstm_options::<S>),
        lstm_options_backward: lstm_options_backward::<S>,
        lstm_normalized: lstm_normalized::<S>,
        lstm_normalized_backward: lstm_normalized_backward::<S>,
        gru_options: gru_options::<S>,
        gru_options_backward: gru_options_backward::<S>,
        rnn_options: rnn_options::<S>,
        rnn_options_backward: rnn_options_backward::<S>,
        column_sums: column_sums::<S>,
        rearrange: rearrange::<S>,
        activate: activate::<S>,
        slopes: slopes::<S>,
        reciprocals: reciprocals::<S>,
        has_small: has_small::<S>,
        fma_loop: fma_loop::<S>,
        read: read::<S>,
    }
}

static PORTABLE: Kernels = table::<portable::Portable>(Isa::Portable, MOST_LINES);
#[cfg(target_arch = "x86_64")]
static AVX2: Kernels = table::<x86_64::Avx2>(Isa::Avx2, MOST_LINES);
#[cfg(target_arch = "x86_64")]
static AVX512: Kernels = table::<x86_64::Avx512>(Isa::Avx512, MOST_LINES);
/// For CPUs whose two units for vectors of 512 bits do all that there is to do, see [`has_adders_beside_multipliers`].
#[cfg(target_arch = "x86_64")]
static AVX512_SHARED_UNITS: Kernels = table::<x86_64::Avx512>(Isa::Avx512, 0);
#[cfg(target_arch = "aarch64")]
static NEON: Kernels = table::<aarch64::Neon>(Isa::Neon, MOST_LINES);

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels").field("isa", &self.isa).finish_non_exhaustive()
    }
}

impl Kernels {
    /// The kernels of `isa`; `None` if this CPU (or this build) lacks it.
    pub fn new(isa: Isa) -> Option<&'static Kernels> {
        match isa {
            Isa::Portable => portable::Portable::try_new().map(|_| &PORTABLE),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86_64::Avx2::try_new().map(|_| &AVX2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86_64::Avx512::try_new()
                .map(|_| if has_adders_beside_multipliers() { &AVX512 } else { &AVX512_SHARED_UNITS }),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => aarch64::Neon::try_new().map(|_| &NEON),
            _ => None,
        }
    }

    /// The widest kernels that this CPU can run.
    pub fn best() -> &'static Kernels {
        [Isa::Avx512, Isa::Avx2, Isa::Neon].into_iter().find_map(Kernels::new).unwrap_or(&PORTABLE)
    }

    /// The fastest kernels of this CPU for layers of so many units, with gates.
    ///
    /// Units that fill no more than half a vector of AVX-512 take as many operations in one of AVX2, which divides in
    /// 11 cycles rather than 17 and adds in 2 rather than 3. On an Emerald Rapids 8 units are 1.1 to 1.4 times as fast
    /// so in a row and in training, 0.96 to 1.05 in forward passes of several rows. Not where epilogues hide beside K
    /// loops, which takes registers that AVX2 does not have.
    pub fn best_for(units: usize) -> &'static Kernels {
        let best = Self::best();
        let is_enough = |kernels: &&Kernels| (units..best.lanes()).contains(&kernels.lanes());
        let narrower = if best.hides_epilogues() { None } else { Kernels::new(Isa::Avx2).filter(is_enough) };
        narrower.unwrap_or(best)
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether the epilogue of a tile of few rows can hide beside the K loop of the next, on this CPU.
    #[inline]
    pub fn hides_epilogues(&self) -> bool {
        self.tiles.hiding_rows > 0 && !self.lstm.deferring.is_empty()
    }

    /// Elements of a vector: hidden units per panel of an LSTM.
    #[inline]
    pub fn lanes(&self) -> usize {
        self.tiles.lanes
    }
}
