"""What is measured and not shipped to users: reproductions of the paper, searches, benchmarks."""
