"""How a cleanup job goes about it: see what there is, plan what goes, remove one thing after the other."""
