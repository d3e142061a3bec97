"""`slicer.parameterNodeWrapper`: typed access to the parameters of a scripted module node."""

from __future__ import annotations

import sys
import types
import typing

import slicer


def parameterNodeWrapper(cls: type) -> type:
    """A class whose annotated fields are read from a vtkMRMLScriptedModuleNode and written to it.

    Fields are str, int, float, bool or a class of MRML nodes; a field without a value has its default.
    """
    kinds = typing.get_type_hints(cls, vars(sys.modules[cls.__module__]))
    defaults = {name: vars(cls).get(name) for name in kinds}
    for name, kind in kinds.items():
        if not (kind in (str, int, float, bool) or issubclass(kind, slicer.vtkMRMLNode)):
            raise TypeError(f"{cls.__name__}.{name}: the stand-in has no parameters of {kind}")

    class Wrapper:
        def __init__(self, parameterNode) -> None:
            object.__setattr__(self, "parameterNode", parameterNode)

        def __getattr__(self, name: str):
            if name not in kinds:
                raise AttributeError(f"{cls.__name__} has no parameter '{name}'")
            kind, node = kinds[name], self.parameterNode
            if issubclass(kind, slicer.vtkMRMLNode):
                return node.GetNodeReference(name)
            if not node.GetParameter(name) and name not in node.GetParameterNames():
                return defaults[name]
            text = node.GetParameter(name)
            return text == "true" if kind is bool else kind(text)

        def __setattr__(self, name: str, value) -> None:
            if name not in kinds:
                raise AttributeError(f"{cls.__name__} has no parameter '{name}'")
            kind, node = kinds[name], self.parameterNode
            if issubclass(kind, slicer.vtkMRMLNode):
                if value is not None and not isinstance(value, kind):
                    raise TypeError(f"{name} is no {kind.__name__}: {value!r}")
                node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
                return
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise TypeError(f"{name} is a {kind.__name__}, not {value!r}")
            node.SetParameter(name, str(value).lower() if kind is bool else str(kind(value)))

    Wrapper.__name__ = Wrapper.__qualname__ = cls.__name__
    Wrapper.__doc__ = cls.__doc__
    return Wrapper


def install() -> None:
    """Put it where modules look for it."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.parameterNodeWrapper = parameterNodeWrapper
    sys.modules[module.__name__] = slicer.parameterNodeWrapper = module
