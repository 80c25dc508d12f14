"""Studies of what the methods find, as the tables in results/ show it: not in the wheel, run in a copy of the sources.

`make study` runs studies.methods (and with it studies.masks), `make compare` studies.systems, `make documents`
studies.documents. Models and scores stay in build/, so that a run that was stopped goes on. ``python -m
studies.coverage`` simulates standard errors, ``python -m studies.defaults`` sets RaMbIT's default beside other methods.
"""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
