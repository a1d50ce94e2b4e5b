//! The table of codes: HTTP's own here, the engine's in [`crate::engine::problem::Code`]. `openapi.yaml` lists both.

use http::StatusCode;

use crate::engine::problem;

/// A stable code with the status that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// As it stands in JSON.
    pub text: &'static str,
    /// The status of a refusal for this reason.
    pub status: StatusCode,
    /// For people.
    pub title: &'static str,
}

macro_rules! codes {
    ($($name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        $(pub(super) const $name: Code = Code { text: $text, status: StatusCode::$status, title: $title };)*

        /// HTTP's own codes.
        pub const CODES: &[Code] = &[$($name,)*];
    };
}

codes! {
    BAD_REQUEST = "bad_request", BAD_REQUEST, "the request can't be read";
    JSON_INVALID = "json_invalid", BAD_REQUEST, "the body is no JSON";
    QUERY_INVALID = "query_invalid", BAD_REQUEST, "a query parameter is unknown or has a value that is not allowed";
    CURSOR_INVALID = "cursor_invalid", BAD_REQUEST, "the cursor did not come from us";
    EVENT_ID_INVALID = "event_id_invalid", BAD_REQUEST, "Last-Event-ID is no number of an event";
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid", BAD_REQUEST, "the Idempotency-Key is not one that is taken";
    MULTIPART_INVALID = "multipart_invalid", BAD_REQUEST, "the body is no multipart/form-data";
    KEY_MISSING = "key_missing", UNAUTHORIZED, "the server asks for a key";
    KEY_INVALID = "key_invalid", UNAUTHORIZED, "the key is unknown, expired or revoked";
    SCOPE_MISSING = "scope_missing", FORBIDDEN, "the key may not do this";
    BODY_INCOMPLETE = "body_incomplete", BAD_REQUEST, "the body ended before it was whole";
    CONTENT_RANGE_INVALID = "content_range_invalid", BAD_REQUEST, "the Content-Range is not one that can be taken";
    HOST_NOT_ALLOWED = "host_not_allowed", FORBIDDEN, "without keys only loopback names are answered";
    CROSS_SITE = "cross_site", FORBIDDEN, "another site sent this form";
    NOT_FOUND = "not_found", NOT_FOUND, "there is no such thing";
    ARTIFACTS_UNAVAILABLE = "artifacts_unavailable", NOT_FOUND, "the job left no files";
    REPORT_UNAVAILABLE = "report_unavailable", NOT_FOUND, "the job has no report";
    METHOD_NOT_ALLOWED = "method_not_allowed", METHOD_NOT_ALLOWED, "this path has no such method; Allow lists them";
    REQUEST_TIMEOUT = "request_timeout", REQUEST_TIMEOUT, "the request did not arrive in time";
    JOB_FINISHED = "job_finished", CONFLICT, "the job has already ended otherwise";
    JOB_LIVE = "job_live", CONFLICT, "the job has not ended yet";
    NOT_RETRYABLE = "not_retryable", CONFLICT, "a job of this kind is made by the server alone";
    IN_USE = "in_use", CONFLICT, "a job that has not ended needs it";
    IDEMPOTENCY_KEY_IN_USE = "idempotency_key_in_use", CONFLICT, "a request with this Idempotency-Key is being carried out";
    NOT_READY = "not_ready", CONFLICT, "the model or dataset is still validating";
    JOB_NOT_SUCCEEDED = "job_not_succeeded", CONFLICT, "the job has no result";
    UPLOAD_CLOSED = "upload_closed", CONFLICT, "the upload takes no parts any more";
    UPLOAD_INCOMPLETE = "upload_incomplete", CONFLICT, "the upload is not completed";
    PARTS_MISSING = "parts_missing", CONFLICT, "parts of the upload are missing";
    PART_BUSY = "part_busy", CONFLICT, "another request sends this part";
    PART_DIFFERS = "part_differs", CONFLICT, "the part was received before, with other bytes";
    BODY_TOO_LARGE = "body_too_large", PAYLOAD_TOO_LARGE, "the body is over the limit";
    TOO_MANY_FILES = "too_many_files", PAYLOAD_TOO_LARGE, "the upload has too many files";
    UPLOAD_TOO_LARGE = "upload_too_large", PAYLOAD_TOO_LARGE, "the upload is over the limit";
    MEDIA_TYPE_UNSUPPORTED = "media_type_unsupported", UNSUPPORTED_MEDIA_TYPE, "the body has another media type";
    CONTENT_ENCODING_UNSUPPORTED = "content_encoding_unsupported", UNSUPPORTED_MEDIA_TYPE, "bodies are taken uncompressed";
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable", RANGE_NOT_SATISFIABLE, "the range is not in the file";
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "the Idempotency-Key was used for another request";
    FILENAME_MISSING = "filename_missing", UNPROCESSABLE_ENTITY, "a part of the upload has no filename";
    PATH_INVALID = "path_invalid", UNPROCESSABLE_ENTITY, "a file's path is not allowed";
    PATH_DUPLICATE = "path_duplicate", UNPROCESSABLE_ENTITY, "two files have one path";
    SIZE_MISMATCH = "size_mismatch", UNPROCESSABLE_ENTITY, "the body is longer or shorter than was said";
    DIGEST_INVALID = "digest_invalid", UNPROCESSABLE_ENTITY, "the Content-Digest can't be read";
    DIGEST_MISMATCH = "digest_mismatch", UNPROCESSABLE_ENTITY, "the bytes are not those that were announced";
    NAME_RESERVED = "name_reserved", UNPROCESSABLE_ENTITY, "the name is a preset's";
    RATE_LIMITED = "rate_limited", TOO_MANY_REQUESTS, "more requests than the server takes from one key";
    TOO_MANY_UPLOADS = "too_many_uploads", TOO_MANY_REQUESTS, "too many uploads are on their way";
    TOO_MANY_STREAMS = "too_many_streams", SERVICE_UNAVAILABLE, "as many event streams are open as are allowed";
    UNAVAILABLE = "unavailable", SERVICE_UNAVAILABLE, "something that we need does not answer";
}

pub(super) const INTERNAL: Code =
    Code { text: "internal_error", status: StatusCode::INTERNAL_SERVER_ERROR, title: "our fault" };
pub(super) const STORAGE_FULL: Code =
    Code { text: "insufficient_storage", status: StatusCode::INSUFFICIENT_STORAGE, title: "the disk is full" };

impl From<problem::Code> for Code {
    fn from(code: problem::Code) -> Self {
        use problem::Code as E;
        let status = match code {
            E::PickleRefused | E::ArchiveRefused | E::FormatUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            E::Internal => return INTERNAL,
            E::InsufficientStorage => return STORAGE_FULL,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { text: code.as_str(), status, title: title(status) }
    }
}

/// The code of a response that no handler made.
pub(super) fn of_status(status: StatusCode) -> Code {
    match status {
        StatusCode::NOT_FOUND => NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => METHOD_NOT_ALLOWED,
        StatusCode::REQUEST_TIMEOUT => REQUEST_TIMEOUT,
        StatusCode::PAYLOAD_TOO_LARGE => BODY_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => MEDIA_TYPE_UNSUPPORTED,
        StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        status if status.is_server_error() => INTERNAL,
        _ => BAD_REQUEST,
    }
}

/// A status in words.
pub(super) fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}
