"""What mutate.py changes in a module, on lines of which every change is written out here."""

import pytest
from mutations import mutants


def changes(source):
    return sorted(mutant.change for mutant in mutants(source, "module.py"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("near = 1.5", ["near = [1.5 => 3.0]", "near = [1.5 => 0.75]"]),
        ("at = a[-1]", ["at = a[[- => ]1]", "at = a[-[1 => 2]]", "at = a[-[1 => 0]]"]),
        ("c = a - b", ["c = a [- => +] b"]),
        ("c = a @ b", []),
        ("c = a <= b", ["c = a <[= => ] b", "c = a [<= => >] b"]),
        ("c = a and b", ["c = [a and  => ]b", "c = a[ and b => ]"]),
        ("c = a if b else d", ["c = a[ if b else d => ]", "c = [a if b else  => ]d"]),
        ("c = a.any(axis=b)", ["c = a.any([axis=b => ])", "c = [a.any => a.all](axis=b)"]),
        ("c = f(a, b)", ["c = f([a, b => b, a])"]),
        ("c = max(a, b)", ["c = [max => min](a, b)"]),
        ("c = {'key': 'for readers'}", ["c = {'[key => key_]': 'for readers'}"]),
        ("c += a", ["c [+ => -]= a", "[c += a => pass]"]),
        ("zip(a, strict=True)", ["[zip(a, strict=True) => pass]"]),
        ("if a:\n    raise b", ["if [ => not ]a: pass", "[raise b => pass]"]),
    ],
)  # fmt: skip
def test_what_may_mean_something_else_is_changed_and_nothing_besides(source, expected):
    assert changes(source) == sorted(expected)


def test_types_decorators_and_texts_for_readers_are_left_as_they_are():
    assert not changes('@cache(1)\ndef f(a: "b") -> "c":\n    """Do 1."""\n    return f"{a + 1}"')
    assert changes("def f(a: b = 1):\n    pass") == sorted(
        ["def f(a: b=[1 => 2]): pass", "def f(a: b=[1 => 0]): pass"]
    )


def test_a_mutant_runs_with_its_change_and_the_next_without_it():
    source = "def f(a):\n    return 2 * a\n\nc = f(3)"
    results = {}
    for mutant in mutants(source, "module.py"):
        names = {}
        exec(mutant.code, names)
        results[mutant.change] = mutant.line, names["c"]
    assert results == {
        "return [2 => 3] * a": (2, 9),
        "return [2 => 1] * a": (2, 3),
        "return 2 [* => /] a": (2, 2 / 3),
        "c = f([3 => 4])": (4, 8),
        "c = f([3 => 2])": (4, 4),
    }
