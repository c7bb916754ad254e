"""Random calls of draw_segments(), good and bad, each made from one number: its seed.

What a call should give is fuzz_check.py's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from cases import COMPOSITES, COVERAGES
from torch import Tensor

BATCHES = [(), (), (), (1,), (2,), (2,), (3,), (4,), (2, 2), (1, 3)]
EMPTY_BATCHES = [(0,), (2, 0)]
MOST_NUMBERS = 30_000  # of all segments' coverages: more would be fewer calls in the same time


@dataclass(frozen=True)
class Call:
    """One call: what draw_segments() is given, and what is asked of it."""

    seed: int
    arguments: dict[str, Any]
    leaves: tuple[str, ...]  # arguments that require a gradient
    wrong: str | None = None  # the argument that must be refused

    def __str__(self) -> str:
        """Lines of Python that make the call's arguments, and the arguments."""
        lines = ["from fuzz_calls import random_call  # with tests on the path"]
        lines += [f"call = random_call({self.seed})", "softraster.draw_segments(**call.arguments)"]
        for name, value in self.arguments.items():
            if isinstance(value, Tensor):
                value = _described(value)
            lines.append(f"#   {name} = {value}")
        return "\n".join([*lines, f"#   gradients of {self.leaves}, wrong: {self.wrong}"])


def _described(x: Tensor) -> str:
    text = f"{x.dtype}, shape {tuple(x.shape)}"
    if x.layout != torch.strided or x.device.type != "cpu":
        return f"{text}, {x.layout}, on {x.device}"
    numbers = x.tolist() if x.numel() <= 40 else "..."
    return f"{text}, strides {x.stride()}: {numbers}"


def random_call(seed: int) -> Call:
    """Return the call of a seed: the same in every run."""
    maker = _Maker(seed)
    arguments = maker.arguments()
    tensors = [name for name, value in arguments.items() if isinstance(value, Tensor)]
    if maker.chance(0.12):
        wrong = maker.pick(list(WRONG))
        value = maker.pick(WRONG[wrong])(arguments)
        if value is not SKIP:
            return Call(seed, {**arguments, wrong: value}, (), wrong)
    share = maker.pick([0.0, 0.5, 1.0, 1.0])
    return Call(seed, arguments, tuple(name for name in tensors if maker.chance(share)))


