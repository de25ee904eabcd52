"""How fast fastnn is: against the machine's own limits, against other libraries, and against its own past.

`pytest benchmarks/` times parts, `python -m benchmarks` races libraries and writes the report. See README.md.
"""
