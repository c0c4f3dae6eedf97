"""Each figure in the README is one command here: `python -m bench NAME`."""
