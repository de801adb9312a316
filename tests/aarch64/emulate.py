"""Run the detector and its tests on an emulated aarch64, and compare its events with this machine's.

make aarch64, or with the Python of a virtual environment that `make lint` has set up:
.venv/bin/python tests/aarch64/emulate.py [--tests PATH …]

Everything is built once, in build/aarch64 (docs/aarch64.md).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

PROJECT = Path(__file__).resolve().parents[2]
BUILD = PROJECT / "build" / "aarch64"
QEMU, ROOT, BUNDLE = BUILD / "qemu-aarch64", BUILD / "root", BUILD / "bundle"
SITE = "usr/local/lib/python3.13/dist-packages"
"""Where Debian's Python finds what its packages do not bring."""
WORK = ROOT / "work"
"""The checkout in the root."""
RECORDING = "tests/data/recordings/farmyard.flac"

SUITE, PYTHON = "trixie", "3.13"
PACKAGES = (
    "base-files,base-passwd,bash,coreutils,dash,libc-bin,python3,libportaudio2,"
    "openssl,mosquitto,ffmpeg,pulseaudio,pulseaudio-utils,libasound2-plugins"
)
"""The last are the programs that `make programs` installs for the tests, but the browser."""
LIBRARIES = ["onnx", "pytest", "pytest-timeout", "hypothesis", "schemathesis"]
"""What the tests of runtime/ need beside the wheel and its extras."""
EXTRAS = "mqtt,metrics,web,plot"
PLATFORMS = ["manylinux_2_28_aarch64", "manylinux2014_aarch64"]
"""What JetPack 6 (glibc 2.35) and everything newer can load."""
TESTS = ["tests/runtime/store", "tests/runtime/common", "tests/runtime/dsp"]
"""What touches libraries of another processor most, and takes no hours there."""

PROCESSOR = "cortex-a76"
"""Near to an Orin's A78AE; `max`, which qemu takes by itself, emulates vectors that nothing of that age has, nine times
as slowly."""
BINFMT, ENTRY = Path("/proc/sys/fs/binfmt_misc"), "htsat-edge-aarch64"
MAGIC = "7f454c460201010000000000000000000200b700"
MASK = "ffffffffffffff00fffffffffffffffffeffffff"
"""The first bytes of an ELF program or library for aarch64, and which bits of them count."""


class CannotRun(Exception):
    """What this machine lacks, and the mend, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the detector and its tests on an emulated aarch64.")
    parser.add_argument(
        "--tests", nargs="*", default=TESTS, metavar="PATH", help="what pytest runs there; none: no tests"
    )
    parser.add_argument(
        "--hop-s", type=float, default=1.28, help="from a window to the next, but of the demo (default 1.28)"
    )
    args = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        refuse_machine()
        refuse_second()
        once("qemu", "qemu-user of Debian 13", make_qemu, SUITE)
        with registered():
            once("root", "A root of Debian 13 for aarch64", make_root, SUITE, PACKAGES)
            install()
            once("bundle", "Graphs for a CPU, in float and 8 bits", make_bundle, *sources("export", "calibration"))
            good = compare_all(args.hop_s)
            if args.tests:
                good &= run_tests(args.tests)
    except CannotRun as error:
        print(f"emulate.py: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"emulate.py: {error.cmd[0]} failed ({error.returncode}), see above", file=sys.stderr)
        return 1
    used, passed = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    processor = used.ru_utime + used.ru_stime
    print(
        f"==> {passed / 60:.0f} minutes, {processor / 60:.0f} of a processor; {size_of(BUILD) / 1e9:.1f} GB in {BUILD}"
    )
    return 0 if good else 1


def refuse_machine() -> None:
    """Raise CannotRun where this machine cannot do it; install mmdebstrap where it is all that lacks."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise CannotRun("emulates aarch64 on x86-64 Linux; on an aarch64, run make test-device")
    if os.geteuid() != 0:
        raise CannotRun("needs root, to make the root of another processor and to enter it: sudo make aarch64")
    if shutil.which("mmdebstrap") is None:
        if shutil.which("apt-get") is None:
            raise CannotRun("needs mmdebstrap, a package of Debian and Ubuntu")
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-qy", "--no-install-recommends", "mmdebstrap", "debian-archive-keyring")
    if not BINFMT.is_dir():
        raise CannotRun("needs a kernel with binfmt_misc: modprobe binfmt_misc")


