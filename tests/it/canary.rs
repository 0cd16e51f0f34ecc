//! The canary (requirement S15): every secret of a whole house is known, everything that can happen in it happens at
//! trace level, and whatever comes out of it is searched for each of them in every spelling.
//!
//! The house is `doorstep demo` with its six doorbells. Beside the demo's own service a second one, `doorstep run`, works
//! with the configuration that the demo has written down and what only a configuration can say: a token, a signed door,
//! a voice, go2rtc. Both run at trace level and both are searched, the virtual clouds and cameras too, which live in the
//! demo's process. Other accounts, other faults and what a bad configuration shows are in `secrets.rs` and `config.rs`.

mod house;
mod marks;
mod script;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use doorstep::clock;
use doorstep::config::{self, Config};
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::{AccountPort, DevicePort, Vendor, VendorError};
use doorstep::model::Found;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::support::log::Log;
use crate::support::score::{Figure, tally};
use house::{Canary, Ended};
use marks::Marks;

/// Of each vendor, with everything secret that can be written down.
const ALL_THAT_CAN_BE_WRITTEN: &str = include_str!("canary/everything.yaml");

#[tokio::test]
async fn no_secret_of_a_whole_house_comes_out_whatever_happens_in_it() {
    let mut canary = Canary::start().await;
    script::everything_happens(&mut canary).await;
    let begun = clock::now();
    let Ended { places, marks } = canary.ends().await;
    println!("ended in {:?}", begun.elapsed());
    let search = marks.search();
    search.assert_finds_all_that_is_planted();
    println!("{} secrets are looked for by {:?}", marks.count(), begun.elapsed());
    for (place, text, shown) in &places {
        // What is known to stand there is found by the same search, so it is not the wrong text that is searched.
        let mut known = Marks::default();
        known.add("what everybody may see", shown);
        assert!(!known.search().leaks(place, text).is_empty(), "{place} does not say `{shown}`: {text:.2000}");
    }
    let leaks: Vec<_> = places.iter().flat_map(|(place, text, _)| search.leaks(place, text)).collect();
    let leaked: std::collections::BTreeSet<_> = leaks.iter().map(|leak| &leak.secret).collect();
    let mut told = String::new();
    leaks.iter().for_each(|leak| writeln!(told, "{}", leak.what).unwrap());
    tally(Figure::SecretsKept, marks.count() - leaked.len(), marks.count());
    assert!(leaks.is_empty(), "{told}");
}

/// A doorbell's task that fails with all that it holds in its last words.
struct Bursting(Config);

impl Vendor for Bursting {
    fn name(&self) -> &'static str {
        "bursting"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn run_account(
        self: Arc<Self>,
        _: AccountPort,
        _: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async { Ok(()) })
    }

    fn run_device(self: Arc<Self>, _: DevicePort, _: CancellationToken) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move { panic!("{:?}", self.0) })
    }
}

#[tokio::test]
async fn a_panic_in_a_doorbells_task_shows_no_secret_of_all_that_the_task_holds() {
    let said = Arc::new(Mutex::new(String::new()));
    let panics = said.clone();
    std::panic::set_hook(Box::new(move |panic| write!(panics.lock().unwrap(), "{panic}").unwrap()));
    let (log, _guard) = Log::capture(Level::TRACE);
    let config = config::parse(ALL_THAT_CAN_BE_WRITTEN, "everything.yaml").unwrap();
    let stop = CancellationToken::new();
    let doorbell = house::doorbell_of(Arc::new(Bursting(config)), stop.clone());
    let mut state = doorbell.state();
    let failed = state.wait_for(|state| state.last_error.is_some());
    tokio::time::timeout(std::time::Duration::from_secs(20), failed).await.expect("the task fails").unwrap();
    stop.cancel();
    drop(std::panic::take_hook());

    let (said, logged) = (said.lock().unwrap().clone(), log.text());
    assert!(said.contains("Password(***)") && logged.contains("this is a bug"), "{said}\n{logged}");
    let mut marks = Marks::default();
    marks.add_all(["D03F27A1B2C3", "ABCDEFGHIJ0123456789", "JBSW Y3DP EHPK 3PXP"].map(|secret| ("a camera's", secret)));
    // Every other secret in that file is called one.
    let words = ALL_THAT_CAN_BE_WRITTEN.split(|c: char| !(c.is_ascii_alphanumeric() || "-+/".contains(c)));
    marks.add_all(words.filter_map(|word| Some(("what is written down", &word[word.find("canary")?..]))));
    assert!(marks.count() >= 20, "there are {}", marks.count());
    let search = marks.search();
    search.assert_finds_all_that_is_planted();
    let leaks: Vec<_> = [("the panic's text", &said), ("the log", &logged)]
        .into_iter()
        .flat_map(|(place, text)| search.leaks(place, text))
        .map(|leak| leak.what)
        .collect();
    tally(Figure::SecretsKept, marks.count().saturating_sub(leaks.len()), marks.count());
    assert!(leaks.is_empty(), "{leaks:#?}");
}
