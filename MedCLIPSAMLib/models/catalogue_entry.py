"""The entries of the catalogue: a model and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["clip", "sam"]


@dataclass(frozen=True)
class ModelFile:
    """A file in a model's folder.

    Args:
        name: path in the folder.
        url: address for the download; empty for a shipped file.
        size: size in bytes, if known.
        sha256: checksum, if known. If it is not, the checksum of the first download is recorded, and later downloads
            are compared with that.
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
        kind: "clip" (encodes text and images into one space) or "sam" (segments what a box or point marks).
        title, purpose: one line each, for display.
        seen: one line about the training data, for display.
        kinds: the kinds of images that a shipped model knows, to complete the phrase "knows ... only".
        tested: one line about test data and scores, for display; empty if this project has not tested the model.
        synthetic: whether it was trained on synthetic images only, so that its results on a patient's scan mean
            nothing.
        license: SPDX identifier, or a sentence if there is none.
        source: URL of a page about the model, or a place in this package.
        folder: name of its folder in any folder of models.
        image_size: edge in pixels of the model's square input.
        files: the files that the folder must contain.
        shipped: whether it comes with the package, in Resources/models.
        trained: whether it is the user's own; see `models.trained`.
        by_hand: how to get the weights when the server refuses the download.
        config: for SAM, the configuration inside the package `sam2`; empty if the folder has its own .yaml.
        options: for SAM, settings merged into that configuration.
        saliency: for CLIP, the settings that differ from the defaults of `segmentation.saliency.M2IBSettings`.
        by_word: for CLIP, the settings that differ for prompts that contain a word; see
            `segmentation.settings.Settings`.
        map_by: for CLIP, the method that computes the maps: "m2ib", or the name of a locator in
            `segmentation.locators`.
        answer: for CLIP, the other settings that differ from the defaults of `segmentation.settings.Settings`, as JSON
            values.
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
        """Whether it can be downloaded: it is neither shipped nor the user's own, and every file has a URL."""
        return not (self.shipped or self.trained) and all(file.url for file in self.files)

    @property
    def size(self) -> int | None:
        """Known number of bytes to download; None if no file's size is known."""
        known = [file.size for file in self.files if file.size]
        return sum(known) if known else None
