//! `openapi.yaml` as the judge of every answer.

use std::sync::LazyLock;

use http::{HeaderMap, StatusCode};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// The document as it is kept.
pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_saphyr::from_str(pare::http::OPENAPI_YAML).expect("openapi.yaml is YAML"));

/// The components with every schema as JSON Schema draft 7.
static COMPONENTS: LazyLock<Value> = LazyLock::new(|| convert(&DOCUMENT["components"]));

/// Refusals that any operation may give, which the document has under `default`.
const ANYWHERE: &[u16] = &[401, 403, 405, 408, 429, 500, 503];

/// `nullable` becomes a type, and objects with fields take no others: an answer must not hold what is not documented.
fn convert(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Map<String, Value> =
                fields.iter().map(|(name, one)| (name.clone(), convert(one))).collect();
            if fields.get("nullable") == Some(&json!(true)) {
                let plain = fields["type"].clone();
                fields.insert("type".to_owned(), json!([plain, "null"]));
            }
            let is_object = fields.get("type") == Some(&json!("object")) && fields.contains_key("properties");
            if is_object && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(fields)
        }
        Value::Array(list) => Value::Array(list.iter().map(convert).collect()),
        plain => plain.clone(),
    }
}

/// Follows a `$ref` within the document.
pub(crate) fn resolve(value: &Value) -> &Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(pointer) => {
            DOCUMENT.pointer(pointer.trim_start_matches('#')).unwrap_or_else(|| panic!("{pointer} is not there"))
        }
        None => value,
    }
}

/// A validator of a schema of the document.
pub(crate) fn validator(schema: &Value) -> Validator {
    let mut root = convert(schema);
    root["components"] = COMPONENTS.clone();
    jsonschema::draft7::new(&root).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// The operation of a request, by the path's shape.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |template: &str| {
        let (wanted, given): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        wanted.len() == given.len()
            && wanted.iter().zip(&given).all(|(want, have)| want.starts_with('{') || want == have)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    // a path without parameters goes first: /v1/models/files is no id
    let exact = paths.get(path).into_iter();
    let mut items = exact.chain(paths.iter().filter(|(template, _)| fits(template)).map(|(_, item)| item));
    items.find_map(|item| item.get(method.to_ascii_lowercase()))
}

/// Fails where an answer is not what the document says.
pub(crate) fn check(method: &str, path: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let what = format!("{method} {path} → {status}");
    let Some(operation) = operation(method, path) else {
        assert!(status.is_client_error(), "{what}: an operation that the document does not have");
        return check_problem(&what, status, headers, body);
    };
    let responses = operation["responses"].as_object().unwrap();
    let response = responses.get(status.as_str());
    let fallback = ANYWHERE.contains(&status.as_u16()).then(|| responses.get("default")).flatten();
    let response = response.or(fallback).unwrap_or_else(|| panic!("{what}: not documented"));
    let response = resolve(response);
    for (name, header) in response.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let header = resolve(header);
        let given = headers.get(name.as_str());
        let is_required = header["required"] == json!(true);
        assert!(given.is_some() || !is_required, "{what}: the header {name} is missing");
        if let Some(value) = given.filter(|_| header["schema"]["type"] == json!("integer")) {
            value.to_str().unwrap().parse::<i64>().unwrap_or_else(|_| panic!("{what}: {name} is no number"));
        }
    }
    let Some(content) = response.get("content").and_then(Value::as_object) else {
        assert!(body.is_empty(), "{what}: a body that is not documented");
        return;
    };
    if method == "HEAD" {
        return;
    }
    let given = headers.get("content-type").map_or("", |value| value.to_str().unwrap());
    let media_type = given.split(';').next().unwrap().trim();
    let schema = content.get(media_type).unwrap_or_else(|| panic!("{what}: the media type {given} is not documented"));
    if media_type.ends_with("json") {
        check_body(&what, &schema["schema"], body);
    }
}

fn check_problem(what: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    assert_eq!(headers["content-type"], "application/problem+json", "{what}");
    if body.is_empty() {
        return; // HEAD
    }
    check_body(what, &json!({"$ref": "#/components/schemas/Problem"}), body);
    let problem: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(problem["status"], json!(status.as_u16()), "{what}");
}

fn check_body(what: &str, schema: &Value, body: &[u8]) {
    let value: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{what}: {error}"));
    let errors: Vec<String> =
        validator(schema).iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}:\n{}\n{value:#}", errors.join("\n"));
}
