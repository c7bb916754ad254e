"""Checkpoints: weights in one file with the config that rebuilds the model.

A safetensors file, so loading one runs no code from it. Its tensors are "writer/NAME" and, for
going on with training, "optimizer/NAME"; its metadata holds FORMAT, VERSION, a checksum of all the
rest, which of MODELS it is, and the config and the training state as JSON. In files of version 1
the checksum is of the tensors' names and bytes alone. What the training state means is left to
`resuming.py`.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handwriting._extras import require
from handwriting.files import write_atomically
from handwriting.models.ensemble import Ensemble, EnsembleConfig
from handwriting.models.line_model import LineModel, LineModelConfig
from handwriting.models.pen import Pen, PenConfig
from handwriting.models.writer import Writer, WriterConfig

FORMAT = "softraster writer"
VERSION = 2
_VERSIONS = ("1", str(VERSION))  # that are read

CHECKPOINT_NAME = "checkpoint.safetensors"  # in the folder of a run

# By name, each with its config. A file that names none, being older than the choice, is a "writer".
MODELS = {
    "writer": (Writer, WriterConfig),
    "ensemble": (Ensemble, EnsembleConfig),
    "line_model": (LineModel, LineModelConfig),
    "pen": (Pen, PenConfig),
}


class CheckpointError(ValueError):
    """A file is no checkpoint that this version can load; the message names it and says why."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Contents of a checkpoint file.

    Attributes:
        config: rebuilds the model.
        weights: the model's state_dict.
        optimizer: tensors to go on training with, by name; empty if there are none.
        training: anything that JSON can hold.
    """

    config: WriterConfig | LineModelConfig | PenConfig
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def save(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a crash on the way leaves the file that was there.

    Raises:
        OSError: the file cannot be written.
    """
    groups = {"writer": checkpoint.weights, "optimizer": checkpoint.optimizer}
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, named in groups.items()
        for name, tensor in named.items()
    }
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "model": checkpoint.config.model,
        "config": json.dumps(dataclasses.asdict(checkpoint.config)),
        "training": json.dumps(checkpoint.training),
    }
    save_tensors(path, tensors, metadata)


def load(path: Path | str) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        OSError: the file cannot be read.
        CheckpointError: it is damaged, of another kind or of a later version.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of a writer")
    held = metadata.get("version")
    if held not in _VERSIONS:
        known = " and ".join(_VERSIONS)
        raise CheckpointError(f"{path}: checkpoint version {held}, this program reads {known}")
    wanted = checksum(tensors) if held == "1" else _seal(tensors, metadata)
    if metadata.get("checksum") != wanted:
        raise CheckpointError(f"{path}: damaged, its checksum is wrong")
    groups: dict[str, dict[str, Tensor]] = {"writer": {}, "optimizer": {}}
    try:
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = tensor
        config_type = MODELS[metadata.get("model", "writer")][1]
        config = config_type(**json.loads(metadata["config"]))
        training = dict(json.loads(metadata["training"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({error})") from error
    return Checkpoint(config, groups["writer"], groups["optimizer"], training)


def save_tensors(path: Path | str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and texts with a checksum of both.

    Raises:
        OSError: the file cannot be written.
    """
    sealed = {**metadata, "checksum": _seal(tensors, metadata)}
    write_atomically(Path(path), require("safetensors.torch").save(tensors, sealed))


def load_tensors(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors that `save_tensors` wrote, or another program, whose file has no checksum.

    Raises:
        OSError: the file cannot be read.
        CheckpointError: it is damaged.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    if metadata.get("checksum") not in (None, _seal(tensors, metadata)):
        raise CheckpointError(f"{path}: damaged, its checksum is wrong")
    return tensors


def load_writer(path: Path | str) -> Writer | Ensemble:
    """Rebuild the writer of a checkpoint from its own config, on the CPU, ready to write.

    Raises:
        As `load`; also CheckpointError if the file holds a line model or the weights do not fit.
    """
    return _rebuild(path, Writer, Ensemble)


def load_line_model(path: Path | str) -> LineModel:
    """Rebuild the line model of a checkpoint, on the CPU, its weights frozen.

    Raises:
        As `load`; also CheckpointError if the file holds a writer or the weights do not fit.
    """
    return _rebuild(path, LineModel).requires_grad_(False)


def load_pen(path: Path | str) -> Pen:
    """Rebuild the pen of a checkpoint, on the CPU, ready to write.

    Raises:
        As `load`; also CheckpointError if the file holds another model or the weights do not fit.
    """
    return _rebuild(path, Pen)


def halve(weights: dict[str, Tensor], run: Path, most: int) -> dict[str, Tensor]:
    """The weights of a run in float16.

    Raises:
        ValueError: they take more bytes than `most`, or go beyond float16; names the run.
    """
    halved = {name: tensor.half() for name, tensor in weights.items()}
    size = sum(tensor.nbytes for tensor in halved.values())
    if size > most:
        raise ValueError(f"{run}: its weights take {size:,} bytes, more than {most:,}")
    for name, tensor in halved.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{run}: {name} has weights beyond float16")
    return halved


def _rebuild(path: Path | str, *kinds: type[torch.nn.Module]) -> Any:
    checkpoint = load(path)
    model = build(checkpoint.config)
    if not isinstance(model, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise CheckpointError(f"{path}: holds a {type(model).__name__}, not a {wanted}")
    try:
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit its config") from error
    return model.eval()


def build(
    config: WriterConfig | LineModelConfig | PenConfig,
) -> Writer | Ensemble | LineModel | Pen:
    """The model that a config is for, with the weights that it starts from."""
    return MODELS[config.model][0](config)


def checksum(tensors: dict[str, Tensor]) -> str:
    """CRC-32 over names and bytes, in hex; safetensors itself notices only a wrong length."""
    code = 0
    for name in sorted(tensors):
        code = zlib.crc32(name.encode(), code)
        code = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), code)
    return f"{code:08x}"


def _seal(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """CRC-32 over names, types, shapes and bytes, and all texts but the checksum, in hex."""
    facts: list[Any] = [
        [name, str(tensor.dtype), list(tensor.shape)] for name, tensor in sorted(tensors.items())
    ]
    facts += sorted(entry for entry in metadata.items() if entry[0] != "checksum")
    code = zlib.crc32(checksum(tensors).encode(), zlib.crc32(json.dumps(facts).encode()))
    return f"{code:08x}"


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    safetensors = require("safetensors")
    path.open("rb").close()  # an OSError that names the file, which safetensors does not promise
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except safetensors.SafetensorError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({reason})") from error
    except OSError as error:
        raise OSError(f"{path}: cannot be read ({error})") from error
