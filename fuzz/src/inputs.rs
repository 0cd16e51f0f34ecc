//! One function for each thing that people and their programs send: a configuration, a command over MQTT, a
//! command or an account over HTTP. It must not panic, and what it reads must mean the same when it is written plainly.

use doorstep::config::{self, Config, Place, Position, VENDORS};
use doorstep::http::Switch;
use doorstep::mqtt::Order;

/// By itself, and as the options of the app.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for place in [Place::Standalone, Place::App] {
        config_at(text, place);
    }
}

/// Every mistake stands at a place that the text has.
fn config_at(text: &str, place: Place) {
    let Err(errors) = config::parse_at(text, "doorstep.yaml", place) else { return };
    assert!(!errors.mistakes.is_empty());
    for Position { line, column } in errors.mistakes.iter().filter_map(|mistake| mistake.at) {
        assert!(line >= 1 && line <= text.split(['\n', '\r']).count(), "{errors}");
        assert!(column >= 1 && column <= text.chars().count() + 1, "{errors}");
    }
    drop(errors.to_string());
}

/// Read as an account of every vendor; what is read has a name for its owner, and what is not has a reason.
pub fn http_account(data: &[u8]) {
    let Ok(keys) = serde_json::from_slice(data) else { return };
    for vendor in VENDORS {
        match config::account(vendor, &keys, &Config::default(), &[]) {
            Ok(account) => assert!(!account.label().is_empty()),
            Err(mistakes) => assert!(!mistakes.is_empty()),
        }
    }
}

pub fn mqtt_command(data: &[u8]) {
    if let Ok(order) = Order::parse(data) {
        let plain = if order.on { "ON" } else { "OFF" };
        assert_eq!(Order::parse(plain.as_bytes()).map(|order| order.on), Ok(order.on));
        assert!(order.id.to_string().len() < 1024, "an answer could be made to grow");
    }
}

pub fn http_command(data: &[u8]) {
    if let Ok(Switch { on }) = serde_json::from_slice(data) {
        let again: Switch = serde_json::from_str(&format!(r#"{{"on":{on}}}"#)).expect("its own words");
        assert_eq!(again.on, on);
    }
}
