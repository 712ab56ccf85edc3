"""What is computed from the journal and can be thrown away and rebuilt from it: one file a view."""
