"""The process that holds the models, and the client that speaks to it: see docs/worker.md."""
