//! The examples that load files of other frameworks get layers that answer as those frameworks do.

#[allow(dead_code)] // Its command line is not run here.
#[path = "../../examples/pytorch_safetensors.rs"]
mod pytorch_safetensors;

use crate::common::golden::{GoldenFile, assert_relative};
use crate::common::{narrow, widen};
use quadgate::{Matrix, Sequence, SequenceMut, StackForward};

fn bytes(path: &str) -> Vec<u8> {
    let path = format!("{}/data/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn an_lstm_of_pytorch_of_any_depth_direction_and_projection_answers_as_recorded() {
    for name in [
        "lstm_small",
        "lstm_no_bias",
        "lstm_two_layers",
        "lstm_bidirectional_three_layers",
        "lstm_projection",
        "lstm_projection_bidirectional_two_layers",
    ] {
        let golden = GoldenFile::load(name);
        let stack = pytorch_safetensors::load(&bytes(&format!("golden/{name}.safetensors")), "").unwrap();
        let [steps, batch, inputs] = ["seq_len", "batch", "input_size"].map(|key| golden.size(key));
        let (width, rows) = (stack.config().output_size(), stack.config().directed_layers() * batch);
        let x = golden.narrow("x");
        let [h0, c0] = ["h0", "c0"].map(|state| golden.optional(state).map(|state| narrow(&state)));
        let mut output = vec![0.0; steps * batch * width];
        let mut call = StackForward::new(Sequence::time_major(&x, steps, batch, inputs))
            .output(SequenceMut::time_major(&mut output, steps, batch, width));
        if let (Some(h0), Some(c0)) = (&h0, &c0) {
            let (hidden, cell) = (h0.len() / rows.max(1), c0.len() / rows.max(1));
            call =
                call.initial_hidden(Matrix::new(h0, rows, hidden)).initial_cell(Matrix::new(c0, rows, cell));
        }
        stack.forward(&mut stack.workspace(steps, batch).unwrap(), call).unwrap();
        assert_relative(name, &widen(&output), &golden.tensor("out"), 1e-6);
        let saved = pytorch_safetensors::save(&stack).unwrap();
        let again = pytorch_safetensors::load(&saved, "").unwrap();
        assert_eq!(again.config(), stack.config());
        let parameters = [&stack, &again].map(|stack| pytorch_safetensors::parameters(stack).unwrap());
        assert_eq!(parameters[0], parameters[1], "{name}");
    }
}

#[test]
fn a_file_that_is_no_lstm_of_pytorch_is_refused_by_name() {
    let missing = pytorch_safetensors::load(&bytes("golden/lstm_small.safetensors"), "encoder.").unwrap_err();
    assert!(missing.to_string().contains("encoder.weight_ih_l0"), "{missing}");
    let other = pytorch_safetensors::load(b"no safetensors", "").unwrap_err();
    assert!(other.to_string().contains("safetensors"), "{other}");
}
