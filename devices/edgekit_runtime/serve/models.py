"""The repository: the models that are served, from files or out of a store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional, Union

from edgekit_runtime.agent.store import Store
from edgekit_runtime.errors import BundleError, EdgekitError, UsageError
from edgekit_runtime.serve.http import Refused
from edgekit_runtime.serve.model import LOADING, READY, Model
from edgekit_runtime.serve.opening import Opening
from edgekit_runtime.serve.source import Source

__all__ = ["Opening", "Repository"]

_GRACE = 10.0  # seconds for requests that run when the server is told to stop


class Repository:
    """The models of one server, by name. To be used on one event loop.

    Args:
        paths: The bundles.
        opening: How they are opened.
        store: Folder of a store whose slots are served besides.

    Raises:
        UsageError: Two of them have one name, or there is no such store.
        BundleError: A file is not a bundle.
    """

    def __init__(
        self,
        paths: Sequence[Union[str, os.PathLike[str]]] = (),
        opening: Optional[Opening] = None,
        store: Optional[Path] = None,
    ) -> None:
        self.opening = opening or Opening()
        self._models: dict[str, Model] = {}
        self._paths: dict[str, Path] = {}
        self._changing: set[str] = set()
        if store is not None and not store.is_dir():
            raise UsageError(f"there is no store {store}", "give the folder that edgekit-runtime agent keeps")
        self._store = None if store is None else Store(store, make=False)
        for path in paths:
            source = Source.open(Path(path))
            name = source.manifest.name
            if name in self._paths:
                raise UsageError(f"{path} and {self._paths[name]} are both called {name!r}", "serve one of them")
            self._paths[name] = Path(path)
            self._models[name] = Model(name, self.opening, [source])
        for name in self._store.slots() if self._store is not None else ():
            if name in self._models:
                raise UsageError(f"{self._paths[name]} and a slot of {store} are both called {name!r}", "serve one")
            self._models[name] = self._from_slot(name)

    def __iter__(self) -> Iterator[Model]:
        return iter(tuple(self._models.values()))

    def __getitem__(self, name: str) -> Model:
        model = self._models.get(name)
        if model is None:
            there = f"there are {', '.join(self._models)}" if self._models else "there is none"
            raise Refused(404, f"there is no model {name[:80]!r}", there)
        return model

    @property
    def ready(self) -> bool:
        """Whether every model that is not unloaded is ready."""
        return all(m.state == READY for m in self if not m.unloaded)

    @property
    def degraded(self) -> dict[str, str]:
        """Models that answer but are not as they should be, each with one sentence."""
        return {m.name: m.degraded for m in self if m.degraded}

    def start(self) -> None:
        """Begin to load every model, each in its own process; to be called on the event loop."""
        for model in self:
            model.start()

    async def loaded(self) -> None:
        """Wait until every model is ready or has failed."""
        for model in self:
            await model.loaded()

    async def load(self, name: str) -> None:
        """Open a bundle anew, or what the slot points to now; see `Model.load`.

        Raises:
            Refused: 404 for no such model, 409 while it is loaded already, 422 where the new one is not fit to serve.
            BundleError: The file is not a bundle any more, or the slot points to none.
        """
        slot = self._store.slot(name) if self._store is not None and name not in self._paths else None
        if slot is None:
            self[name]
        if name in self._changing or (name in self._models and self[name].state == LOADING):
            raise Refused(409, f"model {name!r} is being loaded already")
        self._changing.add(name)
        try:
            path = self._paths.get(name)
            if path is None:
                if slot is None or self._store is None:
                    raise Refused(404, f"the store has no slot {name[:80]!r} any more")
                path = self._store.path(slot.current)
            source = await asyncio.to_thread(Source.open, path)
            try:
                self._fits(source, name, "" if slot is None else slot.current)
                known = self._models.get(name)
                model = known or Model(name, self.opening, ())
                await model.load(source)
            except BaseException:
                source.close()
                raise
            self._models[name] = model
        finally:
            self._changing.discard(name)

    def unload(self, name: str) -> None:
        """Take a model out of service; requests that wait are answered first."""
        model = self[name]
        if name in self._changing or model.state == LOADING:
            raise Refused(409, f"model {name!r} is being loaded")
        model.unload()

    async def close(self) -> None:
        """Close every model after the requests that wait."""
        await asyncio.gather(*(model.close(_GRACE) for model in self))

    def _from_slot(self, name: str) -> Model:
        """The slot's bundles that can be read, the current one first."""
        found: list[Source] = []
        problem = ""
        try:
            slot = self._store.slot(name) if self._store is not None else None
        except EdgekitError as error:
            return Model(name, self.opening, (), str(error))
        digests = [] if slot is None else [d for d in (slot.current, slot.previous) if d]
        for digest in digests:
            try:
                source = Source.open(self._store.path(digest))  # type: ignore[union-attr]
                found.append(source)
                self._fits(source, name, digest)
            except (BundleError, Refused) as error:
                if found and not isinstance(error, BundleError):
                    found.pop().close()
                problem = problem or str(error)
        if found and found[0].digest == (slot.current if slot else ""):
            problem = ""  # it is the previous one that cannot be read: nothing is amiss yet
        return Model(name, self.opening, found, problem)

    @staticmethod
    def _fits(source: Source, name: str, digest: str) -> None:
        """The file holds the model that is asked for.

        Raises:
            Refused: 422, it does not.
        """
        if source.manifest.name != name:
            raise Refused(
                422,
                f"{source.path.name} holds model {source.manifest.name!r} now, not {name!r}",
                "serve it by its name",
            )
        if digest and source.digest != digest:
            raise Refused(422, f"{source.path.name} holds bundle {source.digest[:16]}", "fetch it again")
