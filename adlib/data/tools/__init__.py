"""Tools for folders of images: checks, duplicates, archives, downloads."""
