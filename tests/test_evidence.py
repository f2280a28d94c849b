"""Numbers in the documents are recomputed from the committed results."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbs.errors import SBSError
from sbs.results.evidence import check
from tests.conftest import ROOT

TABLE = """network,method,label,top1_mean,cost
resnet20,sbs,SBS,66.84,2.0
resnet20,dq,DQ,65.04,3.0
resnet56,sbs,SBS of two,70.5,
"""


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    folder = tmp_path / "measured" / "short"
    folder.mkdir(parents=True)
    (folder / "table.csv").write_text(TABLE)
    return folder.parent


def messages(measured: Path, text: str) -> list[str]:
    document = measured.parent / "page.md"
    document.write_text(text)
    count, found = check([document], measured)
    assert count == text.count(".csv ")
    return [message.removeprefix(f"{document}:") for message in found]


def quote(number: str, source: str) -> str:
    return f"{number}<!-- short/table.csv {source} -->"


@pytest.mark.parametrize(
    ("number", "source"),
    [
        ("66.8", "top1_mean: resnet20 sbs"),
        ("66.84", "top1_mean: sbs resnet20"),
        ("67", "top1_mean: resnet20 sbs"),
        ("70.5", "top1_mean: 'SBS of two'"),
        ("1.8", "top1_mean: resnet20 sbs - resnet20 dq"),
        ("−1.8", "top1_mean: resnet20 dq - resnet20 sbs"),
        ("1.50", "cost: resnet20 dq / resnet20 sbs"),
    ],
)
def test_right_numbers_pass(measured: Path, number: str, source: str) -> None:
    assert messages(measured, f"It is {quote(number, source)} %.") == []


def test_a_wrong_number_is_named_with_its_line(measured: Path) -> None:
    source = "top1_mean: resnet20 sbs"
    found = messages(measured, f"first\n\nIt is {quote('66.9', source)} %.")
    assert found == [f"3: 66.9, but short/table.csv {source} is 66.8"]


def test_between_the_marks_every_decimal_needs_a_source(measured: Path) -> None:
    text = f"""Python 3.11
<!-- measured -->
All {quote("66.8", "top1_mean: resnet20 sbs")} of 5 seeds, [Table 1](a/table1.2.md), `v0.5`.
It rose by 0.3.
<!-- end of measured -->
version 1.5
"""
    assert messages(measured, text) == ["4: 0.3 has no source"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("short/table.csv top1_mean resnet20", "cannot read the source"),
        ("short/other.csv top1_mean: resnet20", r"other\.csv does not exist"),
        ("short/table.csv top9: resnet20 sbs", "has no column top9; it has network, method"),
        ("short/table.csv top1_mean: resnet20", "has 2 rows with 'resnet20'; name one"),
        ("short/table.csv top1_mean: resnet20 haq", "has 0 rows"),
    ],
)
def test_a_source_that_does_not_exist_is_an_error(
    measured: Path, source: str, message: str
) -> None:
    with pytest.raises(SBSError, match=rf"page\.md:1: .*{message}"):
        messages(measured, f"5.0<!-- {source} -->")


def test_the_documents_of_the_project_say_what_was_measured() -> None:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert check(documents, ROOT / "results" / "measured")[1] == []
