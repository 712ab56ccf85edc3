"""Is this machine fit to run the service? Each check says what was seen and, if need be, what to do.

Everything is tried rather than looked up: the extension is loaded, the disk is written and synced, the
address is bound. Nothing is left behind.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import importlib.util
import os
import platform
import resource
import shutil
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import ModuleType

from tracecode.client import CallFailed, LedgerClient
from tracecode_server.permissions import find_openings
from tracecode_server.settings import Settings, split_address

SYNCS = 40
SYNC_BYTES = 4_096
# Every answer to a sale waits for one sync; a till that waits 1.5 s must not spend them on the disk.
SYNC_SLOW_SECONDS = 0.05
# No disk that keeps its promise at a power cut is as quick as this; 20 µs is a copy in memory.
SYNC_TOO_QUICK_SECONDS = 0.00002
FREE_BYTES_MIN: int = Settings.model_fields["disk_free_bytes_min"].default
FREE_BYTES_WANTED: int = Settings.model_fields["disk_free_bytes_low"].default
# Some seconds at full load: more is no passing lag.
VIEWS_BEHIND_MAX = 1_000_000
MEMORY_BYTES_WANTED = 1024**3
OPEN_FILES_WANTED = 1_024
# The year in which the nationwide collection became complete; an earlier clock was never set.
YEAR_MIN = 2026
# adjtimex(2): the kernel's clock is not steered by anything.
CLOCK_UNSYNCHRONIZED = 5
# LMDB's locks and memory maps are not to be trusted over a network.
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "nfs", "nfs4", "smb3"}
)
MEMORY_FILE_SYSTEMS = frozenset({"ramfs", "tmpfs"})


class Level(Enum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was seen, and what to do about it (empty when all is well)."""

    name: str
    level: Level
    seen: str
    remedy: str = ""


def examine(directory: Path, listen: str, proof_key_file: Path | None = None) -> list[Check]:
    """Every check, in the order in which a fault would stop the service. Raises nothing."""
    checks: list[Callable[[], Check]] = [
        check_python,
        check_processor,
        check_native,
        check_lmdb,
        check_clock,
        check_memory,
        check_open_files,
        lambda: check_directory(directory),
        lambda: check_person_key(directory),
        lambda: check_proof_key(directory, proof_key_file),
        lambda: check_file_system(directory),
        lambda: check_space(directory),
        lambda: check_views(directory),
        lambda: check_sync(directory),
        lambda: check_address(listen),
        check_encoding,
    ]
    return [check() for check in checks]


def check_python() -> Check:
    """Python 3.11 or later, 64 bits: the index is one memory map that may grow large."""
    seen = f"{platform.python_implementation()} {platform.python_version()}, {struct.calcsize('P') * 8} bits"
    if sys.version_info < (3, 11) or sys.maxsize < 2**32:
        return Check("python", Level.FAIL, seen, "install a 64-bit Python 3.11 or later")
    return Check("python", Level.OK, seen)


def check_processor() -> Check:
    """The native code is compiled for x86-64 with SSE 4.2 and dies on less with an illegal instruction."""
    machine = platform.machine()
    if machine != "x86_64":
        return Check("processor", Level.WARN, machine, "only x86-64 is tried; run the tests first: make test")
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Check("processor", Level.WARN, f"{machine}, features unknown", "it must have SSE 4.2")
    if "sse4_2" not in flags:
        return Check("processor", Level.FAIL, f"{machine} without SSE 4.2", "use a processor made after 2008")
    return Check("processor", Level.OK, f"{machine}, SSE 4.2, {os.cpu_count()} cores")


def check_native() -> Check:
    """The extension is built for this Python and loads."""
    try:
        native = _load_native()
    except ImportError as error:
        return Check("native code", Level.FAIL, str(error), "build it: make build")
    return Check("native code", Level.OK, Path(native.__file__ or "").name)


def check_lmdb() -> Check:
    """Every function of LMDB that the extension calls was found in the wheel `lmdb`."""
    try:
        symbols = _load_native().lmdb_symbols()
    except ImportError as error:
        return Check(
            "lmdb", Level.FAIL, str(error), "install the wheel it was built for: pip install 'lmdb>=3.0,<3.1'"
        )
    missing = [name for name, address in symbols.items() if not address]
    if missing or not symbols:
        return Check(
            "lmdb", Level.FAIL, f"missing {', '.join(missing) or 'all'}", "pip install 'lmdb>=3.0,<3.1'"
        )
    return Check("lmdb", Level.OK, f"{len(symbols)} functions found")


def _load_native() -> ModuleType:
    # Not at the top of the file: whether it can be imported is what is asked here.
    return importlib.import_module("tracecode._native")


