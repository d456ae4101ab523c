"""The page for whoever runs a server names every metric and every limit, and no other."""

import re
from dataclasses import fields
from pathlib import Path

from stream_server.limits import Limits
from stream_server.metrics import Metrics

PAGE = (Path(__file__).parent.parent / "docs/operating.md").read_text()


def table(head: str) -> list[list[str]]:
    """The rows below the one that begins with `head`, by cell."""
    lines = PAGE.split(f"| {head} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_metric_is_named() -> None:
    named = {name for first, *_ in table("metric") for name in re.findall(r"`(\w+)(?:\{\w+\})?`", first)}
    kept = {family.name + "_total" * (family.type == "counter") for family in Metrics().registry.collect()}
    assert named == kept


def test_every_limit_is_named_with_its_default() -> None:
    told = {name.strip("`"): default for name, default, _ in table("limit")}
    words = {False: "off", None: "as many as the machine can"}
    assert told == {
        each.name: words[each.default] if each.default in (False, None) else str(each.default)
        for each in fields(Limits)
    }
