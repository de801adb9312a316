"""How the devices of a fleet get on, by what they have said: they may be of other versions, and are not trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.store.fleet import is_silent
from htsat_edge.runtime.store.records import FleetDevice, PlaceCount
from htsat_edge.runtime.web.device_pages import split_address
from htsat_edge.runtime.web.fleet_schemas import DeviceState, DeviceSummary, PlaceLabel, PlaceSummary

MOST_NAME = 200
Name = Annotated[str, AfterValidator(lambda text: in_one_line(text, MOST_NAME))]
"""What a device calls something, of a long name the beginning."""


class Reported(BaseModel):
    """Something that a device has said of itself; what is missing, or of another version, is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ReportedProfile(Reported):
    """What of a DeviceProfile is shown."""

    device: Name | None = None
    version: Name | None = None
    model: Name | None = None
    backend: Name | None = None
    bundle: Name | None = None
    page: str | None = None


class ReportedSource(Reported):
    """What of a LiveSource is shown."""

    name: Name = "a source"
    heard: bool = True
    paused: bool = False
    problems: list[str] = []
    failure: str | None = None


class ReportedOutput(Reported):
    """What of a LiveOutput is shown."""

    name: Name = "an output"
    works: bool = True
    waiting: int = 0


class ReportedHealth(Reported):
    """What of a DeviceStatus is shown."""

    healthy: bool | None = None
    backend: Name | None = None
    load: float | None = None
    temperatures: dict[str, float] = {}
    sources: list[ReportedSource] = []
    outputs: list[ReportedOutput] = []


STATES: dict[bool | None, DeviceState] = {None: "unknown", True: "online", False: "offline"}
Said = TypeVar("Said", bound=Reported)


def summaries_of(devices: Iterable[FleetDevice], as_of: float) -> list[DeviceSummary]:
    """Return the devices of a store, by place and name; those without a place come last."""
    summaries = [summary_of(device, as_of) for device in devices]
    bundles = Counter(one.bundle for one in summaries if one.bundle is not None)
    usual = min(bundles, key=lambda bundle: (-bundles[bundle], bundle), default=None)
    marked = [
        one.model_copy(update={"other_model": True}) if one.bundle not in (None, usual) else one for one in summaries
    ]
    return sorted(marked, key=lambda one: (one.place is None, one.place or "", one.name, one.device))


def summary_of(device: FleetDevice, as_of: float) -> DeviceSummary:
    """Return a device; how it gets on is said only of one that is online, for else it is no longer so.

    `as_of` is when its broker was reached last: where that is away, its devices are not silent.
    """
    profile = said(ReportedProfile, device.info) or ReportedProfile()
    silent = is_silent(device.online, device.online_at, spoke_at(device), device.info, as_of)
    state = "silent" if silent else STATES[device.online]
    health = said(ReportedHealth, device.health) if state == "online" else None
    unread = state == "online" and device.health is not None and health is None
    now = health or ReportedHealth()
    return DeviceSummary(
        device=device.device,
        name=profile.device or device.device,
        place=device.place,
        state=state,
        since=(spoke_at(device) or device.online_at) if state == "silent" else device.online_at,
        last_at=device.last_at,
        version=profile.version,
        model=profile.model,
        backend=now.backend or profile.backend,
        bundle=profile.bundle,
        other_model=False,
        page=profile.page if split_address(profile.page) is not None else None,
        healthy=now.healthy,
        problems=["its health cannot be read: is it of another version?"] if unread else problems_of(now),
        paused=[source.name for source in now.sources if source.paused],
        load=now.load,
        temperature=max(now.temperatures.values(), default=None),
        waiting=None if health is None else sum(output.waiting for output in now.outputs),
        coverage=device.coverage,
        events_today=device.events_today,
        lost=device.lost,
    )


def spoke_at(device: FleetDevice) -> float:
    """Return when a device said something last; 0 where it never has."""
    return max(device.health_at or 0.0, device.last_at or 0.0)


def said(kind: type[Said], content: object) -> Said | None:
    """Return what a device has said; None where it has said nothing, or what cannot be understood."""
    try:
        return kind.model_validate(content)
    except ValidationError:
        return None


def problems_of(health: ReportedHealth) -> list[str]:
    """Return what is wrong with a device, a line each."""
    problems = list[str]()
    for source in health.sources:
        if source.failure:
            problems.append(f"{source.name}: {source.failure}")
        elif source.problems:
            problems.append(f"{source.name}: {', '.join(source.problems)}")
        elif not source.heard and not source.paused:
            problems.append(f"{source.name}: lost")
    problems += [f"{output.name} fails" for output in health.outputs if not output.works]
    return [in_one_line(problem) for problem in problems]


def place_summaries(counts: Iterable[PlaceCount]) -> list[PlaceSummary]:
    """Return the events by place, the places with the most first."""
    labels: dict[str | None, list[PlaceLabel]] = {}
    for one in counts:
        labels.setdefault(one.place, []).append(PlaceLabel(label=one.label, count=one.count))
    summaries = [
        PlaceSummary(
            place=place,
            count=sum(one.count for one in found),
            labels=sorted(found, key=lambda one: (-one.count, one.label)),
        )
        for place, found in labels.items()
    ]
    return sorted(summaries, key=lambda one: (-one.count, one.place is None, one.place or ""))
