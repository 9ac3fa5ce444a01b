"""Acting on one container that is there: finding it, holding conditions against it, and knowing what was begun."""
