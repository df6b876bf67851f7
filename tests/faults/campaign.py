"""The fault campaign: breaks runs of ``tclr preprocess`` and ``tclr embed`` and compares what they leave.

``make faults`` runs all of it and prints a table; ``python tests/faults/campaign.py --help`` tells how to run a part.
A round breaks one run at a random moment, then runs the same command again: it is survived if that ends well, and equal
if every array of every clip, or of ``embed`` every file, is that of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import av
import h5py
import hdf5plugin  # noqa: F401  (registers the codecs)
import numpy as np
import psutil

EMBED = "embed-"
"""How the names of faults of ``tclr embed`` begin."""
HERE = Path(__file__).resolve().parent
TIMEOUT_S = 900
"""A run that takes longer hangs; undisturbed it takes some 10 s, on a machine that has nothing else to do."""
ROUNDS = {
    "client": 20,
    "worker": 20,
    "scheduler": 15,
    "memory": 5,
    "disk": 5,
    "source": 6,
    "part": 6,
    "two": 4,
    "flip": 20,
    "embed-client": 10,
    "embed-worker": 10,
    "embed-scheduler": 8,
}
"""Rounds of each fault of a whole campaign."""


@dataclass
class Row:
    """What came of one fault."""

    fault: str
    what: str
    rounds: int = 0
    survived: int = 0
    equal: int = 0
    notes: list[str] = field(default_factory=list)


def write_clip(path: Path, seed: int, n_frames: int) -> None:
    """Write a grey video, 96 x 96 at 25 frames/s, in which a bright patch drifts."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 120, (96, 96, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        for i in range(n_frames):
            image = ground.copy()
            image[20 + i % 9 : 66 + i % 9, 20 + i % 17 : 66 + i % 17] = 235
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def arrays(store: Path) -> dict[str, tuple]:
    """Return every array of a store by its place, as shape, type and bytes."""
    found: dict[str, tuple] = {}
    for path in sorted((store / "subjects").glob("*.h5")):
        with h5py.File(path) as file:

            def add(name: str, node: object, subject: str = path.stem) -> None:
                if isinstance(node, h5py.Dataset):
                    found[f"{subject}/{name}"] = (node.shape, str(node.dtype), node[:].tobytes())

            file.visititems(add)
    return found


