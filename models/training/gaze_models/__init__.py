"""Training, export and evaluation of the networks of gazed."""
