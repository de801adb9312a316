"""A bench as a person reads it."""

from __future__ import annotations

from htsat_edge.runtime.commands.bench.results import ON_CPU, Bench, Contender, Device, Measured, Timing
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


def print_bench(bench: Bench) -> None:
    """A table on stdout, with what it was measured on."""
    console = Console()
    for line in about(bench):
        console.print(Text(line), soft_wrap=True, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for measured in bench.measured:
        table.add_row(measured.contender.name, *cells(bench, measured))
    console.print()
    # A narrow terminal wraps it: no figure is left out.
    console.width = max(console.width, Measurement.get(console, console.options.update(max_width=1000), table).maximum)
    console.print(table)
    console.print()
    for line in notes(bench):
        console.print(Text(line, style="dim"), soft_wrap=True, highlight=False)


def title(contender: Contender) -> str:
    """A contender in words."""
    return f"{contender.name}, {plural(contender.threads, 'thread')}"


def plural(count: int, noun: str) -> str:
    """So many of something."""
    return f"{count} {noun}{'s' * (count != 1)}"


COLUMNS = (
    "threads",
    "start",
    "memory",
    "latency",
    "p90",
    "p99",
    "of fp32",
    "audio",
    "hop",
    "RTF",
    "sources",
    "GEMM",
)


def cells(bench: Bench, measured: Measured) -> list[str]:
    """A row of the table, without its name."""
    threads = measured.contender.threads
    fp32 = next((m for m in bench.measured if m.contender.name == "fp32" and m.contender.threads == threads), None)
    return [
        str(threads) if measured.runs_on == ON_CPU else "GPU",
        f"{measured.startup_s:.2f} s",
        f"{measured.peak_mb:.0f} MB",
        milliseconds(measured.model),
        f"{measured.model.p90_ms:.1f}",
        f"{measured.model.p99_ms:.1f}",
        f"{measured.model.p50_ms / fp32.model.p50_ms:.2f}" if fp32 is not None else "",
        f"{measured.audio.p50_ms:.1f}" if measured.audio is not None else "",
        f"{measured.hop.p50_ms:.1f}" if measured.hop is not None else "",
        f"{measured.real_time_factor:.4f}" if measured.real_time_factor is not None else "",
        str(measured.sources) if measured.sources is not None else "",
        f"{measured.gemm_share:.0%}" if measured.gemm_share is not None else "",
    ]


def milliseconds(timing: Timing) -> str:
    """A median and its spread, in ms."""
    return f"{timing.p50_ms:.1f} ± {timing.spread_ms:.1f}"


def about(bench: Bench) -> list[str]:
    """What was measured, on what."""
    device, versions = bench.device, bench.versions
    clock = ", ".join(f"{mhz:.0f} MHz {name}" for name, mhz in device.clock_mhz.items()) or "clock not told"
    gemm = "; ".join(
        f"{plural(g.threads, 'thread')} {rate(g.fp32_gflops)} GFLOP/s, {rate(g.int8_gflops)} in 8 bits"
        for g in bench.gemm
    )
    before = "not told" if device.load is None else device.load
    return [
        f"{bench.bundle} on {device.processor}, {told(device)}",
        f"{clock}{f', {device.governor}' if device.governor else ''}; power "
        + (f"{device.watts:.1f} W over the whole bench" if device.watts is not None else "not measured"),
        f"onnxruntime {versions['onnxruntime']}; its matrix products: {gemm}",
        f"{plural(bench.runs, 'run')} of each in turn; load before: {before}",
    ]


def rate(gflops: float | None) -> str:
    """A rate of multiplying, where it could be measured."""
    return "?" if gflops is None else f"{gflops:.0f}"


def told(device: Device) -> str:
    """The machine in words."""
    memory = f", {device.memory_gb:.0f} GB" if device.memory_gb is not None else ""
    return f"{device.machine}, {plural(device.cores, 'core')}{memory}"


def notes(bench: Bench) -> list[str]:
    """What the columns mean, and what is not in them."""
    hop_s = next(m.hop_s for m in bench.measured if m.hop_s is not None)
    batch = max(m.contender.batch for m in bench.measured)
    at_once = f", {batch} of them scored at once" if batch > 1 else ""
    lines = [
        "start: from the start of a process to its first scores; memory: the most that it had, libraries and all",
        "latency: from the log-mel of one clip to scores, median ± half of what lies between p10 and p90; ms",
        "p90, p99: of the latency",
        "of fp32: latency as a share of that of fp32 with as many threads, where that is there",
        "audio: from the samples of one clip to scores, at once; ms",
        f"hop: from {hop_s:g} s of a 48 kHz stream to events; ms. RTF: its share of the {hop_s:g} s, for one source",
        f"sources: how many this machine could hear with these threads and nothing else to do{at_once}",
        "GEMM: the share of the machine's own matrix products, at this precision and with these threads",
    ]
    if any(m.contender.threads > bench.device.cores for m in bench.measured):
        lines.append(f"more threads than the {plural(bench.device.cores, 'core')} there are only wait for each other")
    for m in bench.measured:
        name = title(m.contender)
        if m.batch is not None:
            ratio = m.batch.p50_ms / m.model.p50_ms
            times = f"{milliseconds(m.batch)} ms, {ratio:.2f} times one"
            lines.append(f"{name}: {m.contender.batch} sources at once {times}")
        if m.contender.parameters is not None:
            lines.append(f"{name}: {m.contender.parameters / 1e6:.1f} M parameters, drawn at random")
    return [*lines, *(f"not run: {name}: {reason}" for name, reason in bench.not_run.items())]
