"""What the command line can do; each module has one public `run()`."""
