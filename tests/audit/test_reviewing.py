"""A person's decision lies beside the bundle, is bound to it, and changes nothing in it."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import webbrowser
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

import audit
from audit.cli import app
from audit.errors import ReviewError
from audit.verify import verify
from reports.bundle import Bundle
from reports.errors import RecordError, VerificationError
from reports.reviews import Review, reviews_beside, reviews_of
from reports.schema_files import FOLDER

HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m"


@pytest.fixture
def bundle(finished, tmp_path) -> Path:
    place = tmp_path / "run"
    shutil.copytree(finished, place)
    return place


def facts(folder: Path) -> dict[str, str]:
    return {str(name): str(said) for name, said in reviews_beside(folder, Bundle.open(folder).verdict().outcome)}


def command(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def test_a_review_names_the_bundle_and_changes_nothing_in_it(bundle):
    before = {p.name: p.read_bytes() for p in bundle.iterdir() if p.is_file()}
    path = audit.review(bundle, decision="reject", by="Dana", text="Not for this use.", on=datetime.date(2026, 3, 1))
    assert path == bundle / "reviews" / "001.json"
    body = json.loads(path.read_text())
    jsonschema.validate(body, json.loads((FOLDER / "review.json").read_text()))
    assert body == {
        "schema": "plumbline.review/v1", "bundle": hashlib.sha256(before["MANIFEST.json"]).hexdigest(), "decision": "reject",
        "by": "Dana", "on": "2026-03-01", "text": "Not for this use.", "conditions": [], "previous": None,
    }  # fmt: skip
    assert {p.name: p.read_bytes() for p in bundle.iterdir() if p.is_file()} == before
    assert Bundle.open(bundle).check() == []
    assert verify(bundle).ok


def test_the_newest_counts_and_all_are_shown_with_the_verdict(bundle):
    assert Bundle.open(bundle).verdict().outcome == "fail"
    first = audit.review(bundle, decision="reject", by="Dana", text="No.")
    audit.review(
        bundle,
        decision="accept-with-conditions",
        by="Kim",
        text="For the pilot.",
        conditions=["Two weeks", "Ten users"],
    )
    found = reviews_of(bundle)
    assert found.counts.by == "Kim"
    assert found.counts.previous == hashlib.sha256(first.read_bytes()).hexdigest()
    said = facts(bundle)
    today = datetime.date.today().isoformat()
    assert (
        said["Human review"]
        == f"accepted with conditions by Kim on {today}, although the verdict is Fail, which stays as it is"
    )
    assert said["Review 002"].endswith("For the pilot. Conditions: Two weeks; Ten users")
    assert said["Review 001"].startswith("rejected by Dana")
    page = audit.render(bundle)
    for words in ("although the verdict is Fail", "Conditions: Two weeks; Ten users", "rejected by Dana"):
        assert words in page
    assert audit.load(bundle).verdict.outcome == "fail"
    assert command("gate", bundle)[0] == 10


def test_without_a_review_a_copy_is_the_page_that_the_bundle_holds(bundle):
    said = "none when this page was written; plumbline render shows one that lies beside it"
    assert facts(bundle) == {"Human review": said}
    assert audit.render(bundle) == (bundle / "report.html").read_text(encoding="utf-8")


def test_a_review_of_another_bundle_is_never_a_sign_off(bundle, tmp_path):
    other = tmp_path / "other"
    audit.gate(bundle, out=other, on=datetime.date(2020, 1, 1))
    audit.review(bundle, decision="accept", by="Dana", text="Yes.")
    shutil.copytree(bundle / "reviews", other / "reviews")
    found = reviews_of(other)
    assert found.counts is None
    said = facts(other)
    assert said["Human review"] == "none of this bundle"
    assert said["Review 001"].startswith("NOT of this bundle, so it decides nothing here: accepted by Dana")
    code, output = command("verify", other)
    assert code == 0
    assert "review: reviews/001.json: does not bind: NOT of this bundle" in output
    assert "reviews/001.json: binds to this bundle: accepted by Dana" in command("verify", bundle)[1]


def test_a_bundle_that_is_not_what_it_says_cannot_be_reviewed(bundle):
    (bundle / "summary.md").write_text("all is well")
    with pytest.raises(VerificationError, match="own hashes"):
        audit.review(bundle, decision="accept", by="Dana", text="Yes.")
    code, output = command("review", bundle, "--decision", "accept", "--by", "Dana", "--text", "Yes.")
    assert code == 13
    assert "a review is bound to it" in output
    assert not (bundle / "reviews").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--decision", "maybe", "--by", "D", "--text", "t"), "none of accept, reject"),
        (("--decision", "accept", "--by", "  ", "--text", "t"), "by: String should have at least 1 character"),
        (("--decision", "accept", "--by", "D", "--text", ""), "text: String should have at least 1 character"),
        (("--decision", "accept", "--by", "D", "--text", "t", "--condition", "c"), "1 conditions are given"),
        (("--decision", "accept-with-conditions", "--by", "D", "--text", "t"), "0 conditions are given"),
        (("--decision", "accept", "--by", "D", "--text", "t", "--date", "2999-01-01"), "or earlier"),
        (("--decision", "accept", "--by", "D"), "Missing option '--text'"),
    ],
)
def test_an_incomplete_decision_is_refused(bundle, words, told):
    code, output = command("review", bundle, *words)
    assert code == 2
    assert told in " ".join(output.split())
    assert not (bundle / "reviews").exists()


def test_what_cannot_be_read_is_listed_and_holds_up_the_decision(bundle):
    audit.review(bundle, decision="accept", by="Dana", text="Yes.")
    second = audit.review(bundle, decision="reject", by="Kim", text="No.")
    second.write_text(second.read_text()[:-30])
    (bundle / "reviews" / "notes.json").write_text("{}")
    assert reviews_of(bundle).counts is None
    said = facts(bundle)
    assert said["Human review"] == "the newest one cannot be read, so no decision counts"
    assert "cannot be read: it is cut off" in said["Review 002"]
    assert said["Reviews"] == "reviews/notes.json is no review and does not count."
    assert "cannot be read" in audit.render(bundle)


def test_a_review_with_another_key_or_schema_is_none(bundle):
    path = audit.review(bundle, decision="accept", by="Dana", text="Yes.")
    body = json.loads(path.read_text())
    for changed in ({**body, "also": 1}, {**body, "schema": "plumbline.review/v2"}, {**body, "conditions": ["c"]}):
        path.write_text(json.dumps(changed))
        assert reviews_of(bundle).every[0].review is None, changed


def test_an_altered_or_missing_review_shows_in_those_that_follow(bundle):
    first = audit.review(bundle, decision="reject", by="Dana", text="No.")
    audit.review(bundle, decision="accept", by="Kim", text="Yes.")
    content = first.read_text()
    first.write_text(content.replace("reject", "accept"))
    assert "does not follow on the one before" in facts(bundle)["Review 002"]
    first.write_text(content)
    assert "follow" not in facts(bundle)["Review 002"]
    first.unlink()
    assert "Review 001 is missing." in facts(bundle)["Reviews"]


def test_links_are_not_followed(bundle, tmp_path):
    audit.review(bundle, decision="accept", by="Dana", text="Yes.")
    away = tmp_path / "away"
    (bundle / "reviews").rename(away)
    (bundle / "reviews").symlink_to(away)
    assert reviews_of(bundle).counts is None
    with pytest.raises((RecordError, VerificationError)):
        audit.review(bundle, decision="accept", by="Dana", text="Yes.")
    assert sorted(p.name for p in away.iterdir()) == ["001.json"]


def test_two_at_once_never_become_one(bundle, monkeypatch):
    """The number is taken by creating the file; where it was taken meanwhile, nothing is overwritten."""
    audit.review(bundle, decision="accept", by="Dana", text="Yes.")
    monkeypatch.setattr("reports.reviews._listed", lambda place: [])
    code, output = command("review", bundle, "--decision", "reject", "--by", "Kim", "--text", "No.")
    assert code == 2
    assert "File exists" in output
    assert json.loads((bundle / "reviews" / "001.json").read_text())["by"] == "Dana"


def test_hostile_names_are_text(bundle):
    code, output = command(
        "review", bundle, "--decision", "accept-with-conditions", "--by", HOSTILE, "--text", f"{HOSTILE}{'x' * 9000}",
        "--condition", HOSTILE,
    )  # fmt: skip
    assert code == 0
    assert "\x1b" not in output
    assert "\u202e" not in output
    page = audit.render(bundle)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


def test_days_kinds_and_people_are_checked_in_python_too(bundle):
    with pytest.raises(ReviewError, match="one of accept"):
        audit.review(bundle, decision="fine", by="D", text="t")  # type: ignore[arg-type]
    with pytest.raises(ReviewError, match="or earlier"):
        audit.review(bundle, decision="accept", by="D", text="t", on=datetime.date.today() + datetime.timedelta(days=1))
    with pytest.raises(ReviewError, match="by"):
        audit.review(bundle, decision="accept", by="", text="t")
    assert Review.model_validate_json(audit.review(bundle, decision="accept", by="D", text="t").read_bytes()).by == "D"


def test_render_opens_a_copy_in_the_browser(bundle, tmp_path, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    code, output = command("render", bundle, "--open")
    assert code == 0
    (url,) = opened
    place = Path(output.split("Report: ")[1].strip())
    assert url == place.as_uri()
    assert not place.is_relative_to(bundle)
    assert place.read_text(encoding="utf-8") == audit.render(bundle)
    page = tmp_path / "a page #1.html"
    assert command("render", bundle, "--open", "--out", page)[0] == 0
    assert opened[1] == page.as_uri()
    assert "%231" in opened[1]


def test_where_no_browser_opens_the_page_is_there_all_the_same(bundle, tmp_path, monkeypatch):
    def none(url: str) -> bool:
        raise webbrowser.Error("could not locate runnable browser")

    for opener in (none, lambda url: False):
        monkeypatch.setattr(webbrowser, "open", opener)
        page = tmp_path / "page.html"
        code, output = command("render", bundle, "--open", "--out", page)
        assert code == 0
        assert page.is_file()
        assert f"open {page} yourself" in output
