"""Shapes T, B, X, H, and sets of them that have a name."""

from typing import NamedTuple


class Shape(NamedTuple):
    t: int
    b: int
    x: int
    h: int

    def __str__(self):
        return ", ".join(map(str, self))

    def flops(self, mode, gates):
        """Of the matrix products alone; a training step has three times as many."""
        return 2 * self.t * self.b * gates * self.h * (self.x + self.h) * (3 if mode == "train" else 1)


# Steps that a stream goes through before it starts again; even, so that two states can take turns.
STREAM = 16


def steps(sizes):
    return [Shape(STREAM, 1, x, h) for x, h in dict.fromkeys(sizes)]


# Steps of a block, and of a stream of blocks.
BLOCK = 64
BLOCKS = 4 * BLOCK


def of_call(shape, mode):
    """The shape of one call: a stream is run in parts."""
    return shape._replace(t={"step": 1, "stream": BLOCK}.get(mode, shape.t))


def blocks(sizes):
    return [Shape(BLOCKS, 1, x, h) for x, h in dict.fromkeys(sizes)]


def layers(sizes):
    return [Shape(1, 1, x, h) for x, h in dict.fromkeys(sizes)]


def squares(t, batches, sizes):
    return [Shape(t, b, h, h) for h in sizes for b in batches]


PUBLISHED = [
    Shape(100, 1, 64, 64), Shape(100, 1, 128, 128), Shape(100, 1, 256, 256), Shape(50, 1, 512, 512),
    Shape(20, 1, 1024, 1024), Shape(100, 16, 128, 128), Shape(100, 32, 256, 256), Shape(50, 64, 512, 512),
    Shape(20, 128, 1024, 1024), Shape(100, 8, 40, 100), Shape(28, 32, 28, 50),
]  # fmt: skip

# Baidu's DeepBench, its LSTM layers, X = H.
DEEPBENCH_TRAINING = [
    *squares(25, [16, 32, 64, 128], [512, 1024, 2048]), *squares(50, [8, 16, 32], [1536]),
    *squares(150, [16, 32, 64], [256]),
]  # fmt: skip
DEEPBENCH_INFERENCE = [
    *squares(25, [1, 2, 4], [512, 1024, 2048]), *squares(50, [1, 2, 4], [1536]), *squares(150, [1, 2, 4], [256]),
]  # fmt: skip

# The encoder of GNMT, as in oneDNN's benchmarks.
ONEDNN = [
    shape
    for t in [10, 30, 50, 75, 101]
    for shape in [*squares(t, [1, 64, 128], [512]), *squares(t, [1, 64], [256])]
]

# Guitar amplifiers: one sample a step.
AUDIO = [(1, h) for h in [8, 16, 20, 24, 32, 40]]

SETS = {
    "audio": {"step": steps(AUDIO), "stream": blocks(AUDIO)},
    "default": {
        "forward": PUBLISHED,
        "train": PUBLISHED,
        "step": steps((h, h) for h in [8, 24, 32, 64, 128, 256]),
        "stream": blocks([*AUDIO, (128, 128)]),
        "pack": layers((h, h) for h in [256, 512, 1024]),
    },
    "deepbench": {
        "forward": DEEPBENCH_INFERENCE + DEEPBENCH_TRAINING,
        "train": DEEPBENCH_TRAINING,
        "step": steps((h, h) for h in [256, 512]),
        "pack": layers((h, h) for h in [256, 512, 1024, 1536, 2048]),
    },
    "onednn": {
        "forward": ONEDNN,
        "train": ONEDNN,
        "step": steps((h, h) for h in [256, 512]),
        "pack": layers((h, h) for h in [256, 512]),
    },
}


def parse(text, mode):
    """The shapes of a list like `100,1,64,64;deepbench`."""
    shapes = []
    for word in filter(None, text.split(";")):
        if word in SETS:
            shapes += SETS[word].get(mode, [])
            continue
        try:
            shape = Shape(*map(int, word.split(",")))
        except (ValueError, TypeError):
            raise SystemExit(f"{word} is neither T,B,X,H nor one of {', '.join(SETS)}") from None
        of_mode = {"step": steps, "stream": blocks, "pack": layers}.get(mode)
        shapes += of_mode([(shape.x, shape.h)]) if of_mode else [shape]
    return list(dict.fromkeys(shapes))
