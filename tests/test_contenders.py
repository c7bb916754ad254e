"""Contenders of the benchmarks are found out when they draw something else; adapters fit."""

import importlib
import types
from pathlib import Path

import pytest
import torch

import softraster

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def small(module):
    return module("workloads").Workload(2, 7, 24, 31)


def by_name(module, name):
    return next(c for c in module("contenders").contenders("cpu") if c.name == name)


def wrong_ones(function):
    """The same, brighter; and the right canvas with the gradient of another."""

    def brighter(*args, **options):
        return 1.01 * function(*args, **options)

    def steeper(*args, **options):
        canvas = function(*args, **options)
        return canvas + 0.01 * (canvas - canvas.detach())

    return brighter, steeper


def check(module, contender, workload):
    validation = module("validation")
    exact, judge = validation.exact_passes(workload, "cpu")
    return validation.validate(contender, workload, "cpu", exact, judge)


@pytest.mark.parametrize("name", ["softraster", "one window, eager"])
def test_who_draws_softrasters_formula_is_held_against_the_reference(module, small, name):
    contender = by_name(module, name)
    assert check(module, contender, small) == "reference, float64"
    for wrong in wrong_ones(contender.function):
        with pytest.raises(AssertionError):
            check(module, module("contenders").Contender("wrong", wrong), small)


def test_a_distance_field_is_held_against_its_own_formula(module, small):
    contenders = module("contenders")
    field = by_name(module, "distance field, eager")
    assert "NumPy" in check(module, field, small)
    for wrong in wrong_ones(field.function):
        with pytest.raises(AssertionError):
            check(
                module,
                contenders.Contender("wrong", wrong, formula="x", oracle=field.oracle),
                small,
            )


def test_a_distance_fields_oracle_is_one_minus_the_product_over_distances(module):
    # One segment along a row of pixel centres, at distances that are known without a formula.
    eager = module("eager")
    segments = torch.tensor([[[2.5, 4.5, 6.5, 4.5]]]).double() / 10
    inputs = {"segments": segments.numpy(), "softness": torch.full((1, 1), 30.0).double().numpy()}
    pixels = torch.tensor([[[4, 4], [6, 4], [4, 8], [8, 9]]]).numpy()  # on it; 2, 2 and 5 away
    drawn = eager.distance_field_at(inputs, pixels, 10)
    away = torch.tensor([[0.0, 2.0, 2.0, 5.0]]).double()
    want = torch.exp(-((away / 10 * 30 / 3) ** 2))
    torch.testing.assert_close(torch.from_numpy(drawn), want)


