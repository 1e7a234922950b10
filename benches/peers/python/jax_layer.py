"""JAX: lax.scan over the steps, with W·x of all steps at once before."""

import jax
import jax.numpy as jnp
from worker import serve

jax.config.update("jax_platforms", "cpu")

sigmoid, split = jax.nn.sigmoid, jnp.split


# A step takes the states, what W·x and the biases of W sum up to, R, and the biases of R.
def lstm(states, sums, r, _):
    h, c = states
    i, f, g, o = split(sums + h @ r, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def gru(states, sums, r, b):
    (h,) = states
    (reset, update, n), (of_reset, of_update, of_n) = split(sums, 3, axis=1), split(h @ r, 3, axis=1)
    reset, update = sigmoid(reset + of_reset), sigmoid(update + of_update)
    n = jnp.tanh(n + reset * (of_n + b))
    h = (1 - update) * n + update * h
    return (h,), h


def gru_reset_before(states, sums, r, _):
    (h,) = states
    units = h.shape[1]
    gates, n = split(sums, [2 * units], axis=1)
    reset, update = split(sigmoid(gates + h @ r[:, : 2 * units]), 2, axis=1)
    n = jnp.tanh(n + (reset * h) @ r[:, 2 * units :])
    h = (1 - update) * n + update * h
    return (h,), h


def rnn(states, sums, r, _):
    (h,) = states
    h = jnp.tanh(sums + h @ r)
    return (h,), h


STEPS = {"lstm": lstm, "gru": gru, "gru-reset-before": gru_reset_before, "rnn": rnn}


def load(case):
    cell = STEPS[case.cell]

    def layer(x, w, r, b):
        steps, batch, inputs = x.shape
        first, second = split(b, [w.shape[1]])
        sums = (x.reshape(steps * batch, inputs) @ w + first).reshape(steps, batch, w.shape[1])
        zeros = jnp.zeros((batch, r.shape[0]), jnp.float32)
        states = (zeros, zeros) if cell is lstm else (zeros,)
        return jax.lax.scan(lambda states, sums: cell(states, sums, r, second), states, sums)[1]

    @jax.jit
    def train(cotangent, *arguments):
        h, backward = jax.vjp(layer, *arguments)
        return h, *backward(cotangent)

    forward = jax.jit(layer)
    # Transposed once: [X, 4H] and [H, 4H].
    arrays = [case.input, case.weight_ih.T.copy(), case.weight_hh.T.copy(), case.bias]
    arguments = [jax.device_put(array) for array in arrays]
    if case.mode == "forward":
        return lambda: forward(*arguments).block_until_ready(), lambda h: [h]
    cotangent = jax.device_put(case.cotangent)

    def run():
        return jax.block_until_ready(train(cotangent, *arguments))

    return run, lambda results: [*results[:2], results[2].T, results[3].T, results[4]]


serve(jax.__version__, load)
