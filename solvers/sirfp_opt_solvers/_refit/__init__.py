"""What the solvers share where readers are refitted."""
