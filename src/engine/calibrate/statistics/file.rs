//! The file that statistics lie in: sums of each site under the site's name, in full precision.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use crate::engine::calibrate::{Moments, Wanted};
use crate::engine::error::{EngineError, Result};
use crate::engine::export::encoding::TensorSpec;
use crate::engine::export::safetensors::{self, Writer};
use crate::engine::job::InputFile;
use crate::engine::model::Dtype;
use crate::engine::model::checkpoint::Checkpoint;

/// More of one job is not kept: products of all pairs of inputs of a large model are dearer to keep than to take.
pub const MOST_BYTES: u64 = 256 << 20;

/// What a site's sums take up.
pub(super) fn bytes(moments: &Moments) -> u64 {
    let width = moments.width() as u64;
    8 + 20 * width + if moments.gram.is_some() { 8 * width * width } else { 0 }
}

/// A site's tensors with their bytes.
fn tensors(site: &str, moments: &Moments) -> Vec<(TensorSpec, Vec<u8>)> {
    let Moments { tokens, sums, squares, largest, gram, .. } = moments;
    let width = moments.width();
    let spec = |what: &str, dtype, shape| TensorSpec { name: format!("{site}.{what}"), dtype, shape, category: None };
    let wide = |values: &[f64]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let narrow = largest.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut all = vec![
        (spec("tokens", Dtype::U64, vec![1]), tokens.to_le_bytes().to_vec()),
        (spec("sums", Dtype::F64, vec![width]), wide(sums)),
        (spec("squares", Dtype::F64, vec![width]), wide(squares)),
        (spec("largest", Dtype::F32, vec![width]), narrow),
    ];
    all.extend(gram.as_ref().map(|gram| (spec("gram", Dtype::F64, vec![width, width]), wide(gram))));
    all
}

/// Writes the sums of all sites, by name.
pub(super) fn write(path: &Path, sites: &BTreeMap<String, Moments>) -> Result<()> {
    let failed = || EngineError::io(path, "written");
    let all: Vec<_> = sites.iter().flat_map(|(site, moments)| tensors(site, moments)).collect();
    let mut specs: Vec<TensorSpec> = all.iter().map(|(spec, _)| spec.clone()).collect();
    safetensors::sort(&mut specs);
    let file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed())?);
    let mut writer = Writer::new(file, &specs).map_err(failed())?;
    for (spec, bytes) in &all {
        writer.tensor(&spec.name, bytes).map_err(failed())?;
    }
    let file = writer.finish().map_err(failed())?.into_inner().map_err(|error| failed()(error.into_error()))?;
    file.sync_all().map_err(failed())
}

/// Opens a file whose bytes nobody vouches for.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let size_bytes = std::fs::metadata(path).map_err(EngineError::io(path, "read"))?.len();
    let file = InputFile { path: "model.safetensors".to_owned(), location: path.to_owned(), size_bytes, sha256: None };
    Checkpoint::open(&[file])
}

/// A site's sums; `None` where it was fed nothing. Says what is wrong with them otherwise.
pub(super) fn read(file: &Checkpoint, site: &str, width: usize, wanted: Wanted) -> Result<Option<Moments>, String> {
    if file.get(&format!("{site}.tokens")).is_none() {
        return Ok(None);
    }
    let Wanted { gram, cross: _, weights: _ } = wanted;
    let find = |what: &str, dtype: Dtype, shape: &[usize]| {
        let name = format!("{site}.{what}");
        let fits = file.get(&name).is_some_and(|info| info.dtype == dtype && info.shape == shape);
        let bytes = file.bytes(&name).filter(|_| fits);
        bytes.ok_or_else(|| format!("they are not of the site '{site}' as it is"))
    };
    let wide = |what: &str, shape: &[usize]| -> Result<Vec<f64>, String> {
        Ok(find(what, Dtype::F64, shape)?.as_chunks::<8>().0.iter().map(|x| f64::from_le_bytes(*x)).collect())
    };
    let tokens = find("tokens", Dtype::U64, &[1])?.as_chunks::<8>().0.first().copied().map_or(0, u64::from_le_bytes);
    let largest = find("largest", Dtype::F32, &[width])?.as_chunks::<4>().0;
    let mut found = Moments::default();
    found.tokens = tokens;
    found.sums = wide("sums", &[width])?;
    found.squares = wide("squares", &[width])?;
    found.largest = largest.iter().map(|x| f32::from_le_bytes(*x)).collect();
    found.gram = gram.then(|| wide("gram", &[width, width])).transpose()?;
    Ok(Some(found))
}