class Campaign:
    """A source, a reference store made without faults, and what a round needs."""

    def __init__(self, folder: Path, seed: int, await_files: bool = False) -> None:
        self.await_files = await_files
        self.folder = folder
        self.random = random.Random(seed)
        self.source = folder / "source"
        self.orders = folder / "orders"
        self.orders.mkdir()
        for number, (subject, clip) in enumerate((s, c) for s in ("anna", "ben", "cleo") for c in ("one", "two")):
            write_clip(self.source / subject / f"{clip}.mp4", number, 50)
        write_clip(self.source / "anna" / "long.mp4", 9, 600)
        self.env = {**os.environ, "OMP_NUM_THREADS": "1", "FAULT_ORDERS": str(self.orders)}
        self.env["PYTHONPATH"] = os.pathsep.join([str(self._install()), os.environ.get("PYTHONPATH", "")])
        started = time.monotonic()
        self.reference = self.run_undisturbed(self.source, "reference")
        self.length_s = time.monotonic() - started

    def _install(self) -> Path:
        """Put the detector where entry points are found."""
        site = self.folder / "site"
        info = site / "fault_detector-1.dist-info"
        info.mkdir(parents=True)
        shutil.copy(HERE / "fault_detector.py", site)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fault-detector\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[tclr.detectors]\nfault-detector = fault_detector:FaultDetector\n")
        return site

    def command(self, store: Path, *extra: str, source: Path | None = None) -> list[str]:
        settings = ["--detector", "fault-detector", "--size", "48", "--segment-s", "10", "--dataset", "folder"]
        where = [str(source or self.source), str(store)]
        return [sys.executable, "-m", "tclr.cli.main", "preprocess", *where, *settings, *(extra or ("--workers", "2"))]

    def start(self, store: Path, *extra: str, source: Path | None = None) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(store, *extra, source=source), env=self.env, **pipes)

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for a run; return its exit status and last line of standard error, or -1 if it hangs."""
        try:
            _, error = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return -1, "hangs"
        return process.returncode, (error.strip().splitlines() or [""])[-1]

    def run(self, store: Path, *extra: str, source: Path | None = None) -> tuple[int, str]:
        return self.finish(self.start(store, *extra, source=source))

    def run_undisturbed(self, source: Path, name: str) -> dict[str, tuple]:
        status, error = self.run(self.folder / name, source=source)
        if status:
            raise SystemExit(f"The undisturbed run failed: {error}")
        return self.contents(self.folder / name)

    def wait(self, share: float = 1.0) -> None:
        """Wait for a random moment of a run."""
        time.sleep(self.random.uniform(0, share * self.length_s))

    def inspect(self, store: Path) -> tuple[int, str]:
        command = [sys.executable, "-m", "tclr.cli.main", "inspect", str(store), "--verify"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=TIMEOUT_S)
        return done.returncode, done.stdout

    def contents(self, store: Path) -> dict[str, tuple]:
        return arrays(store)

    def written(self, store: Path) -> list[Path]:
        """Return the files that are whole."""
        return [*store.glob("parts/*/*.h5"), *store.glob("subjects/*.h5")]

    def is_sound(self, store: Path) -> bool:
        """Return whether nothing is damaged or left over."""
        return self.inspect(store)[0] == 0 and not list(store.rglob("*.tmp")) and not (store / "parts").exists()

    def judge(self, row: Row, store: Path, status: int, error: str, reference: dict[str, tuple] | None = None) -> None:
        """Count a round by its last run."""
        row.rounds += 1
        row.survived += status == 0
        if status:
            row.notes.append(f"round {row.rounds}: status {status}: {error}")
            return
        sound = self.is_sound(store)
        equal = self.contents(store) == (self.reference if reference is None else reference)
        row.equal += sound and equal
        if not (sound and equal):
            row.notes.append(f"round {row.rounds}: sound {sound}, equal {equal}: {store}")
        else:
            shutil.rmtree(store)


class EmbedCampaign(Campaign):
    """The same for ``tclr embed`` on the reference store of a campaign, with an encoder of random weights in a file."""

    def __init__(self, campaign: Campaign) -> None:
        from tclr.pipeline.encoder import EncoderInfo, build_encoder, save_encoder

        for name in ("await_files", "folder", "random", "env"):
            setattr(self, name, getattr(campaign, name))
        self.encoder = self.folder / "encoder.safetensors"
        save_encoder(self.encoder, build_encoder(16, 0), EncoderInfo(embedding_dim=16, image_size=64))
        started = time.monotonic()
        self.reference = self.run_undisturbed(self.folder / "reference", "features")
        self.length_s = time.monotonic() - started

    def command(self, features: Path, *extra: str, source: Path | None = None) -> list[str]:
        where = [str(source or self.folder / "reference"), str(features), "--encoder", str(self.encoder)]
        return [sys.executable, "-m", "tclr.cli.main", "embed", *where, *(extra or ("--workers", "2"))]

    def contents(self, features: Path) -> dict[str, tuple]:
        """Return every file: tables, their metadata, and what should not be there."""
        files = sorted(path for path in features.rglob("*") if path.is_file())
        return {str(path.relative_to(features)): (path.read_bytes(),) for path in files}

    def written(self, features: Path) -> list[Path]:
        return list(features.glob("*/*.parquet"))

    def is_sound(self, features: Path) -> bool:
        """Return whether pandas reads the folder."""
        import pandas as pd

        return len(pd.read_parquet(features)) == 900


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_with_children(process: subprocess.Popen[str]) -> None:
    """kill -9 of a command and all that it started, whether or not it has ended by now."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        children = []
    for child in children:
        kill(child.pid)
    if process.poll() is None:
        kill(process.pid)
    process.communicate()


def await_files(campaign: Campaign, process: subprocess.Popen[str], store: Path, n_files: int) -> None:
    """Wait until a run has written files, or has ended."""
    while process.poll() is None and len(campaign.written(store)) < n_files:
        time.sleep(0.01)


def client(campaign: Campaign, row: Row, store: Path) -> None:
    """kill -9 of the command, up to three times in a row; its workers live on for a while"""
    for kill_number in range(campaign.random.randint(1, 3)):
        process = campaign.start(store)
        if campaign.await_files and kill_number == 0:
            await_files(campaign, process, store, 1)
            if process.poll() is not None:
                row.notes.append(f"round {row.rounds + 1}: nothing was killed")
        else:
            campaign.wait()
        kill(process.pid)
        process.communicate()
    campaign.judge(row, store, *campaign.run(store))