@pytest.mark.parametrize("chunk", [1, 24 * 31 * 3, 24 * 31 * 7, 10**9])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_window_draws_the_references_canvas_in_chunks(module, monkeypatch, batch, chunk):
    eager, window_planes = module("eager"), module("eager").window_planes

    def within_chunk(segments, softness, size):
        assert softness.numel() * 24 * 31 <= max(chunk, 24 * 31)
        return window_planes(segments, softness, size)

    monkeypatch.setattr(eager, "CHUNK", chunk)
    monkeypatch.setattr(eager, "window_planes", within_chunk)
    random = torch.Generator().manual_seed(1)
    segments = torch.rand(batch, 7, 4, generator=random, dtype=torch.float64).requires_grad_()
    softness = (50 + 150 * torch.rand(batch, 7, generator=random).double()).requires_grad_()
    weights = torch.randn(batch, 24, 31, generator=random, dtype=torch.float64)
    results = []
    for function in (eager.box_window, softraster.reference.draw_segments):
        canvas = function(segments, softness, (24, 31))
        results.append((canvas, *torch.autograd.grad(canvas, (segments, softness), weights)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)


def test_the_rest_is_judged_by_shape_and_finite_gradients(module):
    contenders, workload = module("contenders"), module("workloads").Workload(2, 5, 28, 28)
    line_model = by_name(module, "neural line model")
    assert "nothing but shape" in check(module, line_model, workload)
    assert line_model.refusal(module("workloads").WORKLOADS["W3"]).startswith("draws 28 x 28")

    def flat(segments, *args, **options):
        return 0 * segments.sum() + torch.zeros(2, 28, 28)

    def small(segments, *args, **options):
        return segments.sum() * torch.ones(2, 27, 28)

    def broken(segments, *args, **options):
        return (segments.sum() - segments.sum()).sqrt() * torch.ones(2, 28, 28)

    for wrong, why in (
        (flat, "0 everywhere"),
        (small, "Mismatch in shape"),
        (broken, "not finite"),
    ):
        contender = contenders.Contender("x", wrong, formula="x", gradients=("segments",))
        with pytest.raises((AssertionError, RuntimeError), match=why):
            check(module, contender, workload)


def test_what_is_not_installed_is_reported(module, monkeypatch):
    for name in ("dsketch", "diffvg", "pydiffvg"):
        monkeypatch.setitem(importlib.sys.modules, name, None)
    for name in ("dsketch", "pydiffvg", "easydiffvg"):
        assert by_name(module, name).refusal(module("workloads").WORKLOADS["W1"]) == "not installed"


def stand_in(monkeypatch, **modules):
    """Put modules in place of packages: what the adapters need of them, by their documentation."""
    for name, members in modules.items():
        path = name.replace("__", ".")
        parts = path.split(".")
        for depth in range(1, len(parts)):
            package = types.ModuleType(".".join(parts[:depth]))
            package.__path__ = []
            monkeypatch.setitem(importlib.sys.modules, package.__name__, package)
        stand = types.ModuleType(path)
        vars(stand).update(members)
        monkeypatch.setitem(importlib.sys.modules, path, stand)


def test_dsketch_is_asked_for_the_distance_fields_own_formula(module, monkeypatch, small):
    def line_edt2(line, grid):  # (B, N, 2, 2) row, column; (H, W, 2) -> (B, N, H, W)
        first, second = line[..., None, None, 0, :], line[..., None, None, 1, :]
        along = second - first
        t = ((grid - first) * along).sum(-1) / (along * along).sum(-1)
        return (grid - first - t.clamp(0, 1)[..., None] * along).square().sum(-1)

    stand_in(
        monkeypatch,
        dsketch__raster__disttrans={"line_edt2": line_edt2},
        dsketch__raster__raster={"exp": lambda d2, sigma2: torch.exp(-d2 / sigma2)},
        dsketch__raster__composite={"softor": lambda x, dim: 1 - (1 - x).prod(dim)},
    )
    assert "NumPy" in check(module, by_name(module, "dsketch"), small)


def test_easydiffvg_gets_straight_cubics_in_its_units(module, monkeypatch):
    workload = module("workloads").Workload(2, 5, 24, 24)
    seen = {}

    def splat_render_cubics(cubics, widths, canvas_size, num_samples, tiling="none"):
        seen.update(cubics=cubics.detach(), samples=num_samples, tiling=tiling)
        return 1 - cubics.square().sum((1, 2, 3))[:, None, None].expand(-1, 24, 24)

    stand_in(monkeypatch, pydiffvg__splat_render={"splat_render_cubics": splat_render_cubics})
    contender = by_name(module, "easydiffvg")
    assert "nothing but shape" in check(module, contender, workload)
    segments = workload.make("cpu")[0]["segments"].detach()
    ends = seen["cubics"][:, :, [0, 3]].flatten(-2)
    torch.testing.assert_close(ends, 2 * segments - 1)
    inner = seen["cubics"][:, :, 1] - seen["cubics"][:, :, 0]
    torch.testing.assert_close(inner, 2 * (segments[..., 2:] - segments[..., :2]) / 3)
    assert seen["tiling"] == "auto" and 2 <= seen["samples"] <= 16
    assert contender.refusal(module("workloads").WORKLOADS["W7"]) is not None


def test_pydiffvg_gets_a_path_in_pixels_for_each_segment(module, monkeypatch):
    workloads = module("workloads")
    scenes = []

    class RenderFunction:
        @staticmethod
        def serialize_scene(width, height, shapes, groups, use_prefiltering):
            assert use_prefiltering and len(shapes) == len(groups)
            return [(shapes, groups)]

        @staticmethod
        def apply(width, height, samples_x, samples_y, seed, background, scene):
            scenes.append(scene)
            total = sum(s.points.sum() + s.stroke_width for s in scene[0])
            total = total + sum(g.stroke_color.sum() for g in scene[1])
            return total * torch.ones(height, width, 4)

    def path(num_control_points, points, is_closed, stroke_width):
        assert num_control_points.tolist() == [0] and not is_closed
        return types.SimpleNamespace(points=points, stroke_width=stroke_width)

    def group(shape_ids, fill_color, stroke_color):
        assert fill_color is None
        return types.SimpleNamespace(shape_ids=shape_ids, stroke_color=stroke_color)

    members = {"Path": path, "ShapeGroup": group, "RenderFunction": RenderFunction}
    stand_in(monkeypatch, diffvg={}, pydiffvg={**members, "set_use_gpu": lambda use: None})
    modes = {"coverage": "capsule", "composite": "over", "channels": 3}
    for workload in (workloads.Workload(2, 5, 20, 30), workloads.Workload(1, 4, 20, 30, **modes)):
        scenes.clear()
        assert "nothing but shape" in check(module, by_name(module, "pydiffvg"), workload)
        inputs, _ = workload.make("cpu")
        assert len(scenes) == workload.batch
        for shapes, groups in scenes[:1]:
            points = torch.stack([shape.points for shape in shapes]).flatten(1)
            torch.testing.assert_close(points, 30 * inputs["segments"][0])
            widths = torch.stack([shape.stroke_width for shape in shapes])
            want = 30 * inputs["width"][0] if "width" in inputs else torch.ones(workload.count)
            torch.testing.assert_close(widths, want)
            assert [g.shape_ids.item() for g in groups] == list(range(workload.count))
            assert all(g.stroke_color.shape == (4,) for g in groups)
