//! `Accept` (RFC 9110, section 12.5.1) for resources that are JSON, and CSV for those who ask for it.

use http::HeaderMap;
use http::header::ACCEPT;

/// Whether the client would rather have CSV than JSON. Without a word of CSV it gets JSON, whatever else it lists.
pub(super) fn prefers_csv(headers: &HeaderMap) -> bool {
    let mut csv = 0.0_f32;
    let mut json = 0.0_f32;
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight =
            parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        let weight = weight.map_or(1.0, |(_, text)| text.trim().parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0));
        match media_type.as_str() {
            "text/csv" | "text/*" => csv = csv.max(weight),
            "application/json" | "application/*" | "*/*" => json = json.max(weight),
            _ => {}
        }
    }
    csv > json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> bool {
        prefers_csv(&values.iter().map(|value| (ACCEPT, value.parse().unwrap())).collect())
    }

    #[test]
    fn csv_is_for_those_who_ask_for_it() {
        for csv in [
            &["text/csv"][..],
            &["Text/CSV; header=present"],
            &["application/json;q=0.5, text/csv"],
            &["*/*;q=0.1", "text/csv"],
        ] {
            assert!(of(csv), "{csv:?}");
        }
        for json in [
            &[][..],
            &["*/*"],
            &["application/json"],
            &["text/html, */*"],
            &["text/csv;q=0"],
            &["text/csv, application/json"],
            &["text/csv;q=x"],
        ] {
            assert!(!of(json), "{json:?}");
        }
    }
}
