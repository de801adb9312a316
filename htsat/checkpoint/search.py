"""Find the network among what a checkpoint holds: at any prefix, in any nested dictionary or pickled module."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from htsat_edge.htsat.checkpoint.unpickling import Unloaded
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import listed

ANCHOR = "patch_embed.proj.weight"
"""A key that every HTS-AT has."""
BATCH_NORMS = ("bn0.weight", "batch_norm.weight")
"""A key that no transformer for images has, of the authors and of transformers."""
AVERAGED = re.compile(r"(?i)(?<![a-z])(ema|swa|averaged|avg)(?![a-z])")
"""How names of weights begin or end that were averaged over the training."""
COUNTER = "n_averaged"
"""A key of torch's AveragedModel."""
TRAINER = re.compile(r"n_averaged$|(loss|criterion|loss_fn|(train_|val_|valid_|test_)?metrics?)\.")
"""Keys of a trainer that may stand between those of a network without a prefix."""
MOST_NAMED = 6
MOST_NETWORKS = 100
"""Considered in one file: each costs a look at every key beside it."""


@dataclass(frozen=True)
class Found:
    """One network in a checkpoint."""

    where: str
    """The keys of the dictionary that holds it, joined by points; empty for the whole file."""
    prefix: str
    """What its tensors' names begin with there, such as `sed_model.`."""
    tensors: Mapping[str, Any]
    """By their names in the network."""
    beside: list[str]
    """Keys of the same dictionary that are not the network's."""
    averaged: bool
    spare: str = ""
    """Where an averaged copy is that was not taken."""

    @property
    def place(self) -> str:
        """Where it is, in the words of --at."""
        return ".".join(filter(None, (self.where, self.prefix.rstrip("."))))

    def describe(self) -> str:
        """Return in one line what this is and what was left beside it."""
        kind = ", an averaged copy (EMA)" if self.averaged else ""
        where = f" from {self.where}" if self.where else ""
        under = f" under '{self.prefix}'" if self.prefix else ""
        left = f"; left out: {shorten(self.beside)}" if self.beside else ""
        spare = f"; an averaged copy (EMA) is at {self.spare}, --ema takes it" if self.spare else ""
        return f"{len(self.tensors)} tensors{where}{under}{kind}{left}{spare}"


def shorten(keys: Iterable[str]) -> str:
    """Return keys as one list, with those that begin alike counted."""
    groups = Counter(key.partition(".")[0] for key in keys)
    single = {key.partition(".")[0]: key for key in keys}
    return listed([single[name] if count == 1 else f"{name} ({count})" for name, count in groups.items()], MOST_NAMED)


def is_tensor(value: object) -> bool:
    """Return whether a value is a tensor in a file."""
    return hasattr(value, "place") and hasattr(value, "read")


def find(path: Path, value: Any, ema: bool = False, at: str | None = None) -> Found:
    """Return the network in a checkpoint.

    Parameters
    ----------
    path
        The file, for errors.
    value
        What it holds.
    ema
        Take an averaged copy (EMA); otherwise one that is not averaged is preferred.
    at
        The place to take, or a part of it, where there are several.

    Raises
    ------
    HtsatEdgeError
        There is none, or several and no way to choose.
    """
    found = _distinct(islice(_candidates(value), MOST_NETWORKS))
    if not found:
        raise HtsatEdgeError(f"{path}: {_without(value)}")
    audio = [one for one in found if any(name in one.tensors for name in BATCH_NORMS)]
    found = audio or found
    everywhere = ", ".join(repr(one.place) for one in found)
    if at is not None:
        exact = [one for one in found if one.place == at]
        found = exact or [one for one in found if f".{at}." in f".{one.place}."]
        if not found:
            raise HtsatEdgeError(f"{path}: holds no HTS-AT at '{at}', only at {everywhere}")
    averaged = [one for one in found if one.averaged]
    if ema and not averaged:
        raise HtsatEdgeError(f"{path}: holds no averaged copy (EMA), only weights at {everywhere}; leave out --ema")
    chosen = averaged if ema else [one for one in found if not one.averaged] or averaged
    if len(chosen) > 1:
        places = " and ".join(repr(one.place) for one in chosen)
        raise HtsatEdgeError(
            f"{path}: holds several networks, at {places}; choose with --at, as in --at {chosen[0].place}"
        )
    spare = averaged[0].place if averaged and not chosen[0].averaged else ""
    return replace(chosen[0], spare=spare)


