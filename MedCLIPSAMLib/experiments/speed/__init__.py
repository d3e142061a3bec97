"""Time and memory of the pipeline, measured side by side with the mathematics of the paper's authors."""
