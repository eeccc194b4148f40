"""Does spatial-aware redundancy help, and do better cliques? See README.md."""
