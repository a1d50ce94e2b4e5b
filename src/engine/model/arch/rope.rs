//! Reads rotary positions out of a config: `rope_theta` and `rope_scaling`, or `rope_parameters`, which holds both.

use serde_json::Value;

use super::config::ConfigReader;
use crate::engine::model::rope::{Rope, RopeScaling};

const DEFAULT_THETA: f64 = 10_000.0;
const KNOWN: &str = "default, linear, dynamic, llama3, yarn";

/// What turns queries and keys of a model with so many positions.
pub(super) fn read(c: &mut ConfigReader<'_>, positions: usize) -> Rope {
    let key = if c.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
    let found = c.get(key);
    let inside = found.and_then(|v| v.get("rope_theta")).and_then(Value::as_f64);
    let theta = inside.or_else(|| c.get("rope_theta").and_then(Value::as_f64)).unwrap_or(DEFAULT_THETA);
    if !(theta.is_finite() && theta > 1.0) {
        c.refuse("rope_theta", format!("rope_theta is {theta}: a number above 1 is needed"));
    }
    let partial = found.and_then(|v| v.get("partial_rotary_factor")).or_else(|| c.get("partial_rotary_factor"));
    if partial.is_some_and(|p| p.as_f64() != Some(1.0)) {
        c.refuse("partial_rotary_factor", "heads that are turned in part are not supported: 1.0");
    }
    let scaling = found.map_or(RopeScaling::None, |found| {
        scaling(found, positions).unwrap_or_else(|why| {
            c.refuse(key, why);
            RopeScaling::None
        })
    });
    Rope { theta, scaling }
}

fn scaling(found: &Value, positions: usize) -> Result<RopeScaling, String> {
    let optional = |name: &str| match found.get(name).filter(|v| !v.is_null()) {
        None => Ok(None),
        Some(v) => match v.as_f64().filter(|x| x.is_finite() && *x > 0.0) {
            Some(x) => Ok(Some(x)),
            None => Err(format!("'{name}' must be a number above 0")),
        },
    };
    let number = |name: &str| optional(name)?.ok_or_else(|| format!("'{name}' is missing"));
    let kind = found.get("rope_type").or_else(|| found.get("type")).and_then(Value::as_str).unwrap_or("default");
    let original = || Ok::<_, String>(optional("original_max_position_embeddings")?.unwrap_or(positions as f64));
    match kind {
        // Dynamic stretching begins beyond the positions of the config, which is as far as texts go here
        "default" | "dynamic" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: number("factor")? }),
        "llama3" => {
            let (low_freq_factor, high_freq_factor) = (number("low_freq_factor")?, number("high_freq_factor")?);
            if low_freq_factor >= high_freq_factor {
                return Err("'low_freq_factor' must lie below 'high_freq_factor'".to_owned());
            }
            let original_positions = number("original_max_position_embeddings")?;
            Ok(RopeScaling::Llama3 { factor: number("factor")?, low_freq_factor, high_freq_factor, original_positions })
        }
        "yarn" => {
            let factor = number("factor")?;
            let sharper = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
            let given = match (optional("mscale")?, optional("mscale_all_dim")?) {
                (Some(a), Some(b)) => sharper(a) / sharper(b),
                _ => sharper(1.0),
            };
            Ok(RopeScaling::Yarn {
                factor,
                beta_fast: optional("beta_fast")?.unwrap_or(32.0),
                beta_slow: optional("beta_slow")?.unwrap_or(1.0),
                original_positions: original()?,
                attention_factor: optional("attention_factor")?.unwrap_or(given),
                truncate: found.get("truncate").and_then(Value::as_bool).unwrap_or(true),
            })
        }
        other => Err(format!("'{}' is not supported: {KNOWN}", other.chars().take(40).collect::<String>())),
    }
}
