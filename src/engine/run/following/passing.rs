//! The rows of a stage on their way: through the model that is compressed, and beside it through the original.
//!
//! Sums of squares need many tokens, for as many inputs have to be told apart. What the original's inputs differ by is small
//! beside them, and what a few tokens say of it is wrong by little: so the original goes along on some of the rows alone, and
//! what it takes is spent on more rows through the compressed model.

use rayon::prelude::*;

use super::{STATES_BYTES, Seen, Work, missing};
use crate::engine::calibrate::rows::CalibrationRows;
use crate::engine::calibrate::{Moments, Stream};
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::Result;
use crate::engine::model::build::Model;
use crate::engine::model::linear::Linear;

/// Tokens of the rows on which the original goes along, for each input of the widest site.
const ANCHORED: usize = 32;
/// Held-out rows that a site is judged by, for each eight that it is fitted to, and the tokens of all of them: whether a sum over
/// outputs grew or shrank is told by far fewer than what they are made by.
const JUDGED: (usize, usize) = (8, 8192);

/// Some rows on their way through the model, and the original if it goes along.
struct Rows {
    ours: Stream,
    theirs: Option<Stream>,
}

impl Rows {
    fn new(work: &Work<'_>, rows: &Encoded, (name, anchored): (&str, bool), ctx: &RunContext<'_>) -> Result<Self> {
        let stream = |model: &Model, side: &str| {
            let budget_bytes = if anchored { STATES_BYTES / 2 } else { STATES_BYTES };
            Stream::new(&model.at_tables()?, rows, &format!("{name}-{side}"), budget_bytes, ctx)
        };
        let theirs = (anchored && work.wanted.cross).then(|| stream(work.original, "original")).transpose()?;
        Ok(Self { ours: stream(&work.model, "compressed")?, theirs })
    }

    fn go(&mut self, (ours, theirs): (&Model, &Model), go: impl Go) -> Result<()> {
        let (a, b) = rayon::join(
            || go(&mut self.ours, ours),
            || self.theirs.iter_mut().try_for_each(|stream| go(stream, theirs)),
        );
        a.and(b)
    }

    fn look(&self, all: &mut Moments, work: &Work<'_>, through: Option<&Linear>, ctx: &RunContext<'_>) -> Result<()> {
        self.ours.look_inside(all, &work.model, (self.theirs.as_ref(), through), work.wanted, ctx)
    }

    fn end(&self, all: &mut Moments, site: usize, work: &Work<'_>) -> Result<()> {
        let (ours, original) = (work.model.at_end()?, work.original.at_end()?);
        let theirs = self.theirs.as_ref().map(|stream| (stream, &original));
        let mut seen = self.ours.finish(&ours, theirs, &[site], work.wanted)?;
        all.add(&seen.remove(&site).ok_or_else(|| missing(site))?)
    }
}

/// What takes a stream on.
pub(super) trait Go: Fn(&mut Stream, &Model) -> Result<()> + Sync {}

impl<F: Fn(&mut Stream, &Model) -> Result<()> + Sync> Go for F {}

/// The rows that are fitted to, and those that sites are judged by.
pub(super) struct Passing {
    /// With the original beside them; then the others.
    fit: Vec<Rows>,
    held_out: Option<Rows>,
}

