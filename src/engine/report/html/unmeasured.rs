//! Everything that was not measured, with its reason.

use serde_json::Value;

use super::format::escape;
use super::read::Doc;
use super::{each, table, titled};

/// Pointers that are shown of one reason; the rest can be unfolded.
const SHOWN: usize = 4;

pub(super) fn section(doc: &Doc<'_>) -> String {
    let reasons = doc.get("/unmeasured").and_then(Value::as_object);
    // One line for each reason, in the order in which they first stand in the report.
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for (pointer, reason) in reasons.into_iter().flatten() {
        let reason = reason.as_str().unwrap_or("the reason is no text");
        match by_reason.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, pointers)) => pointers.push(pointer),
            None => by_reason.push((reason, vec![pointer])),
        }
    }
    if by_reason.is_empty() {
        return titled("unmeasured", "Not measured", "The report gives no reasons for what it lacks.", "");
    }
    by_reason.sort_by_key(|(_, pointers)| rank(pointers));
    let rows = each(&by_reason, |(reason, pointers)| row(reason, pointers));
    let head = "<th scope=\"col\" class=\"text\">Why</th><th scope=\"col\" class=\"text\">What</th>";
    let lead = "A number that was not measured is never guessed. Settings that are not set stand here, too.";
    titled("unmeasured", "Not measured", lead, &table("Not measured", head, &rows))
}

/// Task quality first, settings last, all else in the report's order.
fn rank(pointers: &[&str]) -> u8 {
    let any = |of: &dyn Fn(&str) -> bool| pointers.iter().any(|pointer| of(pointer));
    if any(&|pointer| pointer.contains("/quality")) {
        0
    } else if any(&|pointer| pointer.starts_with("/recipe") || pointer.starts_with("/plan")) {
        3
    } else if any(&|pointer| pointer.starts_with("/result/sites/")) {
        2
    } else {
        1
    }
}

fn row(reason: &str, pointers: &[&str]) -> String {
    let list = |pointers: &[&str]| -> String {
        let codes: Vec<String> = pointers.iter().map(|pointer| format!("<code>{}</code>", escape(pointer))).collect();
        codes.join("<br>")
    };
    let what = match pointers.split_at_checked(SHOWN) {
        Some((first, rest)) if rest.len() > 1 => {
            format!("{}<details><summary>and {} more</summary>\n{}</details>", list(first), rest.len(), list(rest))
        }
        _ => list(pointers),
    };
    format!("<tr><th scope=\"row\" class=\"reason\">{}</th><td class=\"text\">{what}</td></tr>\n", escape(reason))
}
