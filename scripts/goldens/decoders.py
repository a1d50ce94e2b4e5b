"""Models that predict the next token, and heads upon them."""
import torch

import layouts
from golden import BF16, F32, SMALL, Golden, labels


def rope(kind="default", theta=100.0, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


def plain(theta=100.0):
    return rope(theta=theta)


DECODER = SMALL | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 0.02,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
} | rope()
GROUPS = "4 heads share 2 keys and values"

LLAMA = [
    Golden(
        "llama-gqa", "LlamaForCausalLM", DECODER, f"{GROUPS}, untied head; one row of one token", dtype=F32, rows=(1, 9, 17),
        matters=({"rms_norm_eps": 1e-6}, plain(10_000.0)), config_layout=layouts.transformers_4,
    ),
    Golden(
        "llama-tied", "LlamaForCausalLM",
        DECODER | rope(theta=10_000.0) | {"tie_word_embeddings": True, "num_key_value_heads": 4},
        "tied head, as many keys as heads, a config of the first kind: no `rope_theta`, `num_key_value_heads`, `head_dim`",
        config_layout=layouts.first_llama, matters=(plain(),),
    ),
    Golden(
        "llama-rope-llama3", "LlamaForCausalLM",
        DECODER | rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
        "`rope_scaling` llama3 that keeps one of four frequencies, blends one, divides two; under `rope_type`, as Llama 3 has it",
        matters=(plain(),), config_layout=layouts.transformers_4, dtype=BF16,
    ),
    Golden(
        "llama-rope-linear", "LlamaForCausalLM", DECODER | rope("linear", factor=4.0),
        "`rope_scaling` linear under `type`, as Llama 2 has it", matters=(plain(),), config_layout=layouts.transformers_4_30,
    ),
    Golden(
        "llama-rope-yarn", "LlamaForCausalLM",
        DECODER | {"max_position_embeddings": 128} | rope("yarn", factor=4.0, original_max_position_embeddings=32),
        "`rope_parameters` yarn with the scale of attention that follows from the factor", matters=(plain(),),
    ),
    Golden(
        "llama-rope-yarn-explicit", "LlamaForCausalLM",
        DECODER | {"max_position_embeddings": 128, "head_dim": 16}
        | rope("yarn", factor=4.0, original_max_position_embeddings=32, attention_factor=0.8, beta_fast=4.0, beta_slow=0.5),
        "yarn with its own `attention_factor`, `beta_fast`, `beta_slow`, under `type`",
        config_layout=layouts.transformers_4_30,
        matters=(
            plain(),
            rope("yarn", factor=4.0, original_max_position_embeddings=32, attention_factor=0.8),
            rope("yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=4.0, beta_slow=0.5),
        ),
    ),
    Golden(
        "llama-head-dim", "LlamaForCausalLM", DECODER | {"hidden_size": 48, "head_dim": 16},
        "`head_dim` 16 where hidden / heads is 12: query is [64, 48], output [48, 64]",
    ),
    Golden(
        "llama-biases", "LlamaForCausalLM", DECODER | {"attention_bias": True, "mlp_bias": True},
        "`attention_bias` and `mlp_bias`", dtype=F32,
    ),
    Golden(
        "llama-classify", "LlamaForSequenceClassification", DECODER | {"pad_token_id": 0} | labels("low", "middle", "high"),
        "a classifier that reads the last token; no bias in its head", output="logits", config_layout=layouts.transformers_4,
    ),
    Golden(
        "llama-embed-mean", "LlamaModel", DECODER, "no head, names without `model.`; mean of the tokens", output="pooled_mean",
    ),
    Golden("llama-embed-last", "LlamaModel", DECODER, "the same, the last token's state", output="pooled_last", dtype=BF16),
]

WINDOW = {"sliding_window": 4}
MISTRAL_QWEN = [
    Golden(
        "mistral-window", "MistralForCausalLM", DECODER | WINDOW,
        "`sliding_window` 4 on every layer; no `head_dim` in the config",
        matters=({"sliding_window": None}, {"sliding_window": 5}, {"sliding_window": 3}), config_layout=layouts.transformers_4,
    ),
    Golden(
        "qwen2-tied", "Qwen2ForCausalLM", DECODER | {"tie_word_embeddings": True},
        "query, key and value have a bias, output has none; tied; `sliding_window` 4 is there, but `use_sliding_window` is false",
        config_layout=layouts.transformers_4, config_extra=WINDOW | {"max_window_layers": 0},
    ),
    Golden(
        "qwen2-window", "Qwen2ForCausalLM", DECODER | WINDOW | {"use_sliding_window": True, "max_window_layers": 1},
        "the first layer sees all, the second 4 tokens; `layer_types` says so",
        matters=({"layer_types": ["full_attention"] * 2}, {"layer_types": ["sliding_attention"] * 2}, {"sliding_window": 5}),
    ),
    Golden(
        "qwen2-window-old", "Qwen2ForCausalLM", DECODER | WINDOW | {"use_sliding_window": True, "max_window_layers": 1},
        "the same without `layer_types`: `max_window_layers` 1 says so", dtype=BF16, config_layout=layouts.transformers_4,
        matters=({"layer_types": ["full_attention"] * 2}, {"layer_types": ["sliding_attention"] * 2}),
    ),
    Golden(
        "qwen3", "Qwen3ForCausalLM", DECODER | {"head_dim": 16},
        "norms of queries and keys, per head; untied; `head_dim` 16 is not 8",
        dtype=F32, rows=(1, 9, 17), config_layout=layouts.transformers_4,
    ),
    Golden(
        "qwen3-shards", "Qwen3ForCausalLM", DECODER | {"head_dim": 8}, "BF16 in two files with an index", dtype=BF16,
        shard_bytes=30_000,
    ),
]

GPT2 = {
    "vocab_size": 96, "n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": None, "layer_norm_epsilon": 0.3,
    "activation_function": "gelu_new", "bos_token_id": 1, "eos_token_id": 2,
}


def hub_gpt2(tensors):
    """As the first checkpoints on the Hub are: no prefix, and each layer's causal mask stored."""
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    mask = torch.tril(torch.ones(40, 40))[None, None]
    return tensors | {f"h.{i}.attn.bias": mask.clone() for i in range(2)}


GPT2S = [
    Golden(
        "gpt2-lm", "GPT2LMHeadModel", GPT2, "weights are [in, out], query, key and value in one; tied; learned positions",
        rows=(1, 9, 17), matters=({"activation_function": "gelu"}, {"layer_norm_epsilon": 1e-5}), dtype=F32,
    ),
    Golden(
        "gpt2-hub", "GPT2LMHeadModel", GPT2, "as gpt2 is on the Hub: no `transformer.`, causal masks stored as `h.N.attn.bias`",
        tensor_layout=hub_gpt2, config_layout=layouts.transformers_4,
    ),
    Golden(
        "gpt2-inverse-layer", "GPT2LMHeadModel", GPT2 | {"scale_attn_by_inverse_layer_idx": True, "n_inner": 64},
        "`scale_attn_by_inverse_layer_idx`; `n_inner` 64 is not 4 × 32", matters=({"scale_attn_by_inverse_layer_idx": False},),
    ),
    Golden(
        "gpt2-classify", "GPT2ForSequenceClassification", GPT2 | labels("a", "b", "c"),
        "a classifier that reads the last token; no padding token", output="logits",
    ),
]

DECODERS = LLAMA + MISTRAL_QWEN + GPT2S
