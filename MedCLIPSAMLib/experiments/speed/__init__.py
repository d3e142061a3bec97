"""What the pipeline costs, measured side by side with the mathematics of the paper's authors."""
