"""A page to review an export: an overlay of each case, and a click strikes a bad one out."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_path
from ..resources import resource_path

PAGE, IMAGE_FOLDER = "report.html", "report"
TEMPLATE = "pages/export_report.html"


def write_report(folder: Path, records: Sequence[Mapping[str, Any]], struck: Collection[str]) -> None:
    """Write report.html into an export's folder, beside the images in report/.

    The page needs no network and no server. The browser stores the cases struck out, and a button saves them as a
    list of names, struck.txt, for `medclipsam strike`.
    """
    page = resource_path(TEMPLATE).read_text(encoding="utf-8")
    data = json.dumps({"cases": list(records), "struck": sorted(struck)}, ensure_ascii=True).replace("<", "\\u003c")
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(page.replace("%DATA%", data), encoding="utf-8")
