"""What the Python workers share: the conversation with the driver, and the clock."""

import json
import os
import pathlib
import sys
import time

import numpy

THREADS, VARIANT = int(sys.argv[1]), sys.argv[2]


# Steps of a block of the mode `stream`.
BLOCK = 64


# Rows of W and of R for each unit, and biases of each.
SIZES = {"lstm": (4, 4), "gru": (3, 4), "gru-reset-before": (3, 3), "rnn": (1, 1)}


class Case:
    """A layer and its input, weights as in PyTorch: [4H, X], [4H, H], [4H], gates i, f, g, o; r, z, n of the GRUs."""

    def __init__(self, words):
        self.mode, *shape, folder, self.cell = words
        self.gates, biases = SIZES[self.cell]
        self.t, self.b, self.x, self.h = t, b, x, h = tuple(map(int, shape))
        # Steps of one call.
        self.steps = {"step": 1, "stream": BLOCK}.get(self.mode, t)
        self.model = pathlib.Path(folder, "step.onnx" if self.mode == "step" else "forward.onnx")
        rows = self.gates * h
        shapes = [(t, b, x), (rows, x), (rows, h), (biases * h,), (t, b, h)]
        values = numpy.fromfile(pathlib.Path(folder, "case.f32"), numpy.float32)
        ends = numpy.cumsum([numpy.prod(shape) for shape in shapes])
        parts = [part.reshape(shape) for part, shape in zip(numpy.split(values, ends), shapes)]
        self.input, self.weight_ih, self.weight_hh, self.bias, self.cotangent = parts

    def biases(self):
        """A bias of W and one of R, as large as PyTorch's: of R that of a GRU's n, and zeros."""
        first, second = numpy.split(self.bias, [self.gates * self.h])
        return first, numpy.concatenate([numpy.zeros(first.size - second.size, numpy.float32), second])

    def joined(self, first, second):
        """The gradient of the bias, of those of both biases."""
        return numpy.concatenate([first, second[first.size - (self.bias.size - first.size) :]])


def serve(version, load):
    """Obeys the driver until it closes the pipe. Commands are words, answers are lines of JSON.

    `load` makes two functions of a case: what is timed, and what turns its result into the arrays of the answer: h, and
    in training the gradients of x, W, R and b.
    """
    # Whatever libraries print shall not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**answer):
        print(json.dumps(answer), file=answers, flush=True)

    say(version=version)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "load":
            case = run = answer = None
            case = Case(words)
            run, answer = load(case)
            say()
        elif command == "write":
            # A stream's answer is that of all its steps.
            runs = range(case.t // case.steps)
            parts = [numpy.array(part, numpy.float32).ravel() for _ in runs for part in answer(run())]
            numpy.concatenate(parts).tofile(words[0])
            say()
        else:
            say(**timed(run, int(words[0]) * 1_000_000))


def timed(run, turn):
    """Times single calls until the turn is over, after a tenth of it to get warm."""
    now = time.perf_counter_ns
    start = now()
    run()
    while now() - start < turn // 10:
        run()
    times, start = [], now()
    before = start
    while not times or before - start < turn:
        before = now()
        run()
        times.append(now() - before)
    times.sort()
    calls = len(times)
    return dict(calls=calls, min_ns=times[0], median_ns=times[calls // 2], p99_ns=times[calls * 99 // 100])
