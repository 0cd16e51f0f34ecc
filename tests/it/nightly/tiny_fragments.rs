//! As many fragments as reliability row 26 names.

use crate::tutk_flood::tiny_fragments;

#[test]
fn row_26_a_million_tiny_fragments_cost_16_mib_at_most() {
    tiny_fragments(1_000_000);
}