def check_clock() -> Check:
    """The clock was set, and something keeps it right: documents are judged by their times."""
    now = datetime.now(UTC)
    seen = now.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    if now.year < YEAR_MIN:
        return Check(
            "clock", Level.FAIL, seen, "set the clock, and keep it right with chrony or systemd-timesyncd"
        )
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        # struct timex with modes 0: asks, sets nothing. It has 208 bytes; more do no harm.
        state = libc.adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        state = -1
    if state == CLOCK_UNSYNCHRONIZED:
        return Check(
            "clock",
            Level.WARN,
            f"{seen}, nothing keeps it right",
            "run chrony or systemd-timesyncd on this machine or its host",
        )
    return Check(
        "clock", Level.OK, f"{seen}, kept right" if state >= 0 else f"{seen}, unknown whether kept right"
    )


def check_memory() -> Check:
    """Room for the changes that the index has not seen yet, and for the pages in use."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            kilobytes = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return Check("memory", Level.WARN, "unknown", "1 GiB should be free")
    available = kilobytes * 1024
    seen = f"{available / 1024**3:.1f} GiB available"
    if available < MEMORY_BYTES_WANTED:
        return Check("memory", Level.WARN, seen, "1 GiB should be free")
    return Check("memory", Level.OK, seen)


def check_open_files() -> Check:
    """One file descriptor for each connected till."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES_WANTED:
        return Check("open files", Level.WARN, f"at most {soft:,}", f"ulimit -n {OPEN_FILES_WANTED}")
    return Check(
        "open files", Level.OK, "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft:,}"
    )


def check_directory(directory: Path) -> Check:
    """The folder can be written, and by nobody but its owner read or changed."""
    place = _find_existing(directory)
    seen = str(directory) if place == directory else f"{directory} (to be made in {place})"
    if not place.is_dir():
        return Check("folder", Level.FAIL, f"{place} is no folder", "name a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        return Check(
            "folder", Level.FAIL, f"{place} cannot be written", f"chown it to the user {os.getuid()}"
        )
    openings = find_openings(directory) if (directory / "journal").is_dir() else []
    if openings:
        level = Level.FAIL if openings[0].is_writable else Level.WARN
        return Check("folder", level, openings[0].seen, openings[0].remedy)
    return Check("folder", Level.OK, seen)


def check_person_key(directory: Path) -> Check:
    """The key by which persons are hashed is where serve looks for it, and only its owner can read it."""
    place = directory.absolute()
    path = place.with_name(place.name + ".person-key")
    if not path.exists():
        if (directory / "format").exists():
            return Check(
                "person key",
                Level.WARN,
                f"the ledger is there and {path} is not",
                "put it back, or name it: serve --person-key-file FILE",
            )
        return Check("person key", Level.OK, f"{path} (to be made)")
    if path.stat().st_mode & 0o077:
        return Check("person key", Level.FAIL, f"{path} can be read by others", f"chmod 600 {path}")
    return Check("person key", Level.OK, str(path))


def check_proof_key(directory: Path, path: Path | None) -> Check:
    """The key that signs the log is there, its owner's alone, and the one that signed the log so far."""
    published = directory / "proof" / "checkpoint"
    if path is None:
        if published.exists():
            return Check(
                "proof key",
                Level.WARN,
                f"{published.parent} is a log, and no key is named",
                "name it: --proof-key-file, or TRACECODE_PROOF_KEY_FILE as for serve",
            )
        return Check("proof key", Level.OK, "no log is kept")
    if path.absolute().resolve().is_relative_to(directory.absolute().resolve()):
        return Check("proof key", Level.FAIL, f"{path} lies in {directory}", "keep it elsewhere")
    try:
        # Not at the top of the file: what it stands on may be missing, and that is said elsewhere.
        key = importlib.import_module("tracecode.proof.key")
        checkpoints = importlib.import_module("tracecode.proof.checkpoint")
        public = [signer.public for signer in key.read(path)]
        for signed in (path.with_name(path.name + ".last"), published):
            if signed.exists():
                checkpoints.verify(signed.read_bytes(), public)
    except FileNotFoundError:
        remedy = "put it back, or make one: tracecode proof-key new"
        return Check("proof key", Level.FAIL, f"{path} is not there", remedy)
    except Exception as error:
        remedy = "chmod 600 it, or name the key that signed the log so far"
        return Check("proof key", Level.FAIL, str(error), remedy)
    if published.exists() and not path.with_name(path.name + ".last").exists():
        remedy = "put it back: without it the key may sign another past than it has signed"
        return Check("proof key", Level.WARN, f"{path}.last is not there", remedy)
    return Check("proof key", Level.OK, str(path))


def check_file_system(directory: Path) -> Check:
    """A local file system: LMDB maps its file, and locks it."""
    kind = _find_file_system(_find_existing(directory))
    if kind in NETWORK_FILE_SYSTEMS:
        return Check(
            "file system", Level.FAIL, f"{kind} is shared over a network", "use a local disk (ext4, xfs)"
        )
    if kind in MEMORY_FILE_SYSTEMS:
        return Check(
            "file system", Level.WARN, f"{kind} is memory", "all is lost at a restart; use a disk (ext4, xfs)"
        )
    return Check("file system", Level.OK, kind or "unknown")


