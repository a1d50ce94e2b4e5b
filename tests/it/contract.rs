//! The document and the server say the same.

use std::collections::BTreeSet;

use pare::engine::problem::Code;
use pare::http::{CODES, ROUTES};
use serde_json::Value;

use crate::support::document::{DOCUMENT, resolve, validator};

type Operations = BTreeSet<(String, String, String)>;

fn documented() -> Operations {
    let mut operations = Operations::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no operationId"));
            operations.insert((method.clone(), path.clone(), id.to_owned()));
        }
    }
    operations
}

#[test]
fn the_document_has_the_routes_and_no_others() {
    let served: Operations = ROUTES
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned(), route.operation_id.to_owned()))
        .collect();
    assert_eq!(documented(), served);
    assert_eq!(served.len(), ROUTES.len());
}

#[test]
fn the_document_has_the_codes_and_no_others() {
    let listed = DOCUMENT["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    let documented: BTreeSet<&str> = listed.iter().map(|code| code.as_str().unwrap()).collect();
    let engine = Code::ALL.iter().map(|code| code.as_str());
    let known: BTreeSet<&str> = engine.chain(CODES.iter().map(|code| code.text)).collect();
    assert_eq!(documented, known);
    assert_eq!(listed.len(), documented.len(), "a code stands twice");
}

#[test]
fn operation_ids_are_unique_and_in_lower_camel_case() {
    let operations = documented();
    let ids: BTreeSet<&str> = operations.iter().map(|(_, _, id)| id.as_str()).collect();
    assert_eq!(ids.len(), operations.len());
    for id in ids {
        assert!(id.starts_with(|c: char| c.is_ascii_lowercase()) && id.chars().all(char::is_alphanumeric), "{id}");
    }
}

#[test]
fn every_operation_has_the_problem_and_one_media_type() {
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            let problem = resolve(&operation["responses"]["default"]);
            let schema = &problem["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{what}");
            if let Some(body) = operation.get("requestBody") {
                assert_eq!(body["content"].as_object().unwrap().len(), 1, "{what}");
            }
            for response in operation["responses"].as_object().unwrap().values() {
                let content = resolve(response).get("content").and_then(Value::as_object);
                for media in content.into_iter().flat_map(|content| content.values()) {
                    assert!(media["schema"].get("$ref").is_some(), "{what}: a schema without a name");
                }
            }
        }
    }
}

/// Objects within objects have names: generators make a class of each.
#[test]
fn schemas_are_named_and_closed_or_free_but_not_both() {
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        assert!(["oneOf", "anyOf", "allOf"].iter().all(|word| schema.get(word).is_none()), "{name}");
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { continue };
        assert!(schema.get("additionalProperties").is_none(), "{name} has fields and takes others");
        for (field, property) in properties {
            assert_ne!(property["type"], "object", "{name}.{field} has no name");
            assert_ne!(property["items"]["type"], "object", "{name}.{field}'s items have no name");
        }
    }
}

#[test]
fn examples_fit_their_schemas() {
    let mut seen = 0;
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        if let Some(example) = schema.get("example") {
            check(name, schema, example);
            seen += 1;
        }
    }
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let json = operation.pointer("/requestBody/content/application~1json");
            if let Some((media, example)) = json.and_then(|media| Some((media, media.get("example")?))) {
                check(path, &media["schema"], example);
                seen += 1;
            }
        }
    }
    assert!(seen >= 6, "{seen} examples");
}

fn check(name: &str, schema: &Value, example: &Value) {
    let errors: Vec<String> = validator(schema).iter_errors(example).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:?}");
}
