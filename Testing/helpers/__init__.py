"""What several test files share; pytest puts Testing/ on the path."""
