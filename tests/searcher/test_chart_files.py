"""Figures as files: well-formed, complete, the same every time, and never in the place of something else."""

from __future__ import annotations

import html.parser
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from searcher.charts.kinds import KINDS
from searcher.cli import main
from tests.searcher import studies

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return studies.many_study(tmp_path_factory.mktemp("runs"), 60).path


@pytest.fixture
def drawn(study: Path, tmp_path: Path) -> Callable[..., Path]:
    def draw(name: str, *arguments: str) -> Path:
        path = tmp_path / name
        assert main(["plot", str(study), *arguments, "--out", str(path)]) == 0
        return path

    return draw


def _texts(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("kind", KINDS)
def test_svg_is_well_formed_with_its_text_as_text(kind: str, drawn: Callable[..., Path]) -> None:
    texts = _texts(ElementTree.fromstring(drawn("a.svg", "--kind", kind).read_bytes()))
    base = studies.study_space().base
    expected = {
        "front": ["memory (MiB)", "OPs (M)", "Top-1 (%)", "Pareto front against memory and OPs (", "limit of memory"],
        "history": ["trial", "Top-1 (%)", "best so far", "failed"],
        "importance": ["share of the variance of accuracy (%)", "hidden"],
        "parallel": ["hidden", f"stage*.{base.block_parts(0)[-1]}", "Top-1 (%)"],
        "curves": ["epoch", "Top-1 (%)", "phase 2 begins"],
        "map": [base.addresses[0], "fp16", "mean Top-1 (%)"],
        "budget": ["memory (MiB", "OPs (M", "limit of OPs", "within the budget"],
    }
    for words in expected[kind]:
        assert any(words in text for text in texts), (words, texts)


def test_a_point_is_drawn_for_every_trained_trial_and_says_what_it_is(drawn: Callable[..., Path], study: Path) -> None:
    from searcher.records import read_records

    root = ElementTree.fromstring(drawn("a.svg", "--x", "memory").read_bytes())
    titles = [t.text for use in root.iter(f"{SVG}use") for t in use.findall(f"{SVG}title")]
    named = {title.split(":")[0] for title in titles if title}
    trained = [r for r in read_records(study) if r.outcome.trained]
    assert named == {f"trial {r.number}" for r in trained}
    best = max(trained, key=lambda r: r.metrics.accuracy if r.metrics else 0)
    assert best.metrics is not None
    (said,) = {t for t in titles if t and t.startswith(f"trial {best.number}:")}
    assert f"Top-1 {100 * best.metrics.accuracy:.1f} %" in said
    assert "OPs, complete" in said


def test_failed_trials_have_their_points_too(drawn: Callable[..., Path], study: Path) -> None:
    from searcher.records import Outcome, read_records

    root = ElementTree.fromstring(drawn("a.svg", "--kind", "history").read_bytes())
    titles = {t.text for use in root.iter(f"{SVG}use") for t in use.findall(f"{SVG}title")}
    failed = [r for r in read_records(study) if r.outcome in (Outcome.DIVERGED, Outcome.CRASHED)]
    assert failed
    for record in failed:
        assert any(t and t.startswith(f"trial {record.number}:") and str(record.outcome) in t for t in titles)


@pytest.mark.parametrize("name", ["a.svg", "a.png", "a.html"])
def test_the_same_study_gives_the_same_bytes(name: str, drawn: Callable[..., Path]) -> None:
    first = drawn(name).read_bytes()
    assert drawn(name).read_bytes() == first
    assert b"Nov" not in first or name == "a.png"


def test_a_users_own_matplotlib_settings_change_nothing(drawn: Callable[..., Path]) -> None:
    import matplotlib

    plain = drawn("a.svg", "--kind", "history").read_bytes()
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20}):
        assert drawn("b.svg", "--kind", "history").read_bytes() == plain


class _Page(html.parser.HTMLParser):
    """Counts table rows, and notes everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.fetched, self.open = 0, list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        self.fetched += [f"{tag} {v}" for k, v in attrs if k in ("src", "href") and v and not v.startswith("#")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [f"{tag} {v}" for k, v in attrs if k in ("src", "href") and v and not v.startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_one_page_that_fetches_nothing_and_has_a_row_a_trial(drawn: Callable[..., Path], study: Path) -> None:
    from searcher.records import read_records

    page = _Page()
    page.feed(drawn("a.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert page.fetched == []
    assert page.rows == 1 + sum(r.outcome.trained for r in read_records(study))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_page_with_a_table(kind: str, drawn: Callable[..., Path]) -> None:
    page = _Page()
    page.feed(drawn("a.html", "--kind", kind).read_text(encoding="utf-8"))
    assert page.open == []
    assert page.rows > 1


def test_png_has_two_hundred_dots_per_inch(drawn: Callable[..., Path]) -> None:
    from PIL import Image

    with Image.open(drawn("a.png", "--kind", "history")) as image:
        assert image.format == "PNG"
        assert image.width == 7 * 200
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)


def test_a_file_of_its_kind_is_replaced_and_that_is_said(
    drawn: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    drawn("a.svg")
    assert capsys.readouterr().out.startswith("Wrote ")
    drawn("a.svg", "--kind", "history")
    assert capsys.readouterr().out.startswith("Replaced ")


@pytest.mark.parametrize("name", ["a.svg", "a.png", "a.html"])
def test_another_file_is_not_replaced(
    name: str, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text("my thesis")
    assert main(["plot", str(study), "--out", str(path)]) == 2
    assert "replaces files of its own kind only" in capsys.readouterr().err
    assert path.read_text() == "my thesis"


def test_one_trial_gives_files_of_every_kind_that_it_can_fill(tmp_path: Path) -> None:
    study = studies.one_trial_study(tmp_path).path
    for kind in set(KINDS) - {"importance"}:
        assert main(["plot", str(study), "--kind", kind, "--out", str(tmp_path / f"{kind}.svg")]) == 0
        ElementTree.parse(tmp_path / f"{kind}.svg")
