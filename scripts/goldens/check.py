"""Whether the transformers at hand, any version, answers as the goldens say. usage: check.py [FOLDER]"""
import json
import pathlib
import sys

sys.dont_write_bytecode = True

import safetensors.torch
import torch
import transformers

import layouts
import weights


def off(folder):
    """How far the worst answer is off."""
    config = json.loads((folder / "config.json").read_text())
    cls = getattr(transformers, config["architectures"][0])
    # Transformers 4 does not know `rope_parameters`, and would turn by 10,000 without a word
    if transformers.__version__.startswith("4.") and "rope_parameters" in config:
        layer_types = {key: config[key] for key in ("layer_types",) if key in config}
        config = layouts.transformers_4(config) | layer_types
    config = cls.config_class.from_dict(config)
    model = cls.from_pretrained(folder, config=config, torch_dtype=torch.float32, attn_implementation="eager").eval()
    output = json.loads((folder / "golden.json").read_text())["output"]
    tensors = safetensors.torch.load_file(folder / "golden.safetensors")
    worst = 0.0
    for i in range(3):
        row = {name.split(".")[1]: tensor for name, tensor in tensors.items() if name.startswith(f"row{i}.")}
        want = row.pop("output")
        worst = max(worst, weights.worst(want, weights.answer(model, output, row)))
    return worst


transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
print(f"transformers {transformers.__version__}")
failed = 0
for path in sorted(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/goldens/models").glob("*/golden.json")):
    distance, tolerance = off(path.parent), json.loads(path.read_text())["tolerance"]
    failed += distance > tolerance
    print(f"{path.parent.name:28} {distance:.0e}{'' if distance <= tolerance else '   FAILED'}")
sys.exit(failed > 0)
