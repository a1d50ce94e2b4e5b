//! What Transformers need kept: distance, order, heads that share the work.

use super::format::{self, escape, fixed, name, small};
use super::read::Doc;
use super::{each, table, titled};

const AT: &str = "/result/probes";

pub(super) fn section(doc: &Doc<'_>) -> String {
    if doc.get(AT).is_none() {
        let reason = doc.reason(AT).unwrap_or("the report gives no reason");
        let body = format!("<p class=\"missing\"><strong>Not measured:</strong> {}.</p>\n", escape(reason));
        return titled("probes", TITLE, LEAD, &body);
    }
    titled("probes", TITLE, LEAD, &format!("{}{}{}", losses(doc), quartiles(doc), heads(doc)))
}

const TITLE: &str = "What Transformers need kept";
const LEAD: &str = "Attention over distance and the order of words were taken away from both models: what an answer loses \
                    then is what they were worth. A result that loses less than the original has let go of something.";

fn losses(doc: &Doc<'_>) -> String {
    let (lost, decimals) = match doc.text("/result/probes/unit") {
        Some("probability") => ("Probability that is lost", 3),
        Some("nats") => ("Nats that a token loses", 3),
        Some("cosine_distance") => ("Cosine that is lost", 4),
        _ => ("Difference of the answer", 4),
    };
    let window = doc.show("/result/probes/long_range/window", |window| fixed(window, 0));
    let cut = format!("when attention is cut at {window} tokens");
    let shuffled = "when a row’s words are shuffled";
    let rows = [
        (format!("{lost} {cut}"), "long_range/worth", decimals),
        (format!("Mean KL {cut}"), "long_range/change", 3),
        (format!("{lost} {shuffled}"), "positions/worth", decimals),
        (format!("Mean KL {shuffled}"), "positions/change", 3),
        ("Effective heads of the layer that has fewest".to_owned(), "head_balance/fewest_effective", 2),
    ];
    let rows = each(rows, |(label, path, decimals)| {
        let cell = |side: &str, decimals| interval(doc, &format!("{AT}/{path}/{side}"), |value| fixed(value, decimals));
        let (original, result, ratio) = (cell("original", decimals), cell("result", decimals), cell("ratio", 3));
        format!("<tr><th scope=\"row\">{label}</th><td>{original}</td><td>{result}</td><td>{ratio}</td></tr>\n")
    });
    let error = doc.show("/result/probes/positions/table_relative_error", small);
    let rows = format!(
        "{rows}<tr><th scope=\"row\">Relative error of the position table</th><td></td><td>{error}</td><td></td></tr>\n"
    );
    let head = "<th scope=\"col\">What is watched</th><th scope=\"col\">Original</th><th scope=\"col\">Result</th>\
                <th scope=\"col\">Result / original</th>";
    let whole = |path: &str| doc.show(path, |value| fixed(value, 0));
    let (ran, of) = (whole("/result/probes/sample/rows"), whole("/result/probes/sample/of"));
    let note = format!("<p class=\"muted\">On {ran} of {of} rows; 95% intervals (bootstrap over rows).</p>\n");
    format!("{}{note}", table("Probes", head, &rows))
}

/// A value with its interval below it.
fn interval(doc: &Doc<'_>, at: &str, show: impl Fn(f64) -> String) -> String {
    let end = |key: &str| doc.number(&format!("{at}/{key}"));
    let ends = end("low").zip(end("high"));
    let ends = ends.map_or_else(String::new, |(low, high)| {
        format!("<br><span class=\"muted\">{} to {}</span>", show(low), show(high))
    });
    doc.or_dash(end("value"), at, |value| format!("{}{ends}", show(value)))
}

fn quartiles(doc: &Doc<'_>) -> String {
    let list = "/result/probes/long_range/quartiles";
    let of_rows = doc.text("/result/probes/long_range/quartiles_of") == Some("row_length");
    let metric = doc.text("/result/probes/long_range/metric");
    let title = metric.map_or_else(|| "Quality".to_owned(), name);
    let rows = each(0..doc.len(list), |number| {
        let at = |path: &str| format!("{list}/{number}/{path}");
        let whole = |path: &str| doc.show(&at(path), |value| fixed(value, 0));
        let stretch = format!("{} to {}", whole("from"), whole("to"));
        let label = if of_rows { format!("rows of {stretch} tokens") } else { format!("places {stretch} of a row") };
        let quality = |side: &str| interval(doc, &at(&format!("quality/{side}")), format::value(metric.unwrap_or("")));
        format!(
            "<tr><th scope=\"row\">{label}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            whole("n"),
            quality("original"),
            quality("result"),
            interval(doc, &at("kl"), small),
        )
    });
    let counted = if of_rows { "Rows" } else { "Tokens" };
    let head = format!(
        "<th scope=\"col\">Quartile</th><th scope=\"col\">{counted}</th><th scope=\"col\">{title}, original</th>\
         <th scope=\"col\">Result</th><th scope=\"col\">Mean KL</th>"
    );
    format!("<h3>Short and long</h3>\n{}", table("Quartiles", &head, &rows))
}

fn heads(doc: &Doc<'_>) -> String {
    let list = "/result/probes/head_balance/layers";
    let rows = each(0..doc.len(list), |number| {
        let at = |path: &str| format!("{list}/{number}/{path}");
        let whole = |path: &str| doc.show(&at(path), |value| fixed(value, 0));
        let effective = |side: &str| doc.show(&at(&format!("{side}/effective")), |value| fixed(value, 2));
        let ranks = doc.keys(&at("ranks"));
        let ranks: Vec<String> = ranks
            .iter()
            .map(|map| format!("{} {}", escape(map), whole(&format!("ranks/{}", super::read::segment(map)))))
            .collect();
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"bar\">{}</td>\
             <td class=\"text\">{}</td></tr>\n",
            whole("layer"),
            whole("original/kept"),
            whole("result/kept"),
            effective("original"),
            effective("result"),
            bars(doc, &at("result/importances")),
            ranks.join(", "),
        )
    });
    let head = "<th scope=\"col\">Layer</th><th scope=\"col\">Heads, original</th><th scope=\"col\">Result</th>\
                <th scope=\"col\">Effective, original</th><th scope=\"col\">Result</th>\
                <th scope=\"col\" class=\"text\">What each adds</th><th scope=\"col\" class=\"text\">Ranks of the result</th>";
    let lead = "<p class=\"muted\">A head’s importance is the mean length of what it adds to its layer’s output; effective heads \
                are exp of the entropy of their shares.</p>\n";
    format!("<h3>Heads</h3>\n{lead}{}", table("Heads", head, &rows))
}

/// A bar for each head, beside the layer's strongest.
fn bars(doc: &Doc<'_>, list: &str) -> String {
    let all: Vec<f64> = (0..doc.len(list)).filter_map(|i| doc.number(&format!("{list}/{i}"))).collect();
    let most = all.iter().copied().fold(0f64, f64::max);
    let width = 60.0 / all.len().max(1) as f64;
    let bars = each(all.iter().enumerate(), |(i, importance)| {
        let height = if most > 0.0 { 8.0 * (importance / most).clamp(0.0, 1.0) } else { 0.0 };
        format!(
            "<rect class=\"fill\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{height:.2}\"/>",
            i as f64 * width,
            8.0 - height,
            0.8 * width
        )
    });
    let label = all.iter().map(|importance| fixed(*importance, 3)).collect::<Vec<_>>().join(", ");
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 60 8\" role=\"img\" aria-label=\"{label}\"><rect class=\"track\" width=\"60\" \
         height=\"8\"/>{bars}</svg>"
    )
}
