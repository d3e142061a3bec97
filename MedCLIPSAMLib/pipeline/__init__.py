"""Text prompts on a volume: the request, `segment_volume`, and its results."""
