"""The built-in solvers, one module each, found through entry points like anyone's."""
