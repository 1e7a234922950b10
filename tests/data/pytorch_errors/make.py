#!/usr/bin/env python3
"""Writes errors.csv: how far PyTorch in f32 is from PyTorch in f64, for cases that tests/suite/errors.rs makes again.

Needs torch and numpy: python3 make.py >errors.csv. Made with PyTorch 2.15.0 on an Intel Emerald Rapids.
"""

import numpy as np
import torch

# T, B, X, H: odd sizes, long and short sequences, narrow and wide layers.
SIZES = [
    (11, 6, 3, 5), (7, 3, 5, 9), (20, 2, 1, 8), (33, 5, 13, 17), (100, 1, 7, 23), (250, 1, 3, 31),
    (50, 2, 31, 33), (28, 8, 28, 50), (12, 17, 63, 65), (300, 1, 40, 40), (40, 4, 40, 100), (9, 33, 101, 77),
    (100, 1, 64, 64), (60, 3, 128, 128), (5, 40, 129, 127), (150, 2, 20, 130), (16, 4, 257, 191), (25, 3, 80, 200),
    (10, 16, 256, 256), (70, 1, 255, 257), (6, 5, 700, 100), (12, 2, 320, 320), (8, 3, 100, 400), (30, 1, 512, 300),
    (4, 8, 511, 513), (6, 2, 30, 650), (3, 4, 1024, 260), (200, 3, 11, 60),
]  # fmt: skip


def random(seed, lengths):
    """SplitMix64 as uniform numbers in −scale … scale, one array after the other."""
    counter = 0
    for length, scale in lengths:
        with np.errstate(over="ignore"):
            z = np.uint64(seed) + np.arange(counter + 1, counter + length + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
        counter += length
        unit = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
        yield torch.from_numpy(unit * np.float32(scale))


def run(case, cotangents, sizes, kind):
    steps, batch, inputs, units = sizes
    w, r, b1, b2, x, h, c = (tensor.to(kind) for tensor in case)
    lstm = torch.nn.LSTM(inputs, units, dtype=kind)
    with torch.no_grad():
        for parameter, value in zip(lstm.parameters(), (w.view(-1, inputs), r.view(-1, units), b1, b2)):
            parameter.copy_(value)
    x = x.view(steps, batch, inputs).requires_grad_()
    h, c = (state.view(1, batch, units).requires_grad_() for state in (h, c))
    y, (last_h, last_c) = lstm(x, (h, c))
    dy, dh, dc = (tensor.to(kind) for tensor in cotangents)
    loss = (y * dy.view_as(y)).sum() + (last_h * dh.view_as(last_h)).sum() + (last_c * dc.view_as(last_c)).sum()
    wanted = [x, h, c, lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0]
    return [tensor.detach().double().flatten() for tensor in (y, *torch.autograd.grad(loss, wanted))]


def error(found, expected):
    """Root mean square of the difference, as a part of that of what was expected."""
    return float((found - expected).norm() / expected.norm())


print("steps,batch,inputs,units,forward,gradients")
for seed, sizes in enumerate(SIZES):
    steps, batch, inputs, units = sizes
    scale = np.float32(1) / np.sqrt(np.float32(units))
    lengths = [(4 * units * inputs, scale), (4 * units * units, scale), (4 * units, scale), (4 * units, scale)]
    lengths += [(steps * batch * inputs, 1), (batch * units, 1), (batch * units, 1)]
    case = list(random(seed, lengths))
    cotangents = list(random(seed ^ 0x5EED, [(steps * batch * units, 1), (batch * units, 1), (batch * units, 1)]))
    found, expected = (run(case, cotangents, sizes, kind) for kind in (torch.float32, torch.float64))
    forward, *gradients = (error(a, b) for a, b in zip(found, expected))
    print(*sizes, f"{forward:.3e}", f"{sum(gradients) / len(gradients):.3e}", sep=",")
