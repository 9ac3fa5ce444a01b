"""What the benchmark of the queue stands on: moments, workers and the memory they leave."""
