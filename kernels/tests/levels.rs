//! Which level serves a layer.

use quadgate_kernels::Kernels;

#[test]
fn few_units_get_vectors_that_hold_all_of_them_and_are_no_wider_than_the_best() {
    let best = Kernels::best();
    for units in 0..=2 * best.lanes() {
        let chosen = Kernels::best_for(units);
        assert!(chosen.lanes() <= best.lanes(), "{units} units on {:?}", chosen.isa());
        assert!(chosen.isa() == best.isa() || units <= chosen.lanes(), "{units} units on {:?}", chosen.isa());
    }
}
