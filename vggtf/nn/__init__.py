"""What nets are made of: initialisers, layers, norms, fully-connected heads. One concept a file."""
