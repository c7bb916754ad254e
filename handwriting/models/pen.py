"""A network that writes: from a string to the movements of a pen, one point at a time.

Holds the parameters, what goes in and comes out, the likelihood of a written string and the choice
of the next point. Strings to learn from are laid out in `layout.py`, training is in `train_pen.py`,
writing in `synthesis.py`.

Source: A. Graves, "Generating Sequences With Recurrent Neural Networks", 2013, sections 4 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from handwriting.layout import ALPHABET

# What a point does to the pen.
DOWN, LIFT, END = range(3)

# The network counts in quarters of a digit's height, so that a usual step is about 1.
SCALE = 4.0
INPUTS = 6

# Log of a standard deviation, in those units: 0.004 and 4 heights.
_LOG_SIGMA = (-4.0, 2.8)
# Usual points of a character: the attention starts to move on at this pace.
_PACE = 13.0


@dataclass(frozen=True)
class PenConfig:
    """What rebuilds a `Pen`.

    Attributes:
        units: cells in each of the two LSTM layers. Graves has 400 in each of three.
        mixtures: normal distributions that a step is a mixture of. Graves has 20.
        windows: bells that the attention is made of. Graves has 10.
    """

    model: ClassVar[str] = "pen"

    units: int = 256
    mixtures: int = 12
    windows: int = 3

    def __post_init__(self) -> None:
        for name in ("units", "mixtures", "windows"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


class PenState(NamedTuple):
    """What a pen remembers of B strings between two points."""

    hidden0: Tensor  # (B, units)
    cell0: Tensor
    window: Tensor  # (B, len(ALPHABET))
    kappa: Tensor  # (B, windows): where in the string each bell stands
    upper: tuple[Tensor, Tensor]  # (1, B, units) twice, of the second layer


class Outputs(NamedTuple):
    """What a pen says of the next point, for T points of B strings or for one of each.

    Attributes:
        pen: (..., 3) logits of DOWN, LIFT, END.
        weight: (..., M) log-weights of the normal distributions.
        mean: (..., M, 2) of dx, dy.
        log_sigma: (..., M, 2) logs of their standard deviations.
        rho: (..., M) correlations of dx and dy, in -1..1.
        attention: (..., U) log of the share of the attention that each character has.
    """

    pen: Tensor
    weight: Tensor
    mean: Tensor
    log_sigma: Tensor
    rho: Tensor
    attention: Tensor


class Pen(nn.Module):
    """Two LSTM layers with an attention that moves along the string.

    The first layer sees the last point and the attention's window, and moves the attention; the
    second sees those and the first. Both say where the next point is, by a mixture of normal
    distributions, and what the pen does there: goes on, is lifted, or has written the last point.

    What differs from Graves: besides the last step and whether the pen was lifted, the network is
    told the height over the baseline and the way from where the line began, which follow from the
    steps, so that lines close and rows do not drift; and the end of the string is a third state of
    the pen, not a rule on the attention.
    """

    def __init__(self, config: PenConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PenConfig()
        units, characters = config.units, len(ALPHABET)
        self.input0 = nn.Linear(INPUTS, 4 * units)
        self.recurrent0 = nn.Linear(characters + units, 4 * units, bias=False)
        self.attend = nn.Linear(units, 3 * config.windows)
        self.layer1 = nn.LSTM(INPUTS + characters + units, units)
        self.output = nn.Linear(2 * units, 3 + 6 * config.mixtures)
        with torch.no_grad():
            self.attend.bias[2 * config.windows :] = math.log(1 / _PACE)
            self.input0.bias[units : 2 * units] = 1  # of the forget gates
            self.layer1.bias_ih_l0[units : 2 * units] = 1

    def start(self, batch: int) -> PenState:
        """The state before the first point of `batch` strings."""
        like, units = self.attend.weight, self.config.units
        zeros = like.new_zeros(batch, units)
        window = like.new_zeros(batch, len(ALPHABET))
        kappa = like.new_zeros(batch, self.config.windows)
        return PenState(zeros, zeros, window, kappa, (zeros[None], zeros[None]))

    def forward(
        self, points: Tensor, text: Tensor, state: PenState | None = None
    ) -> tuple[Outputs, PenState]:
        """Say of each point what comes next.

        Args:
            points: (T, B, INPUTS) from `inputs`.
            text: (B, U) indices into ALPHABET, -1 beyond a string's end.
            state: after the points before these; None: there are none.

        Returns:
            Outputs for T points of B strings, and the state after the last.
        """
        state = state or self.start(points.shape[1])
        characters = one_hot(text.clamp_min(0), len(ALPHABET)).to(points.dtype)
        characters = characters * (text >= 0)[..., None]
        hidden, cell, window, kappa, upper = state
        lower, windows, attention = [], [], []
        for from_point in self.input0(points).unbind():
            gates = from_point + self.recurrent0(torch.cat((window, hidden), 1))
            enter, forget, new, out = gates.chunk(4, 1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            hidden = out.sigmoid() * cell.tanh()
            share, kappa = self._attend(hidden, kappa, characters)
            window = (share.exp()[:, None] @ characters)[:, 0]
            lower.append(hidden)
            windows.append(window)
            attention.append(share)
        lower = torch.stack(lower)
        between = torch.cat((points, torch.stack(windows), lower), 2)
        above, upper = self.layer1(between, upper)
        outputs = self._outputs(torch.cat((lower, above), 2), torch.stack(attention))
        return outputs, PenState(hidden, cell, window, kappa, upper)

    def _attend(self, hidden: Tensor, kappa: Tensor, characters: Tensor) -> tuple[Tensor, Tensor]:
        """Move the attention: (B, U) log of each character's share, and the new kappa."""
        weight, sharpness, step = self.attend(hidden).chunk(3, 1)
        kappa = kappa + step.clamp_max(2).exp()
        # The middle of character u is at u + 1/2, so that the attention starts before the first.
        middle = torch.arange(characters.shape[1], dtype=kappa.dtype, device=kappa.device) + 0.5
        far = (kappa[..., None] - middle).square() * sharpness.clamp_max(4).exp()[..., None]
        bells = (weight[..., None] - far).logsumexp(1)
        return bells.masked_fill(characters.sum(2) == 0, -1e4).log_softmax(1), kappa

    def _outputs(self, hidden: Tensor, attention: Tensor) -> Outputs:
        count = self.config.mixtures
        pen, weight, mean, log_sigma, rho = self.output(hidden).split(
            (3, count, 2 * count, 2 * count, count), dim=-1
        )
        return Outputs(
            pen,
            log_softmax(weight, -1),
            mean.unflatten(-1, (count, 2)),
            log_sigma.clamp(*_LOG_SIGMA).unflatten(-1, (count, 2)),
            0.95 * rho.tanh(),
            attention,
        )


