"""What each route does: a checked call in, a dictionary out. The first line of each docstring is the text of the documentation."""
