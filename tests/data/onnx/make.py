"""Makes lstms.onnx and lstms.safetensors: two LSTM nodes, an input, and what ONNX Runtime answers.

    pip install onnx onnxruntime safetensors && python3 make.py
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

T, B, X, H1, H2 = 6, 3, 4, 7, 5
random = np.random.default_rng(1)


def tensor(*shape):
    return random.uniform(-0.6, 0.6, shape).astype(np.float32)


def raw(name, values):
    return numpy_helper.from_array(values, name)


def floats(name, values):
    return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.flatten())


first = helper.make_node(
    "LSTM",
    ["x", "w1", "r1", "b1", "", "", "", "p1"],
    ["y1", "h1", "c1"],
    name="both_ways",
    direction="bidirectional",
    hidden_size=H1,
    clip=1.5,
)
second = helper.make_node(
    "LSTM",
    ["joined", "w2", "r2", "", "", "h2_0", "c2_0"],
    ["y2", "h2", "c2"],
    name="coupled",
    hidden_size=H2,
    input_forget=1,
    activations=["HardSigmoid", "Tanh", "LeakyRelu"],
    activation_alpha=[0.25, 0.125],
    activation_beta=[0.5],
)
# [T, 2, B, H] to [T, B, 2H]
turn = helper.make_node("Transpose", ["y1"], ["turned"], perm=[0, 2, 1, 3])
join = helper.make_node("Reshape", ["turned", "shape"], ["joined"])
graph = helper.make_graph(
    [first, turn, join, second],
    "lstms",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [T, B, X])],
    [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * (4 if name[0] == "y" else 3))
        for name in ["y1", "h1", "c1", "y2", "h2", "c2"]
    ],
    [
        raw("w1", tensor(2, 4 * H1, X)),
        raw("r1", tensor(2, 4 * H1, H1)),
        floats("b1", tensor(2, 8 * H1)),
        floats("p1", tensor(2, 3 * H1)),
        raw("w2", tensor(1, 4 * H2, 2 * H1)),
        raw("r2", tensor(1, 4 * H2, H2)),
        raw("h2_0", tensor(1, B, H2)),
        raw("c2_0", tensor(1, B, H2)),
        raw("shape", np.array([T, B, 2 * H1], np.int64)),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model)
onnx.save(model, "lstms.onnx")

x = random.uniform(-1, 1, (T, B, X)).astype(np.float32)
session = onnxruntime.InferenceSession("lstms.onnx", providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
answers = dict(zip(names, session.run(names, {"x": x})))
save_file({"x": x, **{name: np.ascontiguousarray(values) for name, values in answers.items()}}, "lstms.safetensors")
