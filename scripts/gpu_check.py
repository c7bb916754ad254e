"""Build softraster where there is a GPU, then test, check and time its CUDA kernels; write reports.

    scripts/gpu_check.sh FOLDER [fuzz]

With "fuzz", random calls (tests/fuzz.py) take the place of tests and benchmarks: on the GPU as it
is, and under compute-sanitizer. Installs into build/gpu_check, which is on no other path, and needs
no network. Each step has a time limit, none stops the next, and all end within nine minutes. FOLDER
receives report.json, report.txt and the logs. Status: 0 if every step passed, 1 if not, 2 without a
GPU. A step whose tool is not installed is "not available", which is not passed. In a copy without
.git, SOFTRASTER_COMMIT names the commit for the reports.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "gpu_check"
SITE = WORK / "site"
SECONDS = 520  # for all steps; the reports and the start are quick

ENVIRONMENT = """
import json, platform, torch
gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
print(json.dumps({
    "gpu": gpu and gpu.name,
    "gpus": torch.cuda.device_count(),
    "gpu_memory_gib": gpu and round(gpu.total_memory / 2**30, 1),
    "capability": gpu and f"{gpu.major}.{gpu.minor}",
    "torch": torch.__version__,
    "cuda": torch.version.cuda,
    "python": platform.python_version(),
}))
"""

INSTALLED = """
import softraster
from pathlib import Path
from softraster import _ops
assert Path({site!r}) in Path(softraster.__file__).parents, softraster.__file__
assert _ops.CUDA_ARCHS, "built without CUDA kernels"
print("kernels for", _ops.CUDA_ARCHS)
"""


@dataclass
class Step:
    """What one step came to."""

    name: str
    outcome: str  # passed, failed, timed out, not available, not run
    seconds: float = 0.0
    note: str = ""
    details: dict = field(default_factory=dict)


class Checker:
    """Runs the steps one after the other, against one clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[Step] = []
        self.logs: set[str] = set()
        self.deadline = time.monotonic() + SECONDS
        self.stopped = ""  # why no further step makes sense

    def run(
        self,
        name: str,
        command: list[str] | None,
        log: str,
        limit: float,
        judge: Callable[[int | None, str], tuple[bool, str, dict]],
        **environ: str,
    ) -> None:
        """Run a command outside the source folder, and have `judge` read status and output.

        A status of None says that the time was over. `judge` returns whether the step passed, a
        note and details.
        """
        limit = min(limit, self.deadline - time.monotonic())
        if self.stopped:
            self.steps.append(Step(name, "not run", note=self.stopped))
        elif command is None:
            self.steps.append(Step(name, "not available"))
        elif limit < 5:
            self.steps.append(Step(name, "not run", note="no time left"))
        else:
            start = time.monotonic()
            status, output = call(command, limit, environ)
            seconds = time.monotonic() - start
            with (self.folder / log).open("a" if log in self.logs else "w") as file:
                file.write(f"$ {' '.join(command)}\n{output}\n[status {status}]\n\n")
            self.logs.add(log)
            passed, note, details = judge(status, output)
            outcome = "passed" if passed else "failed" if status is not None else "timed out"
            self.steps.append(Step(name, outcome, seconds, note, details))
        print(f"{self.steps[-1].outcome:14}{name}  {self.steps[-1].note}", flush=True)


