//! The OpenAPI description, which comes from the table of routes and the types.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use utoipa::openapi::path::ParameterIn;

use super::{
    route::{Answer, Body, Query, Route},
    schema::{Schemas, forbid_null, forget_width},
    types::{ApiError, Description},
};
use crate::values::schema::IpAddress;

/// A description that grows route by route.
#[derive(Debug, Default)]
pub(super) struct Draft {
    paths: Map<String, Value>,
    schemas: Schemas,
}

impl Draft {
    /// Adds a route.
    pub(super) fn add<const NAMES: usize, Q: Query, B: Body, A: Answer>(
        &mut self,
        route: &Route<NAMES, Q, B, A>,
    ) {
        let query: Vec<Value> = Q::into_params(|| Some(ParameterIn::Query))
            .into_iter()
            .map(|parameter| {
                let mut parameter = json!(parameter);
                forbid_null(&mut parameter);
                forget_width(&mut parameter);
                parameter
            })
            .collect();
        let mut errors: BTreeSet<u16> = route.errors.iter().copied().collect();
        // Every route refuses a query that it does not know.
        errors.extend([400, 500]);
        if NAMES > 0 {
            errors.insert(404);
        }
        let text = route.text.iter().map(|line| line.trim());
        let mut operation = json!({
            "operationId": route.id.to_lowercase(),
            "summary": text.clone().next(),
            "parameters": names(route.path).chain(query).collect::<Vec<_>>(),
        });
        let more = text.skip(1).collect::<Vec<_>>().join(" ");
        if !more.is_empty() {
            operation["description"] = more.trim().into();
        }
        if let Some(content_type) = B::CONTENT_TYPE {
            errors.extend([408, 413, 422]);
            let schema = B::schema(&mut self.schemas);
            // Whoever needs no field may leave the body out.
            let required = B::read(String::new()).is_err();
            operation["requestBody"] =
                json!({ "required": required, "content": { content_type: { "schema": schema } } });
        }
        let mut done = json!({ "description": "Done." });
        if let Some(content_type) = A::CONTENT_TYPE {
            done["content"] = json!({ content_type: { "schema": A::schema(&mut self.schemas) } });
        }
        let refused = ERRORS.iter().filter(|(status, ..)| errors.contains(status));
        let refused = refused.map(|(status, name, _)| {
            (status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }))
        });
        operation["responses"] =
            refused.chain([(A::STATUS.as_str().to_owned(), done)]).collect::<Map<_, _>>().into();
        let path = self.paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation;
    }

    /// The whole description.
    pub(super) fn finish(mut self) -> Description {
        let error = self.schemas.answer::<ApiError>();
        self.schemas.answer::<IpAddress>();
        let responses = ERRORS.iter().map(|(_, name, text)| {
            let content = json!({ "application/json": { "schema": error } });
            ((*name).to_owned(), json!({ "description": text, "content": content }))
        });
        Description(json!({
            "openapi": "3.1.0",
            "info": {
                "title": "dispatcher",
                "version": "1",
                "description": "The API of the dispatcher's daemon, over its Unix socket. Times are in seconds, sizes in bytes, \
                    rates per second. Answers may gain fields. A request with a field that the daemon does not know is refused. \
                    A request that is refused changes nothing.",
            },
            "servers": [{
                "url": "http://dispatcher",
                "description": "curl --unix-socket /run/dispatcher/api.sock http://dispatcher/v1/status",
            }],
            "paths": self.paths,
            "components": { "responses": responses.collect::<Map<_, _>>(), "schemas": self.schemas.all() },
        }))
    }
}

/// The parameters of a path.
fn names(path: &str) -> impl Iterator<Item = Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let text = match name {
            "interface" => "Name of an interface".to_owned(),
            _ => format!("Name of a {name}, or its address where that is unambiguous"),
        };
        let schema = json!({ "type": "string", "minLength": 1 });
        json!({ "name": name, "in": "path", "required": true, "description": text, "schema": schema })
    })
}

/// Every error: its status, its name in the description and what it means.
const ERRORS: [(u16, &str, &str); 8] = [
    (400, "Unreadable", "The path, the query or the body cannot be read."),
    (404, "NotFound", "There is no such object."),
    (408, "Late", "The body has not arrived in time."),
    (
        409,
        "Conflict",
        "The object exists already, a name matches several objects, or a reload or a save is under way.",
    ),
    (413, "TooLong", "The body is longer than 16 MiB."),
    (422, "Invalid", "A value is not valid."),
    (500, "Failed", "It was tried and failed."),
    (503, "Busy", "Too many streams of events are open."),
];
