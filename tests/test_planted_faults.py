"""The list of planted faults keeps up with csrc and its tests; `make test-faults` tries them."""

from pathlib import Path

import pytest
from faults_in_csrc import FAULTS
from planted_faults import ROOT, number_of, planted


@pytest.mark.parametrize("file", sorted({fault.file for fault in FAULTS}))
def test_each_fault_replaces_what_stands_once_in_its_file(file):
    text = planted(file, (ROOT / "csrc" / file).read_text())
    for fault in FAULTS:
        switch = f"softraster_fault == {number_of(fault)}"
        assert text.count(switch) == (fault.file == file), fault.name


def test_what_does_not_stand_there_once_is_refused():
    for text, times in (("", 0), (2 * (ROOT / "csrc" / "range.h").read_text(), 2)):
        with pytest.raises(ValueError, match=f"range.h must have this once, got {times} times"):
            planted("range.h", text)


def test_each_fault_has_a_switch_of_its_own():
    assert len({number_of(fault) for fault in FAULTS} - {0}) == len(FAULTS)


@pytest.mark.parametrize("test", sorted({fault.test for fault in FAULTS}))
def test_the_test_that_a_fault_names_is_there(test):
    file, *names = test.partition("[")[0].split("::")
    text = (Path(__file__).parent / file).read_text()
    assert all(f"def {name}(" in text or f"class {name}:" in text for name in names)
