//! Numbers and text for people.

use crate::engine::evaluate::metric::is_share;

/// Text for HTML, in elements and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// `12437592` as `12,437,592`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.4 MB`: three digits, decimal units.
pub(crate) fn short_bytes(bytes: f64) -> String {
    if bytes.abs() < 999.5 {
        return format!("{bytes:.0} bytes");
    }
    scaled(bytes, &["kB", "MB", "GB", "TB", "PB"])
}

/// `22.7 M`.
pub(crate) fn short_count(count: f64) -> String {
    if count.abs() < 999.5 { format!("{count:.0}") } else { scaled(count, &["k", "M", "G", "T", "P"]) }
}

fn scaled(number: f64, units: &[&str]) -> String {
    let (mut number, mut unit) = (number, "");
    for next in units {
        (number, unit) = (number / 1e3, next);
        if number.abs() < 999.5 {
            break;
        }
    }
    let decimals = if number.abs() < 9.995 { 2 } else { usize::from(number.abs() < 99.95) };
    format!("{number:.decimals$} {unit}")
}

/// Bytes for people, the exact number on hover. HTML.
pub(crate) fn bytes(bytes: f64) -> String {
    format!("<span title=\"{} bytes\">{}</span>", grouped(bytes.max(0.0) as u64), short_bytes(bytes))
}

/// A signed difference of bytes. HTML.
pub(crate) fn bytes_change(change: f64) -> String {
    let sign = if change < 0.0 { "−" } else { "+" };
    if change == 0.0 {
        return "0".to_owned();
    }
    format!("<span title=\"{sign}{} bytes\">{sign}{}</span>", grouped(change.abs() as u64), short_bytes(change.abs()))
}

/// A signed difference of bytes: `−10.6 MB`.
pub(crate) fn signed_bytes(change: f64) -> String {
    let sign = if change < 0.0 { "−" } else { "+" };
    if change == 0.0 { "0".to_owned() } else { format!("{sign}{}", short_bytes(change.abs())) }
}

/// A count for people, the exact number on hover. HTML.
pub(crate) fn count(count: f64) -> String {
    format!("<span title=\"{}\">{}</span>", grouped(count.max(0.0) as u64), short_count(count))
}

/// `84.20%`.
pub(crate) fn percent(share: f64) -> String {
    format!("{}%", fixed(hundredfold(share), 2))
}

/// A metric's value: `84.20%` where it is a share, else `39.469`.
pub(crate) fn value(metric: &str) -> impl Fn(f64) -> String {
    let share = is_share(metric);
    move |x| if share { percent(x) } else { fixed(x, 3) }
}

/// A metric's difference: in points where it is of shares, else `+0.181`.
pub(crate) fn change(metric: &str) -> impl Fn(f64) -> String {
    let share = is_share(metric);
    move |x| {
        if share {
            points(x)
        } else {
            let sign = if x > 0.0 { "+" } else { "" };
            format!("{sign}{}", fixed(x, 3))
        }
    }
}

/// A difference of shares in points: `−0.65`.
pub(crate) fn points(share: f64) -> String {
    let points = fixed(hundredfold(share.abs()), 2);
    if points.chars().all(|letter| matches!(letter, '0' | '.')) {
        return points;
    }
    format!("{}{points}", if share < 0.0 { "−" } else { "+" })
}

/// A small number with three digits, and a power of ten where it would not fit else.
pub(crate) fn small(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e4).contains(&size) {
        let decimals = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
        fixed(number, decimals)
    } else {
        with_power(number, 2)
    }
}

/// A small number with two digits, for narrow places.
pub(crate) fn brief(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e3).contains(&size) {
        // Of the number as it is written, or 0.0999 would be 0.100
        let rounded = format!("{size:.1e}").parse().unwrap_or(size);
        fixed(number, (1 - f64::log10(rounded).floor() as i32).clamp(0, 6) as usize)
    } else {
        with_power(number, 0)
    }
}

/// `2.50·10⁻⁷`: text for HTML and drawings alike.
fn with_power(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let raised = exponent.chars().map(|letter| match letter.to_digit(10) {
        Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'].get(digit as usize).copied().unwrap_or('?'),
        None => '⁻',
    });
    format!("{}·10{}", minus(digits), raised.collect::<String>())
}

/// A share in hundredths, without running over.
fn hundredfold(share: f64) -> f64 {
    100.0 * share.clamp(-1e300, 1e300)
}

/// With so many decimals and a true minus sign; beyond all sense, in powers of ten.
pub(crate) fn fixed(number: f64, decimals: usize) -> String {
    if number.abs() >= 1e15 { minus(&format!("{number:.2e}")) } else { minus(&format!("{number:.decimals$}")) }
}

fn minus(text: &str) -> String {
    text.replace('-', "−")
}

/// `1 ms`, `12.3 ms`, `2.05 s`.
pub(crate) fn milliseconds(ms: f64) -> String {
    if ms < 1e3 { format!("{} ms", small(ms)) } else { seconds(ms / 1e3) }
}

/// `17.4 s`, `12 min`, `2.5 h`.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{} s", small(seconds))
    } else if seconds < 7_200.0 {
        format!("{} min", fixed(seconds / 60.0, 1))
    } else {
        format!("{} h", fixed(seconds / 3_600.0, 1))
    }
}

/// `macro_f1` as `Macro-F1`: a metric's or category's name for people. HTML.
pub(crate) fn name(key: &str) -> String {
    match key {
        "macro_f1" => "Macro-F1".to_owned(),
        "token_f1" => "Token-F1".to_owned(),
        "entity_f1" => "Entity-F1".to_owned(),
        "scales_and_zeros" => "Scales and zeros".to_owned(),
        "mlp" => "MLP".to_owned(),
        "mcc" => "MCC".to_owned(),
        key => {
            let text = key.replace('_', " ");
            let mut letters = text.chars();
            let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
            escape(&(first + letters.as_str()))
        }
    }
}

/// The first twelve digits of a hash, the whole on hover. HTML.
pub(crate) fn hash(hash: &str) -> String {
    let short: String = hash.chars().take(12).collect();
    format!("<code title=\"{}\">{}</code>", escape(hash), escape(&short))
}
