"""TensorFlow: Keras' layers, plain or compiled by XLA, or the operation BlockLSTM.

Of BlockLSTM version 1: the gradient of version 2 calls version 1's kernel, whose gate order differs, and is wrong.
"""

import numpy
import tensorflow
from worker import THREADS, VARIANT, serve

tensorflow.config.threading.set_intra_op_parallelism_threads(THREADS)
tensorflow.config.threading.set_inter_op_parallelism_threads(1)

# BlockLSTM's order of gates is i, g, f, o; this permutation is its own inverse.
BLOCK_GATES = [0, 2, 1, 3]


def block(array, case):
    """Changes the order of gates, which are the last dimension."""
    gates = array.reshape(*array.shape[:-1], 4, case.h)[..., BLOCK_GATES, :]
    return numpy.ascontiguousarray(gates.reshape(array.shape))


def keras_gates(array, case):
    """Changes the order of gates, which are the last dimension, from a GRU's r, z, n to Keras' z, r, n or back."""
    if not case.cell.startswith("gru"):
        return array
    r, z, n = numpy.split(array, 3, axis=-1)
    return numpy.concatenate([z, r, n], axis=-1)


def keras_layer(case):
    import keras

    arguments = dict(return_sequences=True)
    if case.cell.startswith("gru"):
        layer = keras.layers.GRU(case.h, reset_after=case.cell == "gru", **arguments)
    else:
        layer = {"lstm": keras.layers.LSTM, "rnn": keras.layers.SimpleRNN}[case.cell](case.h, **arguments)
    layer.build((case.b, case.t, case.x))
    # With the reset gate after the product the biases of W and of R lie one above the other.
    bias = numpy.stack(case.biases()) if case.cell == "gru" else case.bias
    layer.set_weights([keras_gates(array, case) for array in (case.weight_ih.T, case.weight_hh.T, bias)])
    return layer, [variable.value for variable in layer.trainable_variables]


def keras_gradients(gradients, case):
    w, r, b = (keras_gates(gradient, case) for gradient in gradients)
    return w, r, case.joined(*b) if case.cell == "gru" else b


def block_layer(case):
    weight = numpy.concatenate([case.weight_ih, case.weight_hh], 1).T
    w, b = tensorflow.Variable(block(weight, case)), tensorflow.Variable(block(case.bias, case))
    state, peephole = tensorflow.zeros((case.b, case.h)), tensorflow.zeros((case.h,))
    steps = tensorflow.constant(case.t, tensorflow.int64)

    def layer(x):
        return tensorflow.raw_ops.BlockLSTM(
            seq_len_max=steps, x=x, cs_prev=state, h_prev=state, w=w, b=b, wci=peephole, wcf=peephole, wco=peephole,
            forget_bias=0.0, cell_clip=-1.0, use_peephole=False,
        ).h  # fmt: skip

    return layer, [w, b]


def load(case):
    is_block = VARIANT == "block"
    layer, variables = block_layer(case) if is_block else keras_layer(case)
    # Keras reads [B, T, X], turned before the clock starts.
    axes = (0, 1, 2) if is_block else (1, 0, 2)
    x, cotangent = (tensorflow.constant(array.transpose(axes)) for array in (case.input, case.cotangent))

    @tensorflow.function(jit_compile=VARIANT == "xla" or None)
    def forward(x):
        return layer(x)

    @tensorflow.function(jit_compile=VARIANT == "xla" or None)
    def train(x, cotangent):
        with tensorflow.GradientTape() as tape:
            tape.watch(x)
            h = layer(x)
        return h, *tape.gradient(h, [x, *variables], output_gradients=cotangent)

    if case.mode == "forward":
        return lambda: forward(x), lambda h: [h.numpy().transpose(axes)]

    def answer(results):
        h, dx, *gradients = (result.numpy() for result in results)
        if is_block:
            weight, bias = (block(gradient, case) for gradient in gradients)
            w, r, b = weight[: case.x], weight[case.x :], bias
        else:
            w, r, b = keras_gradients(gradients, case)
        return [h.transpose(axes), dx.transpose(axes), w.T, r.T, b]

    return lambda: train(x, cotangent), answer


serve(tensorflow.__version__, load)