class _Maker:
    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, items: Any) -> Any:
        return items[self.rng.integers(len(items))]

    def arguments(self) -> dict[str, Any]:
        self.dtype = self.pick([torch.float32, torch.float64])
        self.batch = self.pick(EMPTY_BATCHES if self.chance(0.05) else BATCHES)
        count = self.pick([0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 9, 12])
        self.count = int(self.rng.integers(20, 140)) if self.chance(0.04) else count
        self.channels = self.pick([None, None, None, 1, 2, 3, 3, 4, 6])
        size = self._size()
        self.side = size if isinstance(size, int) else max(size)
        coverage, composite = self.pick(COVERAGES), self.pick(COMPOSITES)
        # A scene of which one part in ten is NaN or infinite, now and then.
        self.bad = 0.1 if self.chance(0.15) else 0.0
        arguments = {
            "segments": self._tensor(self._segments(), 2, kept=2),
            "softness": self._per_segment(self._softness),
            "size": size,
        }
        if coverage == "capsule" or self.chance(0.3):
            arguments["coverage"] = coverage
        if coverage == "capsule":
            arguments["width"] = self._per_segment(self._width)
        if composite != "sum" or self.chance(0.3):
            arguments["composite"] = composite
        if self.chance(0.6):
            arguments["intensity"] = self._per_segment(self._shares)
        if self.channels is not None:
            one_for_all = self.chance(0.2)
            shape = () if one_for_all else (*self.batch, self.count)
            color = self._shares((*shape, self.channels))
            arguments["color"] = self._tensor(color, 1 if one_for_all else 2, kept=1)
        if composite == "over" and self.chance(0.7):
            arguments["background"] = self._background()
        tolerance = self._tolerance()
        if tolerance is not None:
            arguments["tolerance"] = tolerance
        return arguments

    def _size(self) -> int | tuple[int, int]:
        """Mostly small; a wide canvas is thin, and has few segments."""
        kind = self.rng.random()
        if kind < 0.1:
            rows = columns = int(self.rng.integers(1, 41))
        elif kind < 0.25:
            rows, columns = int(self.rng.integers(1, 4)), int(10 ** self.rng.uniform(1.5, 3.6125))
            if self.chance(0.5):
                rows, columns = columns, rows
        else:
            rows, columns = (int(n) for n in self.rng.integers(1, 25, 2))
        numbers = max(1, np.prod(self.batch)) * (self.channels or 1) * rows * columns
        self.count = min(self.count, max(1, int(MOST_NUMBERS // numbers)))
        return rows if kind < 0.1 and self.chance(0.5) else (rows, columns)

    def _segments(self) -> np.ndarray:
        """Each segment of a kind of its own."""
        rng, shape = self.rng, (*self.batch, self.count)
        number = int(np.prod(shape))
        out = rng.uniform(-0.2, 1.2, (number, 4))
        for at in range(number):
            first, kind = out[at, :2], rng.integers(28)
            if kind < 4:  # a few pixels long
                out[at, 2:] = first + rng.normal(0, 3 / self.side, 2)
            elif kind == 4:  # a dot
                out[at, 2:] = first
            elif kind == 5:  # about as short as a dot is, in pixels
                out[at, 2:] = first + rng.normal(0, 1, 2) * 10 ** rng.uniform(-8, -1) / self.side
            elif kind < 8:  # along an axis
                out[at, 2 + kind - 6] = first[kind - 6]
            elif kind == 8:  # at 45 degrees: exactly, where numbers are multiples of 1/64
                out[at, :3] = np.round(out[at, :3] * 64) / 64
                out[at, 3] = out[at, 1] + self.pick([1, -1]) * (out[at, 2] - out[at, 0])
            elif kind < 11:  # on edges, corners and centres of pixels
                out[at] = np.round(out[at] * 2 * self.side) / (2 * self.side)
            elif kind < 13:  # off the canvas, or through it
                out[at] = rng.uniform(-40, 40, 4)
            elif kind == 13:
                out[at, rng.integers(4)] *= 10 ** rng.uniform(1, 30)
            elif kind == 14:
                out[at] *= self._denormal()
            elif kind == 15:
                out[at, rng.integers(4)] = self._denormal()
            elif kind < 18 and at:  # on an earlier one, perhaps turned round
                out[at] = out[rng.integers(at)]
                if kind == 16:
                    out[at] = np.roll(out[at], 2)
        return self._spoil(out.reshape(*shape, 4), self.bad / 4)

    def _softness(self, shape: tuple[int, ...]) -> np.ndarray:
        kind = self.rng.integers(10)
        if kind < 6:  # per pixel, from faint to crisp
            out = self.side * np.exp(self.rng.uniform(-3, 3.5, shape))
        elif kind < 9:
            out = 10 ** self.rng.uniform(-3, 8, shape)
        else:
            out = self.rng.choice([0.0, self._denormal(), 1.0, 1e8, 20.0 * self.side], shape)
        return self._spoil(out, self.bad, negative=True)

    def _width(self, shape: tuple[int, ...]) -> np.ndarray:
        kind = self.rng.integers(10)
        if kind < 7:
            out = self.rng.uniform(0, 4 / self.side, shape)
        elif kind < 9:
            out = self.rng.uniform(0, 10, shape)
        else:
            out = self.rng.choice([0.0, self._denormal(), 1 / self.side, 10.0], shape)
        return self._spoil(out, self.bad, negative=True)

    def _shares(self, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers from 0 to 1, both included; seldom anything."""
        out = np.clip(self.rng.uniform(-0.2, 1.2, shape), 0, 1)
        if self.bad and self.chance(0.3):
            out = np.where(self.rng.random(shape) < 0.2, self.rng.normal(0, 2, shape), out)
            out = np.where(self.rng.random(shape) < 0.02, 1e30, out)
        return self._spoil(out, self.bad / 2)

    def _denormal(self) -> float:
        smallest = -45 if self.dtype == torch.float32 else -323
        return float(10.0 ** self.rng.uniform(smallest, smallest + 7))

    def _spoil(self, x: np.ndarray, share: float, negative: bool = False) -> np.ndarray:
        if share:
            numbers = [np.nan, np.inf, -np.inf] + [-1.0] * negative
            x = np.where(self.rng.random(x.shape) < share, self.rng.choice(numbers, x.shape), x)
        return x

    def _per_segment(self, numbers: Callable[[tuple[int, ...]], np.ndarray]) -> Any:
        """Return a number, or a tensor for (..., N); a number is one that must be accepted."""
        if self.chance(0.75):
            return self._tensor(numbers((*self.batch, self.count)), 1)
        bad, self.bad = self.bad, 0.0
        number = float(numbers(()))
        self.bad = bad
        others = [round(number) % 2, np.float32(number), Fraction(number).limit_denominator(100)]
        return self.pick([number, number, number, *others])

    def _background(self) -> Any:
        if self.chance(0.3):
            return float(self.rng.uniform(-0.5, 1.5))
        tail = () if self.channels is None else (self.channels,)
        return self._tensor(self._shares((*self.batch, *tail)), len(tail))

    def _tolerance(self) -> float | None:
        kind = self.rng.random()
        if kind < 0.4:
            return None
        return 0 if kind < 0.75 else float(10 ** self.rng.uniform(-14, -0.05))

    def _tensor(self, x: np.ndarray, tail: int, kept: int = 0) -> Tensor:
        """Return numbers as a tensor that perhaps broadcasts, of any layout.

        Args:
            x: as large as can be.
            tail: how many of the last dimensions are not the batch's.
            kept: how many of the last dimensions must not broadcast.
        """
        with np.errstate(over="ignore"):
            made = torch.from_numpy(np.asarray(x)).to(self.dtype)
        if self.chance(0.25):
            for dim in range(made.dim() - kept):
                if made.shape[dim] > 1 and self.chance(0.5):
                    made = made.narrow(dim, 0, 1)
            while made.dim() > tail and made.shape[0] == 1 and self.chance(0.5):
                made = made[0]
        return self._laid_out(made)

    def _laid_out(self, x: Tensor) -> Tensor:
        """Return the same numbers elsewhere in memory."""
        kind = self.rng.integers(8)
        if kind == 0 and x.dim() > 1:
            return x.transpose(0, -1).contiguous().transpose(0, -1)
        if kind == 1 and x.dim() > 0:
            return torch.stack([x, x], -1).flatten(-2)[..., ::2]
        if kind == 2:  # not on a vector's boundary
            return torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)
        if kind == 3 and x.dim() > 0 and x.shape[0] > 1:
            return x[:1].expand(x.shape)
        if kind == 4 and x.dim() > 0:  # between numbers that must not be touched
            return torch.cat([x, torch.full_like(x, torch.nan)])[: x.shape[0]]
        return x.contiguous()


SKIP = object()  # this call cannot be wrong in this way


def _value(*values: Any) -> list[Callable[[dict[str, Any]], Any]]:
    return [lambda _, value=value: value for value in values]


def _changed(name: str, change: Callable[[Tensor], Any]) -> Callable[[dict[str, Any]], Any]:
    """Change the argument where it is a tensor."""

    def wrong(given: dict[str, Any]) -> Any:
        value = given.get(name)
        return change(value) if isinstance(value, Tensor) else SKIP

    return wrong


def _other_float(x: Tensor) -> Tensor:
    return x.to(torch.float32 if x.dtype == torch.float64 else torch.float64)


def _tensors(name: str) -> list[Callable[[dict[str, Any]], Any]]:
    changes = (_other_float, Tensor.long, Tensor.to_sparse, lambda x: x.to("meta"))
    return [_changed(name, change) for change in changes]


def _one_more(given: dict[str, Any]) -> Tensor:
    """Two more than there are segments: never 1, to which N broadcasts."""
    return given["segments"].new_zeros(given["segments"].shape[-2] + 2)


def _beyond_float32(given: dict[str, Any]) -> Any:
    return 1e300 if given["segments"].dtype == torch.float32 else SKIP


_INF, _NAN, _BIG = float("inf"), float("nan"), 10**400
_NUMBERS = ("dark", [0.5], True, 1j, _NAN, _INF, -_INF, _BIG, -_BIG)
_WIDTHS = [*_value(*_NUMBERS, None, -0.5), *_tensors("width"), _one_more, _beyond_float32]

# By the argument that is wrong: functions of the arguments that return it, or SKIP.
WRONG: dict[str, list[Callable[[dict[str, Any]], Any]]] = {
    "segments": [
        *_value(None, "none", [[0.0, 0.0, 1.0, 1.0]], np.zeros((2, 4)), torch.zeros(4)),
        *_value(torch.zeros(2, 5), torch.zeros(2, 0), torch.tensor(1.0), torch.zeros(4, 2)),
        *_value(torch.zeros(2, 4, dtype=torch.complex64), torch.zeros(2, 4, dtype=torch.bool)),
        _changed("segments", Tensor.long),
        _changed("segments", Tensor.to_sparse),
    ],
    "softness": [
        *_value(*_NUMBERS, None, -0.5, -1),
        *_tensors("softness"),
        *(_one_more, _beyond_float32),
    ],
    "size": _value(
        *(0, -3, (0, 4), (4, 0), (3,), (3, 3, 3), (2.0, 3), 8.0, "8", None, True, (True, 4)),
        *(2**30 + 1, (1, 2**30 + 1), _BIG, torch.tensor([8, 8]), {"height": 8}),
    ),
    "width": [
        lambda given, wrong=wrong: wrong(given) if given.get("coverage") == "capsule" else 0.1
        for wrong in _WIDTHS
    ],
    "intensity": [*_value(*_NUMBERS, 1.5, 1.0000001, -0.1), *_tensors("intensity"), _one_more],
    "color": [
        *_value([1.0, 0.0, 0.0], 1.0, torch.tensor(1.0), torch.zeros(0), torch.zeros(3, 0)),
        *_tensors("color"),
        lambda given: _one_more(given)[:, None],
    ],
    "background": [
        lambda given, value=value: value if given.get("composite") == "over" else 0.5
        for value in _NUMBERS
    ]
    + _tensors("background"),
    "coverage": _value("disc", None, 0, ["grid"], "Grid", {}),
    "composite": _value("mean", None, 0, ["sum"], "Over", {}),
    "tolerance": _value(
        *(1, 1.0, -1e-9, _NAN, _INF, None, "small", [0.1], True, _BIG, -_BIG, 1j),
        torch.tensor(0.1),
    ),
}
