"""Generators of the data that recipes ship; outside the wheel. Run one as `python tools/recipes/NAME/make_data.py`."""
