"""The report from stored figures: what it says, that it stands alone, and that a browser shows it."""

import copy
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks import cli, collect, console, store
from benchmarks.quantities import duration, rate, significant
from benchmarks.report import charts, html, markdown, tables

STORED = Path(__file__).parent / "data" / "report.json"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def document():
    return store.load(STORED)


class Page(HTMLParser):
    """Tags with their attributes, and whether they close in order."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.errors = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.errors.append((tag, self.getpos()))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_well_formed(document):
    page = Page(html.page(document))
    assert page.errors == []
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_loads_nothing(document):
    text = html.page(document)
    page = Page(text)
    assert not page.all("script") + page.all("link") + page.all("img") + page.all("iframe")
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r'(src|href)="(?!#)', text)


def test_the_page_speaks_to_phones_dark_rooms_and_screen_readers(document):
    text = html.page(document)
    page = Page(text)
    assert page.all("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert "prefers-color-scheme: dark" in text
    links = [a["href"][1:] for a in page.all("a")]
    assert set(links) <= {attributes.get("id") for _, attributes in page.tags}
    assert links[0] == "main"
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    scrolling = [div for div in page.all("div") if div.get("class") == "scroll"]
    assert all(div["tabindex"] == "0" and div["role"] == "region" and div["aria-label"] for div in scrolling)


def test_every_chart_has_a_title_a_description_and_its_figures_in_a_table(document):
    text = html.page(document)
    drawings = Page(text).all("svg")
    assert len(drawings) >= 7
    for drawing in drawings:
        assert drawing["role"] == "img"
        for name in drawing["aria-labelledby"].split():
            assert re.search(rf'id="{name}">[^<]{{4,}}<', text)
    assert text.count("The figures of this chart") == len(drawings) - 1  # the ratios' table stands open below


def test_the_page_says_where_a_rival_wins(document):
    sentences = tables.summary(document)
    assert any(sentence.startswith("ONNX Runtime is 1.2 times as fast as fastnn") for sentence in sentences)
    assert "level" in " ".join(sentences)
    assert all(sentence in html.page(document) for sentence in sentences)


def test_crashes_timeouts_and_missing_libraries_are_said(document):
    document["rivals"][0]["rows"][3] = {
        "library": "JAX",
        "status": "not installed",
        "detail": "No module named 'jax'",
        "seconds": [],
    }
    text = markdown.page(document)
    assert "crashed, exit code -9" in text
    assert "timed out, no answer in 120 s" in text
    assert "JAX is not installed here" in text
    assert "not installed" in html.page(document)


def test_another_loss_is_called_other_work(document):
    document["rivals"][1]["rows"][2]["loss"] *= 1.5
    assert any("not the same work" in note for note in tables.rivals(document).notes)
    assert "other work!" in console.race_table(document["rivals"][1], document["ceiling"])


def test_machine_versions_date_and_commit_are_in_both(document):
    for text in (html.page(document), markdown.page(document)):
        for fact in ("0123456789", "2026-01-31", "An example", "2.13.0", "complete"):
            assert fact in text


def test_an_interrupted_run_still_makes_a_report(document):
    document.update(complete=False, rivals=document["rivals"][:1], growth=[], memory=[], jobs=[])
    document["left_out"] = ["everything after the interrupt"]
    page = html.page(document)
    assert "This run was interrupted" in page
    assert "How the cost grows" not in page
    assert Page(page).errors == []


def test_nothing_measured_still_makes_a_page():
    page = html.page({**store.new("quick"), "left_out": ["everything"]})
    assert Page(page).errors == []
    assert markdown.page(store.new("quick")).startswith("# Benchmarks")


def test_markup_in_names_stays_text(document):
    document["machine"]["processor"] = "<script>alert(1)</script> & co"
    assert "<script>" not in html.page(document)


def test_the_readme_table_is_put_between_the_markers(document, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{markdown.START}\nold\n{markdown.END}\nafter\n")
    markdown.update_readme(document, readme)
    markdown.update_readme(document, readme)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.count("| 64-100-10, batch 1, plain SGD |") == 1


def test_a_readme_without_markers_is_one_clear_error(document, tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ValueError, match="markers"):
        markdown.update_readme(document, tmp_path / "README.md")


def test_the_command_builds_a_report_from_a_file(tmp_path, capsys):
    assert cli.main(["report", "--from", str(STORED), "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]
    assert "fastnn is the fastest in" in capsys.readouterr().out


def test_an_interrupt_keeps_what_was_measured(tmp_path, monkeypatch):
    done = {"name": "digits-sgd", "rows": []}
    calls = iter([lambda: done, lambda: (_ for _ in ()).throw(KeyboardInterrupt)])
    monkeypatch.setattr(collect.ceiling, "measure", lambda: {"cores": 1})
    tasks = [collect.Task("rivals", str(i), call) for i, call in enumerate(calls)]
    monkeypatch.setattr(collect, "tasks", lambda plan, say: iter(tasks))
    progress = console.Progress(io.StringIO(), 3)
    document = collect.collect(collect.PLANS["quick"], tmp_path / "report.json", progress)
    assert document["complete"] is False
    assert store.load(tmp_path / "report.json")["rivals"] == [done]


def test_a_plan_past_its_time_lists_what_it_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collect.ceiling, "measure", lambda: {"cores": 1})
    tasks = [collect.Task("growth", "growth with rows", lambda: pytest.fail("measured"))]
    monkeypatch.setattr(collect, "tasks", lambda plan, say: iter(tasks))
    late = collect.Plan("quick", (), collect.race.Rules(), {"growth": -1.0}, 1, ())
    document = collect.collect(late, tmp_path / "report.json", console.Progress(sys.stderr, 2))
    assert document["left_out"] == ["growth with rows"]
    assert "[1/2] limits of this machine" in capsys.readouterr().err


def test_every_plan_names_problems_that_exist():
    for plan in collect.PLANS.values():
        assert collect.count(plan) == len(list(collect.tasks(plan, print))) + 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.5, "1.50 s"),
        (0.0123, "12.3 ms"),
        (1.67e-6, "1.67 µs"),
        (9.996e-4, "1.00 ms"),
        (3e-8, "30.0 ns"),
        (120, "120 s"),
    ],
)
def test_durations_have_three_digits_and_a_unit(seconds, text):
    assert duration(seconds) == text


def test_rates_and_plain_numbers():
    assert rate(98.4e9) == "98.4 G"
    assert significant(0.00123456) == "0.00123"
    assert significant(1234567) == "1,234,567"
    assert significant(0.9996) == "1.00"
    assert charts.short(1_000_000) == "1M"
    assert charts.short(1024) == "1,024"


def test_chart_marks_stay_inside_their_frame(document):
    text = html.page(document)
    places = [float(x) for x in re.findall(r'<(?:line|text|rect)[^>]* x1?="([-\d.]+)"', text)]
    assert places
    assert min(places) >= 0
    assert max(places) <= charts.WIDTH


@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium in the path: the page is not looked at in a browser"
)
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_scrolling_sideways(document, tmp_path, width):
    probe = (
        "<script>document.title = JSON.stringify([document.documentElement.scrollWidth <= innerWidth,"
        " document.querySelectorAll('svg').length, [...document.querySelectorAll('svg')]"
        ".every(s => s.getBoundingClientRect().height > 60)])</script>"
    )
    # The browser's window has a least width of its own: a frame is as narrow as it is told.
    inner, outer = copy.deepcopy(document), tmp_path / "outer.html"
    page = html.page(inner).replace("</body>", f"{probe}</body>")
    escaped = page.replace("&", "&amp;").replace('"', "&quot;")
    outer.write_text(
        f'<iframe width="{width}" height="900" srcdoc="{escaped}"></iframe><p id="out"></p><script>'
        "onload = () => { out.textContent = 'found ' +"
        " document.querySelector('iframe').contentDocument.title }"
        "</script>",
        encoding="utf-8",
    )
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    quiet = "--disable-background-networking --disable-component-update"
    done = subprocess.run(
        [
            CHROMIUM,
            *options.split(),
            *quiet.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            str(outer),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    charts_drawn = html.page(document).count("<svg")
    assert f"found [true,{charts_drawn},true]" in done.stdout, done.stderr[-500:]
