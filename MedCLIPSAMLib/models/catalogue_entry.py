"""An entry of the catalogue of models, and of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["clip", "sam"]


@dataclass(frozen=True)
class ModelFile:
    """A file of a model's folder.

    Args:
        name: in the folder.
        url: where it is downloaded from; empty for a shipped file.
        size: in bytes, where known.
        sha256: where known; else the checksum of the first download is recorded and later ones are compared with it.
    """

    name: str
    url: str = ""
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Model:
    """A catalogue entry.

    Args:
        name: what the user types; unique within a kind.
        kind: "clip" (text and image in one space) or "sam" (outlines what a box or point marks).
        title, purpose: for people, one line each.
        seen: the data that it was trained on, one line for people.
        kinds: of a shipped model: the kinds of images that it knows, as the end of "knows ... only".
        tested: what it was tested on and how well, one line for people; empty where it was not tested in this project.
        synthetic: it was trained on synthetic images only, so its results on a patient's scan mean nothing.
        license: SPDX identifier, or a sentence where there is none.
        source: a page about the model.
        folder: name of its folder in any folder of models.
        image_size: edge in pixels of the square that the model sees.
        files: what the folder must hold.
        shipped: comes with the package, in Resources/models.
        trained: the user's own, see `models.trained`.
        by_hand: how to get the weights when the download is refused.
        config: for SAM, the configuration inside the package `sam2`; empty when the folder holds its own .yaml.
        options: for SAM, settings merged into that configuration.
        saliency: for CLIP, what differs from the defaults of `segmentation.saliency.M2IBSettings`.
        by_word: and what differs for prompts that hold a word; see `segmentation.settings.Settings`.
        map_by: for CLIP, what makes the maps: "m2ib", or the name of a locator in `segmentation.locators`.
        answer: for CLIP, what else differs from the defaults of `segmentation.settings.Settings`, as JSON values.
    """

    name: str
    kind: Kind
    title: str
    purpose: str
    license: str
    source: str
    folder: str
    image_size: int
    files: tuple[ModelFile, ...]
    seen: str = ""
    kinds: str = ""
    tested: str = ""
    synthetic: bool = False
    shipped: bool = False
    trained: bool = False
    by_hand: str = ""
    config: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    saliency: Mapping[str, Any] = field(default_factory=dict)
    by_word: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    map_by: str = "m2ib"
    answer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("options", "saliency", "by_word", "answer"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def downloadable(self) -> bool:
        """Whether it is offered for download: neither shipped nor the user's own, and every file has an address."""
        return not (self.shipped or self.trained) and all(file.url for file in self.files)

    @property
    def size(self) -> int | None:
        """Bytes to download, as far as they are known; None when not even the weights' are."""
        known = [file.size for file in self.files if file.size]
        return sum(known) if known else None
