"""A checkpoint on disk: where it lies, what it is, its digest, and safe loading. Weights come from safetensors
alone, and nothing outside the folder is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fine_tune.checkpoint_files import (
    MATTERS,
    PICKLES,
    check_weights,
    count_parameters,
    has_no_weights,
    list_files,
    locate,
    read_config,
    refuse_links,
    resolve_base,
    sha256_of,
)
from fine_tune.checkpoint_settings import check_room, check_settings
from fine_tune.errors import CheckpointError
from fine_tune.recipe import TrainingRecord
from fine_tune.sources import first_line
from fine_tune.untrusted import MOST_RECORD, read_file

__all__ = ["TRAINING_RECORD", "Checkpoint", "locate", "resolve_base"]

TRAINING_RECORD = "training_record.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """Model weights with tokenizer or processor and label names, in a folder that was checked. Build with `open`.

    Attributes:
        name: what the user called it.
        folder: where it lies.
        config: the content of ``config.json``.
        ignored_files: pickles in the folder, which are never opened.
        trust_remote_code: code in the folder may run.
        untrained: there are no weights, only an architecture to train from scratch.
    """

    name: str
    folder: Path
    config: dict[str, Any] = field(repr=False)
    ignored_files: tuple[str, ...]
    trust_remote_code: bool = False
    asked_task: str | None = None
    untrained: bool = False

    @classmethod
    def open(
        cls,
        name: str | Path,
        *,
        task: str | None = None,
        trust_remote_code: bool = False,
        architecture: bool = False,
    ) -> Checkpoint:
        """Find and check a checkpoint; the weights are not loaded yet.

        A folder that holds several, trained with `Recipe.seeds`, is opened as a `fine_tune.ensemble.Ensemble`.

        Args:
            name: a folder, a hub id (downloaded if need be), or an id that an installed package bundles.
            task: Hugging Face name of the task; read off the configuration if None.
            trust_remote_code: allow code that comes with the model.
            architecture: take a folder with a configuration and no weights too, as a base to train from scratch.

        Raises:
            CheckpointError: nothing there, the hub cannot be reached, pickled, truncated or missing weights, a link
                that leads outside, code that was not allowed, or a head that does not serve ``task``.
        """
        folder = locate(str(name))
        refuse_links(folder)
        from fine_tune.ensemble import ENSEMBLE, open_ensemble

        if (folder / ENSEMBLE).is_file():
            return open_ensemble(str(name), folder, task=task, trust_remote_code=trust_remote_code)
        config = read_config(folder)
        files = list_files(folder)
        check_settings(folder, files, name=str(name), trusted=trust_remote_code)
        ignored = tuple(f for f in files if any(fnmatch(Path(f).name, p) for p in PICKLES))
        untrained = architecture and has_no_weights(folder, ignored)
        if not untrained:
            check_weights(folder, ignored)
        found = cls(
            name=str(name), folder=folder, config=config, ignored_files=ignored,
            trust_remote_code=trust_remote_code, asked_task=task, untrained=untrained,
        )  # fmt: skip
        if task is not None:
            from fine_tune.tasks import find_task

            find_task(task).check(found)
        return found

    @cached_property
    def digest(self) -> str:
        """sha256 over ``path NUL sha256`` lines of the files that decide what the model says."""
        return _digest_of(self.file_digests)

    @cached_property
    def weights_digest(self) -> str:
        """As `digest`, over the safetensors alone."""
        return _digest_of({k: v for k, v in self.file_digests.items() if k.endswith(".safetensors")})

    @cached_property
    def file_digests(self) -> dict[str, str]:
        """sha256 of each file that matters, by path inside the folder, sorted."""
        patterns = (*MATTERS, "*.py") if self.trust_remote_code else MATTERS
        kept = [
            f for f in list_files(self.folder)
            if any(fnmatch(f, p) for p in patterns) and f not in self.ignored_files and "/" not in f
        ]  # fmt: skip
        return {f: sha256_of(self.folder / f) for f in kept}

    @property
    def task(self) -> str:
        """Hugging Face name of the task.

        Raises:
            CheckpointError: the configuration does not tell.
        """
        if self.asked_task is not None:
            return self.asked_task
        from fine_tune.tasks import all_tasks

        for task in all_tasks():
            if any(a.endswith(task.architecture) for a in self.architectures):
                return task.name
        raise CheckpointError(
            f"{self.name} does not say which task it serves (architectures: {', '.join(self.architectures) or 'none'})",
            expected=f"a head for one of {', '.join(t.name for t in all_tasks())}",
            fix="name a fine-tuned checkpoint, or give a recipe that trains one from this base",
        )

    @property
    def architectures(self) -> tuple[str, ...]:
        """Class names in the configuration."""
        return tuple(self.config.get("architectures") or ())

    @property
    def classes(self) -> tuple[str, ...]:
        """Label names in the order of the outputs; ``LABEL_0``, ... where the model has no better ones."""
        count = int(self.config.get("num_labels") or 2)
        names = self.config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(count)}
        try:
            return tuple(str(names[key]) for key in sorted(names, key=int))
        except (TypeError, ValueError, LookupError):
            raise CheckpointError(
                f"{self.name}: id2label is {str(names)[:200]}", expected="label names by number", where="config.json"
            ) from None

    @cached_property
    def parameters(self) -> int:
        """Number of weights, read off the headers of the safetensors."""
        return count_parameters(self.folder, self.ignored_files)

    @cached_property
    def training_record(self) -> TrainingRecord | None:
        """What our training wrote beside the weights, or None.

        Raises:
            CheckpointError: there is a record that cannot be read.
        """
        path = self.folder / TRAINING_RECORD
        if not path.is_file():
            return None
        try:
            return TrainingRecord.model_validate_json(read_file(path, MOST_RECORD, error=CheckpointError))
        except ValidationError as error:
            raise CheckpointError(
                f"the training record cannot be read: {first_line(error)}",
                expected="a file that this version of Plumbline wrote",
                fix="move it away if it is not needed",
                where=str(path),
            ) from None

    def load_model(self, device: str = "cpu") -> Any:
        """The model in float32, in evaluation mode, on ``device``.

        Raises:
            CheckpointError: it cannot be loaded, or some of its weights are not in the file.
        """
        import torch
        import transformers

        from fine_tune.tasks import find_task

        auto = getattr(transformers, find_task(self.task).auto_model)
        self.check_room(auto)
        try:
            model, info = auto.from_pretrained(
                str(self.folder), local_files_only=True, use_safetensors=True, dtype=torch.float32,
                trust_remote_code=self.trust_remote_code, output_loading_info=True,
            )  # fmt: skip
        except Exception as error:
            raise CheckpointError(f"{self.name} cannot be loaded: {first_line(error)}") from error
        absent = sorted(info["missing_keys"])
        if absent:
            raise CheckpointError(
                f"{self.name} lacks {len(absent)} weights, such as {absent[0]}; they would be random",
                expected=f"a model that was fine-tuned for {self.task}",
                fix="name a fine-tuned checkpoint, or give a recipe that trains one from this base",
            )
        return model.to(device).eval()

    def check_room(self, auto: Any) -> None:
        """Check, before anything is loaded, that the model which the configuration describes fits this machine.

        Raises:
            CheckpointError: it doesn't, or the configuration cannot be read.
        """
        import transformers

        try:
            config = transformers.AutoConfig.from_pretrained(
                str(self.folder), local_files_only=True, trust_remote_code=self.trust_remote_code
            )
        except Exception as error:
            raise CheckpointError(f"{self.name} cannot be loaded: {first_line(error)}") from error
        check_room(self.name, config, auto)

    def load_tokenizer(self) -> Any:
        """The tokenizer.

        Raises:
            CheckpointError: there is none, or it cannot be loaded.
        """
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(
                str(self.folder), local_files_only=True, trust_remote_code=self.trust_remote_code
            )
        except Exception as error:
            raise CheckpointError(
                f"the tokenizer of {self.name} cannot be loaded: {first_line(error)}",
                expected="tokenizer files beside the weights",
            ) from error


def _digest_of(files: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{k}\0{v}\n" for k, v in sorted(files.items())).encode()).hexdigest()
