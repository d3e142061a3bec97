"""The same results faster or in less memory: CUDA graphs, bfloat16, oneDNN, freeing memory."""
