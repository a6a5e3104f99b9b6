"""TextAttack's import: offline, without traces, with flair or without, and what it says when it cannot be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from probes.engines.textattack import loading
from probes.errors import Unavailable

ROOT = Path(loading.__file__).parents[3]
TEXT = "the seventh elephant never remembered where the beer was kept"

# Downloading and any connection end the process; what the import may not touch is compared before and after.
BEFORE = """
import json, logging, os, random, socket, sys, threading
def refuse(*_args, **_options):
    raise AssertionError("the network was asked")
socket.socket.connect = refuse
import nltk
nltk.download = refuse
logging.getLogger("probes").setLevel(logging.INFO)
logging.getLogger("probes").addHandler(logging.StreamHandler())
mine = logging.getLogger("mine")
mine.setLevel(17)
environment = dict(os.environ)
finders = list(sys.meta_path)
from probes.engines.textattack import loading
"""
AFTER = """
import numpy as np
from textattack.models.wrappers import ModelWrapper
class Counting(ModelWrapper):
    model = None
    def __call__(self, texts):
        high = np.array([1 / (1 + 2.0 ** (7 - t.count("e") / 2)) for t in texts])
        return np.stack([1 - high, high], axis=1)
from probes.engines.textattack import recipes
attack = recipes.build("deepwordbug", Counting(), arguments={}, network=False, query_budget=200)
random.seed(5); np.random.seed(5)
result = attack.attack(TEXT, 1)
def tags():
    from textattack.shared import AttackedText
    try:
        return AttackedText(TEXT).pos_of_word_index(1)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
said["attack"] = [type(result).__name__, result.perturbed_text(), result.num_queries]
said["facts"] = dict(loading.facts())
said["mine"] = [mine.level, mine.disabled, logging.getLogger().level]
said["environment"] = [k for k in ("TOKENIZERS_PARALLELISM", "HF_HOME", "XDG_CACHE_HOME", "WANDB_SILENT")
                       if environment.get(k) != os.environ.get(k)]
said["finders"] = [type(x).__name__ for x in sys.meta_path if x not in finders and "_Installer" in type(x).__name__]
said["flair"] = "flair" in sys.modules
said["stopwords"] = sorted(attack.pre_transformation_constraints[1].stopwords)
if said["facts"]["flair"] == "stand-in":
    said["tags"] = tags()
print(json.dumps(said))
"""
CLEAN = """
said = {}
modules = []
threads = [threading.Thread(target=lambda: modules.append(loading.load())) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
said["modules"] = [len(modules), len({id(m) for m in modules})]
"""
HARD = """
said = {}
class Broken:
    names = {"flair", "lemminflect"}
    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ImportError(f"{name} is broken here")
broken = Broken()
sys.meta_path.insert(0, broken)
try:
    loading.load()
except Exception as error:
    said["first"] = [type(error).__name__, str(error)]
said["left"] = [x for x in sys.modules if x.split(".")[0] in ("textattack", "flair")]
broken.names = {"flair"}
loading.load()
sys.meta_path.remove(broken)
"""


def _start(middle: str, home: Path) -> subprocess.Popen[str]:
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if k not in ("NLTK_DATA", "TA_CACHE_DIR", "XDG_CACHE_HOME")}
    code = BEFORE + middle + f"TEXT = {TEXT!r}\n" + AFTER
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**kept, "HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two fresh processes saw, run side by side: nothing special, and everything that can go wrong at once."""
    folder = tmp_path_factory.mktemp("imports")
    running = {"clean": _start(CLEAN, folder / "clean"), "hard": _start(HARD, folder / "hard")}
    seen: dict[str, Any] = {}
    for name, process in running.items():
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-3000:]
        seen[name] = {**json.loads(out.splitlines()[-1]), "home": folder / name, "err": err}
    return seen


def test_an_import_by_several_threads_gives_one_module(imported: dict[str, Any]) -> None:
    assert imported["clean"]["modules"] == [4, 1]


