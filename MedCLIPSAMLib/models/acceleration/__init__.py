"""The same results sooner or in less memory: CUDA graphs, bfloat16, oneDNN, a full device."""
