"""A run's folder, ``results/<scenario>/<strategy>/<model>-s<seed>-<hash8>/``: its files are written and read here."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError, RunError
from clbench.files import LARGEST, MEBIBYTE, open_file, read_file, remove_path, safe_name, write_atomic
from clbench.results.json_text import parse_json, read_json, to_json
from clbench.results.schema import REMEDY, validate_result

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = b"PAR1"  # with which every such file ends
CURVE_COLUMNS = ("learning", "step", "task", "measure")
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

    @property
    def model(self) -> Path:
        """The folder of the final model, where it was kept."""
        return self.path / "model"

    @property
    def models(self) -> Path:
        """The folder of the models after each task, where they were kept."""
        return self.path / "models"

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
            raise InputError(f"{self.path}: {_name_in(holder)} is working on this run; wait for it or end it") from None
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from error
        try:
            self._remove(*(path.name for path in self.path.glob(".clbench-*")))  # of processes killed while they wrote
            self._write(".holder", f"process {os.getpid()} on {platform.node()}")
            yield
        finally:
            with suppress(OSError):  # the disk has become read-only: the lock decides, this is only a name
                holder.unlink(missing_ok=True)
            lock.release()

    def remove_result(self) -> None:
        """Take the mark of completion away, with what was made from the result."""
        self._remove("result.json", "predictions.parquet", "curve.parquet", "matrix.png", "curves.png")

    def remove_models(self) -> None:
        """Delete what models were kept, and what an interrupted saving left beside them."""
        for name in ("model", "model.new", "model.old", "models"):
            remove_path(self.path / name)

    def cut_log(self, rows: int) -> None:
        """Leave in log.jsonl what belongs to the first ``rows`` rows and to none: the run goes on from there.

        What a killed process logged after its last checkpoint happens once more, and so does a line that it had no time
        to end. Without any row the log begins anew.

        Raises:
            RunError: it is no file of a run, or cannot be written.
        """
        path = self.path / "log.jsonl"
        if not rows:
            self._remove(path.name)
        if not os.path.lexists(path):
            return
        try:
            with open_file(path, "r+b") as file:  # as if to write: a link is refused here, too
                content = file.read(LARGEST + 1)
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror}") from error
        if len(content) > LARGEST:
            raise RunError(f"{path}: cannot be read: it is larger than {LARGEST // MEBIBYTE} MiB, so no log of a run")
        lines = content.splitlines(keepends=True)
        kept = [line for line in lines if _is_of_rows(line, rows)]
        if kept != lines:
            self._write(path.name, b"".join(kept))

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Append one line to log.jsonl; a line cut off by a crash before is ended first."""
        line = to_json(entry, indent=None)
        try:
            with open_file(self.path / "log.jsonl", "a+b") as file:
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

        if set(columns) != set(PREDICTION_COLUMNS):
            raise ValueError(
                f"predictions have the columns {', '.join(columns)}; they must be {', '.join(PREDICTION_COLUMNS)}"
            )
        table = pa.Table.from_pydict(dict(columns), schema=prediction_schema())
        return self._write_table("predictions.parquet", table)

    def write_curve(self, columns: Mapping[str, Sequence[Any]]) -> str:
        """Write curve.parquet, one row a measure inside a task or at its end, and return its SHA-256.

        ``columns`` are of equal length, and none where nothing was measured: ``learning`` (str, the task being
        learned), ``step`` (int, optimizer steps since the run began), ``task`` (str, which is measured), ``measure``
        (float in 0..1).
        """
        import pyarrow as pa

        types = (pa.string(), pa.int64(), pa.string(), pa.float64())
        schema = pa.schema(list(zip(CURVE_COLUMNS, types, strict=True)))
        table = pa.Table.from_pydict({name: columns.get(name, []) for name in CURVE_COLUMNS}, schema=schema)
        return self._write_table("curve.parquet", table)

    def _write_table(self, name: str, table: pa.Table) -> str:
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd")
        content = buffer.getvalue().to_pybytes()
        self._write(name, content)
        return hashlib.sha256(content).hexdigest()

    def read_predictions(self) -> dict[str, list[Any]]:
        """The columns of predictions.parquet."""
        import pyarrow.parquet as pq

        columns: dict[str, list[Any]] = pq.read_table(self.path / "predictions.parquet").to_pydict()
        return columns

    def read_config(self) -> dict[str, Any]:
        """The content of config.json; InputError if it is missing or broken."""
        config = read_json(self.path / "config.json")
        if not isinstance(config, dict):
            raise InputError(f"{self.path / 'config.json'}: is not a JSON object; delete the folder and run it again")
        return config

    def read_environment(self) -> dict[str, Any]:
        """The content of environment.json, empty if there is none; InputError if it is broken."""
        if not os.path.exists(self.path / "environment.json"):
            return {}
        found = read_json(self.path / "environment.json")
        if not isinstance(found, dict):
            raise InputError(f"{self.path / 'environment.json'}: is not a JSON object; {REMEDY}")
        return found

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
        result = validate_result(read_json(path), path)
        self._check_predictions(result.get("predictions_sha256"))
        return result

    def _check_predictions(self, sha256: object) -> None:
        if sha256 is None:
            return
        path = self.path / "predictions.parquet"
        try:
            found = _parquet_sha256(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}; {REMEDY}") from error
        if found != sha256:
            raise InputError(f"{path}: was changed or cut, or is another run's: not what result.json names; {REMEDY}")

    def _remove(self, *names: str) -> None:
        for name in names:
            try:
                (self.path / name).unlink(missing_ok=True)
            except OSError as error:
                raise RunError(f"{self.path / name}: cannot be removed: {error.strerror}") from error

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, to_json(value, indent=2))

    def _write(self, name: str, content: bytes | str) -> None:
        try:
            write_atomic(self.path / name, content)
        except OSError as error:
            raise RunError(f"{self.path / name}: cannot be written: {error.strerror}") from error


def prediction_schema() -> pa.Schema:
    """The columns of predictions.parquet and their types."""
    import pyarrow as pa

    types = (pa.int32(), pa.string(), pa.int32(), pa.string(), pa.string(), pa.float32())
    return pa.schema(list(zip(PREDICTION_COLUMNS, types, strict=True)))


def _name_in(holder: Path) -> str:
    try:
        return read_file(holder, 1000).decode(errors="replace")
    except OSError:  # it has just gone, or was never there
        return "another process"


def _parquet_sha256(path: Path) -> str | None:
    """The SHA-256 of a file that ends as Parquet files do; None for another, which may be as large as a disk."""
    with open_file(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(PARQUET)))
        if file.read() != PARQUET:
            return None
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_of_rows(line: bytes, rows: int) -> bool:
    """Whether a line of log.jsonl is whole and of one of the first ``rows`` rows, or of none."""
    try:
        entry = parse_json(line)
    except ValueError:
        return False
    if not isinstance(entry, dict) or not line.endswith(b"\n"):
        return False
    row = entry.get("after_task")
    return not isinstance(row, int) or row < rows
