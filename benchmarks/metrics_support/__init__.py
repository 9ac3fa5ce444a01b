"""What the benchmark of metrics stands on: two Engines, and a page of simulated containers."""
