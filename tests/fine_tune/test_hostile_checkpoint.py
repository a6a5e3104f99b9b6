"""Models from strangers: code, pickles under other names, files elsewhere, absurd sizes. Each is refused with a message, and
nothing of it runs.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fine_tune.checkpoint import Checkpoint
from fine_tune.checkpoint_settings import MOST_LAYERS
from fine_tune.errors import CheckpointError, PlumblineError


class Trap:
    """Leaves a mark if anybody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))


def edit(path: Path, **changes: object) -> None:
    body = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(body | changes))


def load(folder: Path) -> None:
    opened = Checkpoint.open(folder)
    opened.load_model()
    opened.load_tokenizer()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json", "vocab.txt"]
)
def test_a_pickle_under_another_name_is_never_opened(folder: Path, tmp_path: Path, name: str, zipped: bool) -> None:
    """Torch writes a pickle into a zip; both forms are tried under every name that loading reads."""
    mark = tmp_path / "mark"
    content = pickle.dumps(Trap(mark))
    (folder / name).unlink()
    if zipped:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        (folder / name).write_bytes(content)
    if name == "vocab.txt":  # tokenizer.json is read in its place
        (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError) as refused:
        load(folder)
    assert refused.value.seen
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_no_checkpoint(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../escaped", "x")
    else:
        (tmp_path / "x").write_text("x")
        with tarfile.open(path, "w") as tar:
            tar.add(tmp_path / "x", "../escaped")
    with pytest.raises(CheckpointError, match="is a file"):
        Checkpoint.open(path)
    assert not (tmp_path.parent / "escaped").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json", "generation_config.json"])  # fmt: skip
@pytest.mark.parametrize("nested", [False, True])
def test_code_anywhere_needs_trust(folder: Path, file: str, nested: bool) -> None:
    code = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    edit(folder / file, **({"inner": [code]} if nested else code))
    with pytest.raises(CheckpointError, match=rf"auto_map in {file}"):
        Checkpoint.open(folder)
    assert Checkpoint.open(folder, trust_remote_code=True).trust_remote_code


def test_a_kernel_from_the_hub_is_code(folder: Path) -> None:
    edit(folder / "config.json", attn_implementation="evil/kernel")
    with pytest.raises(CheckpointError, match="attn_implementation"):
        Checkpoint.open(folder)


def test_another_models_adapter_is_refused(folder: Path, tmp_path: Path) -> None:
    """Transformers would load the model that the adapter names, wherever that lies."""
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "elsewhere")}))
    with pytest.raises(CheckpointError, match=r"adapter_config\.json beside config\.json"):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"vocab_file": "/etc/passwd"},
        {"vocab_file": "../other/vocab.txt"},
        {"tokenizer_file": "..\\other"},
        {"merges_file": "~/x"},
        {"init_inputs": ["/etc/passwd"]},
        {"fast_tokenizer_files": ["../tokenizer.4.0.0.json"]},
    ],
)
def test_settings_that_name_files_elsewhere_are_refused(folder: Path, entry: dict[str, object]) -> None:
    edit(folder / "tokenizer_config.json", **entry)
    with pytest.raises(CheckpointError, match="lies outside the folder"):
        Checkpoint.open(folder)


def test_leftovers_of_honest_tokenizers_are_fine(folder: Path) -> None:
    edit(
        folder / "tokenizer_config.json",
        special_tokens_map_file="/root/.cache/x/special_tokens_map.json",
        name_or_path="org/name",
        tokenizer_file=None,
        model_max_length=1000000000000000019884624838656,
    )
    edit(folder / "config.json", time_step_limit=[0.0, float("inf")], _name_or_path="/home/somebody/model")
    load(folder)


