"""ctkCollapsibleButton: a header with an arrow that hides and shows the contents below it.

It imitates CTK's Libs/Widgets/ctkCollapsibleButton.cpp.
"""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

HEADER = 24
_NO_LIMIT = 16777215  # QWIDGETSIZE_MAX


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A checkable button that is checked when its contents are shown."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments) -> None:
        text, parent = arguments if len(arguments) == 2 else ("", *arguments) if arguments else ("", None)
        if isinstance(parent, str):
            text, parent = parent, None
        super().__init__(parent)
        self._collapsed, self._shown, self._busy = False, set(), False
        self.setText(text)
        self.setContentsMargins(0, HEADER, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(lambda checked: self._collapse(not checked))

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._hide_contents() if collapsed else self._show_contents()
        self.setMaximumHeight(HEADER if collapsed else _NO_LIMIT)
        self.updateGeometry()
        self.update()
        self.contentsCollapsed.emit(collapsed)

    def _contents(self) -> list[QtWidgets.QWidget]:
        return self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly)

    def _hide_contents(self) -> None:
        """Hide the children, and remember those to show again: the ones that were not hidden before."""
        self._busy = True
        for child in self._contents():
            if not child.isHidden():
                self._shown.add(child)
                child.hide()
            child.installEventFilter(self)
        self._busy = False

    def _show_contents(self) -> None:
        self._busy = True
        for child in self._contents():
            child.removeEventFilter(self)
            if child in self._shown:
                child.show()
        self._shown.clear()
        self._busy = False

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """Remember that other code has shown or hidden a child while collapsed, for the expansion."""
        if not self._busy and event.type() == QtCore.QEvent.Type.ShowToParent:
            self._hide_contents()
        elif not self._busy and event.type() == QtCore.QEvent.Type.HideToParent:
            self._shown.discard(child)
        return False

    def event(self, event: QtCore.QEvent) -> bool:
        if self._collapsed and event.type() in (QtCore.QEvent.Type.LayoutRequest, QtCore.QEvent.Type.Polish):
            self._hide_contents()  # children that came after the collapse
        return super().event(event)

    collapsed = Property(
        bool,
        lambda self: self._collapsed,
        lambda self, collapsed: self.setChecked(not collapsed),
        notify=contentsCollapsed,
    )

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < HEADER

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(200, HEADER) if self._collapsed else QtWidgets.QWidget.sizeHint(self)

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(100, HEADER) if self._collapsed else QtWidgets.QWidget.minimumSizeHint(self)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(0, 0, self.width(), HEADER - 3, self.palette().button().color().darker(112))
        style = QtWidgets.QStyle.PrimitiveElement
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 4, 13, 13)
        self.style().drawPrimitive(
            style.PE_IndicatorArrowRight if self._collapsed else style.PE_IndicatorArrowDown, arrow, painter, self
        )
        painter.drawText(24, HEADER - 9, self.text())
