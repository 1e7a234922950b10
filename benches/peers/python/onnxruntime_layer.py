"""ONNX Runtime, with inputs and outputs bound to memory of its own."""

import itertools

import numpy
import onnxruntime
from worker import THREADS, serve


def load(case):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    session = onnxruntime.InferenceSession(case.model, options, providers=["CPUExecutionProvider"])

    def value(array):
        return onnxruntime.OrtValue.ortvalue_from_numpy(numpy.ascontiguousarray(array))

    def zeros(*shape):
        return value(numpy.zeros(shape, numpy.float32))

    def bind(inputs, outputs):
        """Keeps the values beside the binding, which sees their memory but does not own it."""
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, array)
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, array)
        return binding, inputs, list(outputs.values())

    if case.mode == "step":
        # Two states take turns, all the way round an even number of steps.
        names = ["h", "c"] if case.cell == "lstm" else ["h"]
        states = [{name: zeros(1, 1, case.h) for name in names} for _ in range(2)]
        bindings = []
        for step in range(case.t):
            first, last = states[step % 2], states[1 - step % 2]
            inputs = {"X": value(case.input[step : step + 1])} | {f"initial_{name}": first[name] for name in names}
            bindings.append(bind(inputs, {f"Y_{name}": last[name] for name in names}))
        turns = itertools.cycle(bindings)
    else:
        turns = itertools.repeat(bind({"X": value(case.input)}, {"Y": zeros(case.t, 1, case.b, case.h)}))

    def run():
        binding, _, outputs = next(turns)
        session.run_with_iobinding(binding)
        return outputs[0]

    return run, lambda output: [output.numpy()]


serve(onnxruntime.__version__, load)
