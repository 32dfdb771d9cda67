//! The schemas of requests and answers, which the description of the API refers to.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// Schemas by name.
#[derive(Debug, Default)]
pub struct Schemas(Map<String, Value>);

impl Schemas {
    /// A reference to the schema of an answer; adds it with all that it refers to.
    pub(super) fn answer<T: ToSchema>(&mut self) -> Value {
        for (name, mut schema) in schemas::<T>() {
            if PARTIAL.contains(&name.as_str()) {
                forbid_null(&mut schema);
            } else {
                complete(&mut schema);
            }
            self.0.insert(name, schema);
        }
        reference::<T>()
    }

    /// A reference to the schema of a request; adds it with all that it refers to.
    pub(super) fn request<T: ToSchema>(&mut self) -> Value {
        for (name, mut schema) in schemas::<T>() {
            if schema.get("properties").is_some() {
                schema["additionalProperties"] = false.into();
            }
            self.0.entry(name).or_insert(schema);
        }
        reference::<T>()
    }

    /// All schemas by name.
    pub(super) fn all(self) -> Map<String, Value> {
        self.0
    }
}

/// The schema of a type and those that it refers to, by name.
fn schemas<T: ToSchema>() -> impl Iterator<Item = (String, Value)> {
    let mut found = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut found);
    found.into_iter().map(|(name, schema)| {
        let mut schema = json!(schema);
        forget_width(&mut schema);
        (name, schema)
    })
}

/// Removes the formats of whole numbers: `int32` and `int64` have a sign, which the numbers of the API have not.
pub(super) fn forget_width(schema: &mut Value) {
    if let Value::Object(fields) = schema
        && fields.get("format").is_some_and(|format| format == "int32" || format == "int64")
    {
        fields.remove("format");
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(forget_width),
        Value::Array(items) => items.iter_mut().for_each(forget_width),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn reference<T: ToSchema>() -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", T::name()) })
}

/// Makes the schema of an answer exact, as far as `derive(ToSchema)` does not know: the server sends every field, `null` where
/// there is no value, and durations as numbers.
fn complete(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("$ref") == Some(&"#/components/schemas/Seconds".into()) {
                fields.remove("$ref");
                fields.extend([
                    ("type".to_owned(), "number".into()),
                    ("minimum".to_owned(), 0.into()),
                ]);
            }
            if let Some(Value::Object(properties)) = fields.get("properties") {
                let names = properties.keys().cloned().collect::<Vec<_>>();
                fields.insert("required".to_owned(), names.into());
            }
            fields.values_mut().for_each(complete);
        }
        Value::Array(items) => items.iter_mut().for_each(complete),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Removes `null` as a value: the field is left out instead.
pub(super) fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("default") == Some(&Value::Null) {
                fields.remove("default");
            }
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|kind| kind != "null");
            }
            if let Some(Value::Array(choices)) = fields.get_mut("oneOf") {
                choices.retain(|choice| choice["type"] != "null");
            }
            fields.values_mut().for_each(forbid_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Types whose fields the server leaves out if they have no value.
const PARTIAL: [&str; 3] = ["ApiError", "EventKind", "RuleConfig"];
