# Texts of the page: system.
