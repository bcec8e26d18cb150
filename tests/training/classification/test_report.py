"""The report of a real, if tiny, network: one page that is whole, holds its pictures, and says what the JSON says."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from device_app.manifest_parts import Task
from tests.support.mobile_classifier import (
    HEIGHT,
    LIMITS,
    WIDTH,
    make_classifier,
    mobile_config,
    save_calibrated_run,
    write_stages,
)
from training.classification.examine import Pictures, Subject, examine, spread, ungradable_pictures
from training.classification.pictures import DrawnPictures, LabelledPictures
from training.classification.predictions import Predictions
from training.classification.report import NOTICE, Report, report_json, write_report
from training.classification.report_page import report_page
from training.classification.subjects import open_checkpoint
from training.data.examples import read_examples

_VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags close in order; collects images, words and whatever leads out of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[tuple[str, str]] = []
        self.leads_out: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "img":
            self.images.append((values["src"], values["alt"]))
        elif "src" in values or "href" in values or tag in {"script", "link", "iframe"}:
            self.leads_out.append(tag)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def decoded(source: str) -> np.ndarray:
    kind, _, data = source.partition(";base64,")
    assert kind in {"data:image/png", "data:image/jpeg"}
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data, validate=True), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    path = save_calibrated_run(make_classifier(), tmp_path_factory.mktemp("run") / "calibrated.pt")
    return open_checkpoint(path, cpu=True)


@pytest.fixture(scope="module")
def found(subject: Subject) -> tuple[Report, Predictions]:
    drawn = DrawnPictures(range(14), (WIDTH, HEIGHT))
    other = DrawnPictures(range(20, 26), (WIDTH, HEIGHT))
    bad = ungradable_pictures([drawn], 1, (WIDTH, HEIGHT), frozenset({"flat", "page", "water"}), most=4)
    seen: list[int] = []
    pictures = Pictures({"first <set> & co": drawn, "second": other}, bad)
    report, answers = examine(
        subject, pictures, "How well", {"Data": "drawn"}, "scalpscope-train <x>", 8, seen.append, paper=True
    )
    assert sum(seen) == len(pictures) == len(answers) == 14 + 6 + 4 + 4 + 3
    return report, answers


def test_the_page_is_whole_and_holds_all_it_shows(found: tuple[Report, Predictions]) -> None:
    page = Page(report_page(found[0]))
    assert not page.leads_out
    mistakes = found[0].mistakes
    assert mistakes and len(page.images) >= 2 * len(mistakes) + 2  # picture and heat map each, and reliability
    assert all(alt for _, alt in page.images)
    sizes = [decoded(source).shape for source, _ in page.images]
    assert sizes.count((HEIGHT, WIDTH, 3)) >= 2 * len(mistakes)
    assert NOTICE in page.words and "first <set> & co" in page.words and "scalpscope-train <x>" in page.words
    assert "erythema (not claimed)" in page.words and LIMITS.rule in page.words
    assert "EfficientFormerV2 + DiffuseIT-M (paper)" in page.words


def test_page_and_json_say_the_same(found: tuple[Report, Predictions]) -> None:
    report = found[0]
    words, content = Page(report_page(report)).words, json.loads(report_json(report))
    assert "NaN" not in report_json(report) and "nan" not in words
    part = content["parts"][0]
    assert part["title"] == "first <set> & co" and part["every"]["pictures"] == 14
    for condition in ("dandruff", "excess_sebum", "erythema"):
        assert f"{part['every']['severity'][condition]['kappa']['value']:.3f}" in words
    assert f"{part['every']['table_3'][0]['value']:.3f}" in words
    kinds = {one["kind"]: one for one in content["refusals"]}
    assert kinds["drawn"]["pictures"] == 20 and not kinds["drawn"]["should"]
    assert kinds["no scalp: water (a family never trained on)"]["should"]
    assert content["notice"] == NOTICE and content["limits"]["rule"] == LIMITS.rule
    assert len(content["mistakes"]) == len(report.mistakes) and "image" not in content["mistakes"][0]


def test_the_worst_mistakes_come_first_one_for_each_original(found: tuple[Report, Predictions]) -> None:
    titles = [one.title for one in found[0].mistakes]
    assert len(set(titles)) == len(titles) <= 12
    assert all(re.fullmatch(r"drawn, seed \d+", title) for title in titles)
    for one in found[0].mistakes:
        assert one.heat is not None and 0 <= one.heat.min() and one.heat.max() <= 1
        graded = re.fullmatch(r"\w+(?: \w+)?: found (\w+) \(0\.\d\d\), is (\w+)", one.lines[0])
        assert graded is not None and graded[1] != graded[2]


def test_a_report_is_written_whole_and_replaces_another(found: tuple[Report, Predictions], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    write_report(found[0], folder)
    write_report(found[0], folder)
    assert sorted(one.name for one in folder.iterdir()) == ["report.html", "report.json"]
    assert Page((folder / "report.html").read_text(encoding="utf-8")).images
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["schema_version"] == 1


def test_a_report_of_stages(tmp_path: Path) -> None:
    network = make_classifier(mobile_config(Task.HAIR_LOSS_STAGE))
    stages = open_checkpoint(save_calibrated_run(network, tmp_path / "calibrated.pt"), cpu=True)
    pictures = LabelledPictures(read_examples(write_stages(tmp_path / "stages", each=3), Task.HAIR_LOSS_STAGE))
    bad = ungradable_pictures([pictures], 1, (WIDTH, HEIGHT), frozenset({"flat"}), most=2)
    report, answers = examine(stages, Pictures({"stages": pictures}, bad), "How well", {})
    page, content = Page(report_page(report)), json.loads(report_json(report))
    classes = content["parts"][0]["every"]["classes"]
    assert classes["labels"] == ["0", "1", "2", "3", "4"] and classes["kappa"] is not None
    assert classes["counts"] == [3] * 5 and content["task"] == "hair_loss_stage"
    assert "quadratic weighted kappa" in page.words and "Table 3" not in page.words
    assert len(answers) == 15 + 2 + 2 + 1


def test_pictures_are_spread_evenly() -> None:
    source = DrawnPictures(range(10), (WIDTH, HEIGHT))
    assert spread(source, 10) is source
    some = spread(source, 4)
    assert [some[number].name for number in range(4)] == [f"drawn, seed {seed}" for seed in (0, 3, 6, 9)]
