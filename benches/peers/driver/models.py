"""Layers as ONNX models of one node."""

import numpy

# Operator and its attributes, and where ONNX's gates are among ours.
NODES = {
    "lstm": ("LSTM", {}, [0, 3, 1, 2]),
    "gru": ("GRU", {"linear_before_reset": 1}, [1, 0, 2]),
    "gru-reset-before": ("GRU", {"linear_before_reset": 0}, [1, 0, 2]),
    "rnn": ("RNN", {}, [0]),
}


def save_model(path, cell, shape, weights, step):
    """For a step, the states come in and go out."""
    from onnx import TensorProto, helper, numpy_helper, save

    t, b, x, h = shape
    t = 1 if step else t
    operator, attributes, order = NODES[cell]

    def in_order(array):
        gates = numpy.split(array, len(order))
        return numpy.concatenate([gates[gate] for gate in order])

    w, r, bias = weights
    # Of W and, where the cell keeps them apart, of R.
    first, second = bias[: len(order) * h], numpy.zeros(len(order) * h, numpy.float32)
    second[second.size - (bias.size - first.size) :] = bias[first.size :]
    arrays = {"W": in_order(w), "R": in_order(r), "B": numpy.concatenate([in_order(first), in_order(second)])}
    constants = [numpy_helper.from_array(array[None], name) for name, array in arrays.items()]

    def value(name, *size):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, size)

    states = [f"_{state}" for state in ("hc" if operator == "LSTM" else "h")]
    initial = [f"initial{state}" for state in states] if step else []
    inputs = [value("X", t, b, x), *(value(name, 1, b, h) for name in initial)]
    outputs = [value(f"Y{state}", 1, b, h) for state in states] if step else [value("Y", t, 1, b, h)]
    names = [output.name for output in outputs]
    arguments = ["X", *arrays, *(["", *initial] if step else [])]
    node = helper.make_node(operator, arguments, ["", *names] if step else names, hidden_size=h, **attributes)
    graph = helper.make_graph([node], cell, inputs, outputs, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