def worker(campaign: Campaign, row: Row, store: Path) -> None:
    """kill -9 of one worker process after another, up to three"""
    process = campaign.start(store)
    for _ in range(campaign.random.randint(1, 3)):
        campaign.wait(0.6)
        try:
            children = psutil.Process(process.pid).children()
            workers = [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
        except psutil.Error:
            break
        if workers:
            kill(campaign.random.choice(workers))
    status, error = campaign.finish(process)
    if status == 1:
        row.notes.append(f"round {row.rounds + 1}: told: {error}")
    campaign.judge(row, store, *(campaign.run(store) if status else (status, error)))


@contextmanager
def cluster(campaign: Campaign) -> Iterator[tuple[list[subprocess.Popen[bytes]], str]]:
    """Start a scheduler and two workers, each a process in a folder of its own; yields them, and the address."""
    with tempfile.TemporaryDirectory(dir=campaign.folder) as scratch:
        file, processes = Path(scratch) / "scheduler.json", []
        commands = [["scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1"]]
        commands += [["worker", "--nthreads", "1", "--no-dashboard", "--death-timeout", "60"]] * 2
        for number, command in enumerate(commands):
            folder = Path(scratch) / f"machine{number}"
            folder.mkdir()
            line = [sys.executable, "-m", "dask", *command, "--scheduler-file", str(file)]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
            processes.append(subprocess.Popen(line, cwd=folder, env=campaign.env, **quiet))
        deadline = time.monotonic() + 60
        while not file.exists() or not file.read_text().strip():
            if time.monotonic() > deadline:
                raise SystemExit("The scheduler did not start.")
            time.sleep(0.1)
        try:
            yield processes, json.loads(file.read_text())["address"]
        finally:
            for process in processes:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()


def scheduler(campaign: Campaign, row: Row, store: Path) -> None:
    """kill -9 of a scheduler of its own; the command must say so and end, then all is started anew"""
    with cluster(campaign) as (processes, address):
        process = campaign.start(store, "--scheduler", address)
        campaign.wait()
        kill(processes[0].pid)
        status, error = campaign.finish(process)
    if status and "Dask scheduler" not in error:
        row.notes.append(f"round {row.rounds + 1}: status {status}: {error}")
    with cluster(campaign) as (_, address):
        campaign.judge(row, store, *campaign.run(store, "--scheduler", address))


def memory(campaign: Campaign, row: Row, store: Path) -> None:
    """memory is out in a worker: an allocation fails, or the system kills it, up to three times"""
    for number in range(campaign.random.randint(1, 3)):
        (campaign.orders / f"{campaign.random.choice(('killed', 'refused'))}{number}").touch()
    status, error = campaign.run(store)
    if status == 1 and "memory" not in error:
        row.notes.append(f"round {row.rounds + 1}: told: {error}")
    for order in campaign.orders.iterdir():
        order.unlink()
    campaign.judge(row, store, *(campaign.run(store) if status else (status, error)))


DISK = """
mount -t tmpfs -o size={size}k tmpfs {mount} || exit 99
if [ {fill} = yes ]; then (sleep {after}; dd if=/dev/zero of={mount}/filler bs=64k) 2>/dev/null & fi
{command} > /dev/null 2> {log}; first=$?
wait
rm -f {mount}/filler; mount -o remount,size=1g {mount}
{command} > /dev/null 2>> {log}; second=$?
cp -r {mount}/store {store}
echo $first $second
"""


def disk(campaign: Campaign, row: Row, store: Path) -> None:
    """the disk fills up: it is small, or something else fills it at once; then there is room again"""
    mount, fill = campaign.folder / "mount", campaign.random.random() < 0.5
    mount.mkdir(exist_ok=True)
    log = campaign.folder / "disk.log"
    words = {"mount": mount, "store": store, "log": log, "fill": "yes" if fill else "no"}
    words["size"] = 200_000 if fill else campaign.random.randint(65_600, 70_000)
    words["after"] = round(campaign.random.uniform(0, campaign.length_s), 2)
    words["command"] = " ".join(campaign.command(mount / "store"))
    shell = ["unshare", "-Urm", "sh", "-c", DISK.format(**words)]
    done = subprocess.run(shell, env=campaign.env, capture_output=True, text=True, timeout=3 * TIMEOUT_S)
    if done.returncode or not done.stdout.strip():
        row.notes.append(f"not run: no file system can be mounted here ({done.stderr.strip()[-100:]})")
        return
    first, second = (int(word) for word in done.stdout.split())
    text = log.read_text()
    if first and "no space" not in text.lower():
        row.notes.append(f"round {row.rounds + 1}: first run, status {first}: {text.strip()[-200:]}")
    campaign.judge(row, store, second, text.strip()[-200:])


def source(campaign: Campaign, row: Row, store: Path) -> None:
    """a video vanishes and comes back, or another takes its place, while it may be read"""
    mine = campaign.folder / "mine"
    shutil.copytree(campaign.source, mine)
    path = mine / campaign.random.choice(("anna/long.mp4", "ben/one.mp4", "cleo/two.mp4"))
    process = campaign.start(store, source=mine)
    campaign.wait()
    reference = None
    if campaign.random.random() < 0.5:
        path.rename(mine / "away")
        campaign.finish(process)
        (mine / "away").rename(path)
    else:
        other = campaign.folder / "other.mp4"
        write_clip(other, campaign.random.randint(10, 10**6), 60)
        os.replace(other, path)
        campaign.finish(process)
        reference = campaign.run_undisturbed(mine, "changed")
        shutil.rmtree(campaign.folder / "changed")
    campaign.judge(row, store, *campaign.run(store, source=mine), reference)
    shutil.rmtree(mine)


def damage(campaign: Campaign, path: Path) -> None:
    """Flip a bit of some bytes of a file, or cut it off."""
    data = bytearray(path.read_bytes())
    if campaign.random.random() < 0.3:
        data = data[: campaign.random.randrange(len(data))]
    for _ in range(campaign.random.randint(1, 3) if data else 0):
        data[campaign.random.randrange(len(data))] ^= 1 << campaign.random.randrange(8)
    path.write_bytes(data)


def part(campaign: Campaign, row: Row, store: Path) -> None:
    """kill -9 of the command, then every part file that it leaves is damaged or cut off"""
    process = campaign.start(store)
    await_files(campaign, process, store, campaign.random.randint(1, 3))
    kill_with_children(process)
    for path in campaign.written(store):
        damage(campaign, path)
    campaign.inspect(store)
    campaign.judge(row, store, *campaign.run(store))


def two(campaign: Campaign, row: Row, store: Path) -> None:
    """a second run on the store is refused; after kill -9 of the first the next one may"""
    first = campaign.start(store)
    while first.poll() is None and not (store / "run.json").exists():
        time.sleep(0.01)
    status, error = campaign.run(store)
    refused = status == 1 and "Expected no other run on" in error and str(first.pid) in error
    kill(first.pid)
    first.communicate()
    status, last = campaign.run(store)
    campaign.judge(row, store, status if refused else -2, last if refused else f"not refused: {error}")


def flip(campaign: Campaign, row: Row, store: Path) -> None:
    """one bit of a finished store flips; inspect --verify must tell if it matters, and the next run repairs it"""
    shutil.copytree(campaign.folder / "reference", store)
    path = campaign.random.choice(sorted(store.glob("subjects/*.h5")))
    data = bytearray(path.read_bytes())
    place = campaign.random.randrange(len(data))
    data[place] ^= 1 << campaign.random.randrange(8)
    path.write_bytes(data)
    status, _ = campaign.inspect(store)
    if status == 0 and arrays(store) != campaign.reference:
        campaign.judge(row, store, -3, f"byte {place} of {path} flipped, and it was not told")
        return
    campaign.judge(row, store, *campaign.run(store))


FAULTS: dict[str, Callable[[Campaign, Row, Path], None]] = {
    function.__name__: function for function in (client, worker, scheduler, memory, disk, source, part, two, flip)
}
FAULTS |= {f"{EMBED}{function.__name__}": function for function in (client, worker, scheduler)}


def run_campaign(faults: list[str], rounds: int | None, seed: int, await_files: bool = False) -> list[Row]:
    """Run the rounds of each fault; ``rounds`` of each, or as many as ``ROUNDS`` says."""
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        campaign, embedding = Campaign(Path(folder), seed, await_files), None
        for name in faults:
            row = Row(name, str(FAULTS[name].__doc__))
            broken = campaign
            if name.startswith(EMBED):
                broken = embedding = embedding or EmbedCampaign(campaign)
            for number in range(rounds or ROUNDS[name]):
                FAULTS[name](broken, row, Path(folder) / f"{name}{number}")
                print(f"{name} {number}: survived {row.survived}, equal {row.equal} of {row.rounds}", file=sys.stderr)
            rows.append(row)
            print(
                f"{name}: {row.rounds} rounds, {row.survived} survived, {row.equal} equal", file=sys.stderr, flush=True
            )
            for note in row.notes:
                print(f"  {note}", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Run the campaign and print its table; exit status 1 if a round was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", default=",".join(FAULTS), help="comma-separated; default all")
    parser.add_argument("--rounds", type=int, help="of each fault; default: see ROUNDS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--await-files", action="store_true", help="first kill of a client: when a file is written")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows = run_campaign(options.faults.split(","), options.rounds, options.seed, options.await_files)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print("| fault | rounds | survived | arrays equal |\n|---|---|---|---|")
        for row in rows:
            print(f"| {row.fault}: {row.what} | {row.rounds} | {row.survived} | {row.equal} |")
    sys.exit(any(row.equal < row.rounds for row in rows))


if __name__ == "__main__":
    main()
