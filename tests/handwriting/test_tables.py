"""Tables say what the results hold, and the page says what the tables say."""

import json
from pathlib import Path

import pytest

from handwriting import ladder, tables
from handwriting.claims import CLAIMS, Check, Subject, answer, values, verdict

ROOT = Path(__file__).parents[2]


def run(**figures):
    """A record of a run, its class 6 with figures twice as large."""
    return {
        **{"options": {}, "units": 8, "digits": 100, "steps": 10, "epoch_steps": 10, "epochs": 1},
        **{"minutes": 2.0, "test_mse": 0.02, "device": "2 CPU cores", "count": 50},
        "versions": {"torch": "9"},
        "figures": figures,
        "by_class": {"6": {name: 2 * value for name, value in figures.items()}, "8": figures},
    }


@pytest.fixture
def results():
    found = tables.no_results("full")
    found["runs"] = {
        "2": {"0": run(f1=0.90, retrace=0.02), "1": run(f1=0.94, retrace=0.03)},
        "4": {"0": run(f1=0.91, retrace=0.05)},
        "6": {"0": run(f1=0.80, retrace=0.02)},
    }
    return found


@pytest.mark.parametrize(
    ("metric", "left", "relation", "right", "says"),
    [
        ("retrace", "4", "more", "2", "holds"),  # 0.05 and 0.025, seeds 0.01 apart
        ("retrace", "4", "less", "2", "does not hold"),
        ("retrace", "6", "less", "2", "unclear"),
        ("f1", "6", "less", "4", "holds"),  # one seed each
        ("f1", "4", "as much", "2", "holds"),
        ("retrace", "4", "as much", "6", "does not hold"),
        ("f1", "4", "more", "7", "not run"),
        ("iou", "4", "more", "2", "not run"),
    ],
)
def test_a_check_holds_by_more_than_seeds_differ(results, metric, left, relation, right, says):
    check = Check(metric, Subject(left), relation, Subject(right))
    assert answer(check, results).verdict == says


def test_a_claim_has_the_verdict_of_its_checks_if_they_agree(results):
    checks = [Check("retrace", Subject("4"), how, Subject("2")) for how in ("more", "less")]
    first, second = (answer(check, results) for check in checks)
    assert verdict([first, first]) == "holds" and verdict([first, second]) == "in part"


def test_values_of_classes_are_the_mean_over_classes_for_each_seed(results):
    assert values(results, "f1", Subject("2", (6, 8))) == pytest.approx([1.35, 1.41])
    assert values(results, "f1", Subject("2", (6, 7))) == []
    results["variation"]["2"] = {"figures": {"variation": 1.5}, "by_class": {"6": {}}}
    assert values(results, "variation", Subject("2")) == [1.5]
    results["references"]["people"] = run(dtw=0.05)
    assert values(results, "dtw", Subject("people")) == [0.05]
    results["constant"]["0.5"] = {"figures": {"height": 9.0}, "by_class": {}}
    assert values(results, "height", Subject("8", constant="0.5")) == [9.0]


def test_the_table_has_means_with_half_the_spread_and_says_what_was_not_run(results):
    made = tables.blocks(results, Path("a"), Path("a"))
    rows = {line.split(" | ")[0]: line for line in made["ink"].splitlines()}
    assert "| 0.920 ± 0.020 |" in rows["| rung 2"]
    assert rows["| rung 3"].count("not run") == 8
    assert rows["| tracer"].count("not run") == 8
    assert "2.5 % ± 0.5" in made["manner"]
    assert "Neural line model: not run." in made["training"]
    trials = {line.split(" | ")[0]: line for line in made["trials"].splitlines()}
    assert "| 1 | 0.0200 | 2.0 | 0.800 |" in trials["| rung 6"]
    assert trials["| 9c"].count("not run") == 11
    assert "Trained on 2 CPU cores; " in made["training"]
    for by_seed in results["runs"].values():
        for record in by_seed.values():
            record.pop("device")
    made = tables.blocks(results, Path("a"), Path("a"))
    assert "Trained on an unknown machine; " in made["training"]
    results["runs"]["4"]["0"]["steps"] = 5
    training = tables.blocks(results, Path("a"), Path("a"))["training"]
    assert "| 0.5 of 1 |" in training
    assert "digits seen: rung 2 100, rung 4 50." in tables.blocks(results, Path(), Path())["max"]


def test_pictures_are_linked_from_the_page_where_they_exist(results, tmp_path):
    figures = tmp_path / "results" / "figures"
    figures.mkdir(parents=True)
    (figures / "rung4.png").touch()
    made = tables.blocks(results, tmp_path / "results", tmp_path / "docs")
    assert "(../results/figures/rung4.png)" in made["max"] and "rung4.gif" not in made["max"]


def test_a_page_gets_the_blocks_between_its_markers_and_keeps_the_rest(results, tmp_path):
    path, page = tmp_path / "experiments.json", tmp_path / "page.md"
    path.write_text(json.dumps(results))
    page.write_text("before\n<!-- begin ink -->\nold\n<!-- end ink -->\nafter\n")
    for _ in range(2):
        tables.write_tables(page, path)
        ink = tables.blocks(results, tmp_path, tmp_path)["ink"]
        assert page.read_text() == (
            f"before\n<!-- begin ink -->\n\n{ink}\n\n<!-- end ink -->\nafter\n"
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no markers", "has no <!-- begin NAME -->"),
        ("<!-- begin ink -->\n", "has no <!-- end ink -->"),
        ("<!-- begin pink -->\n<!-- end pink -->\n", "begin 'pink' is none of training, ink"),
    ],
)
def test_a_page_with_wrong_markers_is_left_alone(results, tmp_path, text, says):
    path, page = tmp_path / "experiments.json", tmp_path / "page.md"
    path.write_text(json.dumps(results))
    page.write_text(text)
    with pytest.raises(ValueError, match=says):
        tables.write_tables(page, path)
    assert page.read_text() == text


def test_damaged_results_are_named(tmp_path):
    path = tmp_path / "experiments.json"
    for text in ("{", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"experiments\.json: not results"):
            tables.write_tables(tmp_path / "page.md", path)


def test_claims_compare_rungs_and_figures_that_there_are():
    pictures = {"line_model", *(f"rung{rung}" for rung in ladder.RUNGS)}
    for claim in CLAIMS.values():
        assert set(claim.pictures) <= pictures
        subjects = {one.rung for check in claim.checks for one in (check.left, check.right)}
        assert subjects <= {*ladder.RUNGS, *ladder.REFERENCES}


def test_the_page_of_the_experiments_says_what_their_results_say(tmp_path):
    source, results = ROOT / "docs" / "experiments.md", ROOT / "results" / "experiments.json"
    if not source.exists():
        pytest.skip("not in the repository")
    # Beside the page, so that links to pictures are the same.
    page = source.with_name(".experiments-as-tested.md")
    if not results.exists():
        results = tmp_path / "experiments.json"
        results.write_text(json.dumps(tables.no_results("full")))
    names = tables.blocks(json.loads(results.read_text()), results.parent, source.parent)
    assert all(f"\n<!-- begin {name} -->\n" in source.read_text() for name in names)
    page.write_text(source.read_text())
    try:
        tables.write_tables(page, results)
        assert page.read_text() == source.read_text(), "run experiments --page docs/experiments.md"
    finally:
        page.unlink()
