//! What tests have counted, for the scoreboard (`benches/score`), which adds up what they leave on the disk.

use std::panic::Location;
use std::path::Path;

use serde_json::json;

/// The figures of the scoreboard that tests count; each is so many good ones of so many.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    /// Events delivered, of those sent, in tests that cut the way.
    EventsDelivered,
    /// Attempts at a door that were rightly refused, of those that had to be.
    UnlocksRefused,
    /// Attempts at a door that were carried out once, of those that had to be.
    UnlocksDone,
    /// Talks ended at the camera, of those that were open when something stopped.
    TalksEnded,
    /// Secrets found in no output, of those that were looked for.
    SecretsKept,
    /// Seeds under which a session held, of those tried.
    SeedsHeld,
    /// Mistakes in a configuration that are told with place and remedy, of those made.
    MistakesTold,
    /// Routes that refuse whoever has no token, of those that have to.
    RoutesRefusing,
    /// The points of the app's security rating, of those there are.
    AddonRating,
    /// Inputs survived, of those replayed or made up.
    InputsSurvived,
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::EventsDelivered => "events_delivered",
            Self::UnlocksRefused => "unlocks_refused",
            Self::UnlocksDone => "unlocks_done",
            Self::TalksEnded => "talks_ended",
            Self::SecretsKept => "secrets_kept",
            Self::SeedsHeld => "seeds_held",
            Self::MistakesTold => "mistakes_told",
            Self::RoutesRefusing => "routes_refusing",
            Self::AddonRating => "addon_rating",
            Self::InputsSurvived => "inputs_survived",
        }
    }
}

/// Notes `good` of `of`, once for each place in the tests: to be called before what asserts that they are equal.
#[track_caller]
pub(crate) fn tally(figure: Figure, good: usize, of: usize) {
    let place = Location::caller();
    let test = Path::new(place.file()).file_stem().unwrap().to_string_lossy();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("score").join(figure.name());
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{test}-{}.json", place.line()));
    std::fs::write(file, json!({ "good": good, "of": of }).to_string()).unwrap();
    println!("{figure:?}: {good} of {of}");
}
