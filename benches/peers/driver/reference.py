"""Cases: random layers with their input, and what an LSTM in float64 makes of them."""

import math

import numpy


def sigmoid(values):
    return 1 / (1 + numpy.exp(-values))


def lstm(x, w, r, b, cotangent=None):
    """All h; with a cotangent of them, the gradients of x, W, R and b too."""
    steps, batch, inputs = x.shape
    units = r.shape[1]
    sums = (x.reshape(-1, inputs) @ w.T + b).reshape(steps, batch, 4 * units)
    # With a first entry for the initial state.
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
    rows = dz.reshape(-1, 4 * units)
    dx = (rows @ w).reshape(x.shape)
    return [h[1:], dx, rows.T @ x.reshape(-1, inputs), rows.T @ h[:-1].reshape(-1, units), rows.sum(0)]


def parts(shape):
    """Shapes of the arrays of a case, in the order in which they lie in its file."""
    t, b, x, h = shape
    return [(t, b, x), (4 * h, x), (4 * h, h), (4 * h,), (t, b, h)]


def answer_parts(shape, mode):
    t, b, x, h = shape
    return [(t, b, h), (t, b, x), (4 * h, x), (4 * h, h), (4 * h,)][: 5 if mode == "train" else 1]


def split(values, shapes):
    ends = numpy.cumsum([math.prod(shape) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(numpy.split(values, ends), shapes)]


def prepare(folder, shape, mode):
    """Writes x, weights in PyTorch's default distribution, a cotangent, and the layer as an ONNX model."""
    case, model = folder / "case.f32", folder / ("step.onnx" if mode == "step" else "forward.onnx")
    if not case.exists():
        random = numpy.random.default_rng(1)
        limit = shape.h**-0.5
        x, *weights, cotangent = parts(shape)
        arrays = [random.standard_normal(x), *(random.uniform(-limit, limit, size) for size in weights)]
        arrays.append(random.standard_normal(cotangent))
        folder.mkdir(parents=True, exist_ok=True)
        numpy.concatenate([array.ravel() for array in arrays]).astype(numpy.float32).tofile(case)
    if not model.exists():
        arrays = split(numpy.fromfile(case, numpy.float32), parts(shape))
        save_model(model, shape, arrays[1:4], mode == "step")


def save_model(path, shape, weights, step):
    """A model of one node; for a step, h and c come in and go out."""
    from onnx import TensorProto, helper, numpy_helper, save

    t, b, x, h = shape
    t = 1 if step else t

    def in_order(array):
        """From i, f, g, o to ONNX's i, o, f, g."""
        gates = numpy.split(array, 4)
        return numpy.concatenate([gates[gate] for gate in [0, 3, 1, 2]])[None]

    w, r, bias = map(in_order, weights)
    bias = numpy.concatenate([bias, numpy.zeros_like(bias)], 1)
    constants = [numpy_helper.from_array(array, name) for array, name in [(w, "W"), (r, "R"), (bias, "B")]]

    def value(name, *size):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, size)

    states = ["initial_h", "initial_c"] if step else []
    inputs = [value("X", t, b, x), *(value(name, 1, b, h) for name in states)]
    outputs = [value("Y_h", 1, b, h), value("Y_c", 1, b, h)] if step else [value("Y", t, 1, b, h)]
    names = [output.name for output in outputs]
    arguments = ["X", "W", "R", "B", *(["", *states] if step else [])]
    node = helper.make_node("LSTM", arguments, ["", *names] if step else names, hidden_size=h)
    graph = helper.make_graph([node], "lstm", inputs, outputs, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def expected(folder, shape, mode):
    """The answer in float64, rounded to f32 and kept in a file. A stream's is that of its sequence."""
    path = folder / ("train.f32" if mode == "train" else "forward.f32")
    if not path.exists():
        *arrays, cotangent = split(numpy.fromfile(folder / "case.f32", numpy.float32), parts(shape))
        arrays = [array.astype(numpy.float64) for array in arrays]
        results = lstm(*arrays, cotangent if mode == "train" else None)
        numpy.concatenate([result.ravel() for result in results]).astype(numpy.float32).tofile(path)
    return numpy.fromfile(path, numpy.float32)


def disagreement(found, wanted, shape, mode):
    """The largest difference, relative to the largest entry of its array; absolute where all entries are zero, as in dR of
    one step."""
    if found.size != wanted.size:
        return math.inf
    shapes = answer_parts(shape, mode)
    pairs = zip(split(found, shapes), split(wanted, shapes))
    errors = [numpy.abs(found - wanted).max() / (numpy.abs(wanted).max() or 1) for found, wanted in pairs]
    return float(max(errors)) if numpy.isfinite(errors).all() else math.inf
