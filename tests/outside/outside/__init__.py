"""A method, a network and a table that are not part of sbs."""
