"""What is repaired after a cut, without labels."""
