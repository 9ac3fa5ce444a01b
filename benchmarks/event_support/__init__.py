"""What the benchmark of events stands on: an Engine's volumes, a recorded stream, and a world in memory."""
