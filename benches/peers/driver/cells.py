"""What each cell computes, in float64: all h; with a cotangent of them, the gradients of x, W, R and b too."""

from dataclasses import dataclass
from typing import Callable

import numpy


def sigmoid(values):
    return 1 / (1 + numpy.exp(-values))


def input_sums(x, w, bias):
    steps, batch, inputs = x.shape
    return (x.reshape(-1, inputs) @ w.T + bias).reshape(steps, batch, len(w))


def sums_of_products(dz, values):
    """The gradient of a matrix that makes sums with gradients dz of some values."""
    return dz.reshape(-1, dz.shape[2]).T @ values.reshape(-1, values.shape[2])


def gradients(x, w, h, from_input, from_hidden):
    """h, dx, dW and dR of the gradients of the sums of W·x, and of those of R·h. The first entry of h is the initial state."""
    return [h[1:], from_input @ w, sums_of_products(from_input, x), sums_of_products(from_hidden, h[:-1])]


def total(dz):
    """The gradient of a bias."""
    return dz.sum((0, 1))


def lstm(x, w, r, b, cotangent=None):
    """Gates i, f, g, o."""
    steps, batch, _ = x.shape
    units = r.shape[1]
    sums = input_sums(x, w, b)
    h, c = (numpy.zeros((steps + 1, batch, units)) for _ in range(2))
    gates = numpy.empty((4, steps, batch, units))
    for t in range(steps):
        i, f, g, o = numpy.split(sums[t] + h[t] @ r.T, 4, axis=1)
        gates[:, t] = i, f, g, o = sigmoid(i), sigmoid(f), numpy.tanh(g), sigmoid(o)
        c[t + 1] = f * c[t] + i * g
        h[t + 1] = o * numpy.tanh(c[t + 1])
    if cotangent is None:
        return [h[1:]]

    dz = numpy.empty_like(sums)
    dh, dc = numpy.zeros((batch, units)), numpy.zeros((batch, units))
    for t in reversed(range(steps)):
        i, f, g, o = gates[:, t]
        tanh_c = numpy.tanh(c[t + 1])
        dh = dh + cotangent[t]
        dc = dc + dh * o * (1 - tanh_c**2)
        parts = [dc * g * i * (1 - i), dc * c[t] * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)]
        dz[t] = numpy.concatenate(parts, axis=1)
        dc = dc * f
        dh = dz[t] @ r
    return [*gradients(x, w, h, dz, dz), total(dz)]


def gru(x, w, r, b, cotangent=None):
    """Gates r, z, n, the reset gate after the product: the last part of b is that of R for n."""
    steps, batch, _ = x.shape
    units = r.shape[1]
    sums, bias = input_sums(x, w, b[: 3 * units]), b[3 * units :]
    h = numpy.zeros((steps + 1, batch, units))
    gates = numpy.empty((4, steps, batch, units))
    for t in range(steps):
        reset, update, recurrent = numpy.split(h[t] @ r.T, 3, axis=1)
        reset, update = sigmoid(sums[t, :, :units] + reset), sigmoid(sums[t, :, units : 2 * units] + update)
        recurrent = recurrent + bias
        candidate = numpy.tanh(sums[t, :, 2 * units :] + reset * recurrent)
        gates[:, t] = reset, update, candidate, recurrent
        h[t + 1] = (1 - update) * candidate + update * h[t]
    if cotangent is None:
        return [h[1:]]

    from_input, from_hidden = numpy.empty_like(sums), numpy.empty_like(sums)
    dh = numpy.zeros((batch, units))
    for t in reversed(range(steps)):
        reset, update, candidate, recurrent = gates[:, t]
        dh = dh + cotangent[t]
        dn = dh * (1 - update) * (1 - candidate**2)
        both = [dn * recurrent * reset * (1 - reset), dh * (h[t] - candidate) * update * (1 - update)]
        from_input[t] = numpy.concatenate([*both, dn], axis=1)
        from_hidden[t] = numpy.concatenate([*both, dn * reset], axis=1)
        dh = dh * update + from_hidden[t] @ r
    bias = numpy.concatenate([total(from_input), total(from_hidden)[2 * units :]])
    return [*gradients(x, w, h, from_input, from_hidden), bias]


def gru_reset_before(x, w, r, b, cotangent=None):
    """Gates r, z, n, the reset gate before the product."""
    steps, batch, _ = x.shape
    units = r.shape[1]
    of_gates, of_candidate = r[: 2 * units], r[2 * units :]
    sums = input_sums(x, w, b)
    h, kept = numpy.zeros((steps + 1, batch, units)), numpy.empty((steps, batch, units))
    gates = numpy.empty((3, steps, batch, units))
    for t in range(steps):
        reset, update = numpy.split(sigmoid(sums[t, :, : 2 * units] + h[t] @ of_gates.T), 2, axis=1)
        kept[t] = reset * h[t]
        candidate = numpy.tanh(sums[t, :, 2 * units :] + kept[t] @ of_candidate.T)
        gates[:, t] = reset, update, candidate
        h[t + 1] = (1 - update) * candidate + update * h[t]
    if cotangent is None:
        return [h[1:]]

    dz = numpy.empty_like(sums)
    dh = numpy.zeros((batch, units))
    for t in reversed(range(steps)):
        reset, update, candidate = gates[:, t]
        dh = dh + cotangent[t]
        dn = dh * (1 - update) * (1 - candidate**2)
        dkept = dn @ of_candidate
        both = [dkept * h[t] * reset * (1 - reset), dh * (h[t] - candidate) * update * (1 - update)]
        dz[t] = numpy.concatenate([*both, dn], axis=1)
        dh = dh * update + dz[t, :, : 2 * units] @ of_gates + dkept * reset
    *results, dr = gradients(x, w, h, dz, dz)
    dr[2 * units :] = sums_of_products(dz[:, :, 2 * units :], kept)
    return [*results, dr, total(dz)]


def rnn(x, w, r, b, cotangent=None):
    """tanh."""
    steps, batch, _ = x.shape
    sums = input_sums(x, w, b)
    h = numpy.zeros((steps + 1, batch, len(r)))
    for t in range(steps):
        h[t + 1] = numpy.tanh(sums[t] + h[t] @ r.T)
    if cotangent is None:
        return [h[1:]]

    dz = numpy.empty_like(sums)
    dh = numpy.zeros((batch, len(r)))
    for t in reversed(range(steps)):
        dz[t] = (dh + cotangent[t]) * (1 - h[t + 1] ** 2)
        dh = dz[t] @ r
    return [*gradients(x, w, h, dz, dz), total(dz)]


@dataclass(frozen=True)
class Cell:
    # How it is written in headings.
    title: str
    compute: Callable
    # Rows of W and of R for each unit, and biases of each.
    gates: int
    biases: int


CELLS = {
    "lstm": Cell("LSTM", lstm, 4, 4),
    "gru": Cell("GRU", gru, 3, 4),
    "gru-reset-before": Cell("GRU, reset gate before the product", gru_reset_before, 3, 3),
    "rnn": Cell("RNN, tanh", rnn, 1, 1),
}
