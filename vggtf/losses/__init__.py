"""What training minimises; only gin files and tests import them."""
