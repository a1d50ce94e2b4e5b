"""Which models there are, and the table that says what is odd about each."""
from decoders import DECODERS
from encoders import ENCODERS
from golden import BF16, F16, F32, SMALL, Golden

UNKNOWN = [
    Golden(
        "unknown-opt", "OPTForCausalLM",
        SMALL | {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32},
        "a family that the engine does not know: weights only, no answers", output="none",
    ),
    Golden(
        "unknown-t5", "T5ForConditionalGeneration",
        {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0},
        "another: encoder and decoder, no biases, one table shared; weights only, no answers", output="none", dtype=BF16,
    ),
]

MODELS = DECODERS + ENCODERS + UNKNOWN


def readme():
    named = {F32: "F32", F16: "F16", BF16: "BF16"}
    row = lambda m: f"| `{m.name}` | {m.cls} | {named[m.dtype]} | {'4' if m.config_layout else '5'} | {m.output} | {m.odd} |"
    table = [row(m) for m in MODELS]
    return HEAD + "\n".join(table) + "\n"


HEAD = """\
# Small random models with the answers of transformers

Written by `scripts/goldens/models.py` (`scripts/goldens/README.md`), never by hand. Each folder is a model in Hugging Face's
layout with 2 layers and 96 tokens. `golden.safetensors` holds three rows: `rowN.input_ids`, `rowN.token_type_ids` where the model
takes them, and `rowN.output`, what transformers answers in F32 to that row alone, without padding. `golden.json` says what that
is (`logits_per_token`: [tokens, vocabulary or labels]; `logits`: [labels]; `pooled_mean`, `pooled_first`, `pooled_last`:
[hidden]) and how far off an answer may be. Decoders have RoPE's θ at 100 and ε of norms at 0.02; encoders and GPT-2 have ε at
0.3; attention is sharp: so that each part of a model shows within 17 tokens. What is otherwise stands in the table. Configs are
as transformers 4 wrote them (`torch_dtype`, `rope_theta`, `rope_scaling`) or as transformers 5 does (`dtype`, `rope_parameters`).

| folder | class | weights | config of | answer | what is odd about it |
|---|---|---|---|---|---|
"""