def refuse_second() -> None:
    """Raise CannotRun where another run is at work, which would lose its qemu and its checkout to this one."""
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        fcntl.flock(os.open(BUILD, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotRun(f"another run is at work in {BUILD}: wait for its end") from None


def once(name: str, what: str, make: Callable[[], None], *depends: str) -> None:
    """Make a part, unless it was made of the same."""
    stamp, key = BUILD / f".{name}", hashlib.sha256("\n".join(depends).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == key:
        return
    stamp.unlink(missing_ok=True)
    began = time.monotonic()
    print(f"==> {what}", flush=True)
    make()
    stamp.write_text(key)
    print(f"    took {time.monotonic() - began:.0f} s", flush=True)


def make_qemu() -> None:
    """Unpack the one static program; Debian 12's shows this machine's /proc/cpuinfo, with which onnxruntime crashes."""
    folder = BUILD / "qemu"
    unpack(folder, "amd64", "qemu-user")
    shutil.move(folder / "usr/bin/qemu-aarch64", QEMU)
    shutil.rmtree(folder)


def make_root() -> None:
    """Unpack the packages, and do by hand the little of their set-up that counts: emulated, all of it takes long."""
    unpack(ROOT, "arm64", PACKAGES)
    (BUILD / ".wheels").unlink(missing_ok=True)  # they lay in the root that this one replaces
    etc, share = ROOT / "etc", ROOT / "usr/share/base-passwd"
    for name in ("passwd", "group"):
        shutil.copy(share / f"{name}.master", etc / name)
    (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    libraries = "/usr/lib/aarch64-linux-gnu"
    (etc / "ld.so.conf.d/alternatives.conf").write_text(f"{libraries}/blas\n{libraries}/lapack\n")
    WORK.mkdir()
    inside("ldconfig", check=True)


def unpack(folder: Path, architecture: str, packages: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    options = (
        f"--architectures={architecture}",
        f"--include={packages}",
        "--variant=extract",
        "--mode=root",
        "--quiet",
    )
    run(*APART, "mmdebstrap", *options, SUITE, str(folder))


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Have the kernel run programs for aarch64 with our qemu, ahead of any other."""
    mount = not (BINFMT / "register").exists()
    if mount:
        run("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
    escape = [f"\\x{byte:02x}" for byte in bytes.fromhex(MAGIC + MASK)]
    half = len(escape) // 2
    try:
        unregister()
        # O: hand the opened program over; P: keep its name; F: open qemu now, so that it need not be in the root.
        line = f":{ENTRY}:M::{''.join(escape[:half])}:{''.join(escape[half:])}:{QEMU}:OPF"
        (BINFMT / "register").write_text(line)
        yield
    finally:
        unregister()
        if mount:
            run("umount", str(BINFMT))


def unregister() -> None:
    if (BINFMT / ENTRY).exists():
        (BINFMT / ENTRY).write_text("-1")


def install() -> None:
    """Copy the checkout into the root, and install it there with its dependencies as wheels for aarch64."""
    shutil.rmtree(WORK, ignore_errors=True)
    listed = run("git", "ls-files", "-coz", "--exclude-standard", cwd=PROJECT, stdout=subprocess.PIPE, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():  # one that was removed is listed until that is committed
            (WORK / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, WORK / name)
    source = BUILD / "source"
    shutil.copytree(WORK, source, dirs_exist_ok=True)  # setuptools leaves its own files in it
    wheels = BUILD / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    pip("wheel", "--no-deps", "--wheel-dir", str(wheels), str(source))
    shutil.rmtree(source)
    (wheel,) = wheels.glob("htsat_edge-*.whl")
    frozen = run(*PIP, "freeze", "--exclude-editable", stdout=subprocess.PIPE, text=True).stdout
    pins = [line for line in frozen.splitlines() if "==" in line]
    depends = [*LIBRARIES, EXTRAS, *pins, (PROJECT / "setup.py").read_text()]
    once("wheels", "Wheels for aarch64, in the versions of here", lambda: install_wheels(wheel, pins), *depends)
    pip("install", "--no-deps", "--upgrade", "--target", str(ROOT / SITE), str(wheel))


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def pip(*arguments: str) -> None:
    run(*PIP, *arguments[:1], "--quiet", *arguments[1:])


def install_wheels(wheel: Path, pins: Sequence[str]) -> None:
    """Let pip choose wheels for the other processor, in the versions of this environment."""
    constraints = BUILD / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n")
    platforms = [option for name in PLATFORMS for option in ("--platform", name)]
    shutil.rmtree(ROOT / SITE, ignore_errors=True)
    pip(
        *("install", "--target", str(ROOT / SITE), "--only-binary=:all:", *platforms, "--python-version", PYTHON),
        *("--constraint", str(constraints), f"{wheel}[{EXTRAS}]", *LIBRARIES),
    )


def make_bundle() -> None:
    """Export the bundled network, and quantize it with cuts of the demo's recording."""
    shutil.rmtree(BUNDLE, ignore_errors=True)
    model = PROJECT / "runtime/models/bundled"
    info = json.loads((model / "model.json").read_text())
    labels, thresholds, cuts = BUILD / "labels.csv", BUILD / "thresholds.json", BUILD / "cuts"
    labels.write_text("".join(json.dumps(label) + "\n" for label in ["label", *info["labels"]]))
    thresholds.write_text(json.dumps({"thresholds": info["thresholds"]}))
    cuts.mkdir(exist_ok=True)
    samples, rate = soundfile.read(PROJECT / RECORDING, dtype="float32")
    window = info["frames"] * info["front_end"]["hop"] * rate // info["front_end"]["sample_rate"]
    for i, start in enumerate(np.linspace(0, len(samples) - window, 8, dtype=int)):
        soundfile.write(cuts / f"{i}.flac", samples[start : start + window], rate)
    here(
        *("export/to_onnx.py", str(model / "weights.safetensors"), "--network", "configs/networks/bundled.yaml"),
        *("--labels", str(labels), "--thresholds", str(thresholds), "--name", "bundled", "--out", str(BUNDLE)),
    )
    here(
        *("calibration/quantize.py", str(BUNDLE), "--clips", str(cuts), "--count", "8", "--method", "minmax"),
        *("--graphs", "int8,cpu-int8"),
    )


def compare_all(hop_s: float) -> bool:
    """Detect in the demo's recording here and there; return whether graphs in float give the same to the byte."""
    shutil.copytree(BUNDLE, WORK / "bundle")
    print("==> The demo, here and there", flush=True)
    good = compare("as it ships", [])
    for graph in ("cpu-fp32", "int8", "cpu-int8"):
        options = ["--bundle", "bundle", "--precision", graph, "--hop-s", str(hop_s)]
        same = compare(f"{graph}.onnx, a window each {hop_s} s", options)
        good &= same or "int8" in graph  # in 8 bits a value between two steps falls to either, and both are right
    return good


def compare(what: str, options: Sequence[str]) -> bool:
    """Print how far apart the two processors are; return whether they give the same to the byte."""
    command = ["detect", RECORDING, "--json", "--top", "3", *options]
    script, scores = "tests/aarch64/observe.py", ("here.npz", "there.npz")
    ours = here(script, scores[0], *command, stdout=subprocess.PIPE).stdout
    began = time.monotonic()
    theirs = inside("python3", script, scores[1], *command, stdout=subprocess.PIPE, check=True).stdout
    seconds = time.monotonic() - began
    a, b = (dict(np.load(WORK / name)) for name in scores)
    apart = {name: np.abs(a[name] - b[name]).max() for name in a}
    print(
        f"    {what}: {len(a['framewise'])} windows in {seconds:.0f} s, scores within {apart['framewise']:.1e}, "
        f"embeddings within {apart['embedding']:.1e}; {judge(ours, theirs)}",
        flush=True,
    )
    return bool(ours == theirs)


def judge(ours: bytes, theirs: bytes) -> str:
    """Say in which way messages differ."""
    if ours == theirs:
        return f"the same {len(ours.splitlines())} messages to the byte"
    a, b = ([json.loads(line) for line in messages.splitlines()] for messages in (ours, theirs))
    a, b = ([message for message in messages if "label" in message] for messages in (a, b))
    if [message | {"score": 0} for message in a] != [message | {"score": 0} for message in b]:
        return f"OTHER EVENTS, here\n{ours.decode()}there\n{theirs.decode()}"
    apart = max((abs(x["score"] - y["score"]) for x, y in zip(a, b, strict=True)), default=0.0)
    return f"the same {len(a)} messages of events, whose scores are within {apart:.4f}"


def run_tests(paths: Sequence[str]) -> bool:
    """Run tests there; pytest prints how many passed, failed and were skipped, and why."""
    print(f"==> Tests there: {' '.join(paths)}", flush=True)
    options = ["-m", "not slow", "-p", "no:cacheprovider", "-rfEs", "--tb=short", "--timeout=1800"]
    return inside("python3", "-m", "pytest", *paths, *options).returncode == 0


APART = ["unshare", "--mount", "--fork", "--kill-child"]
"""In a name space of its own: what is mounted in the root is not there for others, such as who removes the root."""
ENTER = """
for name in dev sys; do mount --rbind /$name "$0/$name"; done
mount -t proc proc "$0/proc"
mount -t tmpfs tmpfs "$0/tmp"
exec chroot "$0" /bin/sh -c 'cd /work; "$@"; exit $?' sh "$@"
"""
"""The inner shell stays: it is the first process of its name space, which must reap others and hears no signals."""


def inside(*command: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command in the root, in the checkout."""
    plain = {"PATH": "/usr/bin:/usr/sbin", "HOME": "/root", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    enter = [*APART, "--pid", "sh", "-e", "-c", ENTER, str(ROOT)]
    return subprocess.run([*enter, *command], env=plain | {"QEMU_CPU": PROCESSOR, "OMP_NUM_THREADS": "1"}, **options)


def here(*arguments: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run one of the same copy's programs on this machine."""
    return run(sys.executable, *arguments, cwd=WORK, env=os.environ | {"PYTHONPATH": str(WORK)}, **options)


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    return subprocess.run(command, check=True, **options)


def sources(*folders: str) -> list[str]:
    return [path.read_text() for folder in folders for path in sorted((PROJECT / folder).rglob("*.py"))]


def size_of(folder: Path) -> int:
    return int(run("du", "-sB1", str(folder), stdout=subprocess.PIPE, text=True).stdout.split()[0])


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that what was registered is taken back
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
