//! What pages take from a request: a query or a form's body, both names with texts. An empty field counts as absent, as
//! forms send every field.

use axum::body::{Body, to_bytes};
use axum::extract::{Form, FromRequest, FromRequestParts, Query, Request};
use http::request::Parts;

use crate::http::error::{Error, Result};
use crate::http::extract::media_type;
use crate::http::{State as Server, code};

/// Bytes of a form without files.
const FORM_BYTES: usize = 64 << 10;

/// Fields of a form.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// A field that was filled in.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim());
        value.filter(|value| !value.is_empty())
    }

    /// Every value of a field that may be given more than once.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.trim());
        values.filter(|value| !value.is_empty()).collect()
    }

    /// The text of a field for its input; empty where there is none.
    pub(super) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// These fields with another value of one, as a query.
    pub(super) fn query(&self, known: &[&str], changed: (&str, &str)) -> String {
        let kept = known.iter().filter(|name| **name != changed.0).filter_map(|name| Some((*name, self.get(name)?)));
        let pairs: Vec<String> =
            kept.chain([changed]).map(|(name, value)| format!("{name}={}", encode(value))).collect();
        format!("?{}", pairs.join("&"))
    }
}

/// Percent-encodes a value of a query.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The fields of a query.
pub(super) struct InQuery(pub(super) Fields);

impl FromRequestParts<Server> for InQuery {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Server) -> Result<Self> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Error::new(code::QUERY_INVALID, "the query is no list of name=value"))?;
        Ok(Self(Fields(pairs.0)))
    }
}

/// The fields of a body.
pub(super) struct InBody(pub(super) Fields);

impl FromRequest<Server> for InBody {
    type Rejection = Error;

    async fn from_request(request: Request, server: &Server) -> Result<Self> {
        let given = media_type(request.headers());
        if given != "application/x-www-form-urlencoded" {
            let detail = format!("the body must be a form, not '{given}'");
            return Err(Error::new(code::MEDIA_TYPE_UNSUPPORTED, detail));
        }
        let (parts, body) = request.into_parts();
        let bytes = tokio::time::timeout(server.limits.stall, to_bytes(body, FORM_BYTES))
            .await
            .map_err(|_| Error::new(code::REQUEST_TIMEOUT, "the form did not arrive in time"))?
            .map_err(|_| Error::new(code::BODY_TOO_LARGE, format!("a form may have {FORM_BYTES} bytes")))?;
        let request = Request::from_parts(parts, Body::from(bytes));
        let Form(pairs) = Form::<Vec<(String, String)>>::from_request(request, server)
            .await
            .map_err(|_| Error::new(code::BAD_REQUEST, "the body is no form"))?;
        Ok(Self(Fields(pairs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_absent_and_queries_escape() {
        let fields = Fields(vec![("state".into(), String::new()), ("label".into(), "a:b&c".into())]);
        assert_eq!(fields.get("state"), None);
        assert_eq!(fields.query(&["state", "label"], ("cursor", "c1")), "?label=a%3Ab%26c&cursor=c1");
    }
}
