"""A run's folder, ``results/<scenario>/<strategy>/<model>-s<seed>-<hash8>/``: its files are written and read here."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.errors import InputError, RunError
from clbench.files import safe_name, write_atomic
from clbench.results.json_text import parse_json
from clbench.results.matrix import MAX_BYTES
from clbench.results.schema import REMEDY, validate_result

PREDICTION_COLUMNS = ("after_task", "task", "index", "label", "prediction", "confidence")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: where each of its files lies and how it is written."""

    path: Path

    @classmethod
    def locate(cls, output_dir: Path, scenario: str, strategy: str, model: str, seed: int, hash8: str) -> RunFolder:
        """The folder of a configuration under ``output_dir``; nothing is created."""
        run = f"{safe_name(model)}-s{seed}-{hash8}"
        return cls(Path(output_dir) / safe_name(scenario) / safe_name(strategy) / run)

    @property
    def checkpoint(self) -> Path:
        """The folder for the state from which an unfinished run resumes."""
        return self.path / "checkpoint"

    def create(self) -> None:
        """Make the folder and try that it can be written; InputError if a file is in the way or it cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".clbench-{os.getpid()}.probe"
            probe.touch()
            probe.unlink()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"run folder {str(self.path)!r}: {reason}; choose another with --output-dir") from error

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Create the folder and write config.json: every resolved value and ``hash8``."""
        self.create()
        self._write_json("config.json", config)

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Write environment.json: command, commit, versions, hardware, hashes of data and model."""
        self._write_json("environment.json", environment)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Check the result against the format, write result.json, which marks the run as complete."""
        validate_result(dict(result), self.path / "result.json")
        self._write_json("result.json", result)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; InputError that names the holder while another process has it."""
        from filelock import FileLock, Timeout

        holder = self.path / ".holder"
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = holder.read_text() if holder.exists() else "another process"
            raise InputError(f"{self.path}: {who} is working on this run; wait for it or end it") from None
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from error
        try:
            for leftover in self.path.glob(".clbench-*"):  # of processes that were killed while they wrote
                leftover.unlink(missing_ok=True)
            self._write(".holder", f"process {os.getpid()} on {platform.node()}")
            yield
        finally:
            with suppress(OSError):  # the disk has become read-only: the lock decides, this is only a name
                holder.unlink(missing_ok=True)
            lock.release()

    def remove_result(self) -> None:
        """Take the mark of completion away, with what was made from the result."""
        for name in ("result.json", "predictions.parquet", "matrix.png", "curves.png"):
            (self.path / name).unlink(missing_ok=True)

    def remove_log(self) -> None:
        """Begin log.jsonl anew: the run starts from its first row."""
        (self.path / "log.jsonl").unlink(missing_ok=True)

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Append one line to log.jsonl; a line cut off by a crash before is ended first."""
        line = _to_json(entry, indent=None)
        try:
            with open(self.path / "log.jsonl", "a+b", opener=_open_itself) as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                file.write(line)
        except OSError as error:
            raise RunError(f"{self.path / 'log.jsonl'}: cannot be written: {error.strerror}") from error

    def write_predictions(self, columns: Mapping[str, Sequence[Any]]) -> str:
        """Write predictions.parquet, one row a test example and evaluation, and return its SHA-256.

        ``columns`` are of equal length: ``after_task`` (int, 0 is before training), ``task`` (str), ``index`` (int, in
        the task's test split), ``label`` and ``prediction`` (str), ``confidence`` (float in 0..1).
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if set(columns) != set(PREDICTION_COLUMNS):
            raise ValueError(
                f"predictions have the columns {', '.join(columns)}; they must be {', '.join(PREDICTION_COLUMNS)}"
            )
        types = (pa.int32(), pa.string(), pa.int32(), pa.string(), pa.string(), pa.float32())
        schema = pa.schema(list(zip(PREDICTION_COLUMNS, types, strict=True)))
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pydict(dict(columns), schema=schema), buffer, compression="zstd")
        content = buffer.getvalue().to_pybytes()
        self._write("predictions.parquet", content)
        return hashlib.sha256(content).hexdigest()

    def read_predictions(self) -> dict[str, list[Any]]:
        """The columns of predictions.parquet."""
        import pyarrow.parquet as pq

        columns: dict[str, list[Any]] = pq.read_table(self.path / "predictions.parquet").to_pydict()
        return columns

    def read_config(self) -> dict[str, Any]:
        """The content of config.json; InputError if it is missing or broken."""
        config = _read_json(self.path / "config.json")
        if not isinstance(config, dict):
            raise InputError(f"{self.path / 'config.json'}: is not a JSON object; delete the folder and run it again")
        return config

    def read_environment(self) -> dict[str, Any]:
        """The content of environment.json, empty if there is none; InputError if it is broken."""
        if not os.path.exists(self.path / "environment.json"):
            return {}
        found = _read_json(self.path / "environment.json")
        return found if isinstance(found, dict) else {}

    def is_being_overwritten(self) -> bool:
        """Whether an unfinished run of --overwrite lies here, which the same command goes on with."""
        try:
            return not os.path.exists(self.path / "result.json") and bool(self.read_config().get("overwrite"))
        except InputError:
            return False

    def holds_another(self, sha256: str) -> bool:
        """Whether the folder is a run's whose configuration has another hash, of the same first digits."""
        from clbench.config import identity  # brings pydantic, which `list strategies` need not wait for

        try:
            found = identity(self.read_config())
        except InputError:
            return False
        return found != sha256 and found[:8] == sha256[:8]

    def read_result(self) -> dict[str, Any] | None:
        """The content of result.json, checked, or None while the run is not complete.

        Raises:
            InputError: it is broken, or predictions.parquet is not the file that it was made with.
        """
        path = self.path / "result.json"
        if not os.path.exists(path):  # not path.exists(), which raises for a name too long
            return None
        result = validate_result(_read_json(path), path)
        self._check_predictions(result.get("predictions_sha256"))
        return result

    def _check_predictions(self, sha256: object) -> None:
        if sha256 is None:
            return
        path = self.path / "predictions.parquet"
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}; {REMEDY}") from error
        if found != sha256:
            raise InputError(f"{path}: was changed or cut, or is another run's: not what result.json names; {REMEDY}")

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, _to_json(value, indent=2))

    def _write(self, name: str, content: bytes | str) -> None:
        try:
            write_atomic(self.path / name, content)
        except OSError as error:
            raise RunError(f"{self.path / name}: cannot be written: {error.strerror}") from error


def _open_itself(path: str, flags: int) -> int:
    """Open a file for appending, but nothing that a link points to and no pipe that waits for a reader."""
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a file", path)
    return descriptor


def _to_json(value: Mapping[str, Any], indent: int | None) -> bytes:
    # A path of undecodable bytes holds lone surrogates; backslashreplace writes them as JSON's own escape.
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _read_json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, so no file of a run; {REMEDY}")
        return parse_json(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(
            f"{path}: is not JSON: {error}; restore the file or delete the folder and run it again"
        ) from error
