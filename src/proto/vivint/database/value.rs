//! What is kept of a listened place, and how pushes change it (vivint reference §7.5).

use serde_json::{Map, Value};

/// The most of a value that is kept, in the bytes of its texts and a few for each of its parts. A signalling message
/// has some thousands.
const MAX_VALUE: usize = 1 << 20;
const PART: usize = 16;

/// Writes `new` at `keys` below `value`. What becomes empty is null, as in the database.
pub(super) fn put(value: &mut Value, keys: &[String], new: Value) {
    let Some((key, rest)) = keys.split_first() else {
        *value = new;
        return;
    };
    let children = children(value);
    let child = children.entry(key).or_insert(Value::Null);
    put(child, rest, new);
    if child.is_null() {
        children.remove(key);
    }
    if children.is_empty() {
        *value = Value::Null;
    }
}

/// What `value` has at `keys`.
pub(super) fn at(value: Value, keys: &[String]) -> Value {
    keys.iter().fold(value, |mut value, key| match &mut value {
        Value::Object(children) => children.remove(key).unwrap_or(Value::Null),
        Value::Array(items) => {
            key.parse::<usize>().ok().and_then(|at| items.get_mut(at)).map_or(Value::Null, Value::take)
        }
        _ => Value::Null,
    })
}

/// Its children by name, whatever it was: the database writes those whose names are numbers as a list.
fn children(value: &mut Value) -> &mut Map<String, Value> {
    if let Value::Array(items) = value {
        let named = items.drain(..).enumerate().filter(|(_, item)| !item.is_null());
        *value = Value::Object(named.map(|(at, item)| (at.to_string(), item)).collect());
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(children) => children,
        _ => unreachable!("it has just been made one"),
    }
}

/// Whether it is larger than anything that is of use.
pub(super) fn is_too_large(value: &Value) -> bool {
    weight(value) > MAX_VALUE
}

fn weight(value: &Value) -> usize {
    PART + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(children) => children.iter().map(|(key, child)| key.len() + weight(child)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(path: &str) -> Vec<String> {
        path.split('/').filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_write_below_changes_that_part_only() {
        let cases = [
            (json!({"a": 1, "b": 2}), "b", json!(3), json!({"a": 1, "b": 3})),
            (json!(null), "a/b", json!(1), json!({"a": {"b": 1}})),
            (json!("text"), "a", json!(1), json!({"a": 1})),
            (json!({"a": {"b": 1}, "c": 2}), "a/b", json!(null), json!({"c": 2})),
            (json!({"a": {"b": 1}}), "a/b", json!(null), json!(null)),
            (json!({"a": 1}), "b/c", json!(null), json!({"a": 1})),
            (json!([null, "one", "two"]), "1", json!("new"), json!({"1": "new", "2": "two"})),
            (json!({"a": 1}), "", json!([1]), json!([1])),
        ];
        for (mut value, path, new, expected) in cases {
            put(&mut value, &keys(path), new);
            assert_eq!(value, expected, "{path}");
        }
    }

    #[test]
    fn a_part_is_found_or_null() {
        let value = json!({"a": {"b": [1, {"c": 2}]}});
        for (path, expected) in
            [("a/b/1/c", json!(2)), ("a/b/7", json!(null)), ("a/b/x", json!(null)), ("a/b/0/c", json!(null))]
        {
            assert_eq!(at(value.clone(), &keys(path)), expected, "{path}");
        }
        assert_eq!(at(value.clone(), &[]), value);
    }

    #[test]
    fn size_counts_texts_names_and_parts() {
        assert!(!is_too_large(&json!({"sdp": "x".repeat(1_000_000)})));
        assert!(is_too_large(&json!({"sdp": "x".repeat(1 << 20)})));
        assert!(is_too_large(&json!({"x".repeat(1 << 20): 1})));
        assert!(is_too_large(&json!(vec![0; 70_000])));
    }
}
