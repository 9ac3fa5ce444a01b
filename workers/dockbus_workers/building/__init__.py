"""Building images: contexts and how they are got hold of safely, two builders, and what is said of the outcome."""
