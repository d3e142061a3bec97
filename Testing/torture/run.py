"""Run the torture, with options for its parts, numbers of tries and seed, and print a table of the results."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .forks import warm
from .frames import feed_parser, feed_worker
from .headers import damage
from .kills import Stage, fill, kill
from .scenes import (
    Scene,
    export_scene,
    finetune_scene,
    make_inputs,
    model_scenes,
    review_scenes,
    segment_scenes,
    weak_scene,
)
from .table import Row, as_table, where_and_when
from .workers import kill_workers

KINDS = ("kills", "disks", "workers", "frames", "headers")


def main() -> None:
    """Run the torture, print the table, and exit with 1 if anything was lost."""
    parser = argparse.ArgumentParser("python -m Testing.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=22, help="kills of each command in a fork")
    parser.add_argument("--processes", type=int, default=6, help="kills of some commands as processes of their own")
    parser.add_argument("--disks", type=int, default=8, help="full disks for each command")
    parser.add_argument("--workers", type=int, default=20, help="kills of a worker")
    parser.add_argument("--frames", type=int, default=100_000, help="frames to the parser of the protocol")
    parser.add_argument("--worker-frames", type=int, default=300, help="frames to a worker process")
    parser.add_argument("--headers", type=int, default=2000, help="mutated headers of images")
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--work", type=Path, help="a new folder for the tries; failed tries are kept")
    parser.add_argument("--scene", action="append", help="only commands whose name contains this")
    parser.add_argument("--more", type=Path, action="append", default=[], help="folders of more images to damage")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as temporary:
        work = options.work.resolve() if options.work else Path(temporary)
        rows = list(torture(options, work, lambda text: print(f"FAULT {text}", file=sys.stderr, flush=True)))
    faults = [fault for row in rows for fault in row.faults]
    print(where_and_when(options.seed, sys.argv[1:]), f"{(time.monotonic() - started) / 60:.0f} minutes.")
    print(f"\n{as_table(rows)}")
    for fault in faults:
        print(f"FAULT {fault}")
    sys.exit(bool(faults))


def torture(options: argparse.Namespace, work: Path, say: Callable[[str], None]) -> Iterator[Row]:
    """Do everything that was asked for and yield one row after the other."""
    wanted = options.only or KINDS
    inputs = work / "inputs"
    make_inputs(inputs)
    if "frames" in wanted:
        yield _told(feed_parser(options.frames, random.Random(options.seed), say))
    if "headers" in wanted:
        yield from map(_told, damage(options.headers, random.Random(options.seed), work / "headers", options.more, say))
    if {"kills", "disks"} & set(wanted):
        yield from map(_told, _disturb(options, wanted, inputs, work, say))
    if {"workers", "frames"} & set(wanted) and options.workers + options.worker_frames:
        _warm(segment_scenes(inputs)[2], work)
    if "frames" in wanted and options.worker_frames:
        yield _told(feed_worker(options.worker_frames, random.Random(options.seed), work / "worker-frames", say))
    if "workers" in wanted:
        yield _told(kill_workers(options.workers, random.Random(options.seed), say))


def _disturb(
    options: argparse.Namespace, wanted: Sequence[str], inputs: Path, work: Path, say: Callable[[str], None]
) -> Iterator[Row]:
    for scene in _scenes(inputs, work, options.scene):
        chance = random.Random(f"{options.seed} {scene.name}")
        stage = Stage(scene, work / scene.name.replace(" ", "-").replace(",", ""), inputs)
        if "kills" in wanted:
            yield kill(stage, round(options.kills * scene.share), chance, say)
            if options.processes and scene.name in ("segment, a folder", "export", "segment --all", "finetune"):
                yield kill(stage, options.processes, chance, say, processes=True)
        if "disks" in wanted:
            yield fill(stage, options.disks, chance, say, mount=os.geteuid() == 0)


def _scenes(inputs: Path, work: Path, parts: Sequence[str] | None) -> Iterator[Scene]:
    makers: tuple[tuple[str, Callable[[], list[Scene]]], ...] = (
        ("models export, models download", lambda: model_scenes(work)),
        ("strike, weak trust", lambda: review_scenes(inputs, work)),
        ("finetune", lambda: [finetune_scene(inputs)]),
        ("segment", lambda: segment_scenes(inputs)),
        ("export", lambda: [export_scene(inputs)]),
        ("weak predict", lambda: [weak_scene(inputs, work)]),
    )
    for names, make in makers:
        if parts is None or any(part in names or names in part for part in parts):
            scenes = make()
            if scenes[0].warm:
                _warm(scenes[0], work)
            yield from (scene for scene in scenes if parts is None or any(part in scene.name for part in parts))


def _warm(scene: Scene, work: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="warm-", dir=work)) / "run"
    scene.begin(folder)
    warm(scene.arguments, folder, scene.main)


def _told(row: Row) -> Row:
    print(as_table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    return row
