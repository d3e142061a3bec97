"""Time and memory of the pipeline, compared with the computation of the paper's authors."""
