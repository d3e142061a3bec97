"""Results of the tries: a row per kind, and their table."""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Row:
    """One kind of torture.

    Attributes:
        kind: what was done to what.
        answers: number of survived tries by the program's answer.
        faults: what went wrong, one line per failed try.
    """

    kind: str
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def survived(self) -> int:
        return self.answers.total()

    @property
    def tried(self) -> int:
        return self.survived + len(self.faults)

    def add(self, answer: str, fault: str | None) -> None:
        """Add a try."""
        if fault is None:
            self.answers[answer] += 1
        else:
            self.faults.append(fault)


def as_table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table."""
    lines = ["| kind | tried | survived | how answered |", "|---|---|---|---|"]
    for row in rows:
        said = ", ".join(f"{count} {answer}" for answer, count in row.answers.most_common())
        lines.append(f"| {row.kind} | {row.tried:,} | {row.survived:,} | {said} |")
    return "\n".join(lines)


def where_and_when(seed: int, arguments: Sequence[str]) -> str:
    """Describe the command, the state of the code, and the machine of a run."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8"
    ).stdout.strip()
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode
    command = " ".join(["python -m Testing.torture", *arguments])
    state = f"commit {commit}{', with changes' if changed else ''}"
    return f"`{command}`, seed {seed}, {state}, Python {platform.python_version()} on {_processor()}."


def _processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    return f"{len(names)} cores of {names[0].partition(':')[2].strip()}, {platform.system()}"