def check_space(directory: Path) -> Check:
    """Room to write: below the least nothing is written, though nothing is lost."""
    try:
        free = shutil.disk_usage(_find_existing(directory)).free
    except OSError as error:
        return Check("free space", Level.FAIL, str(error.strerror), "name a folder that can be read")
    seen = f"{free / 1024**3:.1f} GiB"
    if free < FREE_BYTES_MIN:
        return Check("free space", Level.FAIL, seen, "free some; below 0.5 GiB nothing is written")
    if free < FREE_BYTES_WANTED:
        return Check("free space", Level.WARN, seen, "10 GiB should be free: the journal only grows")
    return Check("free space", Level.OK, seen)


def check_sync(directory: Path) -> Check:
    """How long the disk takes to make 4 KiB safe: what every sale waits for."""
    try:
        with tempfile.TemporaryFile(dir=_find_existing(directory)) as file:
            seconds = sorted(_sync(file.fileno()) for _ in range(SYNCS))
    except OSError as error:
        return Check(
            "disk sync", Level.FAIL, str(error.strerror or error), "name a folder that can be written"
        )
    median, worst = seconds[SYNCS // 2], seconds[-1]
    seen = f"median {median * 1000:.2f} ms, worst {worst * 1000:.2f} ms of {SYNCS}"
    if median > SYNC_SLOW_SECONDS:
        return Check("disk sync", Level.WARN, seen, "use an SSD, one with power-loss protection if you can")
    if median < SYNC_TOO_QUICK_SECONDS:
        return Check("disk sync", Level.WARN, seen, "too quick to be a disk: it may lose data at a power cut")
    return Check("disk sync", Level.OK, seen)


def check_address(listen: str) -> Check:
    """The address is ours to bind, or a service of ours answers there."""
    try:
        host, port = split_address(listen)
    except ValueError as error:
        return Check("address", Level.FAIL, listen, str(error))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Check(
                    "address",
                    Level.FAIL,
                    f"{listen}: {error.strerror}",
                    "choose another: --listen 127.0.0.1:PORT",
                )
        else:
            return Check("address", Level.OK, f"{listen} is free")
    try:
        with LedgerClient(listen, deadline_seconds=2.0, attempts=1) as client:
            version = client.service_info().version
    except CallFailed:
        return Check(
            "address",
            Level.FAIL,
            f"{listen} is in use by another program",
            "choose another: --listen 127.0.0.1:PORT",
        )
    return Check("address", Level.OK, f"{listen} is served by tracecode {version}")


def check_views(directory: Path) -> Check:
    """How far the views of a ledger are behind its journal."""
    if not (directory / "views" / "data.mdb").exists():
        return Check("views", Level.OK, "none yet")
    remedy = "look into the service's log; tracecode rebuild-views builds them anew"
    try:
        # Not at the top of the file: what they stand on may be missing, and that is said elsewhere.
        store = importlib.import_module("tracecode.views.store")
        native = _load_native()
        with native.Store(
            str(directory), map_size_bytes=2**30, overlay_bytes_max=0, read_only=True
        ) as journal:
            last = journal.durable_sequence
        with store.ViewStore(directory / "views", read_only=True) as views:
            sequence = views.sequence
    except Exception as error:
        return Check("views", Level.WARN, str(error), remedy)
    seen = f"up to entry {sequence:,} of {last:,}"
    if last - sequence > VIEWS_BEHIND_MAX:
        return Check("views", Level.WARN, seen, remedy)
    return Check("views", Level.OK, seen)


def check_encoding() -> Check:
    """The terminal can show Chinese."""
    encoding = (sys.stdout.encoding or "unknown").lower()
    if encoding.replace("-", "") != "utf8":
        return Check(
            "terminal", Level.WARN, encoding, "export LANG=C.UTF-8, else Chinese is shown as escapes"
        )
    return Check("terminal", Level.OK, encoding)


def _sync(descriptor: int) -> float:
    os.write(descriptor, os.urandom(SYNC_BYTES))
    begin = time.perf_counter()
    os.fdatasync(descriptor)
    return time.perf_counter() - begin


def _find_existing(directory: Path) -> Path:
    """The folder, or the nearest one above it that there is."""
    path = directory.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path if path != directory.absolute() else directory


def _find_file_system(directory: Path) -> str:
    """The kind of file system on which a folder lies, "" if unknown."""
    path = directory.resolve()
    best, kind = "", ""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for mount in mounts:
        fields = mount.split(" ")
        if len(fields) < 3:
            continue
        # A blank in a mount point is written as \\040.
        point, found = fields[1].replace("\\040", " "), fields[2]
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind
