"""OpenVINO, told to compute in f32: on a CPU that has bf16 it would compute in that."""

import openvino
from worker import THREADS, serve

core = openvino.Core()


def load(case):
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": THREADS,
        "PERFORMANCE_HINT": "LATENCY",
        # The driver pins.
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(core.read_model(case.model), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(case.input, shared_memory=True))

    def run():
        request.infer()

    return run, lambda _: [request.get_output_tensor(0).data]


serve(openvino.__version__.split("-")[0], load)