impl Passing {
    /// Looks all rows up in the tables of both models.
    ///
    /// # Errors
    ///
    /// As [`Stream::new`].
    pub(super) fn new(work: &Work<'_>, rows: &CalibrationRows, ctx: &RunContext<'_>) -> Result<Self> {
        let widest = work.model.sites.iter().map(|site| site.r#in).max().unwrap_or(0);
        let wanted_tokens = if work.wanted.cross { ANCHORED * widest } else { 0 };
        let (anchored, others) = apart(&rows.fit, rows.fit.ids.len(), wanted_tokens);
        let parts = [(anchored, "anchored", true), (others, "fitted", false)];
        let fit = parts.iter().filter(|(rows, ..)| !rows.ids.is_empty());
        let fit =
            fit.map(|(rows, name, anchored)| Rows::new(work, rows, (name, *anchored), ctx)).collect::<Result<_>>()?;
        let (judged, _) = apart(&rows.held_out, rows.fit.ids.len().div_ceil(JUDGED.0), JUDGED.1);
        let held_out = (!judged.ids.is_empty()).then(|| Rows::new(work, &judged, ("judged", true), ctx)).transpose()?;
        Ok(Self { fit, held_out })
    }

    fn seen(&self, look: impl Fn(&Rows, &mut Moments) -> Result<()>) -> Result<Seen> {
        let all = |rows: &[&Rows]| -> Result<Moments> {
            let mut all = Moments::default();
            rows.iter().try_for_each(|rows| look(rows, &mut all))?;
            all.complete();
            Ok(all)
        };
        let held_out = self.held_out.as_ref().map(|rows| all(&[rows])).transpose()?;
        Ok(Seen { fit: all(&self.fit.iter().collect::<Vec<_>>())?, held_out })
    }

    /// What sites of the part that is next are fed.
    pub(super) fn look(&self, work: &Work<'_>, sites: &[usize], ctx: &RunContext<'_>) -> Result<Seen> {
        let through = work.through(sites)?;
        self.seen(|rows, all| rows.look(all, work, through.as_ref(), ctx))
    }

    /// What a site behind the last block is fed.
    pub(super) fn end(&self, site: usize, work: &Work<'_>) -> Result<Seen> {
        self.seen(|rows, all| rows.end(all, site, work))
    }

    /// Goes on behind the block that is next.
    pub(super) fn advance(&mut self, work: &Work<'_>) -> Result<()> {
        let block = self.fit.first().map_or(0, |rows| rows.ours.next());
        let (ours, theirs) = work.both(|model| model.at_block(block))?;
        self.go((&ours, &theirs), Stream::advance)
    }

    /// All streams at once: few batches of one would leave threads idle.
    pub(super) fn go(&mut self, models: (&Model, &Model), go: impl Go) -> Result<()> {
        let all: Vec<&mut Rows> = self.fit.iter_mut().chain(&mut self.held_out).collect();
        all.into_par_iter().map(|rows| rows.go(models, &go)).collect()
    }
}

/// Rows that lie evenly among all of them, at most so many, of about so many tokens together, and one where a single row has more;
/// and the others.
fn apart(rows: &Encoded, most: usize, most_tokens: usize) -> (Encoded, Encoded) {
    let lengths = rows.lengths();
    let tokens: usize = lengths.iter().sum();
    let fitting = if tokens > most_tokens { most_tokens * lengths.len() / tokens } else { lengths.len() };
    let count = fitting.max(usize::from(most_tokens > 0)).min(most).min(lengths.len());
    let is_taken = |i: usize| i * count / lengths.len().max(1) != (i + 1) * count / lengths.len().max(1);
    let (taken, others): (Vec<usize>, Vec<usize>) = (0..lengths.len()).partition(|i| is_taken(*i));
    (rows.select(&taken), rows.select(&others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_evenly_up_to_a_number_and_to_their_tokens() {
        let ids: Vec<Vec<u32>> = (0..20).map(|row| vec![row; 10]).collect();
        let rows = Encoded { type_ids: ids.clone(), ids };
        let taken = |most, most_tokens| {
            let (taken, others) = apart(&rows, most, most_tokens);
            assert_eq!(taken.ids.len() + others.ids.len(), 20);
            taken.ids.iter().map(|row| row[0]).collect::<Vec<_>>()
        };
        assert_eq!(taken(20, 50), [3, 7, 11, 15, 19]);
        assert_eq!(taken(4, 200), [4, 9, 14, 19]);
        assert_eq!((taken(30, 200).len(), taken(20, 9).len(), taken(20, 0).len()), (20, 1, 0));
        assert_eq!(apart(&Encoded::default(), 5, 5), Default::default());
    }
}
