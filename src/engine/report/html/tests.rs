use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::super::sample::{alone, compressed, embedding, without_labels};
use super::super::{Report, Verdict};
use super::*;

mod plots;
mod sensitivity;

fn document(mut report: Report) -> Value {
    serde_json::from_slice(&report.finish().unwrap()).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[test]
fn the_style_has_the_hash_that_the_policy_names() {
    assert_eq!(base64(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
    assert_eq!(STYLE_SHA256_BASE64, base64(&Sha256::digest(STYLE.as_bytes())), "update STYLE_SHA256_BASE64");
    assert!(page(&Value::Null).contains(&format!("<style>{STYLE}</style>")));
}

/// Every tag in order; panics where one is not closed, or closed where it was not open.
fn tags(page: &str) -> Vec<String> {
    let body = page.split_once("</style>").unwrap().1;
    let (mut open, mut all) = (vec!["html".to_owned(), "head".to_owned()], Vec::new());
    for tag in body.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "a bare > after <{tag}>");
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{tag}");
        } else if !tag.ends_with('/') && name != "br" {
            open.push(name);
        }
        all.push(tag.to_owned());
    }
    assert!(open.is_empty(), "left open: {open:?}");
    all
}

/// Nothing that a strict policy would refuse, and nothing from elsewhere.
fn assert_harmless(page: &str) {
    for tag in tags(page) {
        // What stands between quotes is text.
        let bare: String = tag.split('"').step_by(2).collect();
        let name = bare.split([' ', '/']).next().unwrap();
        assert!(!["script", "img", "link", "iframe", "object", "a", "form"].contains(&name), "<{tag}>");
        for attribute in [" style=", " on", " href=", " src="] {
            assert!(!bare.contains(attribute), "<{tag}>");
        }
    }
}

#[test]
fn samples_make_whole_pages() {
    for report in [compressed(), without_labels(), alone(), embedding()] {
        let page = page(&document(report.clone()));
        assert_harmless(&page);
        // A model that was measured on its own was neither changed nor is there anything to draw it against
        let own = report.recipe.is_none();
        for heading in
            ["plot", "cost", "stages", "bytes", "sites", "probes", "speed", "files", "provenance", "unmeasured"]
        {
            let is_there = page.contains(&format!("<section id=\"{heading}\">"));
            assert_eq!(is_there, !(own && ["plot", "stages"].contains(&heading)), "{heading}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf "));
    }
}

#[test]
fn the_numbers_are_there() {
    let page = page(&document(compressed()));
    for text in [
        "3.65 times smaller",
        "<span title=\"12,437,592 bytes\">12.4 MB</span>",
        "−0.65 points · 95% −1.33 to +0.03",
        "McNemar, exact (31 : 18)",
        "after factorize",
        "1. factorize",
        "<strong class=\"bad\">",
        "All 41 sites",
        "transformers, vllm",
        "damping raised to 0.1",
        "<td class=\"text wrap\"><code>false</code></td>",
        "rows of 71 to 96 tokens",
        "Probability that is lost when attention is cut at 16 tokens",
    ] {
        assert!(page.contains(text), "'{text}' is missing");
    }
}

#[test]
fn worst_sites_come_first_and_twenty_of_them() {
    let report = compressed();
    let worst = report.result.sites.iter().max_by(|a, b| a.output_error.partial_cmp(&b.output_error).unwrap());
    let page = page(&document(report.clone()));
    let table = page.split_once("aria-label=\"Worst sites\"").unwrap().1.split_once("</table>").unwrap().0;
    assert_eq!(table.matches("<tr><th scope=\"row\">").count(), 20);
    let first = table.split_once("<code>").unwrap().1.split_once("</code>").unwrap().0;
    let error = |name: &str| report.result.sites.iter().find(|site| site.site == name).unwrap().output_error;
    assert_eq!(error(first), worst.unwrap().output_error);
}

#[test]
fn a_budget_tells_what_each_site_was_given_and_what_came_of_it() {
    let mut report = document(compressed());
    assert!(!page(&report).contains("id=\"allocation\""));
    let sites: Vec<Value> = (0..25)
        .map(|i| json!({ "site": format!("block.{i}.<b>"), "level": i % 2, "loss": 1e-4 * f64::from(i) }))
        .collect();
    report["result"]["allocation"] = json!({
        "stage": 0, "max_bytes": 12_450_000, "uniform": 0, "loss": 0.0021, "uniform_loss": 0.003, "standard_error": 0.00042, "is_kept": true, "sites": sites,
        "levels": [{ "bits": 4, "group_size": 64 }, { "bits": 8, "group_size": 128 }],
    });
    let shown = page(&report);
    assert_harmless(&shown);
    for text in [
        "shared out over sites is the result",
        "0.00210",
        "0.00300",
        "4.20·10⁻⁴",
        "Group size 64",
        "All 25 sites",
        "one for all",
    ] {
        assert!(shown.contains(text), "'{text}' is missing");
    }
    let first = shown.split_once("What the costliest sites were given").unwrap().1;
    assert!(first.find("block.24.&lt;b&gt;").unwrap() < first.find("block.23.").unwrap());
    report["result"]["allocation"]["is_kept"] = json!(false);
    assert!(page(&report).contains("One level for all is the result"));
    report["result"]["allocation"].as_object_mut().unwrap().remove("is_kept");
    assert!(!page(&report).contains("is the result:"));
}

