"""Cases: random layers with their input, and what the cell in float64 makes of them."""

import math

import numpy
from cells import CELLS
from models import save_model
from peers import TARGET


def parts(cell, shape):
    """Shapes of the arrays of a case, in the order in which they lie in its file."""
    t, b, x, h = shape
    rows, biases = CELLS[cell].gates * h, CELLS[cell].biases * h
    return [(t, b, x), (rows, x), (rows, h), (biases,), (t, b, h)]


def answer_parts(cell, shape, mode):
    x, *weights, h = parts(cell, shape)
    return [h, x, *weights] if mode == "train" else [h]


def split(values, shapes):
    ends = numpy.cumsum([math.prod(shape) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(numpy.split(values, ends), shapes)]


def prepare(cell, shape, mode):
    """Writes x, weights in PyTorch's default distribution, a cotangent, and the layer as an ONNX model. Returns the folder."""
    folder = TARGET / "cases" / cell / ",".join(map(str, shape))
    case, model = folder / "case.f32", folder / ("step.onnx" if mode == "step" else "forward.onnx")
    if not case.exists():
        random = numpy.random.default_rng(1)
        limit = shape.h**-0.5
        x, *weights, cotangent = parts(cell, shape)
        arrays = [random.standard_normal(x), *(random.uniform(-limit, limit, size) for size in weights)]
        arrays.append(random.standard_normal(cotangent))
        folder.mkdir(parents=True, exist_ok=True)
        numpy.concatenate([array.ravel() for array in arrays]).astype(numpy.float32).tofile(case)
    if not model.exists():
        arrays = split(numpy.fromfile(case, numpy.float32), parts(cell, shape))
        save_model(model, cell, shape, arrays[1:4], mode == "step")
    return folder


def expected(folder, cell, shape, mode):
    """The answer in float64, rounded to f32 and kept in a file. A stream's is that of its sequence."""
    path = folder / ("train.f32" if mode == "train" else "forward.f32")
    if not path.exists():
        *arrays, cotangent = split(numpy.fromfile(folder / "case.f32", numpy.float32), parts(cell, shape))
        arrays = [array.astype(numpy.float64) for array in arrays]
        results = CELLS[cell].compute(*arrays, cotangent if mode == "train" else None)
        numpy.concatenate([result.ravel() for result in results]).astype(numpy.float32).tofile(path)
    return numpy.fromfile(path, numpy.float32)


def disagreement(found, wanted, cell, shape, mode):
    """The largest difference, relative to the largest entry of its array; absolute where all entries are zero, as in dR of
    one step."""
    if found.size != wanted.size:
        return math.inf
    shapes = answer_parts(cell, shape, mode)
    pairs = zip(split(found, shapes), split(wanted, shapes))
    errors = [numpy.abs(found - wanted).max() / (numpy.abs(wanted).max() or 1) for found, wanted in pairs]
    return float(max(errors)) if numpy.isfinite(errors).all() else math.inf
