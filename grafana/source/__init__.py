"""What the dashboards show, one module each, as `build.py` makes Grafana's JSON of it.

An expression is PromQL in which `@word` stands for the matchers that the dashboard names so in `scopes`. Who
adds a panel writes a title, a description, an expression and a unit; ids, places and data sources are worked out.
"""
