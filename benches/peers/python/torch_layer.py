"""PyTorch: nn.LSTM, which lays weights out for oneDNN again at each call, nn.GRU, nn.RNN, and nn.LSTMCell and the like for
steps; or, packed, the operation below nn.LSTM with weights laid out once, which is what freezing a compiled model does."""

import torch
from worker import THREADS, VARIANT, serve

torch.set_num_threads(THREADS)
torch.set_num_interop_threads(1)

# Layers and cells for steps.
NAMES = {"lstm": ("LSTM", "LSTMCell"), "gru": ("GRU", "GRUCell"), "rnn": ("RNN", "RNNCell")}


def load(case):
    tensors = [case.input, case.cotangent, case.weight_ih, case.weight_hh, *case.biases()]
    x, cotangent, *parameters = map(torch.from_numpy, tensors)
    layer = getattr(torch.nn, NAMES[case.cell][case.mode == "step"])(case.x, case.h)
    with torch.no_grad():
        for to, values in zip(layer.parameters(), parameters):
            to.copy_(values)

    if VARIANT == "packed":
        shape = [case.steps, case.b, case.x]
        with torch.inference_mode():
            reorder = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight
            packed = reorder(*parameters[:2], case.h, False, True, False, shape)

        def forward(x, h, c):
            operation = torch.ops.aten.mkldnn_rnn_layer
            return operation(x, *packed, *parameters[2:], h, c, False, [], 2, case.h, 1, True, False, False, False)

    zeros, is_lstm = torch.zeros(case.b, case.h), case.cell == "lstm"
    if case.mode in ("step", "stream"):
        is_cell = case.mode == "step" and VARIANT != "packed"
        inputs = list(x) if is_cell else list(x.split(case.steps))
        state, part = zeros if is_cell or VARIANT == "packed" else zeros[None], 0
        state = (state, state) if is_lstm else state

        def run():
            nonlocal state, part
            with torch.inference_mode():
                if VARIANT == "packed":
                    output, h, c, _ = forward(inputs[part], *state)
                    state = h.view(1, -1), c.view(1, -1)
                elif is_cell:
                    state = layer(inputs[part], state)
                    output = state[0] if is_lstm else state
                else:
                    output, state = layer(inputs[part], state)
            part = (part + 1) % len(inputs)
            return output

        return run, lambda h: [h.numpy()]

    if case.mode == "train":
        x.requires_grad_(True)
        # Both biases of an LSTM have the same gradient.
        wanted = [x, *layer.parameters()][: None if case.cell == "gru" else -1]

        def run():
            h = layer(x)[0]
            return h, *torch.autograd.grad(h, wanted, cotangent)

        def answer(results):
            arrays = [result.detach().numpy() for result in results]
            return [*arrays[:-2], case.joined(*arrays[-2:])] if case.cell == "gru" else arrays

        return run, answer

    def run():
        with torch.inference_mode():
            return (forward(x, zeros, zeros) if VARIANT == "packed" else layer(x))[0]

    return run, lambda h: [h.numpy()]


serve(torch.__version__, load)
