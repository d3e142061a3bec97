"""The kinds of requests, and the fields and arrays that each may have; docs/worker.md explains them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, shorten
from .protocol import Message


@dataclass(frozen=True)
class FieldKind:
    """The values that a field may have, in words, and a test for them."""

    words: str
    holds: Callable[[Any], bool]


def _list_of(kind: FieldKind, words: str) -> FieldKind:
    return FieldKind(words, lambda value: isinstance(value, list) and all(map(kind.holds, value)))


TEXT = FieldKind("text", lambda value: isinstance(value, str))
NUMBER = FieldKind("a whole number", lambda value: type(value) is int)
FLAG = FieldKind("true or false", lambda value: isinstance(value, bool))
TEXTS, NUMBERS = _list_of(TEXT, "a list of texts"), _list_of(NUMBER, "a list of whole numbers")
OBJECT = FieldKind("an object of settings", lambda value: isinstance(value, dict))
TEXTS_BY_NAME = FieldKind(
    "an object of texts", lambda value: isinstance(value, dict) and all(map(TEXT.holds, value.values()))
)

_MODELS = {"clip": TEXT, "sam": TEXT, "device": TEXT, "models_dir": TEXT}
_ASKED = {"image": TEXT, "prompts": TEXTS, "negative": TEXT, "settings": OBJECT}
_FINE_TUNING = ("captions", "name", "images", "validation", "device", "models_dir", "out")
_EXPORT = ("inputs", "out", "negative", "anonymous")

REQUESTS: Mapping[str, Mapping[str, FieldKind]] = {
    "hello": {},
    "models": {"models_dir": TEXT},
    "download": {"name": TEXT, "kind": TEXT},
    "load": _MODELS,
    "image": {"key": TEXT, "keep": TEXTS, "slice": NUMBER, "of": NUMBER},
    "segment": {**_ASKED, "slices": NUMBERS, "saliency": FLAG, "uncertainty": FLAG},
    "predict_mask": {"image": TEXT, "slice": NUMBER},
    "propagate_masks": {"image": TEXT, "slices": NUMBERS, "reach": NUMBER, "method": TEXT},
    "propagate": {**_ASKED, "method": TEXT},
    "finetune": {**dict.fromkeys(_FINE_TUNING, TEXT), "settings": OBJECT, "replace": FLAG},
    "export": {
        **dict.fromkeys(_EXPORT, TEXT),
        **_MODELS,
        "prompts": TEXTS_BY_NAME,
        "export": OBJECT,
        "settings": OBJECT,
        "retry": FLAG,
    },
    "cancel": {"request": NUMBER},
    "shutdown": {},
}
"""Fields of each request; null means that a field is absent."""

ARRAYS: Mapping[str, tuple[str, ...]] = {
    "image": ("images",),
    "predict_mask": ("boxes", "points", "labels", "masks"),
    "propagate_masks": ("masks",),
}
"""Arrays of the requests that have any."""


def check_request(message: Message) -> None:
    """Refuse an unknown request, unknown fields or arrays, and fields of the wrong kind.

    Raises:
        InputError: the first problem found.
    """
    kind = message.type
    if kind not in REQUESTS:
        raise InputError(f"Expected one of the requests {', '.join(REQUESTS)}, got '{kind}'.", "Use one of them.")
    for what, names, known in (
        ("field", message.fields, REQUESTS[kind]),
        ("array", message.arrays, ARRAYS.get(kind, ())),
    ):
        for name in names:
            if name not in known:
                remedy = f"Use one of: {', '.join(known)}." if known else f"Send none with '{kind}'."
                raise InputError(f"Expected a known {what} of '{kind}', got '{name}'.", remedy)
    for name, value in message.fields.items():
        expected = REQUESTS[kind][name]
        if value is not None and not expected.holds(value):
            raise InputError(
                f"Expected {expected.words} as '{name}' of '{kind}', got {shorten(repr(value), 80)}.",
                f"Send '{name}' as {expected.words}.",
            )
