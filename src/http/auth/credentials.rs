//! How a key comes with a request: `Authorization: Bearer KEY`, or as a password, which browsers ask people for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The key of a request. Two headers are none.
pub(super) fn key(headers: &HeaderMap, takes_passwords: bool) -> Option<String> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if takes_passwords && scheme.eq_ignore_ascii_case("basic") {
        // user:password, where any user will do (RFC 7617)
        let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        return decoded.split_once(':').map(|(_, password)| password.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str], takes_passwords: bool) -> Option<String> {
        key(&values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect(), takes_passwords)
    }

    #[test]
    fn a_key_is_read_from_one_header_of_the_right_scheme() {
        assert_eq!(of(&["Bearer abc"], false).as_deref(), Some("abc"));
        assert_eq!(of(&["bearer  abc"], false).as_deref(), Some("abc"));
        // RFC 7617's own example, and an empty user
        assert_eq!(of(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="], true).as_deref(), Some("open sesame"));
        assert_eq!(of(&["basic OmFiYw=="], true).as_deref(), Some("abc"));
        for none in [&[][..], &["Basic OmFiYw=="], &["Bearer"], &["Bearer a", "Bearer b"]] {
            assert_eq!(of(none, false), None, "{none:?}");
        }
        for none in ["Basic ?", "Basic YWJj", "Basic /w=="] {
            assert_eq!(of(&[none], true), None, "{none}");
        }
    }
}
