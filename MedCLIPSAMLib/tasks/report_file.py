"""Read a radiology report from a text file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import InputError, PromptError
from ..files.regular import check_regular
from ..files.text_file import decode_text
from ..segmentation.report import MAX_CHARACTERS, Report, parse_report

_LIMIT = 4 * MAX_CHARACTERS
"""Maximum bytes of a file: UTF-8 has at most four bytes per character."""


class FindingPrompt(str):
    """A prompt from a report, which is left out if the model cannot process it.

    A prompt that the user gave is refused instead, before any segmentation.
    """


def read_report(path: Path) -> Report:
    """Read a report with at least one finding; see `parse_report`.

    Raises:
        InputError: the file cannot be read, or is not text in UTF-8 or, with a byte order mark, UTF-16.
        PromptError: the report is empty or too long, or names no finding as present.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
        if len(content) > _LIMIT:
            raise PromptError(f"Expected a report of at most {_LIMIT} bytes, got more in '{path}'.", "Give one report.")
        text = decode_text(content)
    except OSError as error:
        raise InputError(f"The report '{path}' cannot be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"Expected a text in UTF-8, got '{path}'.", "Save the report as plain text with the encoding UTF-8."
        ) from error
    report = parse_report(text)
    if not report.findings:
        reasons = "".join(f"\n  {note}" for note in report.notes)
        raise PromptError(
            f"The report '{path}' names nothing that is present, so nothing was segmented.{reasons}",
            "To segment something anyway, name it with -p.",
        )
    findings = (replace(finding, prompt=FindingPrompt(finding.prompt)) for finding in report.findings)
    return replace(report, findings=tuple(findings))
