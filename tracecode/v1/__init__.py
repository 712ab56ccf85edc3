"""Generated from proto/tracecode/v1 by `make gen`; never edited by hand."""
