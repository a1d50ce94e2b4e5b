//! Speed and memory, measured and predicted.

use super::format::{self, bytes, escape, fixed, milliseconds, seconds};
use super::read::Doc;
use super::{each, latency as plot, table, titled};

pub(super) fn section(doc: &Doc<'_>) -> String {
    let lead = "Bars end at the median of a call, dots stand at the 95% quantile. Clocks differ from run to run and from host \
                to host; nothing else in this report depends on them.";
    titled("speed", "Speed and memory", lead, &format!("{}{}", latency(doc), compression(doc)))
}

fn latency(doc: &Doc<'_>) -> String {
    let entries = doc.len("/measurements/latency");
    if entries == 0 {
        let reason = doc.reason("/measurements/latency").unwrap_or("the report gives no reason");
        return format!("<p class=\"missing\"><strong>Latency was not measured:</strong> {}.</p>\n", escape(reason));
    }
    let rows = each(0..entries, |number| latency_row(doc, number));
    let [first, second] = [doc.sides().0, doc.sides().1].map(format::name);
    let head = format!(
        "<th scope=\"col\">Batch × length</th><th scope=\"col\">Threads</th><th scope=\"col\">{first}, median</th>\
         <th scope=\"col\">p95</th><th scope=\"col\">{second}, median</th><th scope=\"col\">p95</th>\
         <th scope=\"col\">Speed-up</th><th scope=\"col\">Runs</th>"
    );
    plot::latency(doc) + &table("Latency", &head, &rows)
}

fn latency_row(doc: &Doc<'_>, number: usize) -> String {
    let at = |path: &str| format!("/measurements/latency/{number}/{path}");
    let whole = |path: &str| doc.show(&at(path), |value| fixed(value, 0));
    let time = |path: &str| doc.show(&at(path), milliseconds);
    let (original, result) = (doc.number(&at("original/median_ms")), doc.number(&at("result/median_ms")));
    let speed_up = original.zip(result).filter(|(_, result)| *result > 0.0).map(|(original, result)| original / result);
    format!(
        "<tr><th scope=\"row\">{} × {}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         </tr>\n",
        whole("batch"),
        whole("length"),
        whole("threads"),
        time("original/median_ms"),
        time("original/p95_ms"),
        time("result/median_ms"),
        time("result/p95_ms"),
        doc.or_dash(speed_up, &at("original"), |times| format!("{}×", fixed(times, 2))),
        whole("result/n"),
    )
}

fn compression(doc: &Doc<'_>) -> String {
    let measured = |key: &str| format!("/measurements/compression/{key}");
    let predicted = |key: &str| format!("/measurements/predicted/{key}");
    if doc.get("/measurements/compression").is_none() && doc.get("/measurements/predicted").is_none() {
        return String::new();
    }
    let rows = [
        ("Weight files", doc.show(&predicted("size_bytes"), bytes), doc.show("/result/after/size_bytes", bytes)),
        ("Wall time", doc.show(&predicted("wall_seconds"), seconds), doc.show(&measured("wall_seconds"), seconds)),
        ("Processor time", String::new(), doc.show(&measured("cpu_seconds"), seconds)),
        (
            "Memory at the peak",
            doc.show(&predicted("peak_memory_bytes"), bytes),
            doc.show(&measured("peak_memory_bytes"), bytes),
        ),
    ];
    let rows = each(rows, |(name, predicted, measured)| {
        format!("<tr><th scope=\"row\">{name}</th><td>{predicted}</td><td>{measured}</td></tr>\n")
    });
    let head = "<th scope=\"col\">The compression itself</th><th scope=\"col\">Predicted</th>\
                <th scope=\"col\">Measured</th>";
    format!("<h3>What the job took</h3>\n{}", table("Cost of the compression", head, &rows))
}
