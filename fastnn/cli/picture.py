"""The picture of a comparison: loss against training time, fastnn solid, scikit-learn dashed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.cli.record import Record
from fastnn.cli.table import Pair

# Blue, vermilion and green of Okabe and Ito: told apart with any kind of colour vision, and in print.
_COLOURS = {"full batch": "#0072B2", "mini-batch": "#D55E00", "SGD": "#009E73"}
_STYLES: dict[str, Any] = {"fastnn": "-", "scikit-learn": (0, (4, 2))}
_GREY = "#555555"


def check_drawable(path: str) -> None:
    """An error now if a picture could not be saved at `path` after the runs."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--plot needs matplotlib: pip install 'fastnn[plot]'") from error
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"--plot: there is no folder {str(Path(path).parent)!r}.")
    if Path(path).is_dir():
        raise IsADirectoryError(f"--plot: {path!r} is a folder; name a file.")
    known = Figure().canvas.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in known:
        raise ValueError(f"--plot must end in one of .{', .'.join(sorted(known))}; got {path!r}.")


def draw_comparison(pairs: Sequence[Pair], path: str, *, title: str) -> None:
    """Save one panel for plain steps and one for Adam, with the same axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.4), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for adam, panel in enumerate(panels):
        panel.set_title("Adam" if adam else "plain gradient steps", loc="left", fontsize=11)
        for record in (r for pair in pairs for r in pair if r is not None and r.recipe.adam == bool(adam)):
            _draw_run(panel, record)
        _dress(panel)
    panels[0].set_ylabel("training loss (log scale)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    handles, labels = _legend(pairs)
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, handlelength=3.5)
    figure.savefig(path, dpi=140)


def _draw_run(panel: Any, record: Record) -> None:
    """One curve with a dot where it ends; losses that are not finite leave a gap."""
    losses = np.array(record.losses)
    losses[~(np.isfinite(losses) & (losses > 0))] = np.nan
    colour = _COLOURS[record.recipe.way]
    panel.plot(record.seconds, losses, color=colour, linestyle=_STYLES[record.library], linewidth=1.8)
    face = colour if record.library == "fastnn" else "white"
    panel.plot(record.seconds[-1:], losses[-1:], "o", color=colour, markerfacecolor=face, markersize=6)


def _dress(panel: Any) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter("{x:g}")
        low, high = axis.get_view_interval()
        # Within one power of ten the powers alone would leave an axis without numbers.
        axis.set_minor_formatter("{x:g}" if high < 10 * low else "")
    panel.set_xlabel("training time in seconds, scoring not counted (log scale)")
    panel.grid(True, which="major", color="#dddddd", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)


def _legend(pairs: Sequence[Pair]) -> tuple[list[Any], list[str]]:
    """A colour for each kind of batch, a line style for each library."""
    from matplotlib.lines import Line2D

    batches = {ours.recipe.way: ours.recipe.batches for ours, _ in pairs}
    handles = [Line2D([], [], color=_COLOURS[way], linewidth=3) for way in batches]
    handles += [Line2D([], [], color=_GREY, linestyle=style, linewidth=1.8) for style in _STYLES.values()]
    return handles, [*batches.values(), *_STYLES]
