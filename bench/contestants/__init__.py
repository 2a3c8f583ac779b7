"""What runs inside the contestants' own processes; nothing here may import the rest of `bench`."""
