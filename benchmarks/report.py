"""Report: a table for people, one JSON line for machines, and the line kept in `results/` with machine and commit.

Run by itself it writes the last kept line of every benchmark into the table of `docs/benchmarks.md`.  Knows figures
and the bounds we set them; does not know how they were measured.
"""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"
AT_LEAST = {
    "sum_400_gain",
    "capacity_mixed",
    "times_one_at_a_time",
    "times_generate",
    "of_the_engine_alone",
    "cache_gain",
    "least_damage_over_pcm",
}  # figures of which more is better; every other bound is an upper one
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as they need; floats with three significant places."""
    cells = [list(head)] + [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    print(f"\n{title}")
    for row in cells:
        print("  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:]))]))


def conclude(bench: str, figures: dict[str, Any], floors: dict[str, float], keep: bool) -> None:
    """Say which bounds held, keep the line if it is a real measurement, print it last."""
    stated = {name: bound for name, bound in floors.items() if name in figures}
    print()
    for name, bound in stated.items():
        print(f"{name}: {figures[name]:.3g}, wanted {wanted(name, bound)}: {verdict(name, figures[name], bound)}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps(
        {"bench": bench, **rounded(figures), "floors": stated, "machine": machine(), "commit": commit(), "at": now},
        ensure_ascii=False,
    )
    if keep:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / f"{bench}.jsonl").open("a") as file:
            file.write(line + "\n")
    else:
        print("a quick run: nothing is kept")
    print(line)


def last_figure(bench: str, name: str) -> float | None:
    """Of the last line that has it, where there is one: what one benchmark found may be another's load."""
    return next((line[name] for line in reversed(kept(RESULTS / f"{bench}.jsonl")) if name in line), None)


def latest(bench: str, name: str) -> dict[str, Any]:
    """What the lines have by that name, each key's last."""
    found: dict[str, Any] = {}
    for line in kept(RESULTS / f"{bench}.jsonl"):
        found |= line.get(name, {})
    return found


def kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wanted(name: str, bound: float) -> str:
    return f"{'≥' if name in AT_LEAST else '≤'} {bound:g}"


def verdict(name: str, value: float, bound: float) -> str:
    return "held" if (value >= bound if name in AT_LEAST else value <= bound) else "MISSED"


def percentile(values: Sequence[float], share: float) -> float:
    """Between the two nearest of the ordered values."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def rounded(value: Any) -> Any:
    """Floats to five significant places, however deep."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def machine() -> dict[str, Any]:
    """The load says how busy the machine was beside us."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def commit() -> str:
    """With `-dirty` where the packages that are measured differ from it; "unknown" outside a checkout."""
    found = git("rev-parse", "--short", "HEAD") or "unknown"
    return found + "-dirty" if git("status", "--porcelain", "--", "stream_server", "client") else found


def git(*command: str) -> str:
    try:
        return subprocess.run(["git", "-C", ROOT, *command], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def write_docs() -> None:
    """Replace what stands between the two marks of `docs/benchmarks.md`."""
    page = DOCS / "benchmarks.md"
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    head = [
        "| bench | figure | wanted | measured | | commit | machine |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    page.write_text("\n".join([before + BEGIN, *head, *docs_rows(), END + after]))


def docs_rows() -> list[str]:
    """Each figure as it was last measured: a run may leave some out."""
    rows = []
    for path in sorted(RESULTS.glob("*.jsonl")):
        latest = {name: line for line in kept(path) for name in line["floors"]}
        for name, line in latest.items():
            value, bound = line[name], line["floors"][name]
            where = f"{line['commit']} | {line['machine']['cpu']}"
            rows.append(
                f"| {line['bench']} | {name} | {wanted(name, bound)} | {value:.3g} | {verdict(name, value, bound)} "
                f"| {where} |"
            )
    return rows


if __name__ == "__main__":
    write_docs()
