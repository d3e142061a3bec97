"""A page to look through an export: an overlay a case, and a click strikes a bad one out."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_path

PAGE, PICTURES = "report.html", "report"


def write_report(folder: Path, records: Sequence[Mapping[str, Any]], struck: Collection[str]) -> None:
    """Write report.html into an export's folder, beside the pictures in report/.

    The page needs no network and no server. What is struck out in it is kept by the browser, and saved as a list of
    names, struck.txt, by a button; `medclipsam strike` takes it up.
    """
    data = json.dumps({"cases": list(records), "struck": sorted(struck)}, ensure_ascii=True).replace("<", "\\u003c")
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(_PAGE.replace("%DATA%", data), encoding="utf-8")


_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Pseudo-labels</title>
<style>
  body { font: 14px system-ui, sans-serif; margin: 0; background: #f4f4f4; color: #222 }
  header { position: sticky; top: 0; background: #fff; padding: 8px 16px; border-bottom: 1px solid #ccc; display: flex;
           gap: 12px; align-items: center; flex-wrap: wrap }
  main { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 12px; padding: 16px }
  figure { margin: 0; background: #fff; border: 2px solid transparent; border-radius: 4px; padding: 6px;
           cursor: pointer }
  figure:focus { border-color: #2a7de1; outline: none }
  figure img { width: 100%; display: block }
  figure.struck { opacity: .35; text-decoration: line-through }
  figcaption { font-size: 12px; overflow-wrap: anywhere; margin-top: 4px }
  .failed, .empty, .filtered { color: #a33 }
</style>
<header>
  <b>Pseudo-labels</b> <span id="count"></span>
  <label>show <select id="show"><option value="">all</option><option>found</option><option>filtered</option>
    <option>empty</option><option>failed</option><option>struck</option></select></label>
  <label>order <select id="order"><option value="score">lowest score first</option><option value="case">name</option>
    <option value="size">largest first</option></select></label>
  <button id="back">&lt;</button> <span id="page"></span> <button id="next">&gt;</button>
  <button id="save">Save struck.txt</button>
  <span>Click a case, or press space on it, to strike it out; then: medclipsam strike FOLDER struck.txt. For research,
    not for diagnosis.</span>
</header>
<main></main>
<script type="application/json" id="data">%DATA%</script>
<script>
const data = JSON.parse(document.getElementById("data").textContent), PER_PAGE = 60;
const key = "medclipsam struck " + location.pathname;
const struck = new Set(JSON.parse(localStorage.getItem(key) || "null") || data.struck);
const by = id => document.getElementById(id);
const labels = each => Object.values(each.labels);
const score = each => Math.max(0, ...labels(each).map(one => one.score));
const size = each => labels(each).reduce((sum, one) => sum + one.size, 0);
let page = 0;
function chosen() {
  const show = by("show").value, order = by("order").value;
  const fits = each => !show || (show === "struck" ? struck.has(each.case) : each.status === show);
  const found = data.cases.filter(fits);
  if (order === "score") found.sort((a, b) => score(a) - score(b));
  else if (order === "size") found.sort((a, b) => size(b) - size(a));
  else found.sort((a, b) => a.case.localeCompare(b.case));
  return found;
}
function draw() {
  const found = chosen(), pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  const main = document.querySelector("main");
  main.replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(figure));
  by("page").textContent = `${page + 1} of ${pages}`;
  by("count").textContent = `${data.cases.length} cases, ${struck.size} struck out`;
}
function figure(each) {
  const made = document.createElement("figure"), caption = document.createElement("figcaption");
  made.tabIndex = 0;
  made.className = struck.has(each.case) ? "struck" : "";
  if (each.status !== "failed") {
    const image = document.createElement("img");
    image.loading = "lazy";
    image.src = "report/" + encodeURIComponent(each.case) + ".png";
    image.alt = each.case;
    made.append(image);
  }
  const lines = [each.case + (each.slice === undefined ? "" : `, slice ${each.slice}`)];
  for (const [label, one] of Object.entries(each.labels))
    lines.push(`${label}: ${one.status}, score ${one.score.toFixed(2)}, ${one.size} ${one.unit}`);
  if (each.problem) lines.push(each.problem);
  for (const note of each.notes || []) lines.push("note: " + note);
  for (const line of lines) {
    const row = document.createElement("div");
    row.textContent = line;
    row.className = line === lines[0] ? "" : each.status;
    caption.append(row);
  }
  made.append(caption);
  const strike = () => {
    if (!struck.delete(each.case)) struck.add(each.case);
    localStorage.setItem(key, JSON.stringify([...struck]));
    made.className = struck.has(each.case) ? "struck" : "";
    by("count").textContent = `${data.cases.length} cases, ${struck.size} struck out`;
  };
  made.onclick = strike;
  made.onkeydown = event => { if (event.key === " ") { event.preventDefault(); strike(); } };
  return made;
}
by("back").onclick = () => { page--; draw(); };
by("next").onclick = () => { page++; draw(); };
by("show").onchange = by("order").onchange = () => { page = 0; draw(); };
by("save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([[...struck].sort().join("\\n") + "\\n"], { type: "text/plain" }));
  link.download = "struck.txt";
  link.click();
};
draw();
</script>
"""
