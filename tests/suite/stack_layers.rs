//! Stacks whose layers differ: their sizes, what they refuse, and that they are those of alike layers where the layers
//! are alike. Their numbers are held to the oracle beside those of other stacks.

use crate::common::refused::{Refused, assert_refused};
use crate::common::stack::{Form, StackCase};
use crate::common::{Run, Sizes, levels};
use quadgate::{
    Direction, Directions, Error, GruConfig, Isa, LstmConfig, Matrix, MatrixMut, Schedule, Sequence,
    SequenceMut, StackBackward, StackConfig, StackForward, Threads,
};

const SIZES: Sizes = Sizes { steps: 3, batch: 2, inputs: 4, units: 5 };

#[test]
fn a_stack_of_listed_layers_that_are_alike_is_one_of_such_layers() {
    for directions in [Directions::Forward, Directions::Concatenated, Directions::Summed] {
        let below = if directions == Directions::Concatenated { 4 } else { 2 };
        let layer = LstmConfig::new(3, 5).projection(2);
        let others = LstmConfig::new(below, 5).projection(2);
        let alike = StackConfig::of(layer.clone(), 3, directions);
        let listed = [layer.clone(), others.clone().direction(Direction::Reverse), others.clone()];
        let listed = StackConfig::of_layers(listed, directions).unwrap();
        assert_eq!(alike, listed);
        assert_eq!(alike.clone().training(), listed.clone().training());
        assert_eq!(alike.total_parameters(), listed.total_parameters());
        // What is demanded of all layers makes alike what differed in that alone.
        let fused = others.clone().schedule(Schedule::Fused);
        let differs = StackConfig::of_layers([layer, others, fused], directions).unwrap();
        assert_ne!(alike, differs);
        assert_eq!(alike.schedule(Schedule::Hoisted), differs.schedule(Schedule::Hoisted));
    }
}

#[test]
fn sizes_of_a_stack_whose_layers_differ_are_those_of_its_ends_and_of_its_widest_layer() {
    let layers = |outputs: [usize; 2]| {
        [
            LstmConfig::new(40, 200),
            LstmConfig::new(outputs[0], 100).projection(30),
            LstmConfig::new(outputs[1], 50).peepholes(),
        ]
    };
    let config = StackConfig::of_layers(layers([200, 30]), Directions::Reverse).unwrap();
    assert_eq!((config.layers(), config.directed_layers(), config.input_size()), (3, 3, 40));
    assert_eq!((config.output_size(), config.hidden_size(), config.state_widths()), (50, 200, [200, 200]));
    let config = StackConfig::of_layers(layers([400, 60]), Directions::Concatenated).unwrap();
    assert_eq!((config.directed_layers(), config.output_size()), (6, 100));
    let sizes = [0, 1, 2, 3, 4, 5].map(|index| {
        let layer = config.directed_layer(index);
        (layer.input_size(), layer.hidden_size(), layer.output_size(), layer.reading_direction())
    });
    let (forward, reverse) = (Direction::Forward, Direction::Reverse);
    let expected = [
        (40, 200, 200, forward),
        (40, 200, 200, reverse),
        (400, 100, 30, forward),
        (400, 100, 30, reverse),
        (60, 50, 50, forward),
        (60, 50, 50, reverse),
    ];
    assert_eq!(sizes, expected);
    // Parameters follow each other without a gap.
    let mut end = 0;
    for index in 0..6 {
        let ranges = config.parameters(index).unwrap();
        assert_eq!(ranges.weight_ih.start, end);
        end += config.directed_layer(index).parameters().unwrap().total();
        assert_eq!(ranges.total(), end);
    }
    assert_eq!(config.total_parameters().unwrap(), end);
    let gru = StackConfig::of_layers([GruConfig::new(2, 7), GruConfig::new(7, 9)], Directions::Forward);
    assert_eq!(gru.unwrap().state_widths(), [9, 0]);
}

#[test]
fn layers_that_do_not_fit_on_each_other_are_refused_by_number() {
    let refused =
        |layers: &[LstmConfig], directions| match StackConfig::of_layers(layers.to_vec(), directions)
            .unwrap_err()
        {
            Error::Layer { index, error, .. } => (index, *error),
            other => panic!("{other}"),
        };
    let layers = [LstmConfig::new(40, 200), LstmConfig::new(200, 100), LstmConfig::new(100, 50)];
    let size =
        |expected, found| Refused::Dimension { argument: "config", dimension: "input size", expected, found };
    let (index, error) = refused(&layers, Directions::Concatenated);
    assert_eq!(error, size(400, 200));
    assert_eq!(index, 1);
    let (index, error) = refused(&[layers[0].clone(), layers[2].clone()], Directions::Forward);
    assert_eq!(error, size(200, 100));
    assert_eq!(index, 1);
    let projected = [layers[0].clone(), layers[1].clone().projection(30), layers[2].clone()];
    let (index, error) = refused(&projected, Directions::Summed);
    assert_eq!(error, size(30, 100));
    assert_eq!(index, 2);
    let error = StackConfig::of_layers(projected, Directions::Summed).unwrap_err();
    assert_eq!(error.to_string(), "layer 2: config: expected input size = 30, found 100");
    let none = StackConfig::<LstmConfig>::of_layers([], Directions::Forward);
    assert_refused(none, Refused::Zero { argument: "layers" });

    type Change = fn(LstmConfig) -> LstmConfig;
    let changes: [(&str, Change); 3] = [
        ("isa", |layer| layer.isa(Isa::Portable)),
        ("threads", |layer| layer.threads(Threads::Serial)),
        ("training", LstmConfig::training),
    ];
    for (name, change) in changes {
        let mut layers = layers.clone();
        layers[2] = change(layers[2].clone());
        let (index, error) = refused(&layers, Directions::Forward);
        assert!(matches!(error, Error::Unsupported { argument, .. } if argument == name), "{error}");
        assert_eq!(index, 2);
        // Of all of them it is what is asked of the stack.
        let all = StackConfig::of_layers(layers.map(change), Directions::Forward).unwrap();
        assert_eq!(all.directed_layer(1), change(LstmConfig::new(200, 100)));
    }
    let bad = [layers[0].clone(), layers[1].clone().layer_normalization(0.0)];
    let (index, error) = refused(&bad, Directions::Forward);
    assert!(matches!(error, Error::Value { .. }), "{error}");
    assert_eq!(index, 1);
}

