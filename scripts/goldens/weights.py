"""Weights drawn at random, large enough that a mistake shows, and the proof that each of them does show."""
import copy
import fnmatch

import torch


def redraw(model, seed, dtype):
    """Draws every parameter anew, and rounds it to `dtype`. Attention is far from uniform; no bias and no shift is 0."""
    generator = torch.Generator().manual_seed(seed)
    drawn = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in drawn:
                continue
            drawn.add(parameter)
            noise = torch.randn(parameter.shape, generator=generator)
            if name == "bias":
                value = 0.3 * noise
            elif is_norm(module):
                value = 1 + 0.3 * noise
            else:
                value = (1.0 if isinstance(module, torch.nn.Embedding) else 0.25) * noise
            parameter.data = value.to(dtype).float()


def is_norm(module):
    return "Norm" in type(module).__name__


def answer(model, output, row):
    """One row's answer, in f32, without padding."""
    with torch.no_grad():
        found = model(**{name: ids[None] for name, ids in row.items()})
    if output in ("logits", "logits_per_token"):
        return found.logits[0].contiguous()
    states = found.last_hidden_state[0]
    return {"pooled_mean": states.mean(0), "pooled_first": states[0], "pooled_last": states[-1]}[output].contiguous()


def worst(a, b):
    return (a - b).abs().max().item()


def least_effect(model, output, row, idle):
    """The least that the answer changes when one tensor is left out: its rows set to 0, the scales of a norm to 1.

    `idle` are patterns of names that cannot change it. Returns the change and the name.
    """
    before = answer(model, output, row)
    effects = []
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{module_name}.{name}"
            kept = parameter.data
            parameter.data = torch.full_like(kept, 1.0 if is_norm(module) and name == "weight" else 0.0)
            effect = worst(before, answer(model, output, row))
            parameter.data = kept
            if any(fnmatch.fnmatch(full, pattern) for pattern in idle):
                assert effect < 1e-4, f"{full} is said to be idle, but changes the answer by {effect}"
            else:
                effects.append((effect, full))
    return min(effects)


def with_config(model, changes):
    """The same weights under another config."""
    config = copy.deepcopy(model.config)
    for key, value in changes.items():
        assert hasattr(config, key), key
        setattr(config, key, value)
    other = type(model)(config).eval()
    other.load_state_dict(model.state_dict())
    return other
