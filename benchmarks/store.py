"""The stored figures of a run: one JSON document, from which every table and page is made."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.statistics import median, spread
from benchmarks.work import Cost, Limit, limit

SCHEMA = 1
SECTIONS = ("rivals", "growth", "memory", "jobs")
# Losses that differ by more than this were not reached by the same work.
LOSS_TOLERANCE = 0.02


def new(kind: str) -> dict[str, Any]:
    """An empty document about this machine, now."""
    return {
        "schema": SCHEMA,
        "set": kind,
        "date": machine.now(),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "ceiling": None,
        "complete": False,
        **{section: [] for section in SECTIONS},
    }


def load(path: Path) -> dict[str, Any]:
    """A stored document; ValueError if it isn't one."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; `python -m benchmarks report` writes one.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{path} was not written by this version of the benchmarks (schema {SCHEMA}).")
    return document


def load_to_add(path: Path, new: dict[str, Any]) -> dict[str, Any]:
    """A stored document that figures of a `new` one may stand beside; ValueError where they have not the same
    origin.
    """
    document = load(path)
    before, now = ({**each, **(each.get("machine") or {})} for each in (document, new))
    for key in ("commit", "versions", "processor"):
        if before.get(key) != now[key]:
            raise ValueError(
                f"{path} has figures of another origin, {key} {before.get(key)}, and not {now[key]}: take"
                " another file."
            )
    return document


def save(document: dict[str, Any], path: Path) -> None:
    """Write in one step, so that an interrupt leaves the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)


def put(document: dict[str, Any], section: str, entry: dict[str, Any]) -> None:
    """Add an entry, in place of an older one of the same name."""
    entries = document[section]
    names = [other["name"] for other in entries]
    if entry["name"] in names:
        entries[names.index(entry["name"])] = entry
    else:
        entries.append(entry)


def keep(document: dict[str, Any], stop: KeyboardInterrupt) -> None:
    """What an interrupted race had measured, if there is any of it."""
    result = getattr(stop, "result", None)
    if result is not None and any(measured(row) for row in result["rows"]):
        put(document, "rivals", result)


def measured(row: dict[str, Any]) -> bool:
    return bool(row["seconds"])


def row_of(result: dict[str, Any], library: str) -> dict[str, Any] | None:
    """The measured row of a library, or None."""
    return next((row for row in result["rows"] if row["library"] == library and measured(row)), None)


def step_seconds(result: dict[str, Any], row: dict[str, Any]) -> float:
    """Median time of one step (or one call)."""
    return median(row["seconds"]) / float(result["steps"])


def samples_per_second(result: dict[str, Any], row: dict[str, Any]) -> float:
    return float(result["rows_per_epoch"]) / median(row["seconds"])


def warm_up(row: dict[str, Any]) -> float:
    """Seconds from the start of the import to the first trained epochs."""
    return float(row["import_seconds"] + row["first_run_seconds"])


def noise(row: dict[str, Any]) -> float:
    return spread(row["seconds"])


def advantage(result: dict[str, Any], library: str) -> float | None:
    """Times that fastnn is as fast as `library`; below 1 it loses. None where either has no figure."""
    own, other = row_of(result, "fastnn"), row_of(result, library)
    return median(other["seconds"]) / median(own["seconds"]) if own and other else None


def best_rival(result: dict[str, Any]) -> str | None:
    """The fastest library other than fastnn."""
    others = [row for row in result["rows"] if row["library"] != "fastnn" and measured(row)]
    return min(others, key=lambda row: median(row["seconds"]))["library"] if others else None


def same_work(result: dict[str, Any], row: dict[str, Any]) -> bool | None:
    """Whether a library's loss agrees with fastnn's after the same epochs; None where one of them is
    missing."""
    own = row_of(result, "fastnn")
    if own is None or "loss" not in row:
        return None
    return math.isclose(own["loss"], row["loss"], rel_tol=LOSS_TOLERANCE)


def limit_of(result: dict[str, Any], row: dict[str, Any], ceiling: dict[str, float]) -> Limit:
    """The least time of an epoch on this machine with as many threads."""
    cost = Cost(result["flops"], result["l1_bytes"], result["memory_bytes"])
    dtype, footprint = result["problem"]["dtype"], result["footprint"]
    return limit(cost, ceiling, dtype=dtype, threads=row["threads"], footprint=footprint)


def share_of_limit(result: dict[str, Any], row: dict[str, Any], ceiling: dict[str, float]) -> float:
    return limit_of(result, row, ceiling).seconds / median(row["seconds"])
