"""The effects of one Segment Editor: copies of the registered effects, and the active one."""

from __future__ import annotations

from typing import Any

import slicer

from . import dialogs
from .editorlook import EditorLook
from .observations import Observations
from .scriptedeffects import NAMES, BuiltinEffect, qSlicerSegmentEditorEffectFactory


class EditorEffects:
    """Effects by name.

    Args:
        editor: the editor, which answers the requests of the effects.
        look: shows their buttons and options.
    """

    def __init__(self, editor: Any, look: EditorLook) -> None:
        self._editor, self._look, self._observed = editor, look, Observations(editor)
        self._effects: dict[str, Any] = {name: BuiltinEffect(name, editor) for name in NAMES}
        self.active, self.last = None, None

    def names(self) -> list[str]:
        return list(self._effects)

    def by_name(self, name: str) -> Any:
        return self._effects.get(name)

    def initialize(self, node: Any) -> None:
        """Give the editor's node to the effects, and write their defaults into it."""
        if node is None:
            return
        before = node.StartModify()
        for effect in self._effects.values():
            effect.setParameterSetNode(node)
            effect.setMRMLDefaults()
            event = slicer.vtkMRMLSegmentEditorNode.EffectParameterModified
            update = lambda *_event, effect=effect: effect.updateGUIFromMRML()
            self._observed.set(effect.name, node, (event, update))
        node.EndModify(before)

    def refresh(self, node: Any) -> None:
        """Copy newly registered effects, and show the buttons: those of Slicer's effects first, in their order."""
        for effect in qSlicerSegmentEditorEffectFactory.instance().registeredEffects():
            if effect.name not in self._effects:
                made = self._effects[effect.name] = effect.clone()
                made.attach(self._editor)
                self.initialize(node)  # before there are widgets
                made.setupOptionsFrame()
        for effect in self._effects.values():
            effect.attach(self._editor)
        self.initialize(node)
        self._look.show_effects(self._effects, list(self._effects))

    def tell_source_changed(self) -> None:
        for effect in self._effects.values():
            effect.sourceVolumeNodeChanged()

    def tell_layout_changed(self) -> None:
        for effect in self._effects.values():
            effect.layoutChanged()

    def mouse_changed(self, node: Any) -> None:
        """Tell the active effect that the mouse mode has changed."""
        if self.active is not None:
            self.active.interactionNodeModified(node)

    def follow(self, node: Any, scene: Any) -> None:
        """Activate the effect that the editor's node names, and give it the mouse."""
        effect = self.by_name(node.GetActiveEffectName() or "")
        if effect is self.active:
            return
        if self.active is not None:
            self.active.deactivate()
        if effect is not None and not self._has_labelmaps():
            effect = None  # while the node goes on to name it
        if effect is not None:
            self._editor.setupViewObservations()
            mouse = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
            if mouse is not None and mouse.GetCurrentInteractionMode() != mouse.ViewTransform:
                mouse.SetCurrentInteractionMode(mouse.ViewTransform)
            effect.activate()
        else:
            self._editor.removeViewObservations()
        self._look.check_effect(effect)
        self.last, self.active = self.active, effect

    def _has_labelmaps(self) -> bool:
        """Convert the segments to label maps; `standin.answers["confirm"]` answers if details may be lost."""
        logic = self._editor.logic()
        if logic.CanTriviallyConvertSourceRepresentationToBinaryLabelMap():
            return bool(logic.TrivialSetSourceRepresentationToBinaryLabelmap())
        if logic.GetSegmentationNode() is None:
            return False
        dialogs.messages.append(("confirm", "Change source representation to binary labelmap?"))
        return bool(dialogs.answers["confirm"] and logic.SetSourceRepresentationToBinaryLabelMap())