#[test]
fn what_must_not_be_overlooked_is_loud() {
    let quiet = page(&document(compressed()));
    assert!(!quiet.contains("class=\"notice"));
    let unlabelled = page(&document(without_labels()));
    assert!(unlabelled.contains("<strong>Task quality was not measured:</strong> the evaluation data has no labels."));
    assert!(unlabelled.contains("the model’s own vocabulary, which is not the text"));
    let mut low = compressed();
    low.result.verdict = Verdict::new(low.result.before.as_ref(), &low.result.after, Some(0.9));
    assert!(page(&document(low)).contains("<strong>The result is below the reference floor of 90.00%.</strong>"));
    let mut missed = compressed();
    missed.result.verdict.goal_met = Some(false);
    assert!(page(&document(missed)).contains("goal is not met"));
    let mut damaged = document(compressed());
    damaged["result"]["bytes_by_category"]["mlp"]["after"] = json!(1);
    assert!(page(&damaged).contains("The categories are not the files"));
}

/// Every text and every name becomes hostile.
fn poison(value: &mut Value, with: &str) {
    match value {
        Value::String(text) => *text = format!("{with}{text}"),
        Value::Array(items) => items.iter_mut().for_each(|item| poison(item, with)),
        Value::Object(fields) => {
            let poisoned = std::mem::take(fields).into_iter().map(|(name, mut field)| {
                poison(&mut field, with);
                let ours = !name.starts_with('/') && !["accuracy", "macro_f1", "mlp", "evaluation"].contains(&&*name);
                (if ours { name } else { format!("{name}{with}") }, field)
            });
            *fields = poisoned.collect::<Map<String, Value>>();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn hostile_names_stay_text() {
    for with in ["<script>alert(1)</script>", "\"><img src=x onerror=y>", "'/~0<!--", "</style></title>\u{202e}"] {
        for report in [compressed(), without_labels(), super::super::sample::table()] {
            let mut hostile = document(report);
            poison(&mut hostile, with);
            let page = page(&hostile);
            assert_harmless(&page);
            assert!(page.contains(&escape(with)) && !page.contains(with));
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(0.0), Just(-0.0), Just(1e308), Just(-1e308), Just(5e-324), Just(0.5)].prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-z/~_<\"]{0,8}", inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The values below a value, itself included, in order.
fn places(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(places).sum(),
        Value::Object(fields) => fields.values().map(places).sum(),
        _ => 0,
    }
}

/// Puts `new` at the place with that number.
fn replace(value: &mut Value, place: &mut usize, new: &Value) {
    if *place == 0 {
        *value = new.clone();
        *place = usize::MAX;
        return;
    }
    if *place == usize::MAX {
        return;
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, place, new)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, place, new)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn any_json_makes_a_page(value in any_json()) {
        assert_harmless(&page(&value));
    }

    #[test]
    fn any_damage_leaves_a_page(changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..12)) {
        let mut report = document(compressed());
        for (place, value) in changes {
            let mut place = place.index(places(&report));
            replace(&mut report, &mut place, &value);
        }
        assert_harmless(&page(&report));
    }

    #[test]
    fn any_number_is_written(number in any::<f64>()) {
        prop_assume!(number.is_finite());
        for text in [
            format::bytes(number),
            format::bytes_change(number),
            format::count(number),
            format::percent(number),
            format::points(number),
            format::small(number),
            format::milliseconds(number),
        ] {
            prop_assert!(text.chars().any(|letter| letter.is_ascii_digit()) && text.len() < 460, "{text}");
        }
    }
}

#[test]
fn numbers_read_well() {
    let bytes = |n: f64| format::short_bytes(n);
    assert_eq!(
        [bytes(999.0), bytes(999_600.0), bytes(45_453_840.0), bytes(1.2e9)],
        ["999 bytes", "1.00 MB", "45.5 MB", "1.20 GB"]
    );
    assert_eq!(format::grouped(1_234_567), "1,234,567");
    assert_eq!([format::points(-0.0065), format::points(0.01), format::points(-1e-9)], ["−0.65", "+1.00", "0.00"]);
    assert_eq!(
        [0.0, 0.0854, 12.345, 2.5e-229, -0.5].map(format::small),
        ["0", "0.0854", "12.3", "2.50·10⁻²²⁹", "−0.500"]
    );
    assert_eq!([format::seconds(17.42), format::seconds(1_800.0)], ["17.4 s", "30.0 min"]);
    assert_eq!(
        [format::name("macro_f1"), format::name("norms"), format::name("<b>")],
        ["Macro-F1", "Norms", "&lt;b&gt;"]
    );
}

#[test]
fn ticks_are_round_and_few() {
    let scale = scale::Scale::new((0.823, 0.867), (0.0, 1.0));
    let ticks: Vec<String> = scale.ticks(5).iter().map(|tick| format!("{tick:.3}")).collect();
    assert_eq!(ticks, ["0.830", "0.840", "0.850", "0.860"]);
    assert_eq!(scale::log_ticks(9e6, 6.2e8), [1e7, 2e7, 5e7, 1e8, 2e8, 5e8]);
    assert_eq!(scale::log_ticks(9e6, 3.2e7), [1e7, 1.5e7, 2e7, 3e7]);
    assert!(scale::log_ticks(1.0, 1e15).len() <= 8);
    assert!(scale::Scale::new((5.0, 5.0), (0.0, 1.0)).ticks(5).len() > 2);
}
