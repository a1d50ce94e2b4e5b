//! What a file of an upload may be called. Its path is a label that is never joined to a folder; the rules keep it
//! from hurting whoever downloads it.

/// The longest path in bytes: what most file systems take for one name.
const LONGEST_BYTES: usize = 255;

/// What is wrong with a path.
pub(in crate::http) fn check(path: &str) -> Result<(), String> {
    let why = if path.is_empty() {
        "it is empty"
    } else if path.len() > LONGEST_BYTES {
        "it is longer than 255 bytes"
    } else if path.chars().any(char::is_control) {
        "it has control characters"
    } else if path.contains('\\') {
        "it has a backslash; segments are separated by '/'"
    } else if path.starts_with('/') {
        "it is absolute; paths are relative to the model or dataset"
    } else if path.split('/').any(|segment| segment == "..") {
        "it climbs out by '..'"
    } else if path.split('/').any(|segment| segment.is_empty() || segment == ".") {
        "it has an empty segment or '.'"
    } else {
        return Ok(());
    };
    Err(format!("the path '{}' is not allowed: {why}", shown(path)))
}

/// A path for a message.
pub(in crate::http) fn shown(path: &str) -> String {
    path.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_and_nothing_else() {
        let (longest, longer) = ("a".repeat(255), "a".repeat(256));
        for good in ["config.json", "1_Pooling/config.json", "ünï 1.txt", "a..b", ".gitattributes", longest.as_str()]
        {
            assert_eq!(check(good), Ok(()));
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a\\b",
            "C:\\x",
            "a\nb",
            "a\0",
            "a//b",
            "a/",
            "./a",
            "..",
            ".",
            longer.as_str(),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