def call(command: list[str], limit: float, environ: dict[str, str]) -> tuple[int | None, str]:
    """Return status and output; None for the status where the time was over."""
    (WORK / "run").mkdir(parents=True, exist_ok=True)
    given = {**os.environ, "PYTHONPATH": str(SITE), "PYTHONUNBUFFERED": "1", **environ}
    with (WORK / "output").open("w+", errors="replace") as output:
        process = subprocess.Popen(
            command,
            cwd=WORK / "run",
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return status, output.read()


def last_line(text: str) -> str:
    """Return the last line that is not blank."""
    return ([line.strip() for line in text.splitlines() if line.strip()] or [""])[-1]


def by_status(status: int | None, output: str) -> tuple[bool, str, dict]:
    """Judge a step by its exit status."""
    return status == 0, last_line(output), {}


def by_sanitizer(status: int | None, output: str) -> tuple[bool, str, dict]:
    """Judge compute-sanitizer: the program ended well, and its summary counts nothing."""
    summaries = re.findall(r"=+ ((?:ERROR|RACECHECK) SUMMARY: .*)", output)
    clean = bool(summaries) and all(re.search(r"SUMMARY: 0 \w+", line) for line in summaries)
    return status == 0 and clean, "; ".join(summaries) or last_line(output), {}


def by_tests(status: int | None, output: str) -> tuple[bool, str, dict]:
    """Judge pytest by its status and its count of each test function's outcomes."""
    counts: dict[str, Counter] = {}
    if (WORK / "tests.xml").exists():
        for case in ElementTree.parse(WORK / "tests.xml").iter("testcase"):
            kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
            name = f"{case.get('classname')}::{case.get('name', '').partition('[')[0]}"
            counts.setdefault(name, Counter())[kinds.pop() if kinds else "passed"] += 1
    passed = sum(c["passed"] for c in counts.values())
    details = {name: dict(c) for name, c in sorted(counts.items())}
    return status == 0 and passed > 0, last_line(output), details


def by_benchmarks(status: int | None, output: str) -> tuple[bool, str, dict]:
    """Judge the benchmarks by their status; keep what they wrote, complete or not."""
    file = WORK / "benchmarks.json"
    details = json.loads(file.read_text()) if file.exists() else {}
    return status == 0 and bool(details), last_line(output), details


def by_resources(status: int | None, output: str) -> tuple[bool, str, dict]:
    """Judge cuobjdump's table of each kernel's registers, stack and shared memory, by GPU."""
    kernels: dict[str, dict[str, dict[str, int]]] = {}
    arch = name = ""
    for line in plain_names(output).splitlines():
        if match := re.match(r"arch = (\w+)", line):
            arch = match[1]
        elif match := re.match(r" Function (.*):$", line):
            name = match[1]
        elif line.startswith("  REG:"):
            numbers = re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", line)
            kernels.setdefault(arch, {})[name] = {key.lower(): int(n) for key, n in numbers}
    count = sum(map(len, kernels.values()))
    return status == 0 and count > 0, f"{count} kernels", kernels


def plain_names(text: str) -> str:
    """Replace C++'s mangled names, where c++filt is installed, by template and arguments."""
    if shutil.which("c++filt") is None:
        return text
    text = subprocess.run(["c++filt"], input=text, capture_output=True, text=True).stdout
    text = re.sub(r"softraster::(cuda::)?|\(anonymous namespace\)::", "", text)
    return re.sub(
        r"Function (?:void )?([^<(]+(?:<.*?>)?)\(.*\):$", r"Function \1:", text, flags=re.M
    )


def tool(name: str) -> str | None:
    """Return where a tool of the CUDA toolkit is, or None."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), f"{home}/bin"]))


def build_steps(checker: Checker) -> None:
    """Build, and see whether the build loads."""
    python, run = sys.executable, checker.run
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-v"]
    build = [*pip, "--no-build-isolation", "--no-deps", "--target", str(SITE), str(ROOT)]
    given = {"SOFTRASTER_CUDA": "1", "NVCC_APPEND_FLAGS": "-Xptxas=-v", "PYTHONPATH": ""}
    run("build", build, "build.log", 240, by_status, **given)  # its log tells of spilled registers
    installed = [python, "-c", INSTALLED.format(site=str(SITE))]
    run("the build loads", installed, "build.log", 60, by_status)
    if checker.steps[-1].outcome != "passed":
        checker.stopped = "there is nothing to check"  # but perhaps another build, elsewhere


def sanitize(checker: Checker, name: str, script: list[str], log: str, limit: float) -> None:
    """Run a Python script under one of compute-sanitizer's tools."""
    command = None
    if sanitizer := tool("compute-sanitizer"):
        # All our kernels bear the name of their namespace; those of torch would take minutes.
        options = ["--kernel-name", "kernel_substring=softraster", "--report-api-errors", "no"]
        command = [sanitizer, "--tool", name, "--error-exitcode", "9", *options]
        command += ["--target-processes", "all", sys.executable, *script]
    # Without torch's pools each tensor has bounds of its own.
    given = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    checker.run(f"compute-sanitizer {name}", command, log, limit, by_sanitizer, **given)


def fuzz_steps(checker: Checker) -> None:
    """Make random calls: many as they are, fewer under each tool."""
    script = [str(ROOT / "tests" / "fuzz.py"), "--cuda"]
    plain = [sys.executable, *script, "--calls", "20000", "--processes", "4"]
    checker.run("random calls", plain, "fuzz.log", 150, by_status)
    for name, calls in (("memcheck", 3000), ("racecheck", 2000), ("initcheck", 2000)):
        sanitize(checker, name, [*script, "--calls", str(calls)], "fuzz.log", 110)


def check_steps(checker: Checker) -> None:
    """Test, check and time, the telling steps first."""
    python, run = sys.executable, checker.run
    pytest = [python, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    pytest += ["-p", "no:cacheprovider", "-q", "-m", "cuda", f"--junitxml={WORK / 'tests.xml'}"]
    pytest += ["--continue-on-collection-errors", "--ignore", str(ROOT / "tests" / "handwriting")]
    run("tests on the GPU", [*pytest, str(ROOT / "tests")], "tests.log", 200, by_tests)
    scenes = [str(ROOT / "scripts" / "gpu_scenes.py")]
    sanitize(checker, "memcheck", scenes, "sanitizers.log", 75)
    sanitize(checker, "racecheck", scenes, "sanitizers.log", 75)
    bench = [python, str(ROOT / "benchmarks" / "bench_draw.py"), "--device", "cuda"]
    bench += ["--workloads", "W8", "W7", "W6", "W4", "W1", "W2", "call", "W3", "W5"]
    bench += ["--seconds", "0.4", "--json", str(WORK / "benchmarks.json")]
    run("benchmarks", bench, "benchmarks.log", 180, by_benchmarks)
    cuobjdump, library = tool("cuobjdump"), next(SITE.glob("softraster/_C*.so"), None)
    resources = [cuobjdump, "--dump-resource-usage", str(library)] if cuobjdump else None
    run("resources of the kernels", resources, "resources.log", 60, by_resources)
    sanitize(checker, "synccheck", scenes, "sanitizers.log", 75)
    sanitize(checker, "initcheck", scenes, "sanitizers.log", 75)


def environment() -> dict:
    """Return GPU, versions and commit."""
    found = subprocess.run([sys.executable, "-c", ENVIRONMENT], capture_output=True, text=True)
    if found.returncode != 0:
        raise SystemExit(refuse(f"{sys.executable} has no torch: {last_line(found.stderr)}"))
    result = json.loads(last_line(found.stdout))
    if result["gpu"] is None:
        raise SystemExit(refuse(f"torch {result['torch']} finds no CUDA device"))

    def said(*command: str) -> str | None:
        with contextlib.suppress(OSError):
            output = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
            return last_line(output.stdout) or None if output.returncode == 0 else None
        return None

    result["driver"] = said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    result["nvcc"] = said(tool("nvcc") or "nvcc", "--version")
    git = ("git", f"--git-dir={ROOT}/.git", f"--work-tree={ROOT}")
    result["commit"] = os.environ.get("SOFTRASTER_COMMIT") or said(
        *git, "describe", "--always", "--dirty"
    )
    return result


def refuse(reason: str) -> int:
    """Say in one line why nothing can be checked here; return the exit status for that."""
    print(f"gpu_check: {reason}", file=sys.stderr)
    return 2


def report(result: dict) -> str:
    """Return the results as text."""
    lines = [f"{key:15}{value}" for key, value in result["environment"].items()] + [""]
    for step in result["steps"]:
        lines.append(
            f"{step['outcome']:15}{step['seconds']:6.1f} s  {step['name']}: {step['note']}"
        )
    by_name = {step["name"]: step["details"] for step in result["steps"]}
    lines += ["", "Tests on the GPU"]
    for name, counts in by_name.get("tests on the GPU", {}).items():
        lines.append(f"  {name}: {', '.join(f'{n} {kind}' for kind, n in counts.items())}")
    lines += ["", "Benchmarks: median ms, ratio to softraster"]
    for row in by_name.get("benchmarks", {}).get("rows", []):
        figures = (
            row.get("not_run") or f"{row['median_ms']:10.4f}{row['ratio_to_softraster']:10.2f}"
        )
        lines.append(f"  {row['workload']:6}{row['pass']:20}{row['contender']:28}{figures}")
    for arch, kernels in by_name.get("resources of the kernels", {}).items():
        lines += ["", f"Kernels for {arch}: registers, stack, shared and local bytes"]
        for name, used in sorted(kernels.items()):
            figures = (used["reg"], used["stack"], used["shared"], used["local"])
            lines.append("  " + "".join(f"{n:7}" for n in figures) + f"  {name}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run from the command line; return the exit status."""
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["fuzz"]):
        print("usage: gpu_check.py FOLDER [fuzz]", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]).resolve()
    found = environment()
    shutil.rmtree(WORK, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    checker = Checker(folder)
    build_steps(checker)
    (fuzz_steps if sys.argv[2:] else check_steps)(checker)
    result = {"environment": found, "steps": [asdict(step) for step in checker.steps]}
    (folder / "report.json").write_text(json.dumps(result, indent=1) + "\n")
    text = report(result)
    (folder / "report.txt").write_text(text)
    print(text)
    return 0 if all(step.outcome == "passed" for step in checker.steps) else 1


if __name__ == "__main__":
    raise SystemExit(main())
