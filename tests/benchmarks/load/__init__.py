"""What runs in processes of its own: clients that make load, and the bare echo that is their ceiling."""
