"""Carrying out a container: making it or finding it again, following it, measuring it, and what goes in and out."""
