#!/usr/bin/env python3
"""Predicts the forward pass on more cores than the records have: a cost model, and a simulation of the claim order.

    benches/scaling/model.py            cores 1, 2, 8, 16 and 64, a table in Markdown

The plan is that of src/plan.rs, the claim order that of kernels/src/threads/lockstep.rs: each member takes its own piece of a step
as soon as all pieces of the step before are done, and after a while those that nobody has taken. The constants were measured on two
virtual cores of an AMD EPYC (Zen 5, AVX-512); what could not be measured there is marked as assumed.
"""

import math
import random

# Measured: GFLOP/s of multiply-adds and GB/s of reading, of one core; the share of the peak that tiles reach.
PEAK, TILES = 280.0, 0.93
CACHES = [(32 << 10, 500.0), (768 << 10, 200.0), (24 << 20, 130.0), (math.inf, 36.0)]
# Measured: nanoseconds from the last multiply-add of a step to h, and of the cell for each row and vector of units.
LATENCY, CELL = 57.0, 9.0
# Measured with two members: nanoseconds of a wait. Assumed: what each further member adds, a line of its own to fetch.
WAIT, WAIT_MORE = 100.0, 20.0
# Nanoseconds that a member leaves the pieces of others alone: LENIENCE looks.
LENIENCE = 500.0
# Measured: nanoseconds of waking and joining threads, once per call and level of the tree.
JOIN = 3000.0
# Assumed: pieces take up to so much longer, and in one of so many steps a member is away for so many nanoseconds.
JITTER, AWAY_ONE_IN, AWAY = 0.05, 20000, 50_000.0

LANES, TILE_ROWS = 16, 6

# src/plan.rs
MIN_FLOPS_PER_THREAD, MAX_MEMBERS, WAIT_FLOPS = 7e5, 64, (24e3, 6e3)
LOSS_OF_FEW_ROWS, SMALL_WEIGHTS, LARGE_WEIGHTS, LOSS_OF_FOREIGN_STATES = [0.3, 0.5, 5.0], 1 << 20, 16 << 20, 10.0

# T, B, X, H, and what was measured: GFLOP/s of one thread, and the speed-up of two.
SHAPES = [
    ((100, 1, 64, 64), 136, 1.22), ((100, 1, 128, 128), 123, 1.72), ((100, 1, 256, 256), 123, 2.36),
    ((50, 1, 512, 512), 107, 2.07), ((20, 1, 1024, 1024), 92, 2.03), ((100, 16, 128, 128), 239, 1.92),
    ((100, 32, 256, 256), 245, 1.96), ((50, 64, 512, 512), 255, 1.96), ((20, 128, 1024, 1024), 250, 1.95),
    ((100, 8, 40, 100), 201, 1.84), ((28, 32, 28, 50), 165, 1.45),
]  # fmt: skip


def plan(shape, cores):
    """The split and the number of threads."""
    t, b, x, h = shape
    per_step, blocks = 8.0 * b * h * (x + h), math.ceil(h / LANES)
    threads = max(1, min(cores, int(per_step * t / MIN_FLOPS_PER_THREAD)))
    rows = max(1, min(threads, b))
    weights = 16 * h * (x + h)
    size = (weights >= SMALL_WEIGHTS) + (weights >= LARGE_WEIGHTS)
    of_rows = per_step * math.ceil(b / rows) / b * (1 + LOSS_OF_FEW_ROWS[size] / math.ceil(b / rows))

    def of_units(members):
        wait = WAIT_FLOPS[0] + WAIT_FLOPS[1] * (members - 2) if members > 1 else 0
        foreign = 1 + (members - 1) * LOSS_OF_FOREIGN_STATES / (x + h)
        return per_step * math.ceil(blocks / members) / blocks * foreign + wait

    members = min(range(1, min(threads, MAX_MEMBERS, blocks) + 1), key=of_units)
    if members > 1 and of_units(members) < of_rows:
        return "units", members
    return "rows", rows