def test_a_tokenizer_of_a_gigabyte_is_not_read(folder: Path) -> None:
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(CheckpointError, match="1,073,741,824 bytes, and nothing of it was read"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "vocab.txt"])
def test_a_pipe_does_not_block(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError, match=r"no plain file|no config"):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"hidden_size": 10**12},
        {"vocab_size": 10**15},
        {"intermediate_size": 10**12},
        {"num_hidden_layers": 10**9},
        {"max_position_embeddings": 10**14},
        {"num_labels": 10**12, "id2label": None},
        {"num_labels": "many"},
        {"hidden_size": -1},
        {"hidden_size": "16"},
        {"num_attention_heads": 0},
        {"architectures": 5},
        {"architectures": [None]},
        {"model_type": ["bert"]},
        {"id2label": [1]},
    ],
)
def test_absurd_configurations_are_refused(folder: Path, entry: dict[str, object]) -> None:
    edit(folder / "config.json", **entry)
    with pytest.raises(CheckpointError) as refused:
        opened = Checkpoint.open(folder, task="text-classification")
        assert opened.classes
        opened.load_model()
    assert refused.value.seen


def test_an_architecture_larger_than_the_machine_is_not_built(tiny_base: Path, tmp_path: Path) -> None:
    """Without weights there is nothing that the sizes could disagree with."""
    from fine_tune.heads import load_with_head
    from fine_tune.recipe import Recipe

    folder = tmp_path / "base"
    folder.mkdir()
    shutil.copy(tiny_base / "config.json", folder)
    edit(folder / "config.json", vocab_size=10**11)
    base = Checkpoint.open(folder, architecture=True)
    with pytest.raises(CheckpointError, match="describes a model of 6,400"):
        load_with_head(base, Recipe(base=str(folder)), "AutoModelForSequenceClassification", ("no", "yes"))


def test_layers_are_counted_before_they_are_built(folder: Path) -> None:
    for value in (MOST_LAYERS + 1, [1, 10**9]):
        edit(folder / "config.json", num_hidden_layers=value)
        with pytest.raises(CheckpointError, match=r"num_hidden_layers in config\.json"):
            Checkpoint.open(folder)


@pytest.mark.parametrize("header", [2**63, 2**40, 10**8 + 1, 0])
def test_a_header_that_lies_about_its_length(folder: Path, header: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(header.to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        Checkpoint.open(folder)


def test_links_in_a_circle_are_refused(folder: Path) -> None:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    with pytest.raises(CheckpointError, match="is a link that leads outside"):
        Checkpoint.open(folder)


def test_blobs_that_are_a_link_themselves_are_no_hub_cache(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "repo" / "snapshots" / "abc"
    shutil.copytree(folder, snapshot)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.json").write_text("{}")
    (tmp_path / "repo" / "blobs").symlink_to(tmp_path / "outside")
    (snapshot / "extra.json").symlink_to(tmp_path / "repo" / "blobs" / "secret.json")
    with pytest.raises(CheckpointError, match="leads outside"):
        Checkpoint.open(snapshot)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "~", "~nobody-there/x", "C:\\x", "https://example.org/m", "a\0b", "a/../../b", "a" * 5000, ""])  # fmt: skip
def test_ids_that_are_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError):
        Checkpoint.open(name)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_entry_of_the_configuration_is_used_or_refused(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:  # fmt: skip
    """No value in config.json or tokenizer_config.json ends in anything but a model or a named error."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("m") / "model"))
    path = folder / data.draw(st.sampled_from(["config.json", "tokenizer_config.json"]))
    body = json.loads(path.read_text())
    odd = st.sampled_from([None, True, -1, 0, 0.5, 3, 10**12, 10**30, "", "x", "../x", [], [1], {}, {"a": 1}, "é" * 50])
    for key in data.draw(st.lists(st.sampled_from(sorted(body)), min_size=1, max_size=2, unique=True)):
        body[key] = data.draw(odd)
    path.write_text(json.dumps(body))
    try:
        opened = Checkpoint.open(folder)
        assert opened.digest
        assert opened.task == "text-classification"
        assert opened.classes
        opened.load_model()
        opened.load_tokenizer()
    except PlumblineError as error:
        assert error.seen
    finally:
        shutil.rmtree(folder.parent)
