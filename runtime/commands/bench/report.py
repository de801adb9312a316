"""Print a bench as a table."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from htsat_edge.runtime.commands.bench.results import ON_CPU, Bench, CandidateResult, DeviceInfo, Timing
from htsat_edge.runtime.common.text import plural

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


def print_bench(bench: Bench) -> None:
    """Print the machine, a table and its notes on stdout."""
    console = Console()
    for line in about(bench):
        console.print(Text(line), soft_wrap=True, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for measured in bench.measured:
        table.add_row(measured.candidate.name, *cells(bench, measured))
    console.print()
    # A narrow terminal wraps the rows itself: no figure is left out.
    console.width = max(console.width, Measurement.get(console, console.options.update(max_width=1000), table).maximum)
    console.print(table)
    console.print()
    for line in notes(bench):
        console.print(Text(line, style="dim"), soft_wrap=True, highlight=False)


def cells(bench: Bench, measured: CandidateResult) -> list[str]:
    """Return a row of the table, one cell for each of COLUMNS."""
    threads = measured.candidate.threads
    fp32 = next((m for m in bench.measured if m.candidate.name == "fp32" and m.candidate.threads == threads), None)
    return [
        str(threads) if measured.runs_on == ON_CPU else "GPU",
        f"{measured.startup_s:.2f} s",
        f"{measured.peak_memory_mb:.0f} MB",
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
    """Return a median and its spread, in ms."""
    return f"{timing.p50_ms:.1f} ± {timing.spread_ms:.1f}"


def about(bench: Bench) -> list[str]:
    """Return lines that describe the model, the machine and its state."""
    device, versions = bench.device, bench.versions
    clock = ", ".join(f"{mhz:.0f} MHz {name}" for name, mhz in device.clock_mhz.items()) or "clock unknown"
    gemm = "; ".join(
        f"{plural(g.threads, 'thread')} {rate(g.fp32_gflops)} GFLOP/s, {rate(g.int8_gflops)} in 8 bits"
        for g in bench.gemm
    )
    load = "unknown" if device.load_before is None else device.load_before
    return [
        f"{bench.bundle} on {device.processor}, {describe(device)}",
        f"{clock}{f', {device.governor}' if device.governor else ''}; power "
        + (f"{device.power_w:.1f} W, mean of the whole bench" if device.power_w is not None else "not measured"),
        f"onnxruntime {versions['onnxruntime']}; its matrix products: {gemm}",
        f"{plural(bench.runs, 'run')} of each in turn; load before: {load}",
    ]


def rate(gflops: float | None) -> str:
    """Return a rate of multiplying as text; "?" where it could not be measured."""
    return "?" if gflops is None else f"{gflops:.0f}"


def describe(device: DeviceInfo) -> str:
    """Return the machine in words, such as `x86_64, 2 cores, 8 GB`."""
    memory = f", {device.memory_gb:.0f} GB" if device.memory_gb is not None else ""
    return f"{device.machine}, {plural(device.cores, 'core')}{memory}"


def notes(bench: Bench) -> list[str]:
    """Return lines that explain the columns, and say what was not run."""
    hop_s = next(m.candidate.hop_s for m in bench.measured if m.candidate.hop_s is not None)
    batch = max(m.candidate.batch for m in bench.measured)
    at_once = f", {batch} of them scored at once" if batch > 1 else ""
    lines = [
        "start: from the start of the process to its first scores. memory: the peak of the process, libraries included",
        "latency: from the log-mel of one window to scores: median ± half of the range from p10 to p90, in ms",
        "p90, p99: percentiles of the latency, in ms",
        "of fp32: latency divided by that of fp32 with the same number of threads",
        "audio: from the samples of one window to scores, computed at once, in ms",
        f"hop: from {hop_s:g} s of a 48 kHz stream to events, in ms. RTF: this time divided by {hop_s:g} s, one source",
        f"sources: how many sources this machine can follow with these threads and no other load{at_once}",
        "GEMM: rate of multiplying divided by that of onnxruntime's matrix product, same precision and threads",
    ]
    if any(m.candidate.threads > bench.device.cores for m in bench.measured):
        lines.append(f"more threads than the {plural(bench.device.cores, 'core')} of this machine: they wait in turn")
    for m in bench.measured:
        name = m.candidate.title
        if m.batch is not None:
            ratio = m.batch.p50_ms / m.model.p50_ms
            times = f"{milliseconds(m.batch)} ms, {ratio:.2f} times one"
            lines.append(f"{name}: {m.candidate.batch} sources at once {times}")
        if m.candidate.parameters is not None:
            lines.append(f"{name}: {m.candidate.parameters / 1e6:.1f} M parameters, drawn at random")
    return [*lines, *(f"not run: {name}: {reason}" for name, reason in bench.not_run.items())]