def reading(size):
    """Nanoseconds to read weights that are read again each step: what fits a cache stays there."""
    time, from_here = 0.0, size
    for capacity, rate in CACHES:
        here = min(from_here, capacity)
        time, from_here = time + here / rate, from_here - here
    return time


def multiplying(rows, flops):
    """Nanoseconds of products of some rows: tiles of few rows wait for their loads."""
    blocks = math.ceil(rows / TILE_ROWS)
    height = rows / blocks
    # Cycles for each k and panel: two multiply-adds or two loads each.
    pace = max(1.0, (height + 4) / (4 * height))
    return flops * pace / (PEAK * TILES)


def step(shape, rows, units):
    """Nanoseconds of a step of some rows and units, apart from waiting. Few rows: the input products are hoisted."""
    _, _, x, h = shape
    hoisted = rows < TILE_ROWS
    recurrent = max(multiplying(rows, 8.0 * rows * units * h), reading(16.0 * units * h))
    read = 0.0 if hoisted else reading(16.0 * units * x)
    inputs = max(multiplying(TILE_ROWS if hoisted else rows, 8.0 * rows * units * x), read)
    return inputs + recurrent + CELL * rows * math.ceil(units / LANES) + LATENCY


def units_of(piece, pieces, units):
    blocks = math.ceil(units / LANES)
    first, end = (blocks // pieces * p + min(p, blocks % pieces) for p in (piece, piece + 1))
    return min(units, end * LANES) - min(units, first * LANES)


def team(shape, members, chance):
    """Nanoseconds of a call whose units are shared: steps one after the other, pieces in the order of lockstep.rs."""
    t, b, _, h = shape
    costs = [step(shape, b, units_of(piece, members, h)) for piece in range(members)]
    free, done = [0.0] * members, 0.0
    for _ in range(t):
        untaken, ends = set(range(members)), []
        # When each member comes for its own piece; after that, or if the piece is gone, for those of others.
        coming = [(max(free[member], done), member, True) for member in range(members)]
        while untaken:
            now, member, is_first = coming.pop(coming.index(min(coming)))
            if is_first and member not in untaken:
                coming.append((now + LENIENCE, member, False))
                continue
            piece = member if is_first else min(untaken)
            untaken.remove(piece)
            end = now + costs[piece] * (1 + JITTER * chance.random())
            ends.append(end)
            free[member] = end + (AWAY if chance.random() * AWAY_ONE_IN < 1 else 0)
            coming.append((free[member] + LENIENCE * is_first, member, False))
        done = max(ends) + WAIT + WAIT_MORE * (members - 2)
    return done + JOIN * math.log2(members)


def call(shape, cores, chance):
    """The plan, and nanoseconds of a forward pass."""
    t, b, _, h = shape
    split, threads = plan(shape, cores)
    if threads == 1:
        return "one", 1, t * step(shape, b, h)
    if split == "units":
        return split, threads, team(shape, threads, chance)
    return split, threads, t * step(shape, math.ceil(b / threads), h) * (1 + JITTER) + JOIN * math.log2(threads)


def main():
    cores = [2, 8, 16, 64]
    print("| T, B, X, H | 1 core, measured | 1 core | 2, measured |", " | ".join(map(str, cores)), "|")
    print("|---|---|---|---|" + "---|" * len(cores))
    for shape, rate, speedup in SHAPES:
        t, b, x, h = shape
        chance = random.Random(1)
        one = call(shape, 1, chance)[2]
        cells = []
        for count in cores:
            split, threads, time = call(shape, count, chance)
            cells.append(f"{one / time:.1f} × ({threads} {split})" if threads > 1 else "1.0 × (1)")
        predicted = 8.0 * t * b * h * (x + h) / one
        print(f"| {t}, {b}, {x}, {h} | {rate} | {predicted:.0f} | {speedup} × |", " | ".join(cells), "|")


main()
