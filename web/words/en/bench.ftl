# Texts of the page: bench.
