"""Helpers shared by several test files; pytest puts Testing/ on the path."""