def _distinct(candidates: Iterable[Found]) -> list[Found]:
    """Return networks without those that are another one's very tensors under a second name."""
    known: dict[object, Found] = {}
    for one in candidates:
        own = tuple(sorted((name, repr(t.place)) for name, t in one.tensors.items() if is_tensor(t)))
        known.setdefault(own, one)
    return list(known.values())


def _candidates(value: Any) -> Iterator[Found]:
    for where, content in dictionaries(value):
        for key in content:
            if isinstance(key, str) and f".{key}".endswith(f".{ANCHOR}"):
                yield _split(where, key.removesuffix(ANCHOR), content)


def _split(where: str, prefix: str, content: Mapping[Any, Any]) -> Found:
    tensors, beside = {}, []
    for key, value in content.items():
        own = isinstance(key, str) and key.startswith(prefix)
        name = key.removeprefix(prefix) if own else str(key)
        # Between the network's own keys no other is allowed, but for what can be no weight of it.
        if not own or TRAINER.match(name) or ("." not in name and not is_tensor(value)):
            beside.append(str(key))
        else:
            tensors[name] = value
    averaged = bool(AVERAGED.search(f"{where}.{prefix}")) or COUNTER in content
    return Found(where, prefix, tensors, beside, averaged)


def dictionaries(value: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield each dictionary within a value, with the keys that lead there; a pickled module is that of its weights."""
    waiting, seen = deque([("", value)]), set()
    while waiting:
        where, one = waiting.popleft()
        if id(one) in seen or not isinstance(one, dict | list | tuple):
            continue
        seen.add(id(one))
        inner: Iterable[tuple[Any, Any]] = one.items() if isinstance(one, dict) else enumerate(one)
        if isinstance(one, Unloaded):
            weights = dict(_weights(one, "", set()))
            if weights:
                yield where, weights
                continue
            waiting.append((where, one.state))
            waiting.extend((where, argument) for argument in one.arguments)
        if isinstance(one, dict) and one:
            yield where, one
        waiting.extend((f"{where}.{key}" if where else str(key), item) for key, item in inner)


def _weights(module: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the weights of a pickled torch module under the names that its state_dict gives them."""
    state = getattr(module, "state", None)
    if id(module) in seen or not isinstance(state, dict) or "_modules" not in state:
        return
    seen.add(id(module))
    kept = state.get("_non_persistent_buffers_set", ())  # a set, or what stands for one of protocol 2
    passing = kept.arguments[0] if isinstance(kept, Unloaded) and kept.arguments else kept
    for kind in ("_parameters", "_buffers"):
        own = ((name, value) for name, value in _items(state.get(kind)) if value is not None and name not in passing)
        yield from ((f"{prefix}{name}", value) for name, value in own)
    for name, inner in _items(state["_modules"]):
        yield from _weights(inner, f"{prefix}{name}.", seen)


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _without(value: Any) -> str:
    """Return what a value holds in place of an HTS-AT."""
    tensors = [
        f"{where}.{key}" if where else str(key)
        for where, content in dictionaries(value)
        for key, item in content.items()
        if is_tensor(item)
    ]
    if not tensors:
        return "holds no weights: want a dictionary of tensors, bare or within others, such as 'state_dict'"
    return f"holds no HTS-AT: no key ends with '{ANCHOR}'; it has {', '.join(tensors[:3])}, …"
