"""Runs pip so that it cannot run a package's code: every process that pip starts is a stand-in of ours, or none.

Started as a script, never imported: ``pip_download.py NAME VERSION ARGUMENTS`` runs pip with the arguments. To learn an
sdist's metadata pip starts a Python process with the name of a build hook and a folder for question and answer (PEP
517). Here that process is this file again, in isolated mode, which answers with the name and version already known and
reads nothing of the package. An audit hook refuses whatever else would be started, so that nothing depends on paths.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from typing import Any

ANSWER = "--answer"
# What pip asks of the system to name it to an index; none of them reads a package.
SYSTEM = (["uname", "-rs"], ["lsb_release", "-a"], ["rustc", "--version"])
STARTS = ("os.exec", "os.fork", "os.forkpty", "os.spawn", "os.startfile", "os.system", "pty.spawn")


def run_pip(name: str, version: str, arguments: list[str]) -> None:
    """Run pip in this process, with the stand-in for every process that it starts."""
    start = [sys.executable, "-I", os.path.abspath(__file__), ANSWER, name, version]
    popen = subprocess.Popen

    class StandIn(popen):  # type: ignore[misc, valid-type]
        def __init__(self, args: Any, **options: Any) -> None:
            given = [args] if isinstance(args, str) else list(args)
            options.update(shell=False, executable=None)
            super().__init__(given if _is_of_system(given) else [*start, *given[-2:]], **options)

    def refuse(event: str, details: tuple[Any, ...]) -> None:
        if event in ("subprocess.Popen", "os.posix_spawn"):  # on Windows the command is one line, and quoted
            given = start if os.name == "nt" else list(details[1])
            allowed = _is_of_system(given) or given[: len(start)] == start
        else:
            allowed = event not in STARTS
        if not allowed:
            raise PermissionError(f"pip may start no process while it fetches: {event}")

    subprocess.Popen = StandIn  # type: ignore[misc, assignment]
    sys.addaudithook(refuse)
    sys.argv = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


def _is_of_system(command: list[Any]) -> bool:
    return list(map(str, command)) in SYSTEM


def answer(name: str, version: str, hook: str, folder: str) -> None:
    """Answer the build hook ``hook``, whose question lies in ``folder``; another than for metadata is refused."""
    value: Any = []
    if hook == "prepare_metadata_for_build_wheel":
        with open(os.path.join(folder, "input.json"), encoding="utf-8") as file:
            target = json.load(file)["kwargs"]["metadata_directory"]
        value = f"{name.replace('-', '_')}-{version}.dist-info"
        os.mkdir(os.path.join(target, value))
        with open(os.path.join(target, value, "METADATA"), "w", encoding="utf-8") as file:
            file.write(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    elif hook != "get_requires_for_build_wheel":
        sys.exit(f"refused: {hook}")
    with open(os.path.join(folder, "output.json"), "w", encoding="utf-8") as file:
        json.dump({"unsupported": False, "no_backend": False, "return_val": value}, file)


if __name__ == "__main__":
    if sys.argv[1] == ANSWER:
        answer(*sys.argv[2:])
    else:
        run_pip(sys.argv[1], sys.argv[2], sys.argv[3:])
