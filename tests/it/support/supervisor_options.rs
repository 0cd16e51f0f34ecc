//! What the Supervisor does with the options of an app before the app sees them: `supervisor/apps/options.py` of
//! version 2026.08, for the types that ours are of.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// The type of a single value.
#[derive(Debug, PartialEq)]
pub(crate) enum Type<'a> {
    Text,
    Password,
    Bool,
    Whole(RangeInclusive<i64>),
    OneOf(Vec<&'a str>),
}

/// `int(10,3600)?` and its like, and whether a question mark makes it optional.
///
/// # Errors
/// When the Supervisor would not know it, or it is one that our options have no use for.
pub(crate) fn type_of(text: &str) -> Result<(Type<'_>, bool), String> {
    let (name, optional) = text.strip_suffix('?').map_or((text, false), |name| (name, true));
    let inside = |kind: &str| name.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')');
    let kind = match name {
        "str" => Some(Type::Text),
        "password" => Some(Type::Password),
        "bool" => Some(Type::Bool),
        _ => match (inside("int"), inside("list")) {
            (Some(range), _) => {
                range.split_once(',').and_then(|(low, high)| Some(Type::Whole(low.parse().ok()?..=high.parse().ok()?)))
            }
            (_, Some(choices)) if !choices.is_empty() => Some(Type::OneOf(choices.split('|').collect())),
            _ => None,
        },
    };
    kind.map(|kind| (kind, optional)).ok_or_else(|| format!("`{text}` is no type"))
}

/// What is written to /data/options.json for `options`, as an owner saved them.
///
/// # Errors
/// With what the owner is told instead; the app is then not started.
pub(crate) fn written(schema: &Value, defaults: &Value, options: &Value) -> Result<Value, String> {
    section(schema.as_object().unwrap(), &merged(defaults, options))
}

/// Lists and single values of the owner's take the place of the defaults, sections are joined.
fn merged(defaults: &Value, options: &Value) -> Value {
    let (Value::Object(defaults), Value::Object(options)) = (defaults, options) else { return options.clone() };
    let mut all = defaults.clone();
    for (key, value) in options {
        let joined = defaults.get(key).map_or_else(|| value.clone(), |default| merged(default, value));
        all.insert(key.clone(), joined);
    }
    Value::Object(all)
}

fn element(schema: &Value, key: &str, value: &Value) -> Result<Value, String> {
    match (schema, value) {
        (Value::Array(of), Value::Array(items)) => {
            items.iter().map(|item| element(&of[0], key, item)).collect::<Result<_, _>>().map(Value::Array)
        }
        (Value::Object(schema), Value::Object(_)) => section(schema, value),
        (Value::String(kind), value) => single(kind, key, value),
        _ => Err(format!("Invalid list or dict for option '{key}'")),
    }
}

/// Keys that the schema does not know are left out; those that must be there are missed.
fn section(schema: &Map<String, Value>, value: &Value) -> Result<Value, String> {
    let mut kept = Map::new();
    for (key, value) in value.as_object().ok_or("not a dict")? {
        if let Some(schema) = schema.get(key) {
            kept.insert(key.clone(), element(schema, key, value)?);
        }
    }
    let is_optional = |schema: &Value| match schema {
        Value::Array(of) => of[0].as_str().is_some_and(|kind| kind.ends_with('?')),
        schema => schema.as_str().is_some_and(|kind| kind.ends_with('?')),
    };
    match schema.iter().find(|(key, schema)| !kept.contains_key(*key) && !is_optional(schema)) {
        Some((key, _)) => Err(format!("Missing option '{key}'")),
        None => Ok(Value::Object(kept)),
    }
}

/// `null` is refused even where the value is optional.
fn single(kind: &str, key: &str, value: &Value) -> Result<Value, String> {
    let refused = || Err(format!("{value} is not {kind} for option '{key}'"));
    let fits = match type_of(kind)?.0 {
        Type::Text | Type::Password => value.is_string(),
        Type::Bool => value.is_boolean(),
        Type::Whole(range) => value.as_i64().is_some_and(|number| range.contains(&number)),
        Type::OneOf(choices) => value.as_str().is_some_and(|text| choices.contains(&text)),
    };
    if fits { Ok(value.clone()) } else { refused() }
}
