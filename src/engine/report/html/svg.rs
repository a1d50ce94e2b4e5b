//! Shapes of a drawing. Colours and strokes are the style's, by class; all text that comes in is HTML.

/// A line between two places.
pub(crate) fn line(class: &str, from: (f64, f64), to: (f64, f64)) -> String {
    format!(
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
        from.0, from.1, to.0, to.1
    )
}

/// Text whose `anchor` (`start`, `middle`, `end`) is at a place.
pub(crate) fn text(class: &str, at: (f64, f64), anchor: &str, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>\n", at.0, at.1)
}

/// A rectangle from its upper left corner; `title` is shown on hover, if it has one.
pub(crate) fn rect(class: &str, at: (f64, f64), size: (f64, f64), title: &str) -> String {
    let title = if title.is_empty() { String::new() } else { format!("<title>{title}</title>") };
    format!(
        "<rect class=\"{class}\" x=\"{:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"{:.1}\">{title}</rect>\n",
        at.0, at.1, size.0, size.1
    )
}

/// Shapes that belong together; `title` is shown on hover.
pub(crate) fn group(class: &str, title: &str, shapes: &str) -> String {
    format!("<g class=\"{class}\"><title>{title}</title>\n{shapes}</g>\n")
}

/// The drawing, `width` by `height`, with what it shows in words.
pub(crate) fn figure((width, height): (f64, f64), label: &str, shapes: &str) -> String {
    format!(
        "<figure><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">\n{shapes}</svg></figure>\n"
    )
}