#[test]
fn states_and_memory_of_other_widths_are_refused_and_nothing_is_written() {
    let form = |second, third| Form {
        units: [None, Some(second), Some(third), None, None, None, None, None, None, None, None, None],
        ..Form::from((3, Directions::Summed))
    };
    let case = StackCase::random(0, SIZES, form(9, 2));
    let stack = case.stack(&case.config(Run::on(levels()[0])).training());
    let (mut workspace, mut tape) = (stack.workspace(3, 2).unwrap(), stack.tape(3, 2).unwrap());
    let x = Sequence::time_major(&case.x, 3, 2, 4);
    let dimension =
        |argument, dimension, expected, found| Refused::Dimension { argument, dimension, expected, found };
    static ZEROS: [f32; 200] = [0.0; 200];
    let mut spare = vec![7.0; 200];
    // 12 rows of the widest layer, 9; not of the first or the last.
    for width in [5, 2, 16] {
        let call = StackForward::new(x).initial_hidden(Matrix::new(&ZEROS, 12, width));
        assert_refused(stack.forward(&mut workspace, call), dimension("initial_hidden", "width", 9, width));
        let call = StackForward::new(x).last_cell(MatrixMut::new(&mut spare, 12, width));
        assert_refused(stack.forward(&mut workspace, call), dimension("last_cell", "width", 9, width));
    }
    let call = StackForward::new(x).output(SequenceMut::time_major(&mut spare, 3, 2, 9));
    assert_refused(stack.forward(&mut workspace, call), dimension("output", "features", 2, 9));
    stack.forward(&mut workspace, StackForward::new(x).tape(&mut tape)).unwrap();
    let call = StackBackward::new(x).initial_cell_gradient(MatrixMut::new(&mut spare, 12, 5));
    let refused = stack.backward(&mut workspace, &mut tape, call);
    assert_refused(refused, dimension("initial_cell_gradient", "width", 9, 5));
    assert_eq!(spare, [7.0; 200]);
    for (second, third, name, expected, found) in [
        (9, 3, "output size", 2, 3),
        (10, 2, "size between layers", 9, 10),
        (5, 5, "layers that differ", 3, 2),
    ] {
        let other = StackCase::random(0, SIZES, form(second, third));
        let other = other.stack(&other.config(Run::on(levels()[0])).training());
        let mut found_workspace = other.workspace(3, 2).unwrap();
        let refused = stack.forward(&mut found_workspace, StackForward::new(x));
        assert_refused(refused, dimension("workspace", name, expected, found));
        let refused =
            stack.forward(&mut workspace, StackForward::new(x).tape(&mut other.tape(3, 2).unwrap()));
        assert_refused(refused, dimension("tape", name, expected, found));
        // It can be made one of this stack.
        stack.reserve_workspace(&mut found_workspace, 3, 2).unwrap();
        stack.forward(&mut found_workspace, StackForward::new(x)).unwrap();
    }
    // As wide between layers, but elsewhere.
    let units = |units: [usize; 4]| {
        let mut form = Form::from((4, Directions::Forward));
        form.units[..4].copy_from_slice(&units.map(Some));
        let case = StackCase::random(0, SIZES, form);
        case.stack(&case.config(Run::on(levels()[0])).training())
    };
    let (stack, other) = (units([40, 9, 17, 2]), units([40, 17, 9, 2]));
    let refused = stack.forward(&mut other.workspace(3, 2).unwrap(), StackForward::new(x)).unwrap_err();
    assert!(matches!(refused, Error::Workspace { argument: "workspace", .. }), "{refused}");
    let call = StackForward::new(x).tape(&mut tape);
    assert!(stack.forward(&mut stack.workspace(3, 2).unwrap(), call).is_err());
    let mut tape = other.tape(3, 2).unwrap();
    let refused = stack.forward(&mut stack.workspace(3, 2).unwrap(), StackForward::new(x).tape(&mut tape));
    assert!(refused.is_err());
}
