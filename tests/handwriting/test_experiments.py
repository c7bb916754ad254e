"""The ladder: it ends where an unbroken one ends, and its numbers are those of the drawings."""

import dataclasses
import json
import os
import signal

import numpy as np
import pytest
import torch

from handwriting import checkpoint as checkpoints
from handwriting import cli, experiments, ladder, metrics
from handwriting import train as training
from handwriting.data import load_thinned
from handwriting.experiments import ExperimentsConfig, run_experiments
from handwriting.export import ExportConfig, export
from handwriting.resuming import hold

pytest.importorskip("cv2")
image_module = pytest.importorskip("PIL.Image")

SMALL = {"units": 4, "batch_size": 20, "epochs": 1}
TINY = ladder.Scale(
    text="next to nothing",
    seeds=1,
    test_digits=15,
    line_model={"images": 4, "batch_size": 4, "workers": 0},
    models={"writer": SMALL, "ensemble": SMALL},
    rungs={"7": {"epochs": 2, "warm_up": 2}},
    seeds_of={"2": 2, "6": 2},
    references=("tracer", "people"),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A scale that takes seconds."""
    monkeypatch.setitem(ladder.SCALES, "tiny", TINY)


@pytest.fixture(autouse=True)
def _cache(thinned_cache):
    pass


@pytest.fixture
def config(tmp_path, people_dir):
    return ExperimentsConfig(
        scale="tiny", out=tmp_path / "results", data_dir=people_dir, device="cpu"
    )


def results_of(config):
    return json.loads((config.folder / experiments.RESULTS_NAME).read_text())


def refuse(*_args, **_more):
    raise AssertionError("this was done already")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the project's own drawings")
def test_the_whole_ladder_leaves_numbers_tables_figures_and_animations(config, monkeypatch):
    result = run_experiments(config)
    assert result.path == config.folder / "experiments.json" and result.signal is None
    results = results_of(config)
    assert {rung: sorted(runs) for rung, runs in results["runs"].items()} == {
        **{rung: ["0"] for rung in ("1", "3", "4", "5a", "5b", "7", "9")},
        **{rung: ["0", "1"] for rung in ("2", "6")},
    }
    assert set(results["references"]) == {"tracer", "people"}
    assert results["line_model"]["lines"] == 4
    assert results["runs"]["7"]["0"]["options"]["samples"] == "own"  # the author's are not there
    assert results["runs"]["7"]["0"]["steps"] == 4
    assert set(results["variation"]) == {"2", "6"}
    assert set(results["constant"]) == {"0.0", "0.25", "0.5", "0.75", "1.0"}
    table = (config.folder / "experiments.md").read_text()
    assert "not run" not in table and table.index("| tracer |") < table.index("| rung 1 |")
    figures = config.folder / "figures"
    for rung in ladder.RUNGS:
        digits = 20 if rung == "8" else 10
        with image_module.open(figures / f"rung{rung}.gif") as animation:
            assert animation.n_frames > 1 and animation.width == digits * animation.height
        assert (figures / f"rung{rung}.png").exists()
        assert f"figures/rung{rung}.gif" in table

    for name in ("train", "train_line_model", "evaluate", "measure_constants"):
        monkeypatch.setattr(experiments, name, refuse)
    before = result.path.read_bytes()
    run_experiments(config)
    assert result.path.read_bytes() == before
    with pytest.raises(AssertionError, match="done already"):
        run_experiments(dataclasses.replace(config, rungs=("3",), seeds=2))


def test_figures_are_those_of_what_the_run_draws(config, people_dir):
    run_experiments(dataclasses.replace(config, rungs=("6",), seeds=1))
    record = results_of(config)["runs"]["6"]["0"]
    checkpoint = config.folder / "runs" / "6-0" / "checkpoint.safetensors"
    out = config.folder / "strokes.npz"
    export(ExportConfig(checkpoint, out, people_dir, "test", limit=15, bits=32))
    drawings = np.load(out)["strokes"]
    test = load_thinned("test", people_dir)
    wanted = metrics.ink(drawings, test.images[:15].numpy())
    for name, value in wanted.items():
        assert record["figures"][name] == pytest.approx(value.mean())
    nines = test.labels[:15].numpy() == 9
    assert record["by_class"]["9"]["f1"] == pytest.approx(wanted["f1"][nines].mean())
    assert record["count"] == 15 and record["digits"] == 40
    assert record["steps"] == record["epoch_steps"] == 2


def test_trials_are_trained_and_measured_as_rungs_are_but_only_when_asked_for(config):
    run_experiments(dataclasses.replace(config, rungs=("9",), trials=True))
    runs = results_of(config)["runs"]
    assert {name: list(by_seed) for name, by_seed in runs.items()} == {
        name: ["0"] for name in ("9", "9a", "9b", "9c", "9d", "9e", "9f")
    }
    recovery = {"recovery_dtw", "recovery_direction", "recovery_start"}
    assert recovery <= runs["9f"]["0"]["figures"].keys() == runs["9"]["0"]["figures"].keys()
    assert not (config.folder / "figures" / "rung9a.png").exists()
    table = (config.folder / "experiments.md").read_text()
    trials = table[table.index("## Trials") :].split("\n\n")[1]
    lines = dict(line.removeprefix("| ").split(" | ", 1) for line in trials.splitlines())
    assert list(lines) == ["trial", "---", "rung 6", *ladder.TRIALS, "rung 9"]
    assert "not run" in lines["rung 6"] and "not run" not in lines["9a"]
    mse = [f"{runs[name]['0']['test_mse']:.4f}" for name in ladder.TRIALS]
    assert [lines[name].split(" | ")[2] for name in ladder.TRIALS] == mse
    assert "| 9a |" not in table[: table.index("## Trials")]


def test_a_record_has_the_machine_that_trained_not_the_one_that_measured(config, monkeypatch):
    config = dataclasses.replace(config, rungs=("6",), seeds=1)
    path = config.folder / "runs" / "6-0"
    training.train(
        training.TrainConfig(out=path, data_dir=config.data_dir, **TINY.options("6"), device="cpu")
    )
    trained = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: trained + 7)
    run_experiments(config)
    record = results_of(config)["runs"]["6"]["0"]
    assert (record["device"], record["threads"]) == (f"{os.cpu_count()} CPU cores", trained)


def test_one_process_at_a_time_does_experiments_in_a_folder(config):
    folder = config.folder / "runs"
    folder.mkdir(parents=True)
    with hold(folder), pytest.raises(BlockingIOError, match="is in use by another process"):
        run_experiments(config)
    assert not (config.folder / experiments.RESULTS_NAME).exists()


def test_an_interrupted_ladder_goes_on_from_the_checkpoint(config, monkeypatch):
    config = dataclasses.replace(config, rungs=("6", "7"), seeds=1)
    unbroken = dataclasses.replace(config, out=config.out.with_name("unbroken"))
    with pytest.warns(UserWarning, match="own drawings"):
        run_experiments(unbroken)

    advance = training._WriterRun.advance

    def interrupted(run):
        if run.out.name == "7-0" and run.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(run)

    monkeypatch.setattr(training._WriterRun, "advance", interrupted)
    with pytest.warns(UserWarning, match="own drawings"):
        assert run_experiments(config).signal == signal.SIGTERM
    assert set(results_of(config)["runs"]) == {"6"}
    path = "runs/7-0/checkpoint.safetensors"
    assert checkpoints.load(config.out / path).training["step"] == 3

    monkeypatch.setattr(training._WriterRun, "advance", advance)
    with pytest.warns(UserWarning, match="own drawings"):
        assert run_experiments(config).signal is None
    got, wanted = (checkpoints.load(one.out / path) for one in (config, unbroken))
    assert all(torch.equal(got.weights[name], wanted.weights[name]) for name in wanted.weights)
    assert (
        results_of(config)["runs"]["7"]["0"]["figures"]
        == results_of(unbroken)["runs"]["7"]["0"]["figures"]
    )


def test_a_run_that_its_minutes_ended_goes_on_when_there_are_more(config, monkeypatch):
    short = dataclasses.replace(config, rungs=("6",), seeds=1, minutes=1e-6)
    run_experiments(short)
    first = results_of(config)["runs"]["6"]["0"]
    assert first["steps"] < first["epoch_steps"]
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "train", refuse)
        run_experiments(short)
    assert " of 1 |" in (config.folder / "experiments.md").read_text()
    run_experiments(dataclasses.replace(short, minutes=1.0))
    second = results_of(config)["runs"]["6"]["0"]
    assert second["steps"] == second["epoch_steps"]


def test_results_of_another_scale_or_other_options_are_not_mixed(config, monkeypatch):
    config = dataclasses.replace(config, rungs=("6",), seeds=1)
    run_experiments(config)
    with pytest.raises(ValueError, match="holds results of the scale tiny, not quick"):
        run_experiments(dataclasses.replace(config, scale="quick"))
    other = dataclasses.replace(TINY, rungs={"6": {"units": 5}})
    monkeypatch.setitem(ladder.SCALES, "tiny", other)
    with pytest.raises(ValueError, match=r"rung 6 was run with.*'units': 4.*'units': 5"):
        run_experiments(config)
    (config.folder / experiments.RESULTS_NAME).write_text("[]")
    with pytest.raises(ValueError, match="not results of experiments"):
        run_experiments(config)


def test_constant_images_need_the_model_that_draws_them(config):
    with pytest.raises(ValueError, match="rung 8 needs rung 7"):
        run_experiments(dataclasses.replace(config, rungs=("8",)))


def test_without_pendigits_the_people_are_left_out_with_a_warning(config, data_dir):
    config = dataclasses.replace(config, rungs=("6",), seeds=1, data_dir=data_dir)
    with pytest.warns(UserWarning, match="people: left out"):
        run_experiments(config)
    assert set(results_of(config)["references"]) == {"tracer"}
    assert "| people | not run |" in (config.folder / "experiments.md").read_text()


def test_every_rung_of_every_scale_is_a_config_that_training_takes(tmp_path):
    for scale in (ladder.SCALES["quick"], ladder.SCALES["full"]):
        for rung in (*ladder.RUNGS, *ladder.TRIALS):
            options = scale.options(rung)
            line_model = tmp_path / "a" if options.get("renderer") == "line_model" else None
            training.TrainConfig(line_model=line_model, **options)
        assert set(scale.rungs) | set(scale.seeds_of) <= set(ladder.RUNGS)
        assert set(scale.references) <= set(ladder.REFERENCES)
    full = ladder.SCALES["full"].options("7")
    config = training.TrainConfig(**full).with_defaults()
    assert (config.epochs, config.units, config.lr, config.batch_size) == (15, 64, 1e-3, 64)
    config = training.TrainConfig(**ladder.SCALES["full"].options("2")).with_defaults()
    assert (config.epochs, config.units, config.lr, config.limit) == (5, 512, 5e-4, None)
    for trial in ladder.TRIALS:
        config = training.TrainConfig(**ladder.SCALES["full"].options(trial)).with_defaults()
        assert (config.epochs, config.units, config.lr, config.limit) == (5, 64, 1e-3, None)


def test_a_trial_differs_in_one_option_from_the_one_it_is_of():
    def differing(one, other):
        options = [set(ladder.find(name).options.items()) for name in (one, other)]
        return {name for name, _ in options[0] ^ options[1]}

    steps = [("6", "9a"), ("9a", "9b"), ("9a", "9c"), ("9b", "9d"), ("9c", "9d")]
    steps += [("9d", "9e"), ("9d", "9f")]
    assert [differing(*step) for step in steps] == [
        *({"length_weight"}, {"blur"}, {"samples"}, {"samples"}, {"blur"}),
        *({"sample_scale"}, {"lr_schedule"}),
    ]


def test_the_quick_scale_cannot_train_for_more_than_18_minutes():
    quick = ladder.SCALES["quick"]
    minutes = quick.line_model["minutes"]
    for rung in ladder.RUNGS:
        if rung != ladder.CONSTANT:
            minutes += quick.options(rung)["minutes"] * quick.seeds_of.get(rung, quick.seeds)
    assert minutes <= 18


def test_rungs_are_chosen_by_name_or_number_in_their_order():
    assert ladder.select(["6", "5", "2"]) == ["2", "5a", "5b", "6"]
    assert ladder.select(["5b"]) == ["5b"]
    assert ladder.select(["9"]) == ["9"] and ladder.select(["9c", "9", "8"]) == ["8", "9", "9c"]
    assert ExperimentsConfig().chosen() == list(ladder.RUNGS)
    assert ExperimentsConfig(trials=True).chosen() == list(ladder.TRIALS)
    assert ExperimentsConfig(rungs=("2",), trials=True).chosen() == ["2", *ladder.TRIALS]
    with pytest.raises(ValueError, match=r"rungs must be of 1, 2, .*, got '10'"):
        ladder.select(["2", "10"])


def test_the_command_line_passes_its_options_on(monkeypatch, tmp_path):
    got = []

    def note(config):
        got.append(config)
        return experiments.ExperimentsResult(tmp_path, signal=15 if config.rungs else None)

    monkeypatch.setattr(experiments, "run_experiments", note)
    assert cli.main(["experiments"]) == 0
    options = ["--scale", "full", "--rungs", "1", "5", "--minutes", "3", "--page", "a.md"]
    assert cli.main(["experiments", *options]) == 128 + 15
    assert got[0] == ExperimentsConfig()
    assert (got[1].scale, got[1].rungs, got[1].minutes) == ("full", ("1", "5"), 3.0)
    assert cli.main(["experiments", "--trials"]) == 0 and got[2].trials and not got[1].trials
    assert str(got[1].page) == "a.md"
    folders = ["results/quick", "results", "results/quick"]
    assert [str(config.folder) for config in got] == folders


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--scale", "huge"], "scale must be"),
        (["--rungs", "0"], "rungs must be of"),
        (["--seeds", "0"], "seeds must be at least 1, got 0"),
        (["--minutes", "nan"], "minutes must be greater than 0"),
    ],
)
def test_bad_options_are_one_line_and_status_2(options, says, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["experiments", *options])
    lines = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(lines) == 1 and says in lines[0]
