//! Where the sample comes from.

use std::collections::BTreeMap;

use super::{BEFORE_BYTES, plan, recipe};
use crate::engine::context::Host;
use crate::engine::evaluate::fidelity::MeasuredOn;
use crate::engine::report::{
    DatasetProvenance, EvaluationProvenance, FileHash, Protocol, Provenance, resolved_defaults,
};

pub(super) fn provenance() -> Provenance {
    let file = |path: &str, size_bytes| FileHash {
        path: path.into(),
        size_bytes,
        sha256: "8b5ebda5d215a322de7c7bddb2b9919b2f6d4a082b59580822d1e16cf429c128".into(),
    };
    Provenance {
        pare_version: "0.1.0".into(),
        host: Host {
            cpu: "Example CPU 2.1 GHz".into(),
            os: "linux x86_64".into(),
            instruction_set: "x86_64 avx2 fma f16c".into(),
            binary_sha256: Some("0".repeat(64)),
        },
        device: "cpu".into(),
        threads: 2,
        seed: 0,
        recipe_sha256: Some("c".repeat(64)),
        model_files: vec![file("model.safetensors", BEFORE_BYTES), file("tokenizer.json", 527_292)],
        reference_files: vec![],
        datasets: BTreeMap::from([(
            "evaluation".into(),
            DatasetProvenance { name: "test".into(), rows: 2_000, files: vec![file("test.jsonl", 539_527)] },
        )]),
        statistics: None,
        table_from: None,
        evaluation: Some(EvaluationProvenance {
            metrics: vec!["accuracy".into(), "fidelity".into(), "latency".into()],
            max_seq_length: 96,
            measured_on: MeasuredOn::Evaluation,
            rows: 2_000,
            rows_sha256: "d".repeat(64),
        }),
        protocol: Some(Protocol {
            description: "the label with the largest logit, of every row of the evaluation set".into(),
            max_seq_length: 96,
        }),
        resolved_defaults: resolved_defaults(&recipe(), &plan()),
    }
}