def inputs(strokes: Tensor) -> Tensor:
    """What a pen is told of each point, from the one before the first on.

    Args:
        strokes: (..., P, 3) x, y, lifted, as in `layout.Writing`.

    Returns:
        (..., P + 1, INPUTS): step dx, dy; lifted; y; way dx, dy from where the line began that the
        point is on, or that it was the last of. Lengths times SCALE. The first is a lifted pen at
        the origin.
    """
    start = strokes.new_zeros(*strokes.shape[:-2], 1, 3)
    start[..., 2] = 1
    strokes = torch.cat((start, strokes), -2)
    points, lifted = strokes[..., :2], strokes[..., 2:]
    steps = torch.diff(points, dim=-2, prepend=points[..., :1, :])
    before = torch.cat((torch.ones_like(lifted[..., :1, :]), lifted[..., :-1, :]), -2)
    place = torch.arange(strokes.shape[-2], device=strokes.device)[:, None] * (before > 0.5)
    began = place.cummax(-2).values.expand_as(points)
    way = points - points.gather(-2, began)
    return torch.cat((SCALE * steps, lifted, SCALE * points[..., 1:], SCALE * way), -1)


def log_density(outputs: Outputs, steps: Tensor) -> Tensor:
    """Log of the density of steps (..., 2), in the units of `inputs`: (...)."""
    away = (steps[..., None, :] - outputs.mean) * (-outputs.log_sigma).exp()
    rho = outputs.rho
    rest = 1 - rho.square()
    squares = away.square().sum(-1) - 2 * rho * away.prod(-1)
    exponent = -squares / (2 * rest) - outputs.log_sigma.sum(-1) - rest.log() / 2
    return (outputs.weight + exponent).logsumexp(-1) - math.log(2 * math.pi)


def pen_loss(outputs: Outputs, steps: Tensor, pen: Tensor) -> Tensor:
    """Negative log-likelihood of points (..., 2) and what the pen does there (...): (...)."""
    state = cross_entropy(outputs.pen.movedim(-1, 1), pen, reduction="none")
    return state - log_density(outputs, steps)


def choose(outputs: Outputs, neatness: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the next point of each of B strings, of which none is the last.

    Args:
        outputs: for one point of B strings.
        neatness: Graves's bias, at least 0: the larger, the nearer to the likeliest point.
        generator: of chance.

    Returns:
        Steps (B, 2), in the units of `inputs`, and whether the pen is lifted there (B,).
    """
    sharper = 1 + neatness
    one = torch.multinomial((sharper * outputs.weight).softmax(-1), 1, generator=generator)[:, 0]
    rows = torch.arange(len(one))
    mean, rho = outputs.mean[rows, one], outputs.rho[rows, one]
    sigma = (outputs.log_sigma[rows, one] - neatness).exp()
    chance = torch.randn(len(one), 2, generator=generator)
    second = rho * chance[:, 0] + (1 - rho.square()).sqrt() * chance[:, 1]
    steps = mean + sigma * torch.stack((chance[:, 0], second), 1)
    share = (sharper * (outputs.pen[:, LIFT] - outputs.pen[:, DOWN])).sigmoid()
    return steps, torch.rand(len(one), generator=generator) < share


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, as is best for a pen, whose matrices are small.

    A string of nine characters takes 0.2 s; with two threads on two cores that have other work,
    where one waits for the other at every step, 9 s.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
