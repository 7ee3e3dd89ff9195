"""What sources are made of: folders, archives, lists, annotations, and ImageNet's own files."""
