//! The exported files, what loads them, and whether they read back.

use serde_json::Value;

use super::format::{bytes, escape, hash, small};
use super::read::Doc;
use super::{each, table, titled};

pub(super) fn section(doc: &Doc<'_>) -> String {
    let files = doc.len("/result/artifacts");
    if files == 0 {
        return titled("files", "Files", "No file was exported.", "");
    }
    let rows = each(0..files, |number| row(doc, number));
    let head = "<th scope=\"col\">File</th><th scope=\"col\" class=\"text\">Format</th><th scope=\"col\">Size</th>\
                <th scope=\"col\" class=\"text\">Loads in</th><th scope=\"col\">Parity</th>\
                <th scope=\"col\">SHA-256</th>";
    let lead = "Parity is the largest difference between the weights as they were opened again and as they were in \
                memory.";
    titled("files", "Files", lead, &table("Files", head, &rows))
}

fn row(doc: &Doc<'_>, number: usize) -> String {
    let at = |key: &str| format!("/result/artifacts/{number}/{key}");
    let loaders: Vec<String> = doc
        .get(&at("loaders"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(escape)
        .collect();
    format!(
        "<tr><th scope=\"row\"><code>{}</code></th><td class=\"text\">{}</td><td>{}</td><td class=\"text wrap\">{}</td>\
         <td>{}</td><td>{}</td></tr>\n",
        escape(doc.text(&at("path")).unwrap_or("unnamed")),
        doc.show_text(&at("format")),
        doc.show(&at("size_bytes"), bytes),
        loaders.join(", "),
        doc.show(&at("parity"), |gap| if gap == 0.0 { "exact".to_owned() } else { small(gap) }),
        doc.or_dash(doc.text(&at("sha256")), &at("sha256"), hash),
    )
}
