//! Networks that are out of order for long.

use std::time::Duration;

use crate::network::{flapping, without_names};
use crate::support::namespace::inside;

#[tokio::test]
async fn row_42_while_nobody_knows_names_for_minutes_at_most_twenty_are_asked_for_in_each() {
    if inside("nightly::network::row_42_while_nobody_knows_names_for_minutes_at_most_twenty_are_asked_for_in_each") {
        without_names(Duration::from_secs(240), Duration::from_secs(60), Duration::from_secs(95)).await;
    }
}

#[tokio::test]
async fn row_42_a_network_that_is_away_for_longer_than_the_broker_is_believed_in_is_used_again() {
    if inside("nightly::network::row_42_a_network_that_is_away_for_longer_than_the_broker_is_believed_in_is_used_again")
    {
        flapping(&[Duration::from_secs(40), Duration::from_secs(5)]).await;
    }
}
