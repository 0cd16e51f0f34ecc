//! What strangers send to the house: a connection to its HTTP face, a command for a door, something to be said, and a
//! file in the place of its state. It must not panic, and nobody without the token is let in.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use doorstep::doorbell::guard::{Via, Wish};
use doorstep::doorbell::say::Saying;
use doorstep::model::{DeviceId, Mechanism, OpenerEntity};
use doorstep::store;
use serde_json::{Map, Value};

/// A payload on the topic of a door, whatever works it.
pub fn door_command(data: &[u8]) {
    let id = DeviceId::parse("wyze_1").expect("a good id");
    for mechanism in [Mechanism::Lock(id.clone()), Mechanism::Garage(id), Mechanism::Opener(OpenerEntity::default())] {
        let via = Via::Mqtt { payload: Bytes::copy_from_slice(data), retained: false, dup: false };
        let Ok(wish) = Wish::read(&mechanism, &via) else { continue };
        assert!(data.len() <= 1_024 && (wish.id().is_some() || data.len() <= 6), "more than a command");
        let again = Via::Http { who: Arc::from("loopback"), action: wish.action() };
        assert!(Wish::read(&mechanism, &again).is_ok_and(|same| same.action() == wish.action()));
    }
}

/// Something to be said, as the faces take it.
pub fn saying(data: &[u8]) {
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(data) else { return };
    if let Ok(Saying { volume, .. }) = Saying::read(object) {
        drop(format!("{volume:?}"));
    }
}

/// A state that is read and was not written by us.
pub fn state(data: &[u8]) {
    if let Ok(Some(entries)) = store::read(data, Path::new("state.json")) {
        assert!(entries.len() <= data.len());
    }
}
