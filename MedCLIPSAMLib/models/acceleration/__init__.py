"""Ways to the same results in less time or memory: CUDA graphs, bfloat16, oneDNN, and freeing memory."""
