"""One model of the catalogue."""
import dataclasses
import typing
import zlib

import torch

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
SMALL = {"vocab_size": 96, "max_position_embeddings": 64}


@dataclasses.dataclass
class Golden:
    name: str
    cls: str
    config: dict
    odd: str
    output: str = "logits_per_token"
    dtype: torch.dtype = F16
    rows: tuple = (3, 9, 17)
    # Changes of the config that must change the answer
    matters: tuple = ()
    # Tensors that cannot change it
    idle: tuple = ()
    config_layout: typing.Callable | None = None
    # Written into a config that is rewritten, over what stands there
    config_extra: dict = dataclasses.field(default_factory=dict)
    tensor_layout: typing.Callable | None = None
    shard_bytes: int | None = None

    def seed(self):
        return zlib.crc32(self.name.encode())


def labels(*names):
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
