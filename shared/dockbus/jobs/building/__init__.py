"""The parts of a build's spec and result: where its context comes from, its caches, and what is said of its image."""
