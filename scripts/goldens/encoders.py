"""Models that see the whole text at once, and heads upon them."""
import torch

import layouts
from golden import BF16, F32, SMALL, Golden, labels

ENCODER = SMALL | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "layer_norm_eps": 0.3,
    "pad_token_id": 0,
}
# Softmax takes away what is the same for all keys, and that is what a key's bias gives
KEY_BIAS = ("*.key.bias", "*.k_lin.bias")
EPS = ({"layer_norm_eps": 1e-12},)
ROBERTA = ENCODER | {"type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
DESKS = labels("billing", "parts", "repair", "travel")
TAGS = labels("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def with_ids(prefix):
    """As transformers wrote them until 4.31: a table of position ids among the weights."""
    return lambda tensors: tensors | {f"{prefix}.embeddings.position_ids": torch.arange(40)[None]}


def hub_bert(tensors):
    """As converted from TensorFlow: gamma and beta, the head for the next sentence, position ids."""
    for end, old in ((".LayerNorm.weight", ".LayerNorm.gamma"), (".LayerNorm.bias", ".LayerNorm.beta")):
        tensors = {name.removesuffix(end) + old if name.endswith(end) else name: t for name, t in tensors.items()}
    sentence = {"weight": torch.full((2, 32), 0.5), "bias": torch.full((2,), 0.5)}
    tensors |= {f"cls.seq_relationship.{part}": tensor.half() for part, tensor in sentence.items()}
    return with_ids("bert")(tensors)


ENCODERS = [
    Golden(
        "roberta-classify", "RobertaForSequenceClassification", ROBERTA | DESKS,
        "`pad_token_id` 1, so that positions begin at 2; one token type; a head of two layers with tanh, in place of a pooler",
        output="logits", idle=KEY_BIAS, matters=EPS + ({"pad_token_id": 0},), config_layout=layouts.transformers_4,
    ),
    Golden(
        "roberta-mlm", "RobertaForMaskedLM", ROBERTA, "`lm_head` with gelu, a norm and a tied decoder; position ids stored",
        idle=KEY_BIAS, matters=EPS, tensor_layout=with_ids("roberta"), config_layout=layouts.transformers_4,
    ),
    Golden(
        "roberta-embed", "RobertaModel", ROBERTA, "names without `roberta.`; a pooler that the mean of the tokens does not read",
        output="pooled_mean", idle=KEY_BIAS + ("pooler.*",), dtype=F32, rows=(1, 9, 17),
    ),
    Golden(
        "roberta-tags", "RobertaForTokenClassification", ROBERTA | TAGS, "a label for every token", idle=KEY_BIAS,
    ),
]

DISTILBERT = {
    "vocab_size": 96, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 40, "pad_token_id": 0,
}
ENCODERS += [
    Golden(
        "distilbert-classify", "DistilBertForSequenceClassification", DISTILBERT | DESKS,
        "no token types; `pre_classifier` with relu; ε of norms is 1e-12 and not in the config", output="logits", idle=KEY_BIAS,
        config_layout=layouts.transformers_4,
    ),
    Golden(
        "distilbert-mlm", "DistilBertForMaskedLM", DISTILBERT, "`vocab_transform`, gelu, `vocab_layer_norm`, `vocab_projector`",
        idle=KEY_BIAS, dtype=F32,
    ),
    Golden("distilbert-tags", "DistilBertForTokenClassification", DISTILBERT | TAGS, "a label for every token", idle=KEY_BIAS),
    Golden(
        "distilbert-embed", "DistilBertModel", DISTILBERT, "names without `distilbert.`; the first token's state", dtype=BF16,
        output="pooled_first", idle=KEY_BIAS,
    ),
    Golden(
        "bert-mlm", "BertForMaskedLM", ENCODER, "`cls.predictions` with gelu, a norm and a tied decoder", idle=KEY_BIAS,
        dtype=F32, matters=EPS,
    ),
    Golden(
        "bert-mlm-hub", "BertForMaskedLM", ENCODER,
        "as bert-base-uncased is on the Hub: gamma and beta, position ids, the head for the next sentence; no pooler",
        idle=KEY_BIAS, tensor_layout=hub_bert, config_layout=layouts.transformers_4,
    ),
    Golden("bert-tags", "BertForTokenClassification", ENCODER | TAGS, "a label for every token; no pooler", idle=KEY_BIAS),
    Golden(
        "bert-regression", "BertForSequenceClassification", ENCODER | labels("LABEL_0") | {"problem_type": "regression"},
        "one label: a number", output="logits", idle=KEY_BIAS, matters=EPS,
    ),
    Golden(
        "bert-relu", "BertForSequenceClassification", ENCODER | DESKS | {"hidden_act": "relu"}, "`hidden_act` relu",
        output="logits", idle=KEY_BIAS, config_layout=layouts.transformers_4, dtype=BF16, matters=({"hidden_act": "gelu"},),
    ),
]
