"""Building images: contexts and how they are got hold of safely, two builders, and what is said of the outcome."""

PROVISIONAL = "dockbus-building:"
"""What an image is called, with the job's ID behind it, until it gets its names, where one without a name would be lost."""
