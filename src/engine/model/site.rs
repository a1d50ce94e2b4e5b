//! Which sites a stage works on: globs over names such as `encoder.3.self_attention.query`.
//!
//! `*` is one segment, `**` any number of them; `block` stands for any stack's blocks, `classifier` and `lm_head` for the head of a
//! model that classifies or foretells tokens, `embedding.untied` for the table of tokens beside such an `lm_head`, so that one
//! recipe works on every family.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::ModelHeader;
use super::spec::Head;
use crate::engine::problem::{Code, Problem};

/// What a stage's `targets` select and its `ignore` leaves alone.
#[derive(Debug)]
pub struct Selection {
    targets: GlobSet,
    ignore: GlobSet,
}

impl Selection {
    /// Compiles the globs of a stage.
    ///
    /// # Errors
    ///
    /// Globs that can't be read, and those of `targets` that match no site of the model, unless they are meant `if_present`; pointers
    /// below the stage.
    pub fn new(
        (targets, if_present): (Option<&[String]>, bool),
        defaults: &[&str],
        ignore: &[String],
        header: &ModelHeader,
    ) -> Result<Self, Vec<Problem>> {
        // A family that we do not know has its own names: there the default is everything
        let defaults = if header.spec.is_some() { defaults } else { &["**"] };
        let wanted: Vec<&str> = targets.map_or_else(|| defaults.to_vec(), |t| t.iter().map(String::as_str).collect());
        let ignored: Vec<&str> = ignore.iter().map(String::as_str).collect();
        let mut problems = Vec::new();
        let classifies = header.spec.as_ref().is_some_and(|spec| {
            matches!(spec.head, Head::Classification { .. } | Head::TokenClassification { .. } | Head::Regression)
        });
        let has_head = header.sites.iter().any(|s| s.spec.site == "head");
        let mut compile = |field: &str, globs: &[&str]| {
            let mut set = GlobSetBuilder::new();
            for (i, name) in globs.iter().enumerate() {
                let at = format!("/{field}/{i}");
                match compiled(meant(name, (has_head, classifies))) {
                    Ok(glob) => {
                        let matcher = glob.compile_matcher();
                        if header.sites.iter().all(|s| !matcher.is_match(path(&s.spec.site)))
                            && targets.is_some()
                            && field == "targets"
                            && !if_present
                        {
                            let detail = format!("'{name}' matches no site of this model");
                            problems.push(Problem::new(at, Code::NoSuchSite, detail));
                        }
                        set.add(glob);
                    }
                    Err(detail) => problems.push(Problem::new(at, Code::OutOfRange, detail)),
                }
            }
            set.build().unwrap_or_default()
        };
        let selection = Self { targets: compile("targets", &wanted), ignore: compile("ignore", &ignored) };
        if problems.is_empty() { Ok(selection) } else { Err(problems) }
    }

    /// Whether the stage works on that site.
    pub fn contains(&self, site: &str) -> bool {
        let site = path(site);
        self.targets.is_match(&site) && !self.ignore.is_match(&site)
    }
}

/// One glob over sites.
#[derive(Debug)]
pub struct SiteGlob(globset::GlobMatcher);

impl SiteGlob {
    /// Compiles a glob.
    ///
    /// # Errors
    ///
    /// Why it can't be read, in words.
    pub fn new(glob: &str) -> Result<Self, String> {
        compiled(glob).map(|glob| Self(glob.compile_matcher()))
    }

    /// Whether it is the site's.
    pub fn is_match(&self, site: &str) -> bool {
        self.0.is_match(path(site))
    }
}

/// `classifier` and `lm_head` are the head of a model that answers with classes or numbers, or over its vocabulary; of another
/// model's they are none. A model whose head over its vocabulary is its table of tokens has no `embedding.untied`.
fn meant(glob: &str, (has_head, classifies): (bool, bool)) -> &str {
    match glob {
        "classifier" if classifies => "head",
        "lm_head" if !classifies => "head",
        "embedding.untied" if has_head && !classifies => "embedding.token",
        other => other,
    }
}

/// Segments become a path's, for that is what globs are over.
fn path(site: &str) -> String {
    site.replace('.', "/")
}

fn compiled(glob: &str) -> Result<globset::Glob, String> {
    if glob.len() > 256 {
        return Err("a glob of at most 256 characters is needed".to_owned());
    }
    let glob = match glob.strip_prefix("block.") {
        Some(rest) => format!("{{encoder,decoder}}.{rest}"),
        None => glob.to_owned(),
    };
    GlobBuilder::new(&path(&glob)).literal_separator(true).build().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_stands_for_any_stack_and_a_star_for_one_segment() {
        let matches = |glob: &str, site: &str| compiled(glob).unwrap().compile_matcher().is_match(path(site));
        assert!(matches("**", "head"));
        assert!(matches("**.mlp.*", "encoder.3.mlp.up"));
        assert!(matches("block.*.self_attention.query", "encoder.3.self_attention.query"));
        assert!(matches("block.**", "decoder.0.mlp.up"));
        assert!(!matches("block.**", "embedding.token"));
        assert!(!matches("encoder.*", "encoder.3.mlp.up"));
        assert!(compiled("a[").is_err());
    }

    #[test]
    fn names_that_tell_heads_apart_mean_nothing_in_other_models() {
        let (classifier, untied, tied) = ((true, true), (true, false), (false, false));
        assert_eq!(
            [classifier, untied, tied].map(|model| meant("embedding.untied", model)),
            ["embedding.untied", "embedding.token", "embedding.untied"]
        );
        assert_eq!([classifier, untied].map(|model| meant("lm_head", model)), ["lm_head", "head"]);
        assert_eq!([classifier, untied].map(|model| meant("classifier", model)), ["head", "classifier"]);
        assert_eq!(meant("embedding.token", untied), "embedding.token");
    }
}