@pytest.mark.parametrize("which", ["clean", "hard"])
def test_the_import_leaves_no_trace(imported: dict[str, Any], which: str) -> None:
    said = imported[which]
    assert said["mine"] == [17, False, 30]  # a level of our own, still enabled; the root logger at its default
    assert said["environment"] == [] and said["finders"] == []
    assert not (said["home"] / ".cache" / "textattack").exists()  # no marker, so NLTK's data can still be fetched
    assert not (said["home"] / "nltk_data").exists()


def test_stopwords_come_from_the_package_where_nltk_has_none(imported: dict[str, Any]) -> None:
    words = imported["clean"]["stopwords"]
    assert len(words) == 198 and {"the", "wouldn't", "y", "they'll"} <= set(words) and "elephant" not in words


def test_stopwords_of_the_machine_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk
    from nltk.corpus import stopwords

    words = tmp_path / "corpora" / "stopwords"
    words.mkdir(parents=True)
    (words / "english").write_text("elephant\nbeer\n")
    _forget(stopwords)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    loading.provide_stopwords()
    assert stopwords.words("english") == ["elephant", "beer"]
    assert nltk.data.path == [str(tmp_path)]
    (words / "english").rename(words / "french")
    _forget(stopwords)
    loading.provide_stopwords()  # NLTK has stopwords, but no English ones
    assert len(stopwords.words("english")) == 198
    assert nltk.data.path == [str(loading.ASSETS), str(tmp_path)]
    _forget(stopwords)


def _forget(corpus: Any) -> None:
    if hasattr(corpus, "_unload"):
        corpus._unload()


def test_a_failed_import_says_why_and_can_be_tried_again(imported: dict[str, Any]) -> None:
    kind, text = imported["hard"]["first"]
    assert kind == "Unavailable" and "lemminflect is broken here" in text
    assert imported["hard"]["left"] == []


def test_without_flair_a_stand_in_serves_and_goes_away(imported: dict[str, Any]) -> None:
    said = imported["hard"]
    assert said["facts"]["flair"] == "stand-in" and said["flair"] is False
    assert said["tags"].startswith("Unavailable: this recipe asks flair for part-of-speech or entity tags")


def test_what_an_attack_depends_on_is_named(imported: dict[str, Any]) -> None:
    facts = imported["clean"]["facts"]
    assert set(facts) == {"textattack", "transformers", "nltk", "flair", "stopwords", "homoglyphs"}
    assert all(facts.values())


def test_flair_or_not_the_attack_is_the_same(imported: dict[str, Any]) -> None:
    assert imported["hard"]["attack"] == imported["clean"]["attack"]
    kind, text, queries = imported["hard"]["attack"]
    assert kind == "SuccessfulAttackResult" and text != TEXT and queries > 10


def test_not_installed_is_said_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "installed", lambda: False)
    monkeypatch.setattr(loading, "_FACTS", {})
    with pytest.raises(Unavailable, match="textattack is not installed") as raised:
        loading.load()
    assert raised.value.fix == "pip install 'plumbline-audit[robustness]'"


def test_the_homoglyph_table_reads_as_textattack_reads_it() -> None:
    """Its parser takes the fourth and the eighth character behind the number sign."""
    lines = loading.homoglyph_table().splitlines()
    pairs = [(line.split("#", 1)[1][3], line.split("#", 1)[1][7]) for line in lines]
    assert len(pairs) == 78 and ("A", "\u0391") in pairs and ("e", "\u0435") in pairs
    assert all(a != b for a, b in pairs) and len(set(pairs)) == len(pairs)


def test_the_table_serves_textattacks_own_class() -> None:
    swap = loading.load().transformations.WordSwapHomoglyphSwap()
    assert swap.homos_intentional["c"] == ["\u0441"]
    assert len(swap.homos_intentional) >= 77
