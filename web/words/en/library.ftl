# Texts of the page: library.
