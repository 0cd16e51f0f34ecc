//! The README says what is true.

use doorstep::vendor::wyze::models::support_table;

const README: &str = include_str!("../../README.md");

#[test]
fn the_support_table_is_the_generated_one() {
    let (_, after) = README.split_once("<!-- support table -->\n").expect("the README marks where the table begins");
    let (shown, _) = after.split_once("<!-- end of the support table -->").expect("and where it ends");
    let table = support_table();
    assert_eq!(shown, table, "\nThe README's table is stale. It should read:\n\n{table}");
}

#[test]
fn the_two_commands_are_there_and_the_gate_is_the_one_that_ci_runs() {
    let ci = include_str!("../../.ci/run");
    for command in ["cargo run --release -- demo", "./gate"] {
        assert!(README.contains(&format!("\n{command}\n")), "the README does not show `{command}`");
    }
    assert!(ci.lines().any(|line| line == "./gate"), ".ci/run does not call the README's test command");
}
