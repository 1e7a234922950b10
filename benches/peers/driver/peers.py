"""The peers: what each is called, what it can do, what it is made of and how its worker is started."""

import os
import pathlib
import shlex
import shutil
import tomllib
from dataclasses import dataclass

HOME = pathlib.Path(__file__).resolve().parent.parent
TARGET = HOME / "target"

# Python environments, one for each library, and what pip puts there.
ENVIRONMENTS = {
    "base": ["numpy==2.4.6", "onnx==1.23.2"],
    "torch": ["torch==2.15.0", "numpy==2.4.6"],
    "onnxruntime": ["onnxruntime==1.32.0", "numpy==2.4.6"],
    "openvino": ["openvino==2026.4.1"],
    "jax": ["jax[cpu]==0.10.2"],
    "tensorflow": ["tensorflow-cpu==2.21.0", "keras==3.15.1"],
    "onednn-3.2": ["onednn-cpu-gomp==2023.2.0", "onednn-devel-cpu-gomp==2023.2.0"],
    "onednn-3.13": ["onednn==2026.1.0"],
}

# The wheel that brings oneDNN 3.6 along, and the only file of it that is needed.
PADDLE = ("paddlepaddle==3.3.1", "paddle/libs/libdnnl.so.3")

# Flags for the Rust peers. quadgate is built without: it finds out at run time what the CPU has.
NATIVE = "-C target-cpu=native"


@dataclass(frozen=True)
class Peer:
    name: str
    family: str
    modes: tuple
    cells: tuple
    # "rust", "python", "onednn" or "outside"
    kind: str
    # of Rust: the package to build; of Python: the script; of oneDNN: the folder of the library,
    # below TARGET; from outside: the program and its arguments
    source: str
    # of Python: the environment, and the variant that the script is told; of Rust: the cargo feature
    environment: str = ""
    variant: str = ""

    def command(self, threads):
        if self.kind == "rust":
            return [TARGET / "bin" / self.name, threads]
        if self.kind == "onednn":
            return [TARGET / "bin" / "onednn"]
        if self.kind == "outside":
            return [*shlex.split(self.source), threads]
        return [python(self.environment), HOME / "python" / self.source, threads, self.variant]

    def variables(self, threads):
        """The environment variables that tell libraries how many threads to use."""
        variables = {name: value for name, value in os.environ.items() if "FPMATH" not in name}
        for name in ["OMP", "MKL", "OPENBLAS", "RAYON", "RTEN", "CANDLE"]:
            variables[name + "_NUM_THREADS"] = str(threads)
        variables["TF_CPP_MIN_LOG_LEVEL"] = "2"
        if threads > 1 and self.family in ("onednn", "torch"):
            # libgomp's barriers collapse when two of its threads share a core.
            variables |= {"OMP_PROC_BIND": "close", "OMP_PLACES": "threads"}
        if self.kind == "onednn":
            variables["LD_LIBRARY_PATH"] = str(TARGET / self.source)
        if self.name == "onednn-3.13":
            # Built for SYCL: counts the cores it may run on, not OMP_NUM_THREADS.
            variables |= {
                "OCL_ICD_FILENAMES": str(TARGET / self.source / "libintelocl.so"),
                "ONEAPI_DEVICE_SELECTOR": "opencl:cpu",
                "DPCPP_CPU_NUM_CUS": str(threads),
            }
        if self.family == "jax":
            variables["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
        return variables

    def is_installed(self):
        return all(os.path.exists(part) for part in self.command(1)[:1] + self.libraries())

    def libraries(self):
        return [TARGET / self.source / "libdnnl.so.3"] if self.kind == "onednn" else []


def python(environment):
    return TARGET / "python" / environment / "bin" / "python"


LSTM, GRUS, RNN = ("lstm",), ("gru", "gru-reset-before"), ("rnn",)
CELLS = (*LSTM, *GRUS, *RNN)


def rust(name, modes, cells, package=None, feature=""):
    return Peer(name, name.split("-")[0], modes, cells, "rust", package or name, variant=feature)


def scripted(name, modes, cells, environment, script, variant=""):
    return Peer(name, environment, modes, cells, "python", script, environment, variant)


def onednn(version, folder):
    return Peer(f"onednn-{version}", "onednn", EVERY, CELLS, "onednn", folder)


def outside(text):
    """A peer of NAME=PROGRAM, whose path is relative to where the driver was started."""
    name, _, command = text.partition("=")
    if not name or "/" in name or not command or any(name in (peer.name, peer.family) for peer in PEERS):
        raise SystemExit(f"expected NAME=PROGRAM with a name that no peer has, found {text}")
    program, *arguments = shlex.split(command)
    found = shutil.which(program)
    if not found:
        raise SystemExit(f"there is no program {program}")
    source = shlex.join([os.path.abspath(found), *arguments])
    return Peer(name, name, EVERY, CELLS, "outside", source)


FORWARD, STEP, TRAIN = ("forward",), ("forward", "step"), ("forward", "train")
ALL = ("forward", "train", "step")
EVERY = (*ALL, "stream", "pack")

PEERS = [
    rust("quadgate", EVERY, CELLS),
    onednn("3.2", "python/onednn-3.2/lib"),
    onednn("3.6", "onednn-3.6"),
    onednn("3.13", "python/onednn-3.13/lib"),
    scripted("onnxruntime", STEP, CELLS, "onnxruntime", "onnxruntime_layer.py"),
    scripted("torch", (*ALL, "stream"), (*LSTM, "gru", *RNN), "torch", "torch_layer.py", "plain"),
    scripted("torch-packed", (*STEP, "stream"), LSTM, "torch", "torch_layer.py", "packed"),
    scripted("openvino", FORWARD, CELLS, "openvino", "openvino_layer.py"),
    scripted("jax", TRAIN, CELLS, "jax", "jax_layer.py"),
    scripted("tensorflow-keras", TRAIN, CELLS, "tensorflow", "tensorflow_layer.py", "keras"),
    scripted("tensorflow-xla", TRAIN, CELLS, "tensorflow", "tensorflow_layer.py", "xla"),
    scripted("tensorflow-block", TRAIN, LSTM, "tensorflow", "tensorflow_layer.py", "block"),
    rust("rten", STEP, (*LSTM, "gru")),
    rust("tract", STEP, CELLS),
    rust("candle", ALL, (*LSTM, "gru")),
    rust("candle-avx512", ALL, (*LSTM, "gru"), "candle", "avx512"),
    rust("burn", ALL, CELLS),
    rust("burn-avx512", ALL, CELLS, "burn", "avx512"),
    rust("nam-rs", ("step", "stream"), LSTM),
]


def chosen(names):
    """The peers of a list of names or families; quadgate is always among them."""
    if names is None:
        return PEERS
    for name in names:
        if not any(name in (peer.name, peer.family) for peer in PEERS):
            known = ", ".join(dict.fromkeys(word for peer in PEERS for word in (peer.family, peer.name)))
            raise SystemExit(f"there is no peer {name}; there are {known}")
    return [peer for peer in PEERS if {peer.name, peer.family} & {*names, "quadgate"}]


def locked_version(package):
    """The version of a crate in Cargo.lock."""
    lock = tomllib.loads((HOME / "Cargo.lock").read_text())
    names = (package, package + "-core", package + "-onnx", package + "-rs")
    return next(entry["version"] for name in names for entry in lock["package"] if entry["name"] == name)
