"""What the worker's engine tells a request, kept."""

from __future__ import annotations

from MedCLIPSAMLib.worker.protocol import Message


class RecordingReply:
    """A reply that keeps what it is told."""

    def __init__(self):
        self.messages = []

    def send(self, type, fields, arrays=None):
        self.messages.append(Message(type, 1, fields, arrays or {}))

    def cancelled(self):
        return False

    def of(self, type):
        return [message for message in self.messages if message.type == type]
